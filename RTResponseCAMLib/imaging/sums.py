"""Several dose boxes as one: summed in Gy on a common grid, and told apart from the same dose given twice."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid, same_grid

MAX_VOXELS = 2**27
SAME_DOSE, SHARED = 0.03, 0.6


def total_on_one_grid(images: list[sitk.Image]) -> sitk.Image:
    """Sum on the first image's axes, at the finest step, over the box that holds all of them; trilinear, float32.

    Raises
    ------
    GeometryError : the boxes lie so far apart that their common grid exceeds 134 million voxels.
    """
    grids = [Grid.of(image) for image in images]
    if all(same_grid(grids[0], grid) for grid in grids[1:]):
        total = np.sum([sitk.GetArrayViewFromImage(image) for image in images], axis=0)
        return grids[0].image(total.astype(np.float32))
    spacing = tuple(float(s) for s in np.min([grid.spacing_mm for grid in grids], axis=0))
    unit = Grid((1, 1, 1), (spacing[0], spacing[1], spacing[2]), grids[0].origin_mm, grids[0].direction)
    corners = np.concatenate([unit.to_index(grid.to_lps(_corners(grid))) for grid in grids])
    low = np.floor(corners.min(axis=0) + 1e-6)
    size = np.ceil(corners.max(axis=0) - 1e-6) - low + 1
    if np.prod(size) > MAX_VOXELS:
        raise GeometryError("the dose", "consists of boxes too far apart for one grid", "Export one dose per plan")
    i, j, k = (int(c) for c in low)
    whole = unit.crop((i, j, k), (int(size[0]), int(size[1]), int(size[2])))
    total = np.zeros(whole.shape, dtype=np.float32)
    for image in images:
        moved = sitk.Resample(image, whole.blank(), sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        total += sitk.GetArrayViewFromImage(moved)
    return whole.image(total)


def repeated(image: sitk.Image, other: sitk.Image) -> bool:
    """Tell whether two images hold the same dose, on whatever grids: adding them would count it twice.

    They do when their boxes share most of the smaller one and differ there by less than 3 % of the maximum
    everywhere above a tenth of it, on average less than 1 %.
    """
    if _shared(Grid.of(image), Grid.of(other)) < SHARED:
        return False
    moved = sitk.Resample(other, Grid.of(image).blank(), sitk.Transform(), sitk.sitkLinear, -1.0, sitk.sitkFloat32)
    one, two = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(moved)
    common = two >= 0
    smaller = min(np.prod(i.GetSize()) * np.prod(i.GetSpacing()) for i in (image, other))
    if common.sum() * np.prod(image.GetSpacing()) < SHARED * smaller:
        return False
    top = max(float(one[common].max(initial=0.0)), float(two[common].max(initial=0.0)))
    high = common & ((one > 0.1 * top) | (two > 0.1 * top))
    if top <= 0 or not high.any():
        return False
    difference = np.abs(one[high] - two[high]) / top
    return bool(np.percentile(difference, 99) < SAME_DOSE and difference.mean() < SAME_DOSE / 3)


def _shared(one: Grid, other: Grid) -> float:
    """Share of the smaller box that lies in the other, from above: boxes of separate targets need no resampling."""
    index = one.to_index(other.to_lps(_corners(other)))
    low, high = np.maximum(index.min(axis=0), 0), np.minimum(index.max(axis=0), np.asarray(one.size) - 1)
    common = float(np.prod(np.maximum(high - low + 1, 0))) * one.voxel_cc
    return common / min(float(np.prod(g.size)) * g.voxel_cc for g in (one, other))


def _corners(grid: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray([(i, j, k) for i in (0, grid.size[0] - 1) for j in (0, grid.size[1] - 1)
                       for k in (0, grid.size[2] - 1)])  # fmt: skip
