"""Colours and levels that every picture shares, without any toolkit: report, Slicer and browser look alike.

Evidence is shown with a diverging map that is clear at zero: blue speaks for response, orange for non-response.
It differs from the dose's colours on purpose, and its range is the same for every lesion and patient.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.study import Study

EVIDENCE_RANGE = {"signed": (-4.0, 4.0), "hazard": (0.0, 3.0)}
CLEAR = 0.06
ISODOSE_COLORS = ((0.25, 1.0, 0.35), (0.30, 0.85, 1.0), (0.75, 0.65, 1.0), (0.85, 0.85, 0.85), (0.60, 0.55, 0.50))
# Anchors from response (deep blue) over clear grey to non-response (orange to pale yellow).
ANCHORS = (
    (0.00, (0.10, 0.25, 0.75)),
    (0.25, (0.20, 0.55, 0.95)),
    (0.48, (0.60, 0.72, 0.80)),
    (0.52, (0.80, 0.62, 0.50)),
    (0.75, (0.95, 0.45, 0.10)),
    (1.00, (1.00, 0.90, 0.35)),
)


def evidence_palette(form: str) -> npt.NDArray[np.float64]:
    """256 colours, RGBA 0…1; entries near zero evidence have alpha 0 (slice views know only all or nothing)."""
    place = np.linspace(0.0, 1.0, 256) if form == "signed" else np.linspace(0.5, 1.0, 256)
    stops, colors = [s for s, _ in ANCHORS], np.asarray([c for _, c in ANCHORS])
    rgb = np.stack([np.interp(place, stops, colors[:, channel]) for channel in range(3)], axis=1)
    alpha = (np.abs(place - 0.5) > CLEAR / 2).astype(np.float64)
    return np.column_stack([rgb, alpha])


def isodose_levels(study: Study) -> tuple[float, ...]:
    """Levels worth a line, Gy: each prescription, half the lowest, and 12 Gy; highest first."""
    if study.plan is None or study.plan.prescription is None:
        return (12.0,)
    prescribed = {study.plan.prescription.dose_for(lesion.structure) for lesion in study.lesions}
    return tuple(sorted(prescribed | {min(prescribed) / 2, 12.0}, reverse=True))
