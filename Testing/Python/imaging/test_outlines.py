"""Outlines hold exactly the area they should: level lines as an independent library draws them, pixel edges exactly."""

from __future__ import annotations

import numpy as np
import pytest
from contourpy import contour_generator
from scipy.ndimage import gaussian_filter

from RTResponseCAMLib.imaging.coverage import even_odd_area
from RTResponseCAMLib.imaging.fraction import box_fraction, structure_box
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.outlines import edge_contours, keyholed, level_lines, pixel_edges
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.study import Structure


@pytest.fixture
def hills() -> np.ndarray:
    return np.pad(gaussian_filter(np.random.default_rng(3).standard_normal((60, 70)), 2.5), 2, constant_values=-0.1)


def test_level_lines_are_those_of_an_independent_library(hills):
    ours, theirs = level_lines(hills), contour_generator(z=hills).lines(0.0)
    assert len(ours) == len(theirs) > 5
    assert even_odd_area(tuple(ours)) == pytest.approx(even_odd_area(tuple(x[:-1] for x in theirs)), rel=1e-9)
    points = np.concatenate([np.round(x[:-1], 9) for x in theirs])
    assert {tuple(p) for p in np.round(np.concatenate(ours), 9)} == {tuple(p) for p in points}


def test_level_lines_are_closed_along_the_border():
    lines = level_lines(np.ones((4, 5)))
    assert even_odd_area(tuple(lines)) == pytest.approx(3 * 4, abs=1e-6)


def test_nothing_above_the_level_has_no_line():
    assert level_lines(np.full((5, 5), -1.0)) == []
    assert pixel_edges(np.zeros((5, 5), dtype=bool)) == []


def test_pixel_edges_hold_exactly_the_pixels(hills):
    mask = hills > 0
    assert even_odd_area(tuple(pixel_edges(mask))) == pytest.approx(mask.sum(), abs=1e-9)


def test_holes_and_touching_corners_keep_their_area():
    mask = np.zeros((7, 7), dtype=bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    mask[0, 0] = True
    outlines = pixel_edges(mask)
    assert len(outlines) == 3
    assert even_odd_area(tuple(outlines)) == 25


@pytest.mark.parametrize("slices", [1, 2, 5])
def test_contours_of_voxels_give_the_voxels_back(slices):
    """A mask becomes contours becomes voxels: the same mask, whatever its slice step; also when it is one slice."""
    turned = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
    grid = Grid((12, 10, slices), (0.8, 1.1, 2.7), (3.0, -4.0, 11.0), turned)
    mask = gaussian_filter(np.random.default_rng(1).standard_normal(grid.shape), (0, 1.5, 1.5)) > 0.05
    structure = Structure(1, "x", "", edge_contours(mask, grid))
    assert contour_volume_cc(structure) == pytest.approx(mask.sum() * grid.voxel_cc, rel=1e-6)
    box = structure_box(structure, grid)
    found = box_fraction(structure, box)
    assert found.sum() == pytest.approx(mask.sum(), rel=1e-5)
    assert set(np.round(np.unique(found), 4)) <= {0.0, 1.0}


def test_keyholes_hold_the_same_pixels_for_every_reader(hills):
    """By even-odd and by winding, each outline by itself: holes, islands in holes, touching corners."""
    rings = np.zeros(hills.shape, dtype=bool)
    rings[5:30, 5:30], rings[8:27, 8:27], rings[11:24, 11:24], rings[14:16, 14:16] = True, False, True, False
    for mask in (hills > 0, hills > -0.03, rings, np.random.default_rng(1).random((30, 30)) < 0.6):
        joined = keyholed(pixel_edges(mask))
        signed = [0.5 * float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) for x, y in (o.T for o in joined)]
        assert min(signed) > 0
        assert sum(signed) == pytest.approx(mask.sum())
        pixels = np.stack([even_odd_pixels(outline, mask.shape) for outline in joined])
        assert (pixels.sum(axis=0) == mask).all()
        for outline in joined:  # all edges run along pixels: the reader takes such contours for voxels
            assert (np.sum(np.roll(outline, -1, axis=0) != outline, axis=1) <= 1).all()


def even_odd_pixels(outline, shape):
    from matplotlib.path import Path

    j, i = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    path = Path(np.vstack([outline, outline[:1]]))
    return path.contains_points(np.column_stack([i.ravel() + 1e-4, j.ravel() + 2e-4])).reshape(shape)
