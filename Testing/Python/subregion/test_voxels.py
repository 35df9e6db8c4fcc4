"""Subregions against an analytic lesion: volumes by voxels, doses of the two parts."""

from __future__ import annotations

import numpy as np
import pytest

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.scene.scene_reader import edge_contours
from RTResponseCAMLib.study import Dose, Structure
from RTResponseCAMLib.subregion.voxels import compare, lesion_voxels

GRID = Grid((30, 28, 26), (1.0, 1.2, 1.5), (-10.0, 5.0, 2.0))


@pytest.fixture
def ball() -> tuple[np.ndarray, Structure]:
    middle = GRID.to_lps(np.asarray([[14.5, 13.5, 12.5]]))[0]
    mask = np.linalg.norm(GRID.points() - middle, axis=-1) < 9
    return mask, Structure(1, "GTV", "GTV", edge_contours(mask, GRID))


def test_the_parts_are_those_of_the_map_and_the_dose(ball):
    mask, structure = ball
    x = GRID.points()[..., 0]
    evidence = np.where(mask, x - x[mask].mean(), 0).astype(np.float32)
    dose = Dose(GRID.image((20 + 0.5 * (x - x.min())).astype(np.float32)), ())
    found = lesion_voxels(GRID.image(evidence), structure, dose=dose)
    inside, rest = compare(found, 2.0)
    above = mask & (evidence > 2.0)
    below = mask & ~above
    for part, where in ((inside, above), (rest, below)):
        values = 20 + 0.5 * (x[where] - x.min())
        assert part.volume_cc == pytest.approx(where.sum() * GRID.voxel_cc)
        assert part.mean_gy == pytest.approx(values.mean(), rel=1e-5)
        assert part.d98_gy == pytest.approx(np.percentile(values, 2), rel=1e-5)
        assert part.d2_gy == pytest.approx(np.percentile(values, 98), rel=1e-5)
    assert found.peak == pytest.approx(np.abs(evidence).max())


def test_a_part_without_voxels_has_no_dose(ball):
    mask, structure = ball
    found = lesion_voxels(
        GRID.image(mask.astype(np.float32)), structure, dose=Dose(GRID.image(mask * np.float32(20)), ())
    )
    inside, rest = compare(found, 5.0)
    assert (inside.volume_cc, inside.mean_gy) == (0.0, None)
    assert rest.volume_cc == pytest.approx(mask.sum() * GRID.voxel_cc)


def test_a_dose_grid_that_ends_within_the_lesion_gives_no_figures(ball):
    mask, structure = ball
    half = GRID.crop((0, 0, 0), (15, 28, 26))
    dose = Dose(half.image(np.full(half.shape, 20, dtype=np.float32)), ())
    found = lesion_voxels(GRID.image(mask.astype(np.float32)), structure, dose=dose)
    assert found.dose is None
    assert compare(found, 0.5)[0].mean_gy is None


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("upper", [False, True])
def test_voxels_of_a_lesion_beyond_the_map_are_left_out(ball, axis, upper):
    """A map that ends in the middle of the lesion, on either side."""
    mask, structure = ball
    start, size = [0, 0, 0], list(GRID.size)
    size[axis] //= 2
    start[axis] = size[axis] if upper else 0
    half = GRID.crop(tuple(start), tuple(size))
    found = lesion_voxels(half.blank(), structure, dose=None)
    index = np.rint(half.to_index(found.grid.points_of(found.inside)))
    assert ((index >= 0) & (index < size)).all()
    assert found.inside.sum() == pytest.approx(mask.sum() / 2, rel=0.02)


@pytest.mark.parametrize("lowest_gy", [0.0, 0.4])
def test_a_dose_of_zero_or_little_within_the_lesion_is_a_dose(ball, lowest_gy):
    mask, structure = ball
    x = GRID.points()[..., 0]
    values = np.clip(x - x[mask].mean(), lowest_gy, None)
    dose = Dose(GRID.image(values.astype(np.float32)), ())
    found = lesion_voxels(GRID.image(np.ones(GRID.shape, np.float32)), structure, dose=dose)
    assert found.dose is not None
    assert found.dose[found.inside].min() == pytest.approx(lowest_gy)


def test_outside_the_lesion_extended_values_are_those_of_the_nearest_voxel(ball):
    mask, structure = ball
    x = GRID.points()[..., 0]
    found = lesion_voxels(GRID.image(np.where(mask, x, 0).astype(np.float32)), structure, dose=None)
    wide = found.extended(found.evidence)
    np.testing.assert_array_equal(wide[found.inside], found.evidence[found.inside])
    box_x = found.grid.points()[..., 0]
    low, high = box_x[found.inside].min(), box_x[found.inside].max()
    middle = tuple(n // 2 for n in wide.shape[:2])
    row = wide[middle]
    np.testing.assert_allclose(row, np.clip(box_x[middle], low, high), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_lesion_that_lies_beyond_the_map_altogether_is_refused(ball, axis, side):
    _, structure = ball
    origin = list(GRID.origin_mm)
    origin[axis] -= side * 60.0
    away = Grid(GRID.size, GRID.spacing_mm, tuple(origin))
    with pytest.raises(GeometryError, match="does not lie on the map"):
        lesion_voxels(away.image(np.ones(away.shape, np.float32)), structure, dose=None)
