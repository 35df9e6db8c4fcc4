"""Several dose boxes as one: summed in Gy on a common grid, and told apart from the same dose given twice."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid, same_grid

Array32 = npt.NDArray[np.float32]
MAX_VOXELS = 2**27
SAME_DOSE, MIN_COMMON = 0.03, 27
SAME_ON_ONE_GRID = 0.005  # on one grid, doses differ by the rounding of their scaling only


@dataclass(frozen=True)
class PlanTotal:
    """The dose of one plan from several boxes.

    Attributes
    ----------
    image : None where boxes contradict one another.
    repeats : how many boxes repeat a dose that another holds.
    contradicting : numbers of two boxes that cover the same place and hold other doses there.
    """

    image: sitk.Image | None
    repeats: int = 0
    contradicting: tuple[int, int] | None = None


def plan_total(images: list[sitk.Image]) -> PlanTotal:
    """Dose of a plan from boxes that each hold the dose of the whole plan.

    Boxes that agree where they overlap are windows on one dose, which counts once; boxes of separate targets, with next
    to no dose in common, are put side by side. Boxes that overlap and do not agree contradict one another.

    Raises
    ------
    GeometryError : see `total_on_one_grid`.
    """
    groups: list[list[int]] = []
    for number, image in enumerate(images):
        joined, apart = [number], []
        for group in groups:
            if any(agree(image, images[other]) for other in group):
                joined = group + joined  # it may tie windows that lie apart
            else:
                apart.append(group)
        groups = [*apart, joined]
    for one, other in itertools.combinations(range(len(images)), 2):
        together = any(one in group and other in group for group in groups)
        if not together and dose_in_common(images[one], images[other]) > SAME_DOSE:
            return PlanTotal(None, 0, (one, other))
    total = total_on_one_grid([[images[n] for n in group] for group in groups])
    return PlanTotal(total, len(images) - len(groups))


def total_on_one_grid(groups: list[list[sitk.Image]]) -> sitk.Image:
    """Sum over groups of windows on one dose each, on the first image's axes, at the finest step; trilinear, float32.

    Raises
    ------
    GeometryError : the boxes lie so far apart that their common grid exceeds 134 million voxels.
    """
    images = [image for group in groups for image in group]
    grids = [Grid.of(image) for image in images]
    if all(same_grid(grids[0], grid) for grid in grids[1:]):
        total = np.sum([sitk.GetArrayViewFromImage(group[0]) for group in groups], axis=0)
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
    for group in groups:
        seen = np.full(whole.shape, -1.0, dtype=np.float32)
        # Where windows overlap the finer one counts.
        for image in sorted(group, key=lambda i: float(np.prod(i.GetSpacing()))):
            moved = sitk.Resample(image, whole.blank(), sitk.Transform(), sitk.sitkLinear, -1.0, sitk.sitkFloat32)
            values = sitk.GetArrayViewFromImage(moved)
            np.copyto(seen, values, where=seen < 0)
        total += np.maximum(seen, 0)
    return whole.image(total)


def agree(image: sitk.Image, other: sitk.Image) -> bool:
    """Tell whether two boxes hold the same dose where they overlap, on whatever grids.

    They do when they differ there by less than 3 % of the overlap's maximum nearly everywhere above a tenth of it, on
    average by less than 1 %; on one grid by less than half a percent everywhere. Boxes without a common dose do not.
    """
    found = _in_common(image, other)
    if found is None:
        return False
    one, two = found
    top = max(float(one.max(initial=0.0)), float(two.max(initial=0.0)))
    if same_grid(Grid.of(image), Grid.of(other)):
        return top > 0 and float(np.abs(one - two).max()) <= SAME_ON_ONE_GRID * top
    high = (one > 0.1 * top) | (two > 0.1 * top)
    if top <= 0 or high.sum() < MIN_COMMON:
        return False
    difference = np.abs(one[high] - two[high]) / top
    return bool(np.percentile(difference, 99) < SAME_DOSE and difference.mean() < SAME_DOSE / 3)


def dose_in_common(image: sitk.Image, other: sitk.Image) -> float:
    """Highest dose that both boxes hold at one place, relative to the highest of either; 0 where they lie apart."""
    found = _in_common(image, other)
    if found is None:
        return 0.0
    top = max(float(sitk.GetArrayViewFromImage(i).max()) for i in (image, other))
    return float(np.minimum(*found).max(initial=0.0)) / top if top > 0 else 0.0


def _in_common(image: sitk.Image, other: sitk.Image) -> tuple[Array32, Array32] | None:
    """Values of both at the voxels of the first that the second holds; None where the boxes lie apart."""
    if not _overlap(Grid.of(image), Grid.of(other)):
        return None
    moved = sitk.Resample(other, Grid.of(image).blank(), sitk.Transform(), sitk.sitkLinear, -1.0, sitk.sitkFloat32)
    one, two = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(moved)
    common = two >= 0
    return one[common], two[common]


def same_voxels(image: sitk.Image, other: sitk.Image) -> bool:
    """The same values on the same grid."""
    return same_grid(Grid.of(image), Grid.of(other)) and np.array_equal(
        sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(other)
    )


def _overlap(one: Grid, other: Grid) -> bool:
    """Whether the boxes may overlap: those of separate targets need no resampling."""
    index = one.to_index(other.to_lps(_corners(other)))
    return bool((index.min(axis=0) < np.asarray(one.size) - 0.5).all() and (index.max(axis=0) > -0.5).all())


def _corners(grid: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray([(i, j, k) for i in (0, grid.size[0] - 1) for j in (0, grid.size[1] - 1)
                       for k in (0, grid.size[2] - 1)])  # fmt: skip
