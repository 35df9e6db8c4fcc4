"""One lesion's evidence on the map's voxels: where it exceeds a cut, how large that is, and what dose it received.

A subregion is the voxels of the lesion above the cut. Volumes count voxels, as Slicer's own statistics do.
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
    inside : voxels of the lesion that the map holds, ``[z, y, x]``, by the rule by which the map was made (half filled,
        or the fullest).
    evidence : the map, zero outside.
    dose : Gy, or None without a dose or where its grid does not reach the whole lesion.
    """

    grid: Grid
    inside: Mask
    evidence: FloatVoxels
    dose: FloatVoxels | None

    def extended(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values of the lesion carried outwards to the whole box, each from the nearest voxel of the lesion."""
        nearest = distance_transform_edt(
            ~self.inside, sampling=self.grid.spacing_mm[::-1], return_distances=False, return_indices=True
        )
        return np.asarray(values[tuple(nearest)])

    @property
    def peak(self) -> float:
        """Largest absolute evidence."""
        return float(np.abs(self.evidence).max())

    def above(self, threshold: float) -> Mask:
        """Voxels of the lesion whose evidence exceeds ``threshold``."""
        return self.inside & (self.evidence > threshold)

    def volume_cc(self, mask: Mask) -> float:
        """Volume of a mask's voxels, cm³."""
        return int(np.count_nonzero(mask)) * self.grid.voxel_cc


@dataclass(frozen=True)
class Part:
    """A part of a lesion: cm³, and Gy where there is a dose (D98 and D2 by voxel count)."""

    volume_cc: float
    mean_gy: float | None = None
    d98_gy: float | None = None
    d2_gy: float | None = None


def lesion_voxels(cam: sitk.Image, structure: Structure, *, dose: Dose | None) -> LesionVoxels:
    """Cut one lesion out of a map; voxels of it that lie beyond the map, as beyond the MR, are left out.

    Raises
    ------
    GeometryError : the lesion does not lie on the map.
    """
    whole = Grid.of(cam)
    box = structure_box(structure, whole)
    inside = filled_voxels(structure, box)
    start = whole.start_of(box)[::-1]
    within = (slice(max(-first, 0), max(n - first, 0)) for first, n in zip(start, whole.shape, strict=True))
    on_map = np.zeros_like(inside)
    on_map[tuple(within)] = True
    inside &= on_map
    if not inside.any():
        raise GeometryError(structure.name, "does not lie on the map", "Choose the study that the map was made from")
    evidence = sitk.GetArrayFromImage(resample_nearest(cam, box))
    return LesionVoxels(box, inside, np.where(inside, evidence, 0).astype(np.float32), _dose_on(box, inside, dose))


def compare(voxels: LesionVoxels, threshold: float) -> tuple[Part, Part]:
    """The part above ``threshold`` and the rest of the lesion."""
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
