"""Evidence of one lesion on the voxels of the evidence map, with volume and dose above a subregion threshold.

A subregion consists of the lesion's voxels above the threshold. Volumes are voxel counts, as in Slicer's statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.fraction import filled_voxels, structure_box
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.resample import resample, resample_nearest
from RTResponseCAMLib.study import Dose, Structure

Mask = npt.NDArray[np.bool_]
FloatVoxels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LesionVoxels:
    """Voxels of one lesion.

    Attributes
    ----------
    grid : box around the lesion on the lattice of the map.
    inside : voxels of the lesion on the map, ``[z, y, x]``, by the same rule as in the map: half filled, or those with
        the largest partial-volume fraction if none is half filled.
    evidence : evidence map, ``[z, y, x]``, 0 outside the lesion.
    dose : dose, Gy, ``[z, y, x]``; None without a dose, or if the dose grid does not cover the whole lesion.
    """

    grid: Grid
    inside: Mask
    evidence: FloatVoxels
    dose: FloatVoxels | None

    def extended(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the values extended to the whole box: a voxel outside has the value of the nearest lesion voxel."""
        nearest = distance_transform_edt(
            ~self.inside, sampling=self.grid.spacing_mm[::-1], return_distances=False, return_indices=True
        )
        return np.asarray(values[tuple(nearest)])

    @property
    def peak(self) -> float:
        """Return the largest absolute evidence."""
        return float(np.abs(self.evidence).max())

    def above(self, threshold: float) -> Mask:
        """Return a mask of the lesion voxels whose evidence exceeds ``threshold``."""
        return self.inside & (self.evidence > threshold)

    def volume_cc(self, mask: Mask) -> float:
        """Return the volume of a mask's voxels, cm³."""
        return int(np.count_nonzero(mask)) * self.grid.voxel_cc


@dataclass(frozen=True)
class Part:
    """Volume and dose of a part of a lesion.

    Attributes
    ----------
    volume_cc : volume, cm³.
    mean_gy, d98_gy, d2_gy : mean dose, D98 and D2 by voxel count, Gy; None without dose.
    """

    volume_cc: float
    mean_gy: float | None = None
    d98_gy: float | None = None
    d2_gy: float | None = None


def lesion_voxels(cam: sitk.Image, structure: Structure, *, dose: Dose | None) -> LesionVoxels:
    """Return the voxels of one lesion of an evidence map; voxels outside the map are left out.

    Parameters
    ----------
    cam : evidence map.
    dose : dose; None without one.

    Raises
    ------
    GeometryError : the lesion does not lie on the map.
    """
    map_grid = Grid.of(cam)
    box = structure_box(structure, map_grid)
    inside = filled_voxels(structure, box)
    start = map_grid.start_of(box)[::-1]
    within = (slice(max(-first, 0), max(n - first, 0)) for first, n in zip(start, map_grid.shape, strict=True))
    on_map = np.zeros_like(inside)
    on_map[tuple(within)] = True
    inside &= on_map
    if not inside.any():
        raise GeometryError(structure.name, "does not lie on the map", "Choose the study that the map was made from")
    evidence = sitk.GetArrayFromImage(resample_nearest(cam, box))
    return LesionVoxels(box, inside, np.where(inside, evidence, 0).astype(np.float32), _dose_on(box, inside, dose))


def compare(voxels: LesionVoxels, threshold: float) -> tuple[Part, Part]:
    """Return volume and dose of the part above ``threshold``, and of the rest of the lesion."""
    above = voxels.above(threshold)
    return _part(voxels, above), _part(voxels, voxels.inside & ~above)


def _part(voxels: LesionVoxels, mask: Mask) -> Part:
    volume = voxels.volume_cc(mask)
    if voxels.dose is None or not mask.any():
        return Part(volume)
    values = voxels.dose[mask].astype(np.float64)
    d98, d2 = np.percentile(values, [2, 98])
    return Part(volume, float(values.mean()), float(d98), float(d2))


def _dose_on(box: Grid, inside: Mask, dose: Dose | None) -> FloatVoxels | None:
    if dose is None:
        return None
    try:
        values: npt.NDArray[Any] = sitk.GetArrayFromImage(resample(dose.image, box, outside=-1.0))
    except GeometryError:
        return None
    return None if (values[inside] < 0).any() else values.astype(np.float32)
