"""What-if: the dose that a boost of a subregion would take, by a simple model of shots. An estimate, never a plan.

A shot is a smooth sphere, D(r) = 1 / (1 + (r / r50)⁴), with round half-dose radii for the three collimators: our own
simplification without scatter, plug or sector shapes. Shots of the smallest collimator that reaches cover the
subregion, all with one weight, which is as small as the wish allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.dosimetry.bed import BRAIN, TUMOR, bed_gy
from RTResponseCAMLib.dosimetry.plan_metrics import RISK_GY
from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import Array64
from RTResponseCAMLib.imaging.resample import resample
from RTResponseCAMLib.study import GY, Dose
from RTResponseCAMLib.subregion.voxels import LesionVoxels, Mask
from RTResponseCAMLib.warnings import Warning, WarningCode

R50_MM = {4: 3.0, 8: 5.5, 16: 10.5}  # half-dose radius by collimator, mm; round figures
PAINTABLE_CC = 4 / 3 * np.pi * R50_MM[4] ** 3 / 1000  # within half the dose of one 4 mm shot
MOST_SHOTS = 12
MARGIN_MM, STEP_MM = 20.0, 1.0  # around the lesion, where the volume at risk is counted
COVER = 98.0  # percent of the subregion that is to receive the wish
NOTE = "estimate by spheres of dose, no beam model; a plan needs the planning system"


@dataclass(frozen=True)
class SimulatedBoost:
    """What a boost would come to; Gy and cm³, before → after where there are two.

    Attributes
    ----------
    wish_gy : dose that `COVER` percent of the subregion are to receive.
    shots, collimator_mm : how many, and of which size.
    added_gy : largest dose that the boost itself adds.
    d98_gy, maximum_gy : of the subregion, and of the lesion.
    bed10_gy, bed2_gy : BED of the subregion's D98, and of the maximum (tumor α/β 10, brain 2 Gy); None without the
        number of fractions, all of which the boost is taken to share.
    risk_gy, risk_cc : V12, V20 or V24 by fractions within 20 mm of the lesion, lesion included.
    """

    wish_gy: float
    shots: int
    collimator_mm: int
    added_gy: float
    d98_gy: tuple[float, float]
    maximum_gy: tuple[float, float]
    bed10_gy: tuple[float, float] | None
    bed2_gy: tuple[float, float] | None
    risk_gy: float | None
    risk_cc: tuple[float, float] | None
    warnings: tuple[Warning, ...]
    unit: str = GY


def simulated_boost(
    voxels: LesionVoxels, mask: Mask, *, dose: Dose, wish_gy: float, fractions: int | None
) -> SimulatedBoost | None:
    """Estimate a boost that lifts a subregion's D98 to a wish; None for an empty subregion, or without dose there.

    Raises
    ------
    ValueError : a wish that is not positive.
    """
    if wish_gy <= 0:
        raise ValueError(f"the wish is {wish_gy:g} Gy, expected more than 0")
    if not mask.any() or voxels.dose is None:
        return None
    around, before = _surroundings(voxels, dose)
    part = voxels.grid.points_of(mask)
    collimator, centers = _cover(part)
    within = _shots(voxels.grid.points_of(voxels.inside), centers, collimator)
    own = _shots(part, centers, collimator)
    lacking = np.maximum(wish_gy - voxels.dose[mask], 0) / own
    weight = float(np.percentile(lacking, COVER))
    new = voxels.dose[mask] + weight * own
    d98 = float(np.percentile(voxels.dose[mask], 2)), float(np.percentile(new, 2))
    lesion = voxels.dose[voxels.inside]
    maximum = float(lesion.max()), float((lesion + weight * within).max())
    physical = dose.unit == GY  # BED and volumes at risk are not defined for dose that is weighted already
    risk = RISK_GY.get(fractions or 0) if physical else None
    after = before + weight * _shots(around.points(), centers, collimator)
    counted = None if risk is None else tuple(float((d >= risk).sum() * around.voxel_cc) for d in (before, after))
    warnings = [WarningCode.BOOST_ESTIMATE(note=NOTE)]
    volume = voxels.volume_cc(mask)
    if volume < PAINTABLE_CC:
        spills = ": the boost spills over"
        warnings.append(WarningCode.SMALLER_THAN_SHOT(volume=volume, shot=PAINTABLE_CC, then=spills))
    if weight == 0:
        warnings.append(WarningCode.BOOST_IDLE(dose=wish_gy, unit=dose.unit))
    bed = (
        [tuple(bed_gy(d, fractions, alpha_beta_gy=ab) for d in pair) for pair, ab in ((d98, TUMOR), (maximum, BRAIN))]
        if fractions and physical
        else [None, None]
    )
    return SimulatedBoost(
        wish_gy, len(centers), collimator, weight * float(within.max()), d98, maximum, _pair(bed[0]), _pair(bed[1]),
        risk, _pair(counted), tuple(warnings), dose.unit,
    )  # fmt: skip


def _pair(values: tuple[float, ...] | None) -> tuple[float, float] | None:
    return None if values is None else (values[0], values[1])


def _surroundings(voxels: LesionVoxels, dose: Dose) -> tuple[Grid, Array64]:
    """A grid of `STEP_MM` around the lesion, and the dose there (0 Gy beyond the dose grid)."""
    points = voxels.grid.points_of(voxels.inside)
    low, high = points.min(axis=0) - MARGIN_MM, points.max(axis=0) + MARGIN_MM
    i, j, k = (int(n) for n in np.ceil((high - low) / STEP_MM) + 1)
    x, y, z = low.tolist()
    grid = Grid((i, j, k), (STEP_MM,) * 3, (x, y, z))
    try:
        return grid, np.asarray(sitk.GetArrayFromImage(resample(dose.image, grid)), dtype=np.float64)
    except GeometryError:
        return grid, np.zeros(grid.shape)


def _cover(points_mm: Array64) -> tuple[int, Array64]:
    """The smallest collimator whose shots, `MOST_SHOTS` at most, hold all points within half their dose; centers."""
    for collimator, radius in R50_MM.items():
        centers: list[Array64] = []
        chosen, left = collimator, points_mm
        while len(left) and len(centers) < MOST_SHOTS:
            middle = left[np.argmin(np.linalg.norm(left - left.mean(axis=0), axis=1))]
            near = points_mm[np.linalg.norm(points_mm - middle, axis=1) <= radius]
            centers.append(near.mean(axis=0))
            left = left[np.linalg.norm(left - centers[-1], axis=1) > radius]
        if not len(left):
            break
    return chosen, np.asarray(centers)


def _shots(points_mm: Array64, centers_mm: Array64, collimator: int) -> Array64:
    """Dose of shots of weight one at points ``(…, 3)``."""
    total = np.zeros(points_mm.shape[:-1])
    for center in centers_mm:
        total += 1 / (1 + (((points_mm - center) ** 2).sum(axis=-1) / R50_MM[collimator] ** 2) ** 2)
    return total
