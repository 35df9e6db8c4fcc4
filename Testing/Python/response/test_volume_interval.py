"""Volume intervals and changes against balls, whose volumes at any offset are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bodies import ball, cc, circle

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.outlines import edge_contours
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.imaging.shape import shape_between
from RTResponseCAMLib.response import volume
from RTResponseCAMLib.response.diameter import diameters, of_parts
from RTResponseCAMLib.response.volume import Volume, _log_ratio, absent_volume, change_interval, volume_interval
from RTResponseCAMLib.study import Structure


@pytest.mark.slow
@pytest.mark.parametrize("radius", [2.9, 5.0, 10.0, 17.0])
@pytest.mark.parametrize("boundary", [0.3, 0.5, 1.0])
def test_the_interval_is_the_ball_with_its_radius_moved(radius, boundary):
    found = volume_interval(ball(radius), boundary)
    assert found.cc == pytest.approx(cc(radius), rel=0.01)
    assert found.low_cc == pytest.approx(cc(radius - boundary), rel=0.06)
    assert found.high_cc == pytest.approx(cc(radius + boundary), rel=0.04)


def test_a_small_ball_is_measured_on_voxels_that_are_fine_for_it():
    found = volume_interval(ball(1.2, step=0.3), 0.3)
    assert found.high_cc == pytest.approx(cc(1.5), rel=0.03)
    assert found.low_cc == pytest.approx(cc(0.9), rel=0.03)


def test_the_surface_moves_out_over_flat_ends_too():
    """A cylinder, whose parallel body is given by Steiner's formula: V + S b + M b² + 4/3 π b³."""
    radius, height, boundary = 5.0, 11.0, 0.5
    circles = tuple(circle(radius, float(z)) for z in range(11))
    surface = 2 * math.pi * radius * (radius + height)
    curvature = math.pi * (height + math.pi * radius)
    moved = surface * boundary + curvature * boundary**2 + 4 / 3 * math.pi * boundary**3
    found = volume_interval(Structure(1, "cylinder", "", circles), boundary)
    assert found.high_cc * 1000 == pytest.approx(math.pi * radius**2 * height + moved, rel=0.02)


def test_half_a_millimeter_of_a_10_mm_lesion_is_a_third():
    found = volume_interval(ball(5.0), 0.5)
    assert found.high_cc / found.cc - 1 == pytest.approx(0.33, abs=0.02)
    assert found.low_cc / found.cc - 1 == pytest.approx(-0.27, abs=0.02)


def test_a_lesion_smaller_than_the_boundary_may_be_nothing():
    assert volume_interval(ball(0.9, step=0.3), 1.0).low_cc == 0


def test_the_change_interval_joins_both_volumes():
    before, after = Volume(1.0, 0.8, 1.25), Volume(0.5, 0.4, 0.625)
    change = change_interval(before, after)
    assert change.value == -0.5
    assert math.log(change.high + 1) == pytest.approx(math.log(0.5) + math.hypot(math.log(1.25), math.log(1.25)))
    assert math.log(change.low + 1) == pytest.approx(math.log(0.5) - math.hypot(math.log(1.25), math.log(1.25)))


def test_a_vanished_lesion_is_a_full_response_within_what_can_be_seen():
    change = change_interval(volume_interval(ball(5.0)), absent_volume())
    assert (change.value, change.low) == (-1.0, -1.0)
    assert -1.0 < change.high < -0.99


def test_measured_intervals_cover_the_true_change():
    """Boundaries that err at random by the stated half-width: 95 % of the intervals hold the true change."""
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(400):
        errors = rng.normal(0, 0.5 / 1.96, 2)
        before, after = 6.0 + errors[0], 5.4 + errors[1]
        volumes = [Volume(cc(r), cc(r - 0.5), cc(r + 0.5)) for r in (before, after)]
        change = change_interval(*volumes)
        hits += change.low <= (5.4 / 6.0) ** 3 - 1 <= change.high
    assert 0.92 <= hits / 400 <= 0.985


