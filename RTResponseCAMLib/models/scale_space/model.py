"""The scale-space autoencoder-classifier as a model of the registry: fit, predict with evidence map, save and restore.

One forward pass gives prediction and evidence map: the map is the classifier's evidence before pooling. It is
calibrated together with the prediction, so that Σ map + bias = total, the logit of non-response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import nn

from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.calibration import LOG_SLOPES, OFFSETS, cross_entropy, smoothed_targets
from RTResponseCAMLib.models.evidence import FittedNetwork
from RTResponseCAMLib.models.folds import Fold
from RTResponseCAMLib.models.interface import LesionModel
from RTResponseCAMLib.models.scale_space.classifier import Architecture, AutoencoderClassifier
from RTResponseCAMLib.models.scale_space.entries import Options
from RTResponseCAMLib.models.scale_space.preparation import PreparedLesion, prepare
from RTResponseCAMLib.models.scale_space.training import Schedule, fit
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.samples.sample import LesionSample, patch_of

Array64 = npt.NDArray[np.float64]
VOLUME_FACTOR_LOG_SD = 0.5  # standard deviation of the prior of the volume factor's logarithm
LOG_FACTORS = (-1.1, 1.1)  # bounds of the volume factor's logarithm: a third to three times
PREPARATION_SHARE = 0.2  # fraction of a fit's progress
RENAMED_IN_SCHEMA_9 = {"half_cc": "shrinkage_volume_cc", "usual": "depth_baseline"}  # in architecture and tensors


class FittedScaleSpace(FittedNetwork[AutoencoderClassifier]):
    """A trained scale-space classifier."""

    def named_layers(self) -> Mapping[str, tuple[nn.Module, ...]]:
        """Stem features, hidden units of the heads, and the autoencoder's code (its last convolution in space)."""
        network = self.network
        if not network.architecture.autoencoder:
            return {"stem": (network.at_stem,), "hidden": (network.stem_head.at_hidden,)}
        hidden = (network.stem_head.at_hidden, network.code_head.at_hidden)
        return {"stem": (network.at_stem,), "hidden": hidden, "code": (network.at_code,)}

    def with_random_weights(self, seed: int = 0) -> FittedScaleSpace:
        """The same stem and autoencoder with untrained evidence heads."""
        torch.manual_seed(seed)
        network = AutoencoderClassifier(self.network.architecture)
        fresh = {n: v for n, v in network.state_dict().items() if "head" in n}
        network.load_state_dict({**self.network.state_dict(), **fresh})
        return FittedScaleSpace(network.eval().to(self.device))


