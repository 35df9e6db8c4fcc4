"""The convolutional autoencoder-classifier as a model of the registry: fit, predict with evidence map, restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from RTResponseCAMLib.imaging.patch import Array32
from RTResponseCAMLib.models.conv.classifier import Architecture, ConvClassifier
from RTResponseCAMLib.models.conv.encoder import Encoder, cached_encoder
from RTResponseCAMLib.models.conv.entries import Options, shipped_encoder
from RTResponseCAMLib.models.conv.training import DescribedLesion, Schedule, classifier_of, describe, fit
from RTResponseCAMLib.models.evidence import inputs_of, predict_batches
from RTResponseCAMLib.models.interface import UNCALIBRATED, Calibration, FittedModel, LesionModel, LesionPrediction
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.samples.sample import LesionSample, patch_of

HEADS = ("hidden_weight", "hidden_bias", "weight", "bias", "log_slope")
DESCRIPTION_SHARE = 0.7  # fraction of a fit's progress


@dataclass(frozen=True)
class FittedConv(FittedModel):
    """A fitted classifier, in evaluation mode."""

    network: ConvClassifier

    def predict(
        self,
        samples: Sequence[LesionSample],
        *,
        calibration: Calibration = UNCALIBRATED,
        members: bool = False,
        progress: Progress = no_progress,
    ) -> list[LesionPrediction]:
        """Run the network on batches of patches of equal size; predictions are in the order of the samples."""
        return predict_batches(
            self.network, samples, device=self.device, calibration=calibration, members=members, progress=progress
        )

    def architecture(self) -> dict[str, Any]:
        """Parameters that define the network's shape."""
        return self.network.architecture.as_json()

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The network's state."""
        return {name: value.detach().cpu().numpy() for name, value in self.network.state_dict().items()}

    @property
    def device(self) -> str:
        """Device on which the network runs."""
        return next(self.network.parameters()).device.type

    def to(self, device: str) -> FittedConv:
        """The network moved to a device."""
        return FittedConv(self.network.to(torch.device(device)))

    def named_layers(self) -> Mapping[str, tuple[nn.Module, ...]]:
        """Layers of the autoencoder: encoder, bottleneck, and the last convolutional layer at full resolution."""
        body = self.network.autoencoder
        return {"encoder": (body.at_encoder,), "bottleneck": (body.at_bottleneck,), "decoder": (body.at_decoder,)}

    def differentiable_total(self, sample: LesionSample) -> Tensor:
        """Mean logit over the members."""
        mr, fraction, _ = inputs_of([patch_of(sample)], self.device)
        total: Tensor = self.network(mr.requires_grad_(), fraction).total.mean()
        return total

    def with_random_weights(self, seed: int = 0) -> FittedConv:
        """The same autoencoder with untrained evidence heads."""
        torch.manual_seed(seed)
        fresh = ConvClassifier(self.network.architecture).state_dict()
        network = deepcopy(self.network)
        network.load_state_dict({**network.state_dict(), **{name: fresh[name] for name in HEADS}})
        return FittedConv(network)

    @property
    def mean_pattern(self) -> Array32 | None:
        """Mean evidence map of the training lesions; None while it is unknown."""
        pattern = np.asarray(self.network.pattern.cpu().numpy(), dtype=np.float32)
        return pattern if pattern.any() else None

    def with_mean_pattern(self, pattern: Array32) -> FittedConv:
        """A copy of the network that stores the mean map in its state."""
        network = deepcopy(self.network)
        network.pattern.copy_(torch.from_numpy(pattern))
        return FittedConv(network)


def restore(architecture: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> FittedConv:
    """Restore the network from `FittedConv.architecture` and `FittedConv.tensors`."""
    network = ConvClassifier(Architecture.of(dict(architecture)))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    network.autoencoder.requires_grad_(False)
    return FittedConv(network.eval())


@dataclass(frozen=True)
class ConvModel(LesionModel):
    """Pre-trained encoder, shape of the heads, and schedule of a classifier to be fitted."""

    encoder: Path = field(default_factory=shipped_encoder)
    members: int = 5
    width: int = 8
    learned: bool = True
    fixed: bool = True
    schedule: Schedule = field(default_factory=Schedule)

    @classmethod
    def of(cls, options: Options) -> ConvModel:
        """The model with the given options."""
        schedule = Schedule(seed=options.seed, steps=options.steps, copies=options.copies, l2=options.l2)
        encoder = Path(options.encoder) if options.encoder else shipped_encoder()
        return cls(encoder, options.members, options.width, options.learned, options.fixed, schedule)

    @property
    def seed(self) -> int:  # type: ignore[override]
        """Seed of the schedule."""
        return self.schedule.seed

    def settings(self) -> dict[str, Any]:
        """The schedule, and which encoder was used."""
        found = self._encoder()
        lesions = found.card.get("lesions")
        return {**self.schedule.as_json(), "encoder": {"sha256": found.sha256, "lesions": lesions}}

    def fit(self, samples: Sequence[LesionSample], *, seed: int = 0, progress: Progress = no_progress) -> FittedConv:
        """Fit the heads on all samples; those without a label serve the units of the features only."""
        encoder = self._encoder()
        schedule = replace(self.schedule, seed=self.schedule.seed + seed)
        architecture = Architecture(encoder.shape, self.members, self.width, self.learned, self.fixed)
        network = classifier_of(architecture, encoder.autoencoder(), seed=schedule.seed)
        lesions = self._described(network, encoder, samples, subprogress(progress, 0.0, DESCRIPTION_SHARE))
        last = subprogress(progress, DESCRIPTION_SHARE, 1.0)
        return FittedConv(fit(network, lesions, schedule=schedule, progress=last))

    def _encoder(self) -> Encoder:
        return cached_encoder(self.encoder)

    def _described(
        self, network: ConvClassifier, encoder: Encoder, samples: Sequence[LesionSample], progress: Progress
    ) -> list[DescribedLesion]:
        """Features that a fit does not change, computed once per sample and kept while the sample exists."""
        key = encoder.sha256, self.learned, self.fixed, self.schedule.copies
        lesions = []
        for position, sample in enumerate(samples, start=1):
            kept = _DESCRIBED.setdefault(sample, {})
            if key not in kept:
                kept[key] = describe(network, sample, copies=self.schedule.copies)
            lesions.append(kept[key])
            progress(position / len(samples), "local energies")
        return lesions


_DESCRIBED: WeakKeyDictionary[LesionSample, dict[tuple[str, bool, bool, int], DescribedLesion]] = WeakKeyDictionary()
