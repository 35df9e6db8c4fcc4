"""Registry entries of the scale-space classifier, with and without dose. Does not import torch."""

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
    """Options of architecture and training; the defaults suit 69 lesions."""

    members: int = _option(11, "number of evidence heads on the features", 1, 100)
    code_members: int = _option(1, "number of evidence heads on the autoencoder's code", 1, 100)
    width: int = _option(8, "hidden units of an evidence head", 1, 1000)
    code: int = _option(6, "length of the autoencoder's code per voxel", 1, 24)
    shrinkage_volume_cc: float = _option(
        0.0, "lesion volume in cm³ at which shrinkage halves the evidence (MR voxels of 1 mm); 0: no shrinkage", 0, 100
    )
    autoencoder: bool = _option(True, "train without autoencoder: stem and evidence heads only, for an ablation")
    steps: int = _option(240, "optimization steps of the evidence heads", 10, 1_000_000)
    weight_decay: float = _option(2.0, "weight decay of the evidence heads; more lesions allow a smaller value", 0, 100)
    dropout: float = _option(0.9, "fraction of a voxel's features that is dropped at each step", 0, 0.95)
    n_augmentations: int = _option(2, "augmented copies of each lesion, with another contour and scan", 0, 20)
    evidence_l2: float = _option(0.005, "weight of the mean squared evidence in the loss", 0, 100)
    seed: int = _option(7, "random seed of training and folds", 0, 2**31 - 1)


def _make(dose: bool, options: Mapping[str, Any]) -> LesionModel:
    from RTResponseCAMLib.models.scale_space.model import ScaleSpaceModel

    return ScaleSpaceModel.of(Options(**options), dose)


def _restore(architecture: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> FittedModel:
    from RTResponseCAMLib.models.scale_space.model import restore

    return restore(architecture, tensors)


def _describe(options: Mapping[str, Any]) -> str:
    settings = Options(**options)
    heads = settings.members + (settings.code_members if settings.autoencoder else 0)
    return (
        "Scale-space classifier: fixed scale-space stem minus the depth baseline, linear autoencoder (code of "
        f"{settings.code}), {heads} evidence heads on patient bootstraps, {settings.steps} steps, weight decay "
        f"{settings.weight_decay}; calibration and class threshold by inner patient folds."
    )


PREDICTORS = "contrast-enhanced MR within the lesion, voxel by voxel"
ENTRIES = (
    ModelEntry(
        "scale-space", "Scale-space classifier, MR", "#d55e00", Requirements(patch=True), partial(_make, False),
        _restore, Options, PREDICTORS, _describe, explains=True,
    ),
    ModelEntry(
        "scale-space-dose", "Scale-space classifier, MR and dose", "#000000", Requirements(patch=True, dose=True),
        partial(_make, True), _restore, Options, f"{PREDICTORS}, and its dose", _describe, explains=True,
    ),
)  # fmt: skip
