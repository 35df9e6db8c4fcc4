"""Inputs and results as a panel shows them: plain data; imports no numerical library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NOTHING_CHOSEN = "Load a study, or choose an MR volume and the segmentation of the lesions."


@dataclass(frozen=True)
class Row:
    """Displayed values of one lesion; None means unknown.

    Attributes
    ----------
    segment_id : its segment in the segmentation of the lesions.
    volume_cc, mean_gy, d98_gy : volume, cm³; mean dose and D98, Gy.
    coverage : see `study.DoseMetrics`, 0…1.
    p_response, p_low, p_high, label, class_threshold, quality_flags : see `study.Prediction`; ``label`` is "" before a
        prediction.
    warnings, severities : texts of the warnings, most serious first, and the severity of each (`warnings.Severity`).
    dose_unit : unit of the dose columns, "Gy" or "Gy (RBE)".
    contributions : see `study.Prediction`, by the title of each member.
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
    class_threshold: float | None = None
    warnings: tuple[str, ...] = ()
    quality_flags: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    dose_unit: str = "Gy"
    contributions: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """Possible actions, inputs and results of a panel.

    Attributes
    ----------
    problems : sentences on why a prediction cannot start, in the order of the panel; empty when it can.
    notes : further information, in sentences.
    rows : lesions, with results where there are any.
    stale : lesion ID → what has changed since its prediction.
    warnings : warnings of the model's card, shown beside every result.
    card : the model's card, None when it cannot be read.
    prescriptions : pairs of a lesion ID and its prescription, Gy; None where no prescription is stated.
    dose_unit : unit of the dose and its prescriptions, "Gy" or "Gy (RBE)".
    """

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    stale: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    card: Mapping[str, Any] | None = None
    prescriptions: tuple[tuple[str, float | None], ...] = ()
    dose_unit: str = "Gy"
