"""Sampling grid in patient space: positions of voxel centers, without voxel values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.study import FloatArray


@dataclass(frozen=True)
class Grid:
    """Grid of voxel centers in LPS, mm.

    Attributes
    ----------
    size : number of voxels along the index axes i, j, k (x, y, z of an unrotated image).
    spacing_mm : step along each index axis, mm.
    origin_mm : LPS position of the center of voxel (0, 0, 0), mm.
    direction : row-major 3 × 3 direction cosines; column c is the LPS unit vector of index axis c.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @classmethod
    def of(cls, image: sitk.Image) -> Grid:
        """Return the grid of a 3-D image."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an array on this grid, ``[z, y, x]``."""
        return self.size[2], self.size[1], self.size[0]

    @property
    def voxel_cc(self) -> float:
        """Return the volume of one voxel, cm³."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def axes(self) -> npt.NDArray[np.float64]:
        """LPS vectors of one index step, as columns, mm."""
        return np.asarray(self.direction, dtype=np.float64).reshape(3, 3) * np.asarray(self.spacing_mm)

    def to_index(self, points_mm: FloatArray) -> npt.NDArray[np.float64]:
        """Continuous indices (i, j, k) of LPS points ``(n, 3)``; voxel centers are integers."""
        offset = np.asarray(points_mm, dtype=np.float64) - np.asarray(self.origin_mm)
        return np.asarray(offset @ np.linalg.inv(self.axes).T)

    def to_lps(self, index: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """LPS points ``(n, 3)`` in mm of continuous indices (i, j, k)."""
        return np.asarray(np.asarray(index, dtype=np.float64) @ self.axes.T + np.asarray(self.origin_mm))

    def crop(self, start: tuple[int, int, int], size: tuple[int, int, int]) -> Grid:
        """Return the sub-grid that begins at index ``start`` (i, j, k); it may extend beyond this grid."""
        x, y, z = (float(value) for value in self.to_lps(np.asarray([start]))[0])
        return Grid(size, self.spacing_mm, (x, y, z), self.direction)

    def start_of(self, box: Grid) -> tuple[int, int, int]:
        """Return the start index (i, j, k) of a sub-grid made by `crop`; negative if it begins before this grid."""
        i, j, k = np.rint(self.to_index(np.asarray([box.origin_mm]))[0]).astype(int).tolist()
        return i, j, k

    def points(self) -> npt.NDArray[np.float64]:
        """LPS points of all voxel centers, ``[z, y, x, 3]``, mm."""
        k, j, i = np.indices(self.shape, dtype=np.float64)
        flat = np.stack([i.ravel(), j.ravel(), k.ravel()], axis=1)
        return self.to_lps(flat).reshape(*self.shape, 3)

    def points_of(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """LPS points ``(n, 3)`` of the voxel centers of a mask ``[z, y, x]``, mm."""
        return self.to_lps(np.argwhere(mask)[:, ::-1])

    def image(self, array: npt.NDArray[Any]) -> sitk.Image:
        """Return an image with the values of an array ``[z, y, x]`` on this grid."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
        image.SetSpacing(self.spacing_mm)
        image.SetOrigin(self.origin_mm)
        image.SetDirection(self.direction)
        return image

    def blank(self) -> sitk.Image:
        """Return an empty image on this grid, used as the reference for resampling."""
        image = sitk.Image(list(self.size), sitk.sitkUInt8)
        image.SetSpacing(self.spacing_mm)
        image.SetOrigin(self.origin_mm)
        image.SetDirection(self.direction)
        return image


def same_grid(first: Grid, second: Grid, *, tolerance_mm: float = 1e-3) -> bool:
    """Return True if all voxel centers of two grids coincide within ``tolerance_mm``."""
    if first.size != second.size:
        return False
    corners = np.asarray(
        [(i, j, k) for i in (0, first.size[0]) for j in (0, first.size[1]) for k in (0, first.size[2])]
    )
    return bool(np.abs(first.to_lps(corners) - second.to_lps(corners)).max() < tolerance_mm)


def share_outside(weight: npt.NDArray[np.float32], grid: Grid, *, box: Grid, reach: float) -> float:
    """Return the fraction of ``weight`` that lies outside a box.

    Parameters
    ----------
    weight : weights ``[z, y, x]`` on ``grid``.
    box : grid of the box.
    reach : tolerance in voxels of ``box``, beyond its outermost voxel centers.
    """
    index = box.to_index(grid.points_of(weight > 0))
    beyond = ((index < -reach - 1e-6) | (index > np.asarray(box.size) - 1 + reach + 1e-6)).any(axis=1)
    return float(weight[weight > 0][beyond].sum() / weight.sum())
