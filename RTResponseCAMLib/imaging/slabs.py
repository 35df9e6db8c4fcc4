"""Slabs of contour planes: the interval along the normal that each plane represents."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.warnings import Warning, WarningCode

GAP_FACTOR = 1.6
ALTERNATE_MM = 0.05
CLOSE_SHARE, WIDE_MM = 0.3, 10.0
Array64 = npt.NDArray[np.float64]


def slabs_of(offsets: Array64, where: str, *, usual_mm: float | None = None) -> tuple[Array64, tuple[Warning, ...]]:
    """Return the slab (interval along the normal) of each plane, mm ``(p, 2)``, and warnings.

    A slab reaches half-way to its neighbors, but not into gaps of missing planes.

    Parameters
    ----------
    offsets : positions of the planes along the normal, ascending, mm ``(p,)``.
    where : name of the structure for warnings.
    usual_mm : usual plane distance, mm, used where the planes themselves do not determine it.
    """
    if len(offsets) == 1 and usual_mm is not None:
        return np.asarray([[offsets[0] - usual_mm / 2, offsets[0] + usual_mm / 2]]), ()
    if len(offsets) == 1:
        # A single plane does not determine its thickness; 1 mm is GammaPlan's usual slice distance.
        return np.asarray([[offsets[0] - 0.5, offsets[0] + 0.5]]), (WarningCode.SINGLE_PLANE(where=where),)
    gaps = np.diff(offsets)
    median = usual_mm if usual_mm is not None and len(gaps) == 1 and gaps[0] > usual_mm else usual_mm_of(gaps)
    half = np.minimum(gaps, np.where(gaps > GAP_FACTOR * median, median, gaps)) / 2
    before = np.concatenate([[median / 2], half])
    after = np.concatenate([half, [median / 2]])
    warnings: tuple[Warning, ...] = ()
    missing = int((gaps > GAP_FACTOR * median).sum())
    if missing:
        warnings = (WarningCode.CONTOUR_GAP(where=where, count=missing, step=median),)
    return np.stack([offsets - before, offsets + after], axis=1), warnings


def usual_mm_of(gaps: Array64) -> float:
    """Return the usual plane distance, mm: the median of the gaps without outliers.

    Gaps between almost touching planes, and wide gaps between distant parts, are ignored.
    """
    odd, even = gaps[::2], gaps[1::2]
    if len(gaps) > 3 and max(np.ptp(odd), np.ptp(even)) < ALTERNATE_MM < abs(odd[0] - even[0]):
        return float(max(odd[0], even[0]))  # two interleaved sets of planes: no plane is missing
    near = gaps[gaps <= WIDE_MM] if (gaps <= WIDE_MM).any() else gaps
    return float(np.median(near[near > CLOSE_SHARE * np.percentile(near, 75)]))
