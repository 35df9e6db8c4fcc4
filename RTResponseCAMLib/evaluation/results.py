"""What a comparison finds, typed: the report reads these, ``result.json`` holds them as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from RTResponseCAMLib.evaluation.metrics import Estimate

SCHEMA_VERSION = (
    3  # 3: "warnings" instead of "cautions"; 2: "approaches" instead of "arms", "evaluated" instead of "judged"
)
Line = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval; None where it is not known."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, estimate: Estimate) -> Figure:
        """An estimate, whose NaN become None."""
        values = (estimate.value, estimate.low, estimate.high)
        return cls(*(float(v) if np.isfinite(v) else None for v in values))


@dataclass(frozen=True)
class Stratum(Figure):
    """AUC within some lesions, and how many they are."""

    lesions: int
    non_response: int


@dataclass(frozen=True)
class Difference(Figure):
    """AUC of one approach less that of another, on the same lesions."""

    one: str
    other: str


@dataclass(frozen=True)
class Curves:
    """x and y of each curve; ``treat_all``: net benefit, at the thresholds of ``decision``, of calling every lesion."""

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
    families, dose : what it reads. predictors : in words. description : how it learns; "" says nothing.
    metrics : by name, "auc" first. permutation_p : and Holm's, over all approaches.
    strata : AUC by lesion volume. seconds : of fitting and predicting, all folds together.
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
    """All approaches on the lesions of one cohort, by their names."""

    lesions: int
    non_response: int
    patients: int
    approaches: Mapping[str, Approach]
    differences: tuple[Difference, ...]

    @property
    def reference(self) -> str:
        """Name of the approach that others are compared with."""
        names = list(self.approaches)
        return next((name for name in names if self.approaches[name].reference), names[0])


@dataclass(frozen=True)
class CohortSummary:
    """What a cohort consists of, and what was left out of it and why.

    Attributes
    ----------
    rows, sampled, evaluated : of the manifest; those that could be sampled; those with a label that counts.
    warnings, left_out : sentences. remarks : sentence → number of lesions.
    volume_cc : least, quartiles and largest; None where no volume is known.
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
    """How many folds chose a feature, of how many."""

    name: str
    folds: int
    of: int


@dataclass(frozen=True)
class Comparison:
    """A finished comparison; ``external`` is None without another cohort. ``not_run``: name → reason."""

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
