"""When two dose grids hold the same dose, and when they contradict each other."""

from __future__ import annotations

import numpy as np
import pytest

from RTResponseCAMLib.imaging.dose_sum import agree, dose_in_common, plan_total, same_voxels
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
