"""Contour planes: frame, slabs, parts that lie apart or have lost planes."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import ball, circle

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.planes import centroid_mm, stack_planes
from RTResponseCAMLib.imaging.slabs import slabs_of, usual_mm_of
from RTResponseCAMLib.study import Structure
from RTResponseCAMLib.warnings import WarningCode


def structure(*contours) -> Structure:
    return Structure(1, "GTV", "GTV", tuple(contours))


def turned(contour, degrees):
    angle = np.radians(degrees)
    matrix = np.asarray([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return contour @ matrix.T


@pytest.mark.parametrize(("tilt_deg", "refused"), [(2.0, False), (4.5, True)])
def test_planes_may_be_tilted_against_each_other_by_three_degrees(tilt_deg, refused):
    """Of four equal planes one is tilted: against their mean normal by three quarters of its tilt."""
    one = turned(circle(10.0, 0.0), tilt_deg * 4 / 3) + np.asarray([0, 0, 12.0])
    lesion = structure(*(circle(10.0, float(z)) for z in (0, 4, 8)), one)
    if refused:
        with pytest.raises(GeometryError, match="tilted by 4"):
            stack_planes(lesion)
    else:
        assert len(stack_planes(lesion).offsets_mm) == 4


def test_axial_contours_have_exact_axes_in_spite_of_rounding():
    rng = np.random.default_rng(1)
    rough = [circle(10.0, float(z)) + rng.normal(0, 1e-6, (120, 3)) for z in range(5)]
    assert stack_planes(structure(*rough)).axes[2].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_distance_of_parts_is_that_of_their_boxes_in_every_direction(axis, side):
    center = np.zeros(3)
    center[axis] = side * 24.0
    both = structure(*ball(4.0, (0, 0, 0)).contours, *ball(4.0, center).contours)
    (said,) = (w for w in stack_planes(both).warnings if w.code == "separate-parts")
    apart = float(said.text.split(" mm apart")[0].split()[-1])
    assert apart == pytest.approx(16.0, abs=1.0)


@pytest.mark.parametrize(("aside_mm", "lost"), [(3.0, 1), (6.5, 0)])
def test_planes_are_missed_between_parts_that_lie_over_each_other(aside_mm, lost):
    """Squares of 10 mm, six planes apart: 70 % of one lie over the other, or 35 %."""
    square = np.asarray([[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]], dtype=float)
    lower = [square + np.asarray([0, 0, z]) for z in range(5)]
    upper = [square + np.asarray([aside_mm, 0, z]) for z in range(12, 17)]
    codes = [w.code for w in stack_planes(structure(*lower, *upper)).warnings]
    assert codes.count("contour-gap") == lost


def test_the_center_is_that_of_the_bounding_box():
    triangle = np.asarray([[0, 0, 0], [4, 0, 0], [0, 2, 0]], dtype=float)
    contours = [triangle + np.asarray([1, 1, z]) for z in (0, 1, 7)]
    np.testing.assert_allclose(centroid_mm(structure(*contours)), [3.0, 2.0, 3.5])


@pytest.mark.parametrize(
    ("gaps", "usual"),
    [
        ([1.0, 1.0, 1.0], 1.0),
        ([0.5, 2.5, 0.5, 2.5, 0.5], 2.5),  # two interleaved sets of planes
        ([0.5, 2.5, 0.5], 0.5),  # three gaps show no pattern
        ([1.0, 1.03, 1.0, 1.03, 1.0], 1.0),  # even ones, rounded
        ([0.5, 2.5, 0.5, 2.54, 0.5], 2.5),
        ([0.5, 0.6, 3.0, 3.0], 3.0),  # two gaps of planes that almost touch
        ([1.0, 1.0, 30.0, 1.0], 1.0),  # distant parts
        ([0.01, 1.0, 1.0, 1.0], 1.0),  # planes that almost touch
        ([40.0], 40.0),
    ],
)
def test_the_usual_distance_of_planes(gaps, usual):
    assert usual_mm_of(np.asarray(gaps)) == pytest.approx(usual)


@pytest.mark.parametrize(
    ("offsets", "usual_mm", "slabs", "codes"),
    [
        ([3.2], None, [[2.7, 3.7]], ["single-plane"]),
        ([3.2], 3.0, [[1.7, 4.7]], []),
        ([1.0, 3.0], None, [[0.0, 2.0], [2.0, 4.0]], []),
        ([1.0, 3.0], 1.0, [[0.5, 1.5], [2.5, 3.5]], ["contour-gap"]),
        ([1.0, 3.0], 5.0, [[0.0, 2.0], [2.0, 4.0]], []),
        ([0.0, 1.0, 2.0, 6.0], None, [[-0.5, 0.5], [0.5, 1.5], [1.5, 2.5], [5.5, 6.5]], ["contour-gap"]),
        ([0.0, 1.0, 2.0, 3.5], None, [[-0.5, 0.5], [0.5, 1.5], [1.5, 2.75], [2.75, 4.0]], []),
        ([0.0, 1.0, 2.0, 3.5], 9.0, [[-0.5, 0.5], [0.5, 1.5], [1.5, 2.75], [2.75, 4.0]], []),
    ],
)
def test_slabs_reach_half_way_to_their_neighbors_but_not_into_gaps(offsets, usual_mm, slabs, codes):
    found, warnings = slabs_of(np.asarray(offsets), "GTV", usual_mm=usual_mm)
    np.testing.assert_allclose(found, slabs)
    assert [w.code for w in warnings] == codes


def test_a_gap_says_how_many_there_are_and_the_usual_distance():
    (warning,) = slabs_of(np.asarray([0.0, 1.0, 2.0, 6.0, 7.0, 9.0]), "GTV 3")[1]
    assert "GTV 3" in warning.text
    assert warning.values == WarningCode.CONTOUR_GAP(where="GTV 3", count=2, step=1.0).values
