"""Dose to one lesion, weighted by occupancy on a fine grid, trilinear. DVH curves and plan indices come later.

D_x is the dose that x % of the volume receives at least (ICRU 91). Below 2 cm³ a near-minimum over 2 % of the
volume is a fraction of a voxel: read D98 of small targets with care.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid, share_outside
from RTResponseCAMLib.imaging.occupancy import box_occupancy, structure_box
from RTResponseCAMLib.imaging.planes import centroid_mm
from RTResponseCAMLib.imaging.resample import resample
from RTResponseCAMLib.study import Dose, DoseMetrics, Structure, Study

FINE_MM, COARSE_MM, FINE_BELOW_MM = 0.5, 1.0, 40.0


def dose_metrics(structure: Structure, dose: Dose, prescription_gy: float) -> DoseMetrics | None:
    """Mean, D98, D50, D2 (Gy) and coverage of one target; None when most of it lies outside the dose grid."""
    grid = _grid_around(structure)
    weight = box_occupancy(structure, grid)
    outside = share_outside(weight, grid, Grid.of(dose.image), 0.0)
    if outside > 0.5:
        return None
    try:
        values = sitk.GetArrayFromImage(resample(dose.image, grid))
    except GeometryError:
        return None
    inside = weight > 0
    return _metrics(values[inside].astype(np.float64), weight[inside].astype(np.float64), prescription_gy, outside)


def lesion_dose(study: Study, structure: Structure) -> DoseMetrics | None:
    """Dose metrics of a lesion; None without a dose, a prescription, or where the dose grid does not reach."""
    if study.dose is None or study.plan is None or study.plan.prescription is None:
        return None
    return dose_metrics(structure, study.dose, study.plan.prescription.dose_for(structure))


def _metrics(
    dose: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], prescription_gy: float, outside: float
) -> DoseMetrics:
    order = np.argsort(dose)[::-1]
    volume = np.cumsum(weight[order]) - weight[order] / 2
    d98, d50, d2 = np.interp(np.asarray([0.98, 0.50, 0.02]) * weight.sum(), volume, dose[order])
    mean = float((dose * weight).sum() / weight.sum())
    coverage = float(weight[dose >= prescription_gy].sum() / weight.sum())
    return DoseMetrics(mean, float(d98), float(d50), float(d2), prescription_gy, coverage, outside)


def _grid_around(structure: Structure) -> Grid:
    x, y, z = centroid_mm(structure).tolist()
    extent = max(float(np.ptp(np.concatenate(structure.contours), axis=0).max()), 1.0)
    step = FINE_MM if extent < FINE_BELOW_MM else COARSE_MM
    return structure_box(structure, Grid((1, 1, 1), (step,) * 3, (x, y, z)))
