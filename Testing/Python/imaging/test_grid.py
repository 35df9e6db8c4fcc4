"""Grids against SimpleITK's own arithmetic, on an oblique grid of uneven voxels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.imaging.grid import Grid, same_grid, share_outside

TURN = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.3, 0.5)
GRID = Grid((5, 7, 4), (0.8, 1.1, 2.5), (-12.0, 3.5, 40.0), tuple(TURN.GetMatrix()))


def test_points_and_indices_are_those_of_simpleitk():
    image = GRID.blank()
    for index in ((0, 0, 0), (4, 6, 3), (1, 5, 2)):
        point = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(GRID.to_lps(np.asarray([index]))[0], point, atol=1e-9)
        np.testing.assert_allclose(GRID.to_index(np.asarray([point]))[0], index, atol=1e-9)
        np.testing.assert_allclose(GRID.points()[index[::-1]], point, atol=1e-9)


def test_points_of_a_mask_are_those_of_its_voxels():
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[1, 2, 3] = mask[3, 6, 0] = True
    expected = [GRID.blank().TransformIndexToPhysicalPoint(index) for index in ((3, 2, 1), (0, 6, 3))]
    np.testing.assert_allclose(GRID.points_of(mask), expected, atol=1e-9)


def test_a_crop_begins_where_it_says_and_is_found_again():
    for start in ((1, 2, 1), (-3, 4, -2)):
        box = GRID.crop(start, (2, 3, 1))
        assert (box.size, GRID.start_of(box)) == ((2, 3, 1), start)
        np.testing.assert_allclose(box.to_lps(np.zeros((1, 3))), GRID.to_lps(np.asarray([start])))


def test_volume_and_shape():
    assert GRID.voxel_cc == pytest.approx(0.0022)
    assert GRID.shape == (4, 7, 5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("shift_mm", "same"), [(0.0, True), (0.0009, True), (0.0011, False), (0.9, False)])
def test_grids_are_the_same_within_a_micrometer(axis, shift_mm, same):
    origin = list(GRID.origin_mm)
    origin[axis] += shift_mm
    assert same_grid(GRID, replace(GRID, origin_mm=tuple(origin))) is same


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_spacing_that_differs_shows_at_the_far_corner(axis):
    spacing = list(GRID.spacing_mm)
    spacing[axis] += 0.002
    assert not same_grid(GRID, replace(GRID, spacing_mm=tuple(spacing)))
    assert same_grid(GRID, replace(GRID, spacing_mm=tuple(spacing)), tolerance_mm=0.05)


def test_grids_of_other_sizes_are_not_the_same():
    assert not same_grid(GRID, replace(GRID, size=(5, 7, 5)))


BOX = Grid((10, 10, 10), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("reach", [0.0, 0.5, 2.0])
def test_weight_outside_a_box_is_counted_along_each_axis(axis, reach):
    """Points at −3 … 12 along one axis: those beyond 0 and 9 by more than the reach are outside."""
    size, origin = [1, 1, 1], [4.0, 4.0, 4.0]
    size[axis], origin[axis] = 16, -3.0
    line = Grid(tuple(size), (1.0, 1.0, 1.0), tuple(origin))
    weight = np.arange(1, 17, dtype=np.float32).reshape(line.shape)
    place = np.arange(-3, 13)
    outside = (place < -reach) | (place > 9 + reach)
    expected = np.arange(1, 17)[outside].sum() / np.arange(1, 17).sum()
    assert share_outside(weight, line, box=BOX, reach=reach) == pytest.approx(expected)


def test_voxels_without_weight_do_not_count():
    line = Grid((16, 1, 1), (1.0, 1.0, 1.0), (-3.0, 4.0, 4.0))
    weight = np.zeros(line.shape, dtype=np.float32)
    weight[..., :4] = [0, 0, 3, 1]  # at −3, −2, −1 and 0
    assert share_outside(weight, line, box=BOX, reach=0.0) == pytest.approx(0.75)


def test_equal_sizes_need_not_be_the_same_object():
    assert same_grid(GRID, replace(GRID, size=tuple([5, 7, 4])))
