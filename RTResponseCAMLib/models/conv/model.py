"""The convolutional autoencoder-classifier as a model of the registry: fit, predict with evidence map, restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy.typing as npt
import torch
from torch import nn

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.models.card import default_encoder
from RTResponseCAMLib.models.conv.classifier import Architecture, ConvClassifier
from RTResponseCAMLib.models.conv.encoder import Encoder, load_encoder
from RTResponseCAMLib.models.conv.entries import Options
from RTResponseCAMLib.models.conv.training import DescribedLesion, Schedule, classifier_of, describe, fit
from RTResponseCAMLib.models.evidence import FittedNetwork
from RTResponseCAMLib.models.interface import LesionModel
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.samples.sample import LesionSample

HEADS = ("hidden_weight", "hidden_bias", "weight", "bias", "log_slope")
DESCRIPTION_SHARE = 0.7  # fraction of a fit's progress


class FittedConv(FittedNetwork[ConvClassifier]):
    """A fitted convolutional classifier."""

    def named_layers(self) -> Mapping[str, tuple[nn.Module, ...]]:
        """Layers of the autoencoder: encoder, bottleneck, and the last convolutional layer at full resolution."""
        body = self.network.autoencoder
        return {"encoder": (body.at_encoder,), "bottleneck": (body.at_bottleneck,), "decoder": (body.at_decoder,)}

    def with_random_weights(self, seed: int = 0) -> FittedConv:
        """The same autoencoder with untrained evidence heads."""
        torch.manual_seed(seed)
        fresh = ConvClassifier(self.network.architecture).state_dict()
        network = deepcopy(self.network)
        network.load_state_dict({**network.state_dict(), **{name: fresh[name] for name in HEADS}})
        return FittedConv(network)


def restore(architecture: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> FittedConv:
    """Restore the network from `FittedConv.architecture` and `FittedConv.tensors`."""
    network = ConvClassifier(Architecture.of(dict(architecture)))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    network.autoencoder.requires_grad_(False)
    return FittedConv(network.eval())


@dataclass(frozen=True)
class ConvModel(LesionModel):
    """Pre-trained encoder, architecture, and schedule of a classifier to be fitted."""

    encoder: Encoder
    network: Architecture
    schedule: Schedule = field(default_factory=Schedule)

    @classmethod
    def of(cls, options: Options) -> ConvModel:
        """The model with the given options.

        Raises
        ------
        ModelError : the encoder cannot be used, see `load_encoder`.
        """
        encoder = load_encoder(Path(options.encoder) if options.encoder else default_encoder())
        network = Architecture(encoder.shape, options.members, options.width, options.learned, options.fixed)
        if network.features == 0:
            raise ModelError("conv", "has neither learned nor fixed features", "Leave out --no-learned or --no-fixed")
        training = {
            name: getattr(options, name)
            for name in ("seed", "steps", "n_augmentations", "l2", "dropout", "consistency")
        }
        return cls(encoder, network, Schedule(**training))

    @property
    def seed(self) -> int:  # type: ignore[override]
        """Seed of the schedule."""
        return self.schedule.seed

    def settings(self) -> dict[str, Any]:
        """The schedule, and which encoder was used."""
        encoder = {"sha256": self.encoder.sha256, "lesions": self.encoder.card.get("lesions")}
        return {**self.schedule.as_json(), "encoder": encoder}

    def fit(self, samples: Sequence[LesionSample], *, seed: int = 0, progress: Progress = no_progress) -> FittedConv:
        """Fit the heads on all samples; those without a label serve the units of the features only."""
        schedule = replace(self.schedule, seed=self.schedule.seed + seed)
        network = classifier_of(self.network, self.encoder.autoencoder(), seed=schedule.seed)
        lesions = self._described(network, samples, subprogress(progress, 0.0, DESCRIPTION_SHARE))
        last = subprogress(progress, DESCRIPTION_SHARE, 1.0)
        return FittedConv(fit(network, lesions, schedule=schedule, progress=last))

    def _described(
        self, network: ConvClassifier, samples: Sequence[LesionSample], progress: Progress
    ) -> list[DescribedLesion]:
        """Features that a fit does not change, computed once per sample and kept while the sample exists."""
        count = self.schedule.n_augmentations
        key = self.encoder.sha256, self.network.learned, self.network.fixed, count
        lesions = []
        for position, sample in enumerate(samples, start=1):
            kept = _DESCRIBED.setdefault(sample, {})
            if key not in kept:
                kept[key] = describe(network, sample, n_augmentations=count)
            lesions.append(kept[key])
            progress(position / len(samples), "local energies")
        return lesions


_DESCRIBED: WeakKeyDictionary[LesionSample, dict[tuple[str, bool, bool, int], DescribedLesion]] = WeakKeyDictionary()
