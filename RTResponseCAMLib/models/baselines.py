"""Baseline models of every comparison: lesion volume alone, and clinical data without any image."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy.typing as npt

from RTResponseCAMLib.models.interface import FittedModel, LesionModel
from RTResponseCAMLib.models.registry import ModelEntry, Requirements

# Colors of the models are safe for color-blind readers [Okabe & Ito 2008]; baselines are gray.


def logistic_entry(
    name: str, title: str, *, color: str, families: tuple[str, ...], predictors: str, keep: str = "",
    dose: bool = False, baseline: bool = False, reference: bool = False,
) -> ModelEntry:  # fmt: skip
    """Registry entry of a logistic regression on the given feature families."""
    return ModelEntry(
        name, title, color, Requirements(families, dose=dose), partial(_make, families, keep), _restore,
        predictors=predictors, baseline=baseline, reference=reference,
    )  # fmt: skip


def _make(families: tuple[str, ...], keep: str, options: Mapping[str, Any]) -> LesionModel:
    from RTResponseCAMLib.models.logistic import LogisticModel

    return LogisticModel(families, keep)


def _restore(architecture: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> FittedModel:
    from RTResponseCAMLib.models.logistic import restore

    return restore(architecture, tensors)


ENTRIES = (
    logistic_entry(
        "volume", "Volume only", color="#9a9a9a", families=("volume",), predictors="volume", baseline=True,
        reference=True,
    ),
    logistic_entry(
        "clinical", "Clinical only", color="#c9c9c9", families=("clinical",), baseline=True,
        predictors="the manifest's clinical columns, prescription, fractions, number of lesions",
    ),
)  # fmt: skip
