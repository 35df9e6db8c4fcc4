"""Colors and isodose levels that report, Slicer and browser share; independent of any toolkit.

Evidence is shown with a diverging colormap that is transparent at zero: blue indicates response, orange non-response.
It differs from the dose colors on purpose. Its range is the same for every lesion and patient.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.study import Study

EVIDENCE_RANGE = (-6.0, 6.0)  # logits
CLEAR = 0.04  # fraction of half the range, around zero, that is always transparent
ISODOSE_COLORS = ((0.25, 1.0, 0.35), (0.30, 0.85, 1.0), (0.75, 0.65, 1.0), (0.85, 0.85, 0.85), (0.60, 0.55, 0.50))
# High dose is red, low dose is blue, as in other radiotherapy software.
DOSE_COLORS = (
    (0.00, (0.05, 0.10, 0.60)),
    (0.25, (0.00, 0.60, 1.00)),
    (0.50, (0.10, 0.80, 0.20)),
    (0.75, (1.00, 0.90, 0.10)),
    (1.00, (0.85, 0.05, 0.05)),
)
# Color anchors from the lower to the upper end of the scale: response (deep blue), gray, non-response (orange to pale
# yellow); "heat" and "viridis" run from dark to bright, for readers who cannot distinguish blue from orange.
PALETTES = {
    "evidence": (
        (0.00, (0.10, 0.25, 0.75)),
        (0.25, (0.20, 0.55, 0.95)),
        (0.48, (0.60, 0.72, 0.80)),
        (0.52, (0.80, 0.62, 0.50)),
        (0.75, (0.95, 0.45, 0.10)),
        (1.00, (1.00, 0.90, 0.35)),
    ),
    "heat": (
        (0.00, (0.15, 0.05, 0.30)),
        (0.30, (0.50, 0.10, 0.45)),
        (0.55, (0.85, 0.25, 0.30)),
        (0.80, (0.98, 0.60, 0.20)),
        (1.00, (1.00, 0.98, 0.65)),
    ),
    "viridis": (
        (0.00, (0.27, 0.00, 0.33)),
        (0.25, (0.23, 0.32, 0.55)),
        (0.50, (0.13, 0.57, 0.55)),
        (0.75, (0.37, 0.79, 0.38)),
        (1.00, (0.99, 0.91, 0.14)),
    ),
}


def palette(name: str, low: float, *, high: float, threshold: float, shown: str = "both") -> npt.NDArray[np.float64]:
    """256 colors over ``low``…``high``, RGBA 0…1; hidden entries have alpha 0.

    Parameters
    ----------
    threshold : absolute evidence below which entries are transparent.
    shown : "both", "non-response" (positive evidence only) or "response" (negative only).
    """
    values = np.linspace(low, high, 256)
    rgb = _between(PALETTES[name], np.linspace(0.0, 1.0, 256))
    visible = np.abs(values) > max(threshold, CLEAR * (high - low) / 2)
    visible &= {"both": np.ones(256, dtype=bool), "non-response": values > 0, "response": values < 0}[shown]
    return np.column_stack([rgb, visible.astype(np.float64)])


def dose_palette() -> npt.NDArray[np.float64]:
    """256 colors from zero dose to the highest dose, RGBA 0…1."""
    return np.column_stack([_between(DOSE_COLORS, np.linspace(0.0, 1.0, 256)), np.ones(256)])


def _between(
    anchors: Sequence[tuple[float, tuple[float, float, float]]], place: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    stops, colors = [s for s, _ in anchors], np.asarray([c for _, c in anchors])
    return np.stack([np.interp(place, stops, colors[:, channel]) for channel in range(3)], axis=1)


def evidence_palette() -> npt.NDArray[np.float64]:
    """256 colors over `EVIDENCE_RANGE`, both classes; alpha is 0 or 1, because slice views support nothing between."""
    low, high = EVIDENCE_RANGE
    return palette("evidence", low, high=high, threshold=0.0)


def isodose_levels(study: Study) -> tuple[float, ...]:
    """Isodose levels to plot for a study, Gy; highest first."""
    prescription = study.plan.prescription if study.plan else None
    return prescribed_levels({prescription.dose_for(x.structure) for x in study.lesions} if prescription else ())


def prescribed_levels(prescribed_gy: Collection[float]) -> tuple[float, ...]:
    """Each prescription, half the lowest, and 12 Gy; highest first, Gy."""
    half = {min(prescribed_gy) / 2} if prescribed_gy else set()
    return tuple(sorted({*prescribed_gy, *half, 12.0}, reverse=True))
