"""Regions of a follow-up are given to the lesions of the plan: kept, split, merged, vanished, new."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bodies import ball, cc

from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.response.matching import match_lesions, split_islands
from RTResponseCAMLib.response.volume import volume_interval
from RTResponseCAMLib.study import Lesion


def lesion(number, radius, center):
    return Lesion(f"L{number}", ball(radius, center, number=number))


PLAN = (lesion(1, 8.0, (0, 0, 0)), lesion(2, 5.0, (30, 0, 0)), lesion(3, 4.0, (0, 40, 0)), lesion(4, 4.0, (11, 40, 0)))


def words(regions):
    matches, new = match_lesions(PLAN, tuple(regions))
    return {m.lesion: (m.status, m.regions) for m in matches}, new


def test_kept_split_merged_vanished_and_new_are_named():
    merged = ball(9.0, (5.5, 40, 0), number=9)
    regions = [ball(4.0, (-4, 0, 0)), ball(3.0, (5, 0, 0)), merged, ball(4.0, (60, 60, 0))]
    found, new = words(regions)
    assert found["L1"] == ("split", (0, 1))
    assert found["L2"] == ("vanished", ())
    assert found["L3"] == ("merged", (2,))
    assert found["L4"] == ("merged", (2,))
    assert new == [3]


def test_a_shrunk_lesion_off_by_the_registration_error_is_the_same():
    found, new = words([ball(1.5, (30 + 5.5, 0, 0))])
    assert found["L2"] == ("matched", (0,))
    assert new == []


def test_a_neighbor_is_another_lesion():
    found, new = words([ball(3.0, (30, 14, 0))])
    assert found["L2"][0] == "vanished"
    assert new == [0]


def test_islands_are_split_with_their_holes():
    one, two, hole = ball(9.0, (0, 0, 0)), ball(4.0, (25, 3, 2)), ball(4.0, (0, 0, 0))
    both = replace(one, contours=one.contours + two.contours + hole.contours)
    parts = split_islands(both)
    assert [p.name for p in parts] == ["ball 1/1", "ball 1/2"]
    assert len(parts[0].contours) == len(one.contours) + len(hole.contours)
    volumes = [contour_volume_cc(p) for p in parts]
    np.testing.assert_allclose(
        volumes, [contour_volume_cc(one) - contour_volume_cc(hole), contour_volume_cc(two)], rtol=0.01
    )


def test_one_island_stays_itself():
    whole = ball(6.0)
    assert split_islands(whole) == (whole,)


def test_a_lost_slice_does_not_cut_a_lesion():
    whole = ball(6.0)
    assert len(split_islands(replace(whole, contours=whole.contours[:5] + whole.contours[6:]))) == 1


def test_near_lesions_that_did_not_change_have_not_merged():
    plan = (lesion(1, 5.0, (0, 0, 0)), lesion(2, 1.25, (7.0, 0, 0)))
    matches, _ = match_lesions(plan, (ball(5.0, (0.3, 0, 0)), ball(1.25, (7.3, 0, 0))))
    assert [(m.status, m.regions) for m in matches] == [("matched", (0,)), ("matched", (1,))]


def test_what_is_tied_by_shared_regions_is_measured_together():
    """A region over L1 and half of L2, and the rest of L2: neither has a volume of its own."""
    plan = (lesion(1, 6.0, (0, 0, 0)), lesion(2, 6.0, (12.5, 0, 0)), lesion(3, 4.0, (40, 0, 0)))
    regions = (ball(7.0, (4.0, 0, 0)), ball(3.0, (15.0, 0, 0)), ball(4.0, (40, 0, 0)))
    matches, new = match_lesions(plan, regions)
    assert [(m.status, m.regions, m.merged_with) for m in matches] == [
        ("merged", (0, 1), ("L2",)), ("merged", (0, 1), ("L1",)), ("matched", (2,), ()),
    ]  # fmt: skip
    before = {x.id: volume_interval(x.structure) for x in plan}
    after = [volume_interval(r) for r in regions]
    base, now = matches[0].volumes(before, after)
    assert base.cc == pytest.approx(2 * cc(6.0), rel=0.01)
    assert now.cc == pytest.approx(cc(7.0) + cc(3.0), rel=0.01)
    assert matches[1].volumes(before, after) == (base, now)
    assert new == []


def test_a_chain_of_regions_ties_all_its_lesions():
    plan = tuple(lesion(n + 1, 4.0, (9.0 * n, 0, 0)) for n in range(3))
    matches, _ = match_lesions(plan, (ball(4.0, (4.5, 0, 0)), ball(4.0, (13.5, 0, 0))))
    assert [m.merged_with for m in matches] == [("L2", "L3"), ("L1", "L3"), ("L1", "L2")]
    assert {m.regions for m in matches} == {(0, 1)}


@pytest.mark.parametrize(("apart_mm", "word"), [(8.8, "matched"), (10.0, "vanished")])
def test_a_touch_is_no_match(apart_mm, word):
    """Balls of 5 mm: grown by 2 mm, the one holds 16 % of the other at 8.8 mm, and 7 % at 10 mm."""
    found, new = words([ball(5.0, (30 + apart_mm, 0, 0))])
    assert found["L2"][0] == word
    assert new == ([] if word == "matched" else [0])


def test_a_lost_slice_of_thick_ones_does_not_cut_a_lesion():
    whole = ball(9.0, step=3.0)
    assert len(split_islands(replace(whole, contours=whole.contours[:3] + whole.contours[4:]))) == 1


def test_islands_come_by_volume():
    flat, tall = ball(8.0, (0, 0, 0), scale=(1, 1, 0.2)), ball(6.0, (30, 0, 0))
    many = replace(flat, contours=tuple(np.repeat(c, 20, axis=0) for c in flat.contours) + tall.contours)
    assert [round(contour_volume_cc(p), 1) for p in split_islands(many)] == [0.9, 0.4]


# Along the planes' normal a gap of 2.8 mm may be missing planes.
@pytest.mark.parametrize(
    ("axis", "gap_mm"), [(axis, gap_mm) for axis in (0, 1, 2) for gap_mm in (2.8, 4.0, 9.0) if axis < 2 or gap_mm >= 4]
)
def test_islands_keep_their_own_contours_along_every_axis(axis, gap_mm):
    """A wide gap in the planes needs more: a missing plane does not split a lesion."""
    center = np.asarray([3.0, -5.0, 7.0])
    aside = center.copy()
    aside[axis] += 9.0 + gap_mm
    first, second = ball(5.0, center), ball(4.0, aside)
    parts = split_islands(replace(first, contours=second.contours + first.contours))
    assert [len(part.contours) for part in parts] == [len(first.contours), len(second.contours)]
    for part, body in zip(parts, (first, second), strict=True):
        np.testing.assert_allclose(np.concatenate(part.contours), np.concatenate(body.contours))


def test_three_islands_are_three():
    bodies = [ball(5.0, (0, 0, 0)), ball(4.0, (20, 0, 0)), ball(3.0, (0, 25, 3))]
    parts = split_islands(replace(bodies[0], contours=tuple(c for b in bodies for c in b.contours)))
    assert [p.name for p in parts] == ["ball 1/1", "ball 1/2", "ball 1/3"]
    np.testing.assert_allclose([contour_volume_cc(p) for p in parts], [contour_volume_cc(b) for b in bodies], rtol=1e-6)


def test_a_structure_of_one_part_stays_as_it_is():
    body = ball(5.0, (0, 0, 0))
    assert split_islands(body) == (body,)
