"""Sum of several dose grids in Gy on a common grid, with detection of the same dose exported twice."""

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
SAME_ON_ONE_GRID = 0.005  # on a common grid, equal doses differ only by the rounding of their scaling


@dataclass(frozen=True)
class PlanTotal:
    """Dose of one plan, combined from several dose grids.

    Attributes
    ----------
    image : summed dose; None if two grids contradict each other.
    repeats : number of grids that repeat the dose of another grid.
    contradicting : indices of two grids that overlap but have different doses in the overlap.
    """

    image: sitk.Image | None
    repeats: int = 0
    contradicting: tuple[int, int] | None = None


def plan_total(images: list[sitk.Image]) -> PlanTotal:
    """Return the dose of a plan from dose grids that each contain the dose of the whole plan.

    Grids that agree in their overlap are parts of one dose distribution, which counts once. Grids of separate targets,
    with almost no common dose, are added. Grids that overlap and do not agree contradict each other.

    Raises
    ------
    GeometryError : see `total_on_one_grid`.
    """
    groups: list[list[int]] = []
    for image_index, image in enumerate(images):
        joined_group, other_groups = [image_index], []
        for group in groups:
            if any(agree(image, images[second]) for second in group):
                joined_group = group + joined_group  # this grid may connect grids that do not overlap each other
            else:
                other_groups.append(group)
        groups = [*other_groups, joined_group]
    for first, second in itertools.combinations(range(len(images)), 2):
        same_group = any(first in group and second in group for group in groups)
        if not same_group and dose_in_common(images[first], images[second]) > SAME_DOSE:
            return PlanTotal(None, 0, (first, second))
    total = total_on_one_grid([[images[n] for n in group] for group in groups])
    return PlanTotal(total, len(images) - len(groups))


def total_on_one_grid(groups: list[list[sitk.Image]]) -> sitk.Image:
    """Return the dose sum over groups of grids, float32, by trilinear interpolation.

    The grids of one group are parts of one dose distribution, which counts once. The result has the axes of the first
    image and the finest spacing of all images.

    Raises
    ------
    GeometryError : the grids are so far apart that their common grid exceeds 134 million voxels.
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
        raise GeometryError("the dose", "consists of grids too far apart for one grid", "Export one dose per plan")
    i, j, k = (int(c) for c in low)
    common_grid = unit.crop((i, j, k), (int(size[0]), int(size[1]), int(size[2])))
    total = np.zeros(common_grid.shape, dtype=np.float32)
    for group in groups:
        group_dose = np.full(common_grid.shape, -1.0, dtype=np.float32)
        # In the overlap of two grids, the finer grid is used.
        for image in sorted(group, key=lambda i: float(np.prod(i.GetSpacing()))):
            resampled = sitk.Resample(
                image, common_grid.blank(), sitk.Transform(), sitk.sitkLinear, -1.0, sitk.sitkFloat32
            )
            values = sitk.GetArrayViewFromImage(resampled)
            np.copyto(group_dose, values, where=group_dose < 0)
        total += np.maximum(group_dose, 0)
    return common_grid.image(total)


def agree(image: sitk.Image, other: sitk.Image) -> bool:
    """Return True if two dose grids contain the same dose in their overlap.

    On different grids, voxels above 10 % of the overlap's maximum are compared: the 99th percentile of the difference
    must be under 3 % of that maximum, and the mean difference under 1 %. On a common grid, the difference must not
    exceed 0.5 % anywhere. Grids without a common dose do not agree.
    """
    doses = _in_common(image, other)
    if doses is None:
        return False
    first, second = doses
    maximum = max(float(first.max(initial=0.0)), float(second.max(initial=0.0)))
    if same_grid(Grid.of(image), Grid.of(other)):
        return maximum > 0 and float(np.abs(first - second).max()) <= SAME_ON_ONE_GRID * maximum
    high_dose = (first > 0.1 * maximum) | (second > 0.1 * maximum)
    if maximum <= 0 or high_dose.sum() < MIN_COMMON:
        return False
    difference = np.abs(first[high_dose] - second[high_dose]) / maximum
    return bool(np.percentile(difference, 99) < SAME_DOSE and difference.mean() < SAME_DOSE / 3)


def dose_in_common(image: sitk.Image, other: sitk.Image) -> float:
    """Return the highest dose common to both grids at one point, relative to their maximum; 0 without overlap."""
    doses = _in_common(image, other)
    if doses is None:
        return 0.0
    maximum = max(float(sitk.GetArrayViewFromImage(i).max()) for i in (image, other))
    return float(np.minimum(*doses).max(initial=0.0)) / maximum if maximum > 0 else 0.0


def _in_common(image: sitk.Image, other: sitk.Image) -> tuple[Array32, Array32] | None:
    """Return the doses of both images at those voxels of the first that the second covers; None without overlap."""
    if not _overlap(Grid.of(image), Grid.of(other)):
        return None
    resampled = sitk.Resample(other, Grid.of(image).blank(), sitk.Transform(), sitk.sitkLinear, -1.0, sitk.sitkFloat32)
    first, second = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(resampled)
    covered = second >= 0
    return first[covered], second[covered]


def same_voxels(image: sitk.Image, other: sitk.Image) -> bool:
    """Return True if both images have the same values on the same grid."""
    return same_grid(Grid.of(image), Grid.of(other)) and np.array_equal(
        sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(other)
    )


def _overlap(first: Grid, other: Grid) -> bool:
    """Return True if the grids may overlap. Grids of separate targets need no resampling."""
    index = first.to_index(other.to_lps(_corners(other)))
    return bool((index.min(axis=0) < np.asarray(first.size) - 0.5).all() and (index.max(axis=0) > -0.5).all())


def _corners(grid: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray([(i, j, k) for i in (0, grid.size[0] - 1) for j in (0, grid.size[1] - 1)
                       for k in (0, grid.size[2] - 1)])  # fmt: skip
