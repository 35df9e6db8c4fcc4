"""Connected parts of a structure, and outlines that are there twice, against analytic volumes."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import circle, rings

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.fraction import fraction_inside, mask
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.parts import (
    SAME_OUTLINE_MM,
    _cross,
    _distance,
    _over,
    connected,
    crosses,
    outer_area,
    points_inside,
    without_repeats,
    without_spikes,
)
from RTResponseCAMLib.imaging.planes import contour_volume_cc, stack_planes
from RTResponseCAMLib.imaging.volume_sampling import volume_samples
from RTResponseCAMLib.response.volume import volume_interval
from RTResponseCAMLib.study import Structure

GRID = Grid((140, 140, 110), (1.0, 1.0, 1.0), (-70.0, -70.0, -55.0))


def ball(radius, middle, step=1.0, phase=0.0):
    return [ring + middle for ring in rings(radius, step, phase)]


def structure(*contours):
    return Structure(1, "roi", "GTV", tuple(contours))


FAR = [(-40, -40, -30), (40, -40, 20), (-40, 40, 30), (40, 40, -20), (0, 0, 0)]


@pytest.mark.parametrize("phases", [(0,) * 5, (0.0, 0.11, 0.23, 0.31, 0.42)])
def test_balls_across_the_head_have_the_volume_of_the_balls(phases):
    """Planes of one ball that lie between those of another do not make either thinner."""
    single = sum(contour_volume_cc(structure(*ball(4.0, m, 0.5, p))) for m, p in zip(FAR, phases, strict=True))
    together = structure(*(c for m, p in zip(FAR, phases, strict=True) for c in ball(4.0, m, 0.5, p)))
    stack = stack_planes(together)
    assert len(stack.parts) == 5
    assert stack.volume_mm3 / 1000 == pytest.approx(single, rel=1e-9)
    assert fraction_inside(together, GRID).sum() / 1000 == pytest.approx(single, rel=0.01)
    assert mask(together, GRID).sum() / 1000 == pytest.approx(single, rel=0.1)
    assert volume_interval(together).cc == pytest.approx(single, rel=0.01)
    body = volume_samples(together)
    assert body.weight_cc.sum() == pytest.approx(single, rel=1e-9)
    for middle in FAR:
        near = np.linalg.norm(body.points_mm - middle, axis=1) < 4.6
        assert body.weight_cc[near].sum() == pytest.approx(single / 5, rel=0.02)
    assert "separate-parts" in {w.code for w in stack.warnings}


@pytest.mark.parametrize(
    ("name", "contours", "parts"),
    [
        ("a ball", ball(8.0, (0, 0, 0)), 1),
        ("a ball without one plane", [c for n, c in enumerate(ball(8.0, (0, 0, 0))) if n != 7], 1),
        ("a ring in every plane", [circle(r, z) for z in range(-5, 6) for r in (9.0, 4.0)], 1),
        ("two balls that overlap", [*ball(6.0, (-5.0, 0, 0)), *ball(6.0, (5.0, 0, 0))], 1),
        ("two balls side by side", [*ball(6.0, (-6.2, 0, 0)), *ball(6.0, (6.2, 0, 0))], 2),
        ("a fork: two branches on a trunk", [
            *(circle(9.0, z) for z in range(-4, 1)),
            *(circle(3.0, z, (x, 0.0)) for z in range(1, 6) for x in (-5.0, 5.0)),
        ], 1),
        ("balls over one another, 20 mm apart", [*ball(4.0, (0, 0, -14)), *ball(4.0, (0, 0, 14))], 2),
        ("a slanted column", [circle(3.0, z, (1.5 * z, 0.0)) for z in range(-10, 11)], 1),
        ("one plane", [circle(4.0, 0.0)], 1),
        ("islands in one plane", [circle(2.0, 0.0, (x, 0.0)) for x in (-8.0, 0.0, 8.0)], 3),
    ],
)  # fmt: skip
def test_what_is_one_part_and_what_is_several(name, contours, parts):
    assert len(stack_planes(structure(*contours)).each) == parts


def test_bars_that_cross_are_one_part_although_no_corner_lies_in_the_other():
    def bar(x, y, z):
        return np.array([[-x, -y, z], [x, -y, z], [x, y, z], [-x, y, z]], float)

    stack = stack_planes(structure(bar(10.0, 2.0, 0.0), bar(2.0, 10.0, 1.0)))
    assert len(stack.each) == 1


def test_a_part_of_one_plane_is_as_thick_as_the_planes_of_its_structure():
    ball_alone = structure(*ball(6.0, (0, 0, 0), 2.0))
    with_speck = structure(*ball(6.0, (0, 0, 0), 2.0), circle(3.0, 15.0, (20.0, 0.0)))
    speck = stack_planes(with_speck).volume_mm3 - stack_planes(ball_alone).volume_mm3
    assert speck == pytest.approx(np.pi * 9 * 2.0, rel=0.01)


def test_a_part_beside_a_hole_is_no_part_of_the_ring():
    """A speck in the hole of a ring lies inside the outer outline: it is drawn within it, and stays one structure."""
    contours = [circle(r, z) for z in range(-3, 4) for r in (9.0, 6.0, 2.0)]
    stack = stack_planes(structure(*contours))
    assert len(stack.each) == 1
    assert stack.volume_mm3 == pytest.approx(np.pi * (81 - 36 + 4) * 7, rel=0.01)


@pytest.mark.parametrize(
    "again",
    [lambda p: p, lambda p: p[::-1], lambda p: p[::2], lambda p: np.roll(p, 5, axis=0), lambda p: p + 0.2,
     lambda p: (p + np.roll(p, 1, axis=0)) / 2],
)  # fmt: skip
def test_an_outline_that_is_there_twice_counts_once(again):
    outline = circle(10.0, 0.0)[:, :2]
    kept, repeats = without_repeats([outline, again(outline)])
    assert repeats == 1
    assert len(kept) == 1
    assert len(kept[0]) == len(outline)  # the one with more points


@pytest.mark.parametrize("apart", [1.0, 2.0, 5.0])
def test_a_wall_is_no_repetition(apart):
    outer, inner = circle(20.0, 0.0)[:, :2], circle(20.0 - apart, 0.0)[:, :2]
    assert apart > SAME_OUTLINE_MM
    assert without_repeats([outer, inner])[1] == 0
    assert outer_area([outer, inner]) == pytest.approx(np.pi * 400, rel=0.01)


def test_a_thin_wall_is_said_and_a_thick_one_is_not():
    thin = structure(*(circle(r, z) for z in range(-5, 6) for r in (10.0, 9.0)))
    thick = structure(*(circle(r, z) for z in range(-5, 6) for r in (10.0, 4.0)))
    (said,) = [w for w in stack_planes(thin).warnings if w.code == "hollow-outline"]
    assert "leave 19 %" in said.text
    assert stack_planes(thick).warnings == ()


@pytest.mark.parametrize("shift", [2.0, 6.0, 12.0])
@pytest.mark.parametrize("every", [1, 3])
def test_outlines_that_cross_in_some_planes_are_said(shift, every):
    """Even-odd leaves out what two outlines share: neither is a hole of the other."""
    once = ball(10.0, (0, 0, 0))
    again = [c + np.array([shift, 0.0, 0.0]) for c in once[::every]]
    codes = {w.code for w in stack_planes(structure(*once, *again)).warnings}
    assert "hollow-outline" in codes


def test_a_touch_in_one_plane_is_not_said():
    once = ball(10.0, (0, 0, 0))
    beside = [circle(2.0, once[10][0, 2], (11.8, 0.0))]
    assert "hollow-outline" not in {w.code for w in stack_planes(structure(*once, *beside)).warnings}


def eight(z):
    """Two lobes drawn in one line that crosses itself, one this way round, one that."""
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    x = np.where(np.sin(t) < 0, 6.0, 10.0) * np.sin(t)
    return np.column_stack([x, 7.5 * np.sin(2 * t), np.full(400, z)])


def round_twice(z):
    t = np.linspace(0, 4 * np.pi, 400, endpoint=False)
    return np.column_stack([(10 + 0.1 * np.sin(t / 2)) * np.cos(t), 10 * np.sin(t), np.full(400, z)])


def keyhole(z):
    """A ring drawn in one line, through a channel: how many systems write holes."""
    outer, inner = circle(10.0, z), circle(5.0, z)[::-1]
    return np.concatenate([outer, outer[:1], np.roll(inner, 1, axis=0), inner[-1:]])


@pytest.mark.parametrize("outline", [eight, round_twice])
def test_outlines_that_cross_themselves_are_said(outline):
    (said,) = [w for w in stack_planes(structure(*map(outline, range(-5, 6)))).warnings if w.code == "crossed-outline"]
    assert said.code.withholds_class
    spared = [circle(10.0, z) for z in range(-5, 60)]
    assert "crossed-outline" not in {w.code for w in stack_planes(structure(eight(60.0), *spared)).warnings}


def even_eight(z):
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    return np.column_stack([10 * np.sin(t), 7.5 * np.sin(2 * t), np.full(400, z)])


def test_loops_that_cancel_one_another_are_outlines_all_the_same():
    stack = stack_planes(structure(*map(even_eight, range(-5, 6))))
    assert [w.code for w in stack.warnings] == ["crossed-outline"]
    assert stack.volume_mm3 == pytest.approx(200 * 11, rel=0.01)


def test_outlines_that_run_round_exactly_twice_are_refused():
    twice = [np.concatenate([c, c]) for c in ball(10.0, (0, 0, 0))]
    with pytest.raises(GeometryError, match="traced twice"):
        stack_planes(structure(*twice))


@pytest.mark.parametrize("tip", [[(40.0, 3.0)], [(20.0, 1.0), (40.0, 3.0), (20.0, 1.0)], [(40.0, 3.0), (40.0, 3.0)]])
def test_a_spike_without_width_changes_nothing(tip):
    """Out, and back the way that it came, also with points on that way."""
    outlines = ball(5.0, (0, 0, 0))
    spiked = [np.concatenate([c[:4], [[*t, c[0, 2]] for t in tip], [c[3]], c[4:]]) for c in outlines]
    for outline, one in zip(outlines, spiked, strict=True):
        np.testing.assert_allclose(without_spikes(one), outline)
        assert without_spikes(outline) is outline


def test_an_outline_that_runs_there_and_back_is_left_out_and_said():
    outlines = ball(10.0, (0, 0, 0))
    half = outlines[7][:60]
    (gone,) = stack_planes(structure(*outlines, np.concatenate([half, half[::-1]]))).warnings
    assert (gone.code, "1 contour(s)" in gone.text) == ("flat-outline", True)


@pytest.mark.parametrize("lost", [2, 3, 4, 5, 7])
def test_planes_that_are_lost_in_the_middle_are_said(lost):
    outlines = ball(12.0, (0, 0, 0))
    first = len(outlines) // 2 - lost // 2
    codes = {w.code for w in stack_planes(structure(*outlines[:first], *outlines[first + lost :])).warnings}
    assert "contour-gap" in codes


def test_metastases_over_one_another_far_apart_have_no_gap():
    codes = {w.code for w in stack_planes(structure(*ball(4.0, (0, 0, -20)), *ball(4.0, (0, 0, 20)))).warnings}
    assert codes == {"separate-parts"}


def test_a_hole_behind_a_channel_does_not_cross():
    stack = stack_planes(structure(*map(keyhole, range(-5, 6))))
    assert stack.warnings == ()
    assert stack.volume_mm3 == pytest.approx(np.pi * 75 * 11, rel=0.01)


def test_outlines_of_thousands_of_points_are_compared():
    one, other = circle(10.0, 0.0, points=6000)[:, :2], circle(10.0, 0.0, points=5000)[:, :2]
    assert without_repeats([one, other])[1] == 1
    assert crosses([one, other + np.array([3.0, 0.0])])
    assert not crosses([one, other * 0.5])


@pytest.mark.parametrize("higher", [0.2, 0.3, 0.4, 0.5])
def test_outlines_again_a_little_higher_leave_no_gaps(higher):
    once = ball(10.0, (0, 0, 0))
    stack = stack_planes(structure(*once, *(c + np.array([0.0, 0.0, higher]) for c in once)))
    assert stack.volume_mm3 == pytest.approx(stack_planes(structure(*once)).volume_mm3, rel=0.02)
    assert "contour-gap" not in {w.code for w in stack.warnings}


def test_points_inside_follow_the_even_odd_rule():
    ring = [circle(10.0, 0.0)[:, :2], circle(5.0, 0.0)[:, :2]]
    points = np.random.default_rng(0).uniform(-12, 12, (2000, 2))
    radius = np.linalg.norm(points, axis=1)
    sure = np.abs(radius[:, None] - [5.0, 10.0]).min(axis=1) > 0.1
    np.testing.assert_array_equal(points_inside(ring, points)[sure], ((radius > 5) & (radius < 10))[sure])


def square(size, x=0.0, y=0.0):
    return np.asarray([[0, 0], [size, 0], [size, size], [0, size]], dtype=float) + np.asarray([x, y])


def test_of_three_outlines_the_repeated_one_is_left_out():
    polygons = [square(10.0), square(10.0) + 0.2, square(4.0, 20.0)]
    kept, repeats = without_repeats(polygons)
    assert repeats == 1
    assert [len(p) for p in kept] == [4, 4]
    assert kept[1] is polygons[2]


def test_outlines_whose_boxes_alone_overlap_are_not_connected():
    """A square in the notch of an L, in two planes: two parts of two outlines each."""
    ell = np.asarray([[0, 0], [20, 0], [20, 4], [4, 4], [4, 20], [0, 20]], dtype=float)
    planes = [[ell, square(12.0, 7.0, 7.0)], [ell, square(12.0, 7.0, 7.0)]]
    parts = connected(planes, np.asarray([0.0, 1.0]), step_mm=1.0)
    assert sorted(sorted(part) for part in parts) == [[(0, 0), (1, 0)], [(0, 1), (1, 1)]]


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_distance_from_an_outline_is_that_from_its_nearest_edge(scale):
    outline = square(4.0) * scale
    points = np.asarray([[2.0, -1.0], [1.0, 1.5], [6.0, 2.0], [-3.0, -4.0], [5.0, 8.0]]) * scale
    expected = np.asarray([1.0, 1.0, 2.0, 5.0, 17**0.5]) * scale
    np.testing.assert_allclose(_distance(points, outline), expected)


def box_of(polygon):
    return np.concatenate([polygon.min(axis=0), polygon.max(axis=0)])


def corner(side):
    """An L whose arms are a tenth as wide as its box; the box overlaps much that the L does not."""
    thin = side / 10
    return np.asarray([[0, 0], [side, 0], [side, thin], [thin, thin], [thin, side], [0, side]], dtype=float)


@pytest.mark.parametrize(("at", "single", "over"), [(6.0, False, False), (0.5, False, True), (8.8, True, False)])
def test_outlines_overlap_and_not_only_their_boxes(at, single, over):
    """Of single outlines, boxes that overlap by a fifth of the smaller one count without a look at the outlines."""
    first, second = corner(10.0), square(3.0, at, at)
    assert _over(first, second, box_of(first), box_of(second), single) is over


def test_single_outlines_whose_boxes_overlap_by_a_fifth_count_as_overlapping():
    first, second = corner(10.0), square(3.0, 6.0, 6.0)
    assert _over(first, second, box_of(first), box_of(second), True)


@pytest.mark.parametrize("count", [4, 40, 4000])
def test_the_edge_that_closes_an_outline_is_looked_at_too(count):
    """A spike crosses the last edge alone, whether the edges are compared at once or in blocks."""
    side = np.column_stack([np.linspace(0, 10, count), np.zeros(count)])
    outline = np.concatenate([side, [[10.0, 10.0], [0.0, 10.0]]])
    spike = np.asarray([[-1.0, 5.0], [1.0, 5.2], [-1.0, 5.4]])
    assert _cross(outline, spike)
    assert _cross(spike, outline)
    assert not _cross(outline, spike + np.asarray([4.0, 0.0]))


def test_edges_in_the_middle_of_a_long_outline_are_looked_at(monkeypatch):
    monkeypatch.setattr("RTResponseCAMLib.imaging.parts.MAX_PAIRS", 12)
    angle = np.linspace(0, 2 * np.pi, 41)[:-1]
    ring = 10 * np.column_stack([np.cos(angle), np.sin(angle)])
    for direction in angle + 0.04:
        tip = np.asarray([np.cos(direction), np.sin(direction)])
        spike = np.asarray([8 * tip, 12 * tip, 8 * tip + 0.1 * tip[::-1] * [1, -1]])
        assert _cross(ring, spike)


def test_distances_from_short_edges_are_those_of_the_edge():
    outline = square(0.2)
    np.testing.assert_allclose(_distance(np.asarray([[0.1, -1.0], [0.2, 0.1], [0.1, 0.05]]), outline), [1, 0, 0.05])
