"""Typed results of a comparison; the report reads them, and ``result.json`` holds them as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from RTResponseCAMLib.evaluation.metrics import Estimate

# 2: "approaches" instead of "arms", "evaluated" instead of "judged"; 3: "warnings" instead of "cautions"
SCHEMA_VERSION = 3
Line = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval; None where it is unknown."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, estimate: Estimate) -> Figure:
        """Convert an estimate; NaN becomes None."""
        values = (estimate.value, estimate.low, estimate.high)
        return cls(*(float(v) if np.isfinite(v) else None for v in values))


@dataclass(frozen=True)
class Stratum(Figure):
    """AUC of a subset of lesions, with its numbers of lesions and of non-responding lesions."""

    lesions: int
    non_response: int


@dataclass(frozen=True)
class Difference(Figure):
    """AUC of approach ``one`` minus AUC of approach ``other`` on the same lesions."""

    one: str
    other: str


@dataclass(frozen=True)
class Curves:
    """x and y of each curve. ``treat_all``: net benefit of treating all lesions, at the thresholds of ``decision``."""

    roc: Line
    pr: Line
    calibration: Line
    decision: Line
    treat_all: list[float]


@dataclass(frozen=True)
class Approach:
    """One approach on one cohort.

    Attributes
    ----------
    families : feature families that the approach uses.
    dose : whether it uses the dose.
    predictors : its inputs, in words.
    description : how it is fitted; "" for no text.
    metrics : values by name, "auc" first.
    permutation_p, permutation_p_holm : p-value, and p-value adjusted by the Holm method over all approaches.
    strata : AUC by lesion volume.
    seconds : time of fitting and prediction, sum over all folds.
    """

    title: str
    color: str
    families: tuple[str, ...]
    dose: bool
    predictors: str
    description: str
    baseline: bool
    reference: bool
    explains: bool
    metrics: Mapping[str, Figure]
    permutation_p: float
    permutation_p_holm: float
    strata: Mapping[str, Stratum]
    curves: Curves
    seconds: float


@dataclass(frozen=True)
class CohortResult:
    """Results of all approaches on the lesions of one cohort; ``approaches`` by name."""

    lesions: int
    non_response: int
    patients: int
    approaches: Mapping[str, Approach]
    differences: tuple[Difference, ...]

    @property
    def reference(self) -> str:
        """Name of the approach with which the others are compared."""
        names = list(self.approaches)
        return next((name for name in names if self.approaches[name].reference), names[0])


@dataclass(frozen=True)
class CohortSummary:
    """Composition of a cohort, and what was left out with the reason.

    Attributes
    ----------
    rows : number of rows of the manifest.
    sampled : number of lesions that could be sampled.
    evaluated : number of lesions with a label that is used.
    warnings, left_out : sentences.
    remarks : number of lesions for each sentence.
    volume_cc : minimum, quartiles and maximum, cm³; None where no volume is known.
    """

    rows: int
    sampled: int
    evaluated: int
    indeterminate: int
    without_label: int
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]
    remarks: Mapping[str, int]
    follow_up_days: str
    label_sources: Mapping[str, int]
    volume_cc: tuple[float, ...] | None


@dataclass(frozen=True)
class FeatureCount:
    """Number of folds that selected a feature (``folds``), and number of all folds (``of``)."""

    name: str
    folds: int
    of: int


@dataclass(frozen=True)
class Comparison:
    """A finished comparison; ``external`` is None without an external cohort, ``not_run`` gives reasons by name."""

    notice: str
    program: str
    command: str
    libraries: Mapping[str, str]
    protocol: Mapping[str, Any]
    cohort: CohortSummary
    not_run: Mapping[str, str]
    internal: CohortResult
    external: CohortResult | None
    features: Mapping[str, tuple[FeatureCount, ...]]
    schema_version: int = SCHEMA_VERSION

    def as_json(self) -> dict[str, Any]:
        """Plain values, as ``result.json`` holds them."""
        return asdict(self)
