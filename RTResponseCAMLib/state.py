"""What a panel shows of inputs and results; plain data, no numerical library is imported for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NOTHING_CHOSEN = "Load a study, or choose an MR volume and the segmentation of the lesions."


@dataclass(frozen=True)
class Row:
    """What is shown of one lesion; None stands for "not known".

    Attributes
    ----------
    segment_id : its segment in the lesions' segmentation.
    volume_cc, mean_gy, d98_gy : cm³, Gy, Gy; ``coverage`` 0…1.
    p_response, p_low, p_high, label, quality_flags : see `study.Prediction`; label "" before a prediction.
    warnings, severities : texts of the warnings, the most serious first, and how serious each is (`warnings.Severity`).
    dose_unit : of the columns of the dose, "Gy" or "Gy (RBE)".
    """

    segment_id: str
    id: str
    name: str
    volume_cc: float
    prescription_gy: float | None = None
    mean_gy: float | None = None
    d98_gy: float | None = None
    coverage: float | None = None
    p_response: float | None = None
    p_low: float | None = None
    p_high: float | None = None
    label: str = ""
    warnings: tuple[str, ...] = ()
    quality_flags: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    dose_unit: str = "Gy"


@dataclass(frozen=True)
class State:
    """What can be done now, and what is known.

    Attributes
    ----------
    problems : sentences that keep a prediction from starting, in the order of the panel; empty when none.
    notes : sentences worth knowing.
    rows : lesions, with results where there are any.
    stale : lesion id → what has changed since its prediction.
    warnings : what the model's card wants said beside everything.
    card : the model's card, None when it cannot be read.
    prescriptions : lesion id and its prescription, Gy; None where nothing states one.
    dose_unit : of the dose and its prescriptions, "Gy" or "Gy (RBE)".
    """

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    stale: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    card: Mapping[str, Any] | None = None
    prescriptions: tuple[tuple[str, float | None], ...] = ()
    dose_unit: str = "Gy"
