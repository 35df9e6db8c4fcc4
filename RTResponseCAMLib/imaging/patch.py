"""One lesion as the classifier sees it: an isotropic block around the target, in patient axes.

The block's grid carries its place in LPS, so that every voxel maps back to the patient without a slip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.fraction import box_fraction
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import centroid_mm
from RTResponseCAMLib.imaging.resample import HeadIntensity, resample
from RTResponseCAMLib.study import Dose, Structure

Array32 = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]
MARGIN_MM = 8.0
SIZE_STEP = 8
MIN_SIZE, MAX_SIZE = 24, 96
INSIDE = 0.05
COARSEST = 1.05  # voxels of the MR, relative to those of the patch, on which a patch is laid
ALONG = 0.9998  # cosine of one degree: axes of the MR that are those of the patient


@dataclass(frozen=True)
class Patch:
    """Arrays ``[z, y, x]`` float32 on ``grid`` (LPS axes, isotropic).

    Attributes
    ----------
    mr : T1c in head units: (value − head median) / head inter-quartile range.
    dose : dose / prescription; exactly 1 everywhere when there is no dose (``has_dose`` False).
    fraction : fraction of the voxel inside the lesion.
    mr_spacing_mm : voxels of the MR that it was sampled from (x, y, z of that MR); None where it came from none.
    """

    grid: Grid
    mr: Array32
    dose: Array32
    fraction: Array32
    has_dose: bool
    mr_spacing_mm: tuple[float, float, float] | None = None

    @property
    def mr_voxel_volume_ratio(self) -> float:
        """Volume of a voxel of the MR over that of the patch's, at least 1: voxels that one measurement fills."""
        return max(float(np.prod(self.mr_spacing_mm or (0.0,)) / np.prod(self.grid.spacing_mm)), 1.0)

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        """Voxels that belong to the lesion ``[z, y, x]``; never none, however small it is."""
        return np.asarray(self.fraction > min(INSIDE, 0.5 * float(self.fraction.max())))


def patch_grid(
    structure: Structure, mr: Grid | None = None, *, spacing_mm: float = 1.0, margin_mm: float = MARGIN_MM
) -> Grid:
    """Cube that holds the lesion and a margin; its side is a multiple of 8 voxels, 24 to 96.

    Centerd on the middle of the contours' bounding box. Where voxels of ``mr`` are no coarser and its axes are those of
    the patient, but for half a voxel: the middle then lies on one of them. Between voxels an image is smoother than on
    them, and the texture of a lesion would hang on where its middle happens to lie.
    """
    points = np.concatenate([np.asarray(c, dtype=np.float64) for c in structure.contours])
    extent_mm = float(np.ptp(points, axis=0).max()) + 2 * margin_mm
    size = int(np.clip(SIZE_STEP * np.ceil(extent_mm / spacing_mm / SIZE_STEP), MIN_SIZE, MAX_SIZE))
    corner = centroid_mm(structure) - (size - 1) / 2 * spacing_mm
    if mr is not None:
        corner = corner + _to_nearest_voxel(corner + size // 2 * spacing_mm, mr, spacing_mm)
    return Grid((size,) * 3, (spacing_mm,) * 3, (float(corner[0]), float(corner[1]), float(corner[2])))


def _to_nearest_voxel(point_mm: Array64, mr: Grid, spacing_mm: float) -> Array64:
    """From a point to the nearest voxel of the MR, mm LPS; nothing along axes that are tilted or coarser."""
    index = mr.to_index(point_mm[None])[0]
    steps = np.asarray(mr.spacing_mm)
    laid = (np.abs(mr.axes / steps).max(axis=0) > ALONG) & (steps <= COARSEST * spacing_mm)
    return np.asarray(mr.axes @ np.where(laid, np.rint(index) - index, 0.0))


def sample_patch(
    mr: sitk.Image,
    head: HeadIntensity,
    *,
    structure: Structure,
    dose: Dose | None,
    prescription_gy: float | None,
    spacing_mm: float = 1.0,
    margin_mm: float = MARGIN_MM,
) -> Patch:
    """Sample MR (cubic; beyond the scan as at its edge), dose (trilinear) and occupancy around one lesion.

    Raises
    ------
    GeometryError : the lesion lies outside the MR, has no contours, or none near their middle; the MR there is not
        finite.
    """
    grid = patch_grid(structure, Grid.of(mr), spacing_mm=spacing_mm, margin_mm=margin_mm)
    intensity = sitk.GetArrayFromImage(resample(mr, grid, smooth=True, outside=None))
    where = f"ROI '{structure.name}'"
    if not np.isfinite(intensity).all():
        raise GeometryError(where, "lies where the MR holds values that are no numbers", "Export the MR again")
    fraction = box_fraction(structure, grid)
    if not fraction.any():
        raise GeometryError(
            where,
            f"is nowhere within {MAX_SIZE / 2 * spacing_mm:.0f} mm of its own middle",
            "Give each lesion its own ROI",
        )
    relative = np.ones(grid.shape, dtype=np.float32)
    has_dose = dose is not None and prescription_gy is not None
    if dose is not None and prescription_gy is not None:
        relative = sitk.GetArrayFromImage(resample(dose.image, grid)) / np.float32(prescription_gy)
    return Patch(
        grid,
        ((intensity - head.median) / head.iqr).astype(np.float32),
        relative.astype(np.float32),
        fraction,
        has_dose,
        Grid.of(mr).spacing_mm,
    )
