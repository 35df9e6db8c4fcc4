"""Diameters of shapes whose diameters are known."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import ball

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.labels import label_structure
from RTResponseCAMLib.response.diameter import Diameters, diameters, of_parts
from RTResponseCAMLib.study import Structure


def prism(polygon, planes=3, step=1.0) -> Structure:
    corners = np.asarray(polygon, dtype=float)
    contours = [np.column_stack([corners, np.full(len(corners), n * step)]) for n in range(planes)]
    return Structure(1, "GTV", "GTV", tuple(contours))


@pytest.mark.parametrize("scale", [0.06, 1.0, 5.0])
def test_a_kite_has_its_diagonals(scale):
    """Small ones, too: 0.6 mm and 0.24 mm."""
    found = diameters(prism(np.asarray([[0, 0], [5, -2], [10, 0], [5, 2]]) * scale))
    assert found.longest_mm == pytest.approx(10 * scale)
    assert found.perpendicular_mm == pytest.approx(4 * scale)
    assert found.slices == 3


def test_the_longest_in_any_slice_counts_with_its_own_perpendicular():
    big = prism([[0, 0], [5, -2], [10, 0], [5, 2]], planes=1).contours[0]
    small = prism([[0, 0], [4, -3], [8, 0], [4, 3]], planes=1).contours[0] + np.asarray([0, 0, 1.0])
    found = diameters(Structure(1, "GTV", "GTV", (small, big, small + np.asarray([0, 0, 1.0]))))
    assert (found.longest_mm, found.perpendicular_mm) == (pytest.approx(10), pytest.approx(4))


@pytest.mark.parametrize("spacing", [1.0, 2.0, 3.0])
def test_a_row_of_voxels_is_as_long_as_its_voxels(spacing):
    """Between the middles of voxel sides: five voxels are five spacings long and one wide, whatever the spacing."""
    grid = Grid((12, 12, 6), (spacing,) * 3, (0.0, 0.0, 0.0))
    inside = np.zeros(grid.shape, dtype=np.uint8)
    inside[2:4, 5, 3:8] = 1
    found = diameters(label_structure(grid.image(inside), (1,)))
    assert found.longest_mm == pytest.approx(5 * spacing, rel=0.02)
    assert found.perpendicular_mm == pytest.approx(spacing, rel=0.02)
    assert found.slices == 2


def test_a_line_has_no_diameter_and_a_ball_has_its_own():
    assert diameters(ball(6.0)).longest_mm == pytest.approx(12.0, rel=0.01)
    assert diameters(ball(6.0)).perpendicular_mm == pytest.approx(12.0, rel=0.01)


def test_parts_add_up_their_longest():
    parts = [Diameters(6.0, 3.0, 4), Diameters(9.0, 5.0, 2)]
    assert of_parts(parts) == Diameters(15.0, 5.0, 4)