def test_diameters_are_those_of_the_widest_slice():
    found = diameters(ball(8.0, scale=(1.5, 1.0, 1.0)))
    assert found.longest_mm == pytest.approx(24.0, rel=0.01)
    assert found.perpendicular_mm == pytest.approx(16.0, rel=0.02)
    assert found.slices == 16


@pytest.mark.parametrize("voxel", [(1.0, 1.0, 1.0), (0.6, 0.6, 2.0)])
def test_diameters_of_voxels_are_those_of_the_ball_that_they_stand_for(voxel):
    grid = Grid((40, 40, 24), voxel, (-20 * voxel[0], -20 * voxel[1], -12 * voxel[2]))
    inside = np.linalg.norm(grid.points() - (0.2, -0.1, 0.3), axis=-1) <= 5.0
    found = diameters(Structure(1, "ball", "", edge_contours(inside, grid)))
    # Their corners would give 11.4 mm and 10.6 mm.
    assert found.longest_mm == pytest.approx(10.0, abs=0.9 * voxel[0])
    assert found.perpendicular_mm == pytest.approx(10.0, abs=0.9 * voxel[0])
    assert found.slices == inside.any(axis=(1, 2)).sum()


def test_parts_of_a_lesion_add_their_diameters():
    parts = [diameters(ball(3.0)), diameters(ball(4.0))]
    assert of_parts(parts).longest_mm == pytest.approx(14.0, rel=0.02)
    assert of_parts(parts).perpendicular_mm == parts[1].perpendicular_mm


def test_a_lesion_that_is_not_seen_is_at_most_a_ball_of_the_boundary():
    found = absent_volume(1.5)
    assert (found.cc, found.low_cc) == (0.0, 0.0)
    assert found.high_cc == pytest.approx(4 / 3 * np.pi * 1.5**3 / 1000)


@pytest.mark.parametrize("slice_mm", [1.0, 3.0])
def test_the_interval_is_about_the_volume_of_the_contours_however_coarse_they_are(slice_mm):
    """Of coarse contours the shape between planes is a guess: its level is the one that encloses their volume."""
    structure = ball(7.0, step=slice_mm)
    found = volume_interval(structure, 0.5)
    assert found.cc == pytest.approx(contour_volume_cc(structure), rel=1e-6)
    radius = (found.cc * 3000 / (4 * np.pi)) ** (1 / 3)
    for ends, moved in ((found.low_cc, -0.5), (found.high_cc, 0.5)):
        assert ends == pytest.approx(4 / 3 * np.pi * (radius + moved) ** 3 / 1000, rel=0.03)


def test_a_boundary_without_uncertainty_leaves_the_volume():
    found = volume_interval(ball(5.0), 1e-6)
    assert found.low_cc == pytest.approx(found.cc, rel=1e-4)
    assert found.high_cc == pytest.approx(found.cc, rel=1e-4)


@pytest.mark.parametrize(("larger", "smaller", "ratio"), [(1.0, 0.02, 50), (200.0, 2.5, 80), (1.0, 0.005, 100)])
def test_the_logarithm_of_a_ratio_ends_at_a_hundred(larger, smaller, ratio):
    assert _log_ratio(larger, smaller) == pytest.approx(math.log(ratio))


def test_a_large_box_takes_larger_voxels(monkeypatch):
    steps = []

    def watched(stack, step):
        steps.append(step)
        return shape_between(stack, step)

    monkeypatch.setattr(volume, "shape_between", watched)
    monkeypatch.setattr(volume, "MOST_VOXELS", 5000)
    body = ball(10.0)
    found = volume_interval(body, 0.5)
    extent = np.ptp(np.concatenate(body.contours), axis=0) + 2 * (0.5 + 2 * 1.0 + 2 * 0.5)
    assert steps == [pytest.approx((extent.prod() / 5000) ** (1 / 3), rel=1e-6)]
    assert found.high_cc == pytest.approx(cc(10.5), rel=0.05)
