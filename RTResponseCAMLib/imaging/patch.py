"""Lesion patch, the input of the classifier: an isotropic cube of voxels around the target, in patient axes.

The grid of the patch stores its LPS position, so that every voxel maps back to the patient exactly.
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
COARSEST = 1.05  # largest ratio of MR spacing to patch spacing at which a patch is aligned to MR voxels
ALONG = 0.9998  # cosine of about one degree: the MR axis counts as parallel to a patient axis


@dataclass(frozen=True)
class Patch:
    """Patch of one lesion: arrays ``[z, y, x]``, float32, on ``grid`` (LPS axes, isotropic).

    Attributes
    ----------
    grid : sampling grid of the patch.
    mr : normalized T1c: (value − head median) / head interquartile range.
    dose : dose / prescription; exactly 1 everywhere if there is no dose (``has_dose`` False).
    fraction : partial-volume fraction of the lesion in each voxel.
    has_dose : True if there is a dose and a prescription.
    mr_spacing_mm : voxel spacing of the source MR (x, y, z of that MR), mm; None if there is no source MR.
    """

    grid: Grid
    mr: Array32
    dose: Array32
    fraction: Array32
    has_dose: bool
    mr_spacing_mm: tuple[float, float, float] | None = None

    @property
    def mr_voxel_volume_ratio(self) -> float:
        """Return the ratio of MR voxel volume to patch voxel volume, at least 1: patch voxels per measured voxel."""
        return max(float(np.prod(self.mr_spacing_mm or (0.0,)) / np.prod(self.grid.spacing_mm)), 1.0)

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        """Return the mask ``[z, y, x]`` of the lesion; it contains at least one voxel, however small the lesion is."""
        return np.asarray(self.fraction > min(INSIDE, 0.5 * float(self.fraction.max())))


def patch_grid(
    structure: Structure, mr: Grid | None = None, *, spacing_mm: float = 1.0, margin_mm: float = MARGIN_MM
) -> Grid:
    """Return the grid of a cube that contains the lesion and a margin; its side is a multiple of 8 voxels, 24 to 96.

    The cube is centered on the bounding box of the contours. If the voxels of ``mr`` are not coarser and its axes are
    parallel to the patient axes, the cube is shifted by up to half an MR voxel, so that its middle voxel lies on an MR
    voxel. An interpolated image is smoother between voxels than on them; without this shift, the texture of a lesion
    would depend on the position of its center relative to the voxels.
    """
    points = np.concatenate([np.asarray(c, dtype=np.float64) for c in structure.contours])
    extent_mm = float(np.ptp(points, axis=0).max()) + 2 * margin_mm
    size = int(np.clip(SIZE_STEP * np.ceil(extent_mm / spacing_mm / SIZE_STEP), MIN_SIZE, MAX_SIZE))
    corner = centroid_mm(structure) - (size - 1) / 2 * spacing_mm
    if mr is not None:
        corner = corner + _to_nearest_voxel(corner + size // 2 * spacing_mm, mr, spacing_mm)
    return Grid((size,) * 3, (spacing_mm,) * 3, (float(corner[0]), float(corner[1]), float(corner[2])))


def _to_nearest_voxel(point_mm: Array64, mr: Grid, spacing_mm: float) -> Array64:
    """Return the vector from a point to the nearest MR voxel, mm LPS; 0 along axes that are tilted or coarser."""
    index = mr.to_index(point_mm[None])[0]
    steps = np.asarray(mr.spacing_mm)
    aligned = (np.abs(mr.axes / steps).max(axis=0) > ALONG) & (steps <= COARSEST * spacing_mm)
    return np.asarray(mr.axes @ np.where(aligned, np.rint(index) - index, 0.0))


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
    """Return the patch of one lesion: MR, dose and partial-volume fraction.

    MR is interpolated by cubic B-splines (edge values beyond the scan), dose by trilinear interpolation.

    Raises
    ------
    GeometryError : the lesion lies outside the MR, has no contours, or has none near the center of its bounding box;
        or the MR values there are not finite.
    """
    grid = patch_grid(structure, Grid.of(mr), spacing_mm=spacing_mm, margin_mm=margin_mm)
    intensity = sitk.GetArrayFromImage(resample(mr, grid, smooth=True, outside=None))
    where = f"ROI '{structure.name}'"
    if not np.isfinite(intensity).all():
        raise GeometryError(
            where, "lies where the MR contains values that are not numbers (NaN)", "Export the MR again"
        )
    fraction = box_fraction(structure, grid)
    if not fraction.any():
        raise GeometryError(
            where,
            f"is nowhere within {MAX_SIZE / 2 * spacing_mm:.0f} mm of its own center",
            "Give each lesion its own ROI",
        )
    relative_dose = np.ones(grid.shape, dtype=np.float32)
    has_dose = dose is not None and prescription_gy is not None
    if dose is not None and prescription_gy is not None:
        relative_dose = sitk.GetArrayFromImage(resample(dose.image, grid)) / np.float32(prescription_gy)
    return Patch(
        grid,
        ((intensity - head.median) / head.iqr).astype(np.float32),
        relative_dose.astype(np.float32),
        fraction,
        has_dose,
        Grid.of(mr).spacing_mm,
    )
