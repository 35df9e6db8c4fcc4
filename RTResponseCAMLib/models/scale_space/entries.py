"""Registry entries of the scale-space classifier, with and without dose. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy.typing as npt

from RTResponseCAMLib.models.interface import FittedModel, LesionModel
from RTResponseCAMLib.models.registry import ModelEntry, Requirements


def _option(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class Options:
    """What may be chosen of architecture and training; defaults suit 69 lesions."""

    members: int = _option(11, "heads in the ensemble that read the features", 1, 100)
    code_members: int = _option(1, "heads that read the autoencoder's code", 1, 100)
    width: int = _option(8, "hidden units of a head", 1, 1000)
    code: int = _option(6, "numbers per voxel in the autoencoder's bottleneck", 1, 24)
    shrinkage_volume_cc: float = _option(0.0, "cm³ (voxels of 1 mm) whose evidence counts half", 0, 100)
    autoencoder: bool = _option(True, "stem and head only, for comparison")
    steps: int = _option(240, "optimization steps of the heads", 10, 1_000_000)
    weight_decay: float = _option(2.0, "of the heads' weights; more lesions allow less", 0, 100)
    dropout: float = _option(0.9, "share of a voxel's features left out at each step", 0, 0.95)
    n_augmentations: int = _option(2, "augmented copies of each lesion with another contour and scan", 0, 20)
    evidence_l2: float = _option(0.005, "weight of the mean squared local evidence", 0, 100)
    seed: int = _option(7, "of training and folds", 0, 2**31 - 1)


def _make(dose: bool, options: Mapping[str, Any]) -> LesionModel:
    from RTResponseCAMLib.models.scale_space.model import ScaleSpaceModel

    return ScaleSpaceModel.of(Options(**options), dose)


def _restore(architecture: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> FittedModel:
    from RTResponseCAMLib.models.scale_space.model import restore

    return restore(architecture, tensors)


def _describe(options: Mapping[str, Any]) -> str:
    shown = Options(**options)
    heads = shown.members + (shown.code_members if shown.autoencoder else 0)
    return (
        "Scale-space classifier: fixed scale-space stem less the depth baseline, linear autoencoder (code of "
        f"{shown.code}), {heads} evidence heads on patient bootstraps, {shown.steps} steps, weight decay "
        f"{shown.weight_decay}; calibration and threshold by inner patient folds."
    )


PREDICTORS = "contrast-enhanced MR within the lesion: evidence of each voxel"
ENTRIES = (
    ModelEntry(
        "scale-space", "Scale-space classifier, MR", "#d55e00", Requirements(patch=True), partial(_make, False),
        _restore, Options, PREDICTORS, _describe, explains=True,
    ),
    ModelEntry(
        "scale-space-dose", "Scale-space classifier, MR and dose", "#000000", Requirements(patch=True, dose=True),
        partial(_make, True), _restore, Options, f"{PREDICTORS}, with the dose there", _describe, explains=True,
    ),
)  # fmt: skip
