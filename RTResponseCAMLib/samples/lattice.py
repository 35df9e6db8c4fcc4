"""Lattice for the features of a lesion: 1 mm along the patient's axes, so that two scanners are comparable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.fraction import body_corners, stack_fraction
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import PlaneStack
from RTResponseCAMLib.imaging.resample import resample
from RTResponseCAMLib.study import Structure

STEP_MM, MOST_VOXELS = 1.0, 8_000_000
Array32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LesionLattice:
    """Grid of a lesion and its margin (LPS, 1 mm); ``share``: partial-volume fraction of each voxel, ``[z, y, x]``."""

    grid: Grid
    share: Array32

    @property
    def level(self) -> float:
        """Partial-volume fraction from which a voxel counts as lesion: 0.5, or less where no voxel is half filled."""
        return min(0.5, 0.9 * float(self.share.max()))

    def sample(self, image: sitk.Image, smooth: bool = True) -> npt.NDArray[np.float64]:
        """Values of an image ``[z, y, x]``: cubic interpolation for MR, trilinear for dose (``smooth`` False).

        Outside the image, an MR has the value of its edge, and a dose is 0.

        Raises
        ------
        GeometryError : the lattice lies outside the image.
        """
        return sitk.GetArrayFromImage(
            resample(image, self.grid, smooth=smooth, outside=None if smooth else 0.0)
        ).astype(np.float64)


def lesion_lattice(structure: Structure, stack: PlaneStack, *, margin_mm: float) -> LesionLattice:
    """Lattice that contains a structure, whose planes are ``stack``, and ``margin_mm`` around its contours.

    Where the planes are far apart, the ends of the structure reach beyond this margin. The lattice contains them too.
    It grows in whole steps, so that two margins give the same voxels. For axial contours the lattice lies on the
    contour planes, where their area is exact.
    """
    points, corners = np.concatenate(structure.contours), body_corners(stack)
    below, above = points.min(axis=0) - corners.min(axis=0), corners.max(axis=0) - points.max(axis=0)
    low = points.min(axis=0) - np.maximum(margin_mm, np.ceil(below))
    if stack.axes[2, 2] > 0.9999:
        low[2] = stack.offsets_mm[0] - STEP_MM * np.ceil((stack.offsets_mm[0] - low[2]) / STEP_MM)
    high = points.max(axis=0) + np.maximum(margin_mm, np.ceil(above))
    size = np.ceil((high - low) / STEP_MM).astype(int) + 1
    if np.prod(size, dtype=np.float64) > MOST_VOXELS:
        problem = (
            f"with its margin spans {' × '.join(f'{n:.0f}' for n in size * STEP_MM)} mm, too much to sample at 1 mm"
        )
        raise GeometryError(f"ROI {structure.number} '{structure.name}'", problem, "Give each lesion a ROI of its own")
    x, y, z = low.tolist()
    grid = Grid((int(size[0]), int(size[1]), int(size[2])), (STEP_MM,) * 3, (x, y, z))
    return LesionLattice(grid, stack_fraction(stack, grid))
