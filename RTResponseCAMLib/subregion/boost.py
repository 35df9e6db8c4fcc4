"""Simulated boost of a subregion with a simple model of shots: an estimate, not a treatment plan.

The dose of a shot is spherical, D(r) = 1 / (1 + (r / r50)⁴), with rounded half-dose radii for the three collimators.
This model is a simplification of this project, without scatter, plugging or sector shapes. The subregion is covered by
shots of the smallest sufficient collimator. All shots have the same weight, the smallest that reaches the requested
dose.
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

R50_MM = {4: 3.0, 8: 5.5, 16: 10.5}  # half-dose radius by collimator, mm; rounded values
PAINTABLE_CC = 4 / 3 * np.pi * R50_MM[4] ** 3 / 1000  # volume inside the half-dose sphere of one 4 mm shot
MOST_SHOTS = 12
MARGIN_MM, STEP_MM = 20.0, 1.0  # margin and grid step around the lesion for the volume at risk
COVER = 98.0  # percent of the subregion that receives the requested dose
NOTE = "estimate with spherical dose distributions, no beam model; a plan needs the planning system"


@dataclass(frozen=True)
class SimulatedBoost:
    """Result of a simulated boost, in Gy and cm³; pairs are values before and after the boost.

    Attributes
    ----------
    wish_gy : requested dose, for `COVER` percent of the subregion.
    shots, collimator_mm : number of shots, and collimator size, mm.
    added_gy : largest dose in the lesion from the boost alone.
    d98_gy, maximum_gy : D98 of the subregion, and maximum dose of the lesion.
    bed10_gy, bed2_gy : BED of the subregion's D98 (tumor α/β 10 Gy), and of the lesion's maximum (brain α/β 2 Gy). The
        boost is assumed to be distributed over all fractions. None without the number of fractions.
    risk_gy, risk_cc : dose threshold (12, 20 or 24 Gy, by number of fractions), and the volume that receives it within
        20 mm of the lesion, lesion included.
    warnings : warnings about the boost.
    unit : dose unit.
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
    """Return a simulated boost that increases a subregion's D98 to ``wish_gy``.

    The result is None for an empty subregion, or without dose there.

    Raises
    ------
    ValueError : the requested dose is not positive.
    """
    if wish_gy <= 0:
        raise ValueError(f"the requested dose is {wish_gy:g} Gy, expected more than 0")
    if not mask.any() or voxels.dose is None:
        return None
    risk_grid, before = _surroundings(voxels, dose)
    subregion_points = voxels.grid.points_of(mask)
    collimator, centers = _cover(subregion_points)
    lesion_shot = _shots(voxels.grid.points_of(voxels.inside), centers, collimator)
    subregion_shot = _shots(subregion_points, centers, collimator)
    missing_weight = np.maximum(wish_gy - voxels.dose[mask], 0) / subregion_shot
    weight = float(np.percentile(missing_weight, COVER))
    boosted = voxels.dose[mask] + weight * subregion_shot
    d98 = float(np.percentile(voxels.dose[mask], 2)), float(np.percentile(boosted, 2))
    lesion = voxels.dose[voxels.inside]
    maxima = float(lesion.max()), float((lesion + weight * lesion_shot).max())
    physical = dose.unit == GY  # BED and volumes at risk are not defined for RBE-weighted dose
    risk = RISK_GY.get(fractions or 0) if physical else None
    after = before + weight * _shots(risk_grid.points(), centers, collimator)
    risk_volumes = (
        None if risk is None else tuple(float((d >= risk).sum() * risk_grid.voxel_cc) for d in (before, after))
    )
    warnings = [WarningCode.BOOST_ESTIMATE(note=NOTE)]
    volume = voxels.volume_cc(mask)
    if volume < PAINTABLE_CC:
        consequence = ": the boost also irradiates surrounding tissue"
        warnings.append(WarningCode.SMALLER_THAN_SHOT(volume=volume, shot=PAINTABLE_CC, then=consequence))
    if weight == 0:
        warnings.append(WarningCode.BOOST_IDLE(dose=wish_gy, unit=dose.unit))
    bed = (
        [tuple(bed_gy(d, fractions, alpha_beta_gy=ab) for d in pair) for pair, ab in ((d98, TUMOR), (maxima, BRAIN))]
        if fractions and physical
        else [None, None]
    )
    return SimulatedBoost(
        wish_gy, len(centers), collimator, weight * float(lesion_shot.max()), d98, maxima, _pair(bed[0]), _pair(bed[1]),
        risk, _pair(risk_volumes), tuple(warnings), dose.unit,
    )  # fmt: skip


def _pair(values: tuple[float, ...] | None) -> tuple[float, float] | None:
    return None if values is None else (values[0], values[1])


def _surroundings(voxels: LesionVoxels, dose: Dose) -> tuple[Grid, Array64]:
    """Return a grid of `STEP_MM` around the lesion, and the dose there in Gy (0 Gy beyond the dose grid)."""
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
    """Return the smallest sufficient collimator, mm, and the shot centers ``(shots, 3)``, LPS mm.

    A collimator is sufficient if at most `MOST_SHOTS` shots cover all points with at least half their maximum dose. If
    none is, the largest collimator is used.
    """
    for collimator, radius in R50_MM.items():
        centers: list[Array64] = []
        chosen, uncovered = collimator, points_mm
        while len(uncovered) and len(centers) < MOST_SHOTS:
            middle = uncovered[np.argmin(np.linalg.norm(uncovered - uncovered.mean(axis=0), axis=1))]
            near = points_mm[np.linalg.norm(points_mm - middle, axis=1) <= radius]
            centers.append(near.mean(axis=0))
            uncovered = uncovered[np.linalg.norm(uncovered - centers[-1], axis=1) > radius]
        if not len(uncovered):
            break
    return chosen, np.asarray(centers)


def _shots(points_mm: Array64, centers_mm: Array64, collimator: int) -> Array64:
    """Return the dose of shots with weight 1 at points ``(…, 3)``."""
    total = np.zeros(points_mm.shape[:-1])
    for center in centers_mm:
        total += 1 / (1 + (((points_mm - center) ** 2).sum(axis=-1) / R50_MM[collimator] ** 2) ** 2)
    return total
