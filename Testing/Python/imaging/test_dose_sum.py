"""When two dose grids hold the same dose, and when they contradict each other."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.imaging.dose_sum import agree, dose_in_common, plan_total, same_voxels, total_on_one_grid
from RTResponseCAMLib.imaging.grid import Grid

GRID = Grid((24, 24, 24), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
FINER = Grid((47, 47, 47), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0))


def smooth(grid: Grid, peak: float = 40.0):
    return peak * np.exp(-(((grid.points() - 11.3) / 6) ** 2).sum(-1))


def image(grid: Grid, values):
    return grid.image(np.asarray(values, dtype=np.float32))


@pytest.mark.parametrize(("difference", "same"), [(0.0, True), (0.004, True), (0.006, False)])
def test_on_one_grid_half_a_percent_of_the_maximum_is_rounding(difference, same):
    values = smooth(GRID)
    other = values.copy()
    other[3, 4, 5] += difference * values.max()
    assert agree(image(GRID, values), image(GRID, other)) is same


@pytest.mark.parametrize(("difference", "same"), [(0.0, True), (0.008, True), (0.012, False)])
def test_between_grids_one_percent_on_average_is_the_same_dose(difference, same):
    other = smooth(FINER) + difference * 40.0
    assert agree(image(GRID, smooth(GRID)), image(FINER, other)) is same


def test_a_hot_spot_that_one_of_them_lacks_is_another_dose():
    """Where the other holds next to nothing, too: what is high in one of them counts."""
    other = smooth(FINER)
    other[:14, :14, :14] = 20.0
    assert not agree(image(GRID, smooth(GRID)), image(FINER, other))


@pytest.mark.parametrize(("part", "same"), [(0.03, False), (0.002, True)])
def test_between_grids_a_small_part_may_not_differ_by_more_than_three_percent(part, same):
    """On average the difference is far below one percent."""
    other = smooth(FINER)
    high = np.flatnonzero(other.ravel() > 8.0)
    other.ravel()[high[: int(part * len(high))]] += 4.0
    assert agree(image(GRID, smooth(GRID)), image(FINER, other)) is same


def test_below_a_tenth_of_the_maximum_nothing_is_compared():
    first, second = smooth(GRID), smooth(FINER)
    first[first < 4.0] = 0.0
    second[second < 4.0] = 3.9
    assert agree(image(GRID, first), image(FINER, second))


def test_grids_that_lie_apart_have_no_dose_in_common():
    far = Grid((10, 10, 10), (1.0, 1.0, 1.0), (100.0, 0.0, 0.0))
    first, second = image(GRID, smooth(GRID)), image(far, np.full(far.shape, 10.0))
    assert dose_in_common(first, second) == 0.0
    assert not agree(first, second)
    assert plan_total([first, second]).contradicting is None


def test_contradicting_grids_are_named_by_their_numbers():
    total = plan_total([image(GRID, smooth(GRID)), image(FINER, smooth(FINER)), image(GRID, smooth(GRID, 20.0))])
    assert total.image is None
    assert total.contradicting in ((0, 2), (1, 2))


def test_same_voxels_needs_grid_and_values():
    first = image(GRID, smooth(GRID))
    assert same_voxels(first, image(GRID, smooth(GRID)))
    assert not same_voxels(first, image(GRID, smooth(GRID, 39.0)))
    assert not same_voxels(first, image(FINER, smooth(FINER)))


def test_a_dose_that_is_there_twice_counts_once_and_is_counted():
    total = plan_total([image(GRID, smooth(GRID)), image(FINER, smooth(FINER))])
    assert (total.repeats, total.contradicting) == (1, None)
    assert float(sitk.GetArrayViewFromImage(total.image).max()) == pytest.approx(40.0, rel=0.02)


def test_grids_side_by_side_are_summed_at_the_finest_step_of_each_axis():
    first = Grid((10, 12, 8), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0))
    second = Grid((12, 10, 8), (0.5, 4.0, 2.0), (200.0, 0.0, 0.0))
    total = total_on_one_grid([[image(first, np.full(first.shape, 5.0))], [image(second, np.full(second.shape, 7.0))]])
    assert total.GetSpacing() == (0.5, 2.0, 2.0)
    values = sitk.GetArrayViewFromImage(total)
    assert set(np.unique(values).tolist()) == {0.0, 5.0, 7.0}


def test_a_few_voxels_in_common_are_not_enough_to_be_the_same_dose():
    values = np.zeros(GRID.shape)
    values[10:12, 10:12, 10:12] = 30.0
    fine = np.zeros(FINER.shape)
    fine[20:23, 20:23, 20:23] = 30.0
    assert not agree(image(GRID, values), image(FINER, fine))


def test_the_dose_in_common_is_relative_to_the_higher_maximum():
    half = image(FINER, smooth(FINER, 10.0))
    assert dose_in_common(image(GRID, smooth(GRID)), half) == pytest.approx(0.25, rel=0.02)
    assert dose_in_common(half, image(GRID, smooth(GRID))) == pytest.approx(0.25, rel=0.02)