def restore(architecture: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> FittedScaleSpace:
    """Restore the network from `FittedScaleSpace.architecture` and `FittedScaleSpace.tensors`."""
    values = {RENAMED_IN_SCHEMA_9.get(name, name): value for name, value in architecture.items()}
    if values.pop("form", "signed") != "signed":  # key of bundles before schema 8
        raise ValueError("the link 'cumulative hazard' is no longer supported")
    _check_shape(values)
    network = AutoencoderClassifier(Architecture(**values))
    network.load_state_dict(
        {RENAMED_IN_SCHEMA_9.get(name, name): torch.from_numpy(value) for name, value in tensors.items()}
    )
    return FittedScaleSpace(network.eval())


def _check_shape(values: Mapping[str, Any]) -> None:
    """Check that an architecture has every value, of the right type; no default is assumed.

    Raises
    ------
    ValueError : a value is missing, of the wrong type, or out of range.
    """
    for name, default in Architecture().as_json().items():
        value = values.get(name)
        number_types = (int, float) if isinstance(default, float) else int
        is_valid = isinstance(value, bool) if isinstance(default, bool) else isinstance(value, number_types)
        if not is_valid or (isinstance(value, bool) != isinstance(default, bool)) or not 0 <= float(value or 0) < 1e6:
            raise ValueError(f"{name} is {value!r}")


@dataclass(frozen=True)
class ScaleSpaceModel(LesionModel):
    """Architecture and training schedule of a network to be trained."""

    network: Architecture = field(default_factory=Architecture)
    schedule: Schedule = field(default_factory=Schedule)

    @classmethod
    def of(cls, options: Options, dose: bool) -> ScaleSpaceModel:
        """The model with the given options."""
        values = asdict(options)
        shape = {
            name: values[name]
            for name in ("members", "code_members", "width", "code", "shrinkage_volume_cc", "autoencoder")
        }
        training = {
            name: values[name]
            for name in ("seed", "steps", "weight_decay", "dropout", "n_augmentations", "evidence_l2")
        }
        return cls(Architecture(dose=dose, **shape), Schedule(**training))

    @property
    def seed(self) -> int:  # type: ignore[override]
        """Seed of the schedule."""
        return self.schedule.seed

    def settings(self) -> dict[str, Any]:
        """The schedule."""
        return self.schedule.as_json()

    def fit(
        self, samples: Sequence[LesionSample], *, seed: int = 0, progress: Progress = no_progress
    ) -> FittedScaleSpace:
        """Train on all samples; those without a label serve depth baseline and autoencoder only."""
        lesions = self.prepared(samples, subprogress(progress, 0.0, PREPARATION_SHARE))
        return FittedScaleSpace(self._fit(lesions, seed, subprogress(progress, PREPARATION_SHARE, 1.0)))

    def fit_on_folds(
        self,
        samples: Sequence[LesionSample],
        folds: Sequence[Fold],
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> tuple[FittedScaleSpace, Array64]:
        """See `LesionModel.fit_on_folds`; the held-out lesions also set the weight of volume (`volume_factor`)."""
        lesions = self.prepared(samples, subprogress(progress, 0.0, PREPARATION_SHARE))
        progress = subprogress(progress, PREPARATION_SHARE, 1.0)
        labeled = [sample for sample in samples if sample.label is not None]
        labels = np.asarray([int(sample.label or 0) for sample in labeled])
        totals = np.zeros((len(labeled), self.network.heads))
        volumes = np.zeros_like(totals)
        for fold_index, fold in enumerate(folds):
            training = without_patients(lesions, {labeled[i].patient for i in fold.test})
            span = fold_index / (len(folds) + 1), (fold_index + 1) / (len(folds) + 1)
            network = self._fit(training, seed + 1000 * (fold_index + 1), subprogress(progress, *span))
            for i in fold.test:
                totals[i], volumes[i] = head_totals(network, patch_of(labeled[i]))
        factor = volume_factor((totals - volumes).mean(axis=1), volumes.mean(axis=1), labels=labels)
        totals += (factor - 1) * volumes
        network = self._fit(lesions, seed, subprogress(progress, len(folds) / (len(folds) + 1), 1.0))
        with torch.no_grad():
            network.volume_slope.mul_(factor)
        return FittedScaleSpace(network), totals.mean(axis=1)

    def prepared(self, samples: Sequence[LesionSample], progress: Progress = no_progress) -> list[PreparedLesion]:
        """Inputs that training does not change, computed once per sample and cached while the sample exists."""
        cache_key = self.network.spacing_mm, self.network.context_mm, self.schedule.n_augmentations
        lesions = []
        for position, sample in enumerate(samples, start=1):
            cached = _PREPARED.setdefault(sample, {})
            if cache_key not in cached:
                cached[cache_key] = prepare(sample, self.network, n_augmentations=self.schedule.n_augmentations)
            lesions.append(cached[cache_key])
            progress(position / len(samples), "features")
        return lesions

    def _fit(self, lesions: Sequence[PreparedLesion], seed: int, progress: Progress) -> AutoencoderClassifier:
        schedule = replace(self.schedule, seed=self.schedule.seed + seed)
        return fit(list(lesions), self.network, schedule=schedule, progress=progress)


_PREPARED: WeakKeyDictionary[LesionSample, dict[tuple[float, float, int], PreparedLesion]] = WeakKeyDictionary()


def volume_factor(evidence: Array64, volumes: Array64, *, labels: npt.NDArray[np.integer]) -> float:
    """Factor that corrects the weight of volume relative to the evidence, estimated on held-out lesions.

    Evidence explains training lesions better than other lesions, and volume learns the remainder. Training can
    therefore overstate either of them; held-out lesions show which one. The result is the maximum a posteriori estimate
    with a free calibration line and a log-normal prior around 1 (``VOLUME_FACTOR_LOG_SD``): few lesions change the
    factor little.

    Parameters
    ----------
    rest, volumes : for each lesion, the part of its logit without volume, and the part from volume.
    labels : labels of the lesions, 1 for non-response.
    """
    target = smoothed_targets(labels)

    def loss(parameters: Array64) -> float:
        factor, slope, offset = np.exp(parameters[0]), np.exp(parameters[1]), parameters[2]
        by_line = cross_entropy(slope * (evidence + factor * volumes) + offset, target).sum()
        return float(by_line + (parameters[0] / VOLUME_FACTOR_LOG_SD) ** 2 / 2)

    limits = [LOG_FACTORS, LOG_SLOPES, OFFSETS]
    return float(np.exp(minimize(loss, np.zeros(3), method="L-BFGS-B", bounds=limits).x[0]))


def without_patients(lesions: Sequence[PreparedLesion], patients: set[str]) -> list[PreparedLesion]:
    """Lesions of all other patients, including those without a label."""
    return [lesion for lesion in lesions if lesion.group not in patients]


def head_totals(network: AutoencoderClassifier, patch: Patch) -> tuple[Array64, Array64]:
    """Uncalibrated logit of one lesion for each head, and the part of it from volume."""
    with torch.inference_mode():
        mr, fraction, dose = (torch.from_numpy(a)[None, None] for a in (patch.mr, patch.fraction, patch.dose))
        total = network(mr, fraction, dose, patch.mr_voxel_volume_ratio).total[0]
        volume = network.volume_slope * network.log_volume(fraction) * float(network.architecture.volume)
    return total.double().numpy(), volume.double().numpy()
