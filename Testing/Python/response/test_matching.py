"""Regions of a follow-up are given to the lesions of the plan: kept, split, merged, vanished, new."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from bodies import ball

from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.response.matching import match_lesions, split_islands
from RTResponseCAMLib.study import Lesion


def lesion(number, radius, centre):
    return Lesion(f"L{number}", ball(radius, centre, number=number))


PLAN = (lesion(1, 8.0, (0, 0, 0)), lesion(2, 5.0, (30, 0, 0)), lesion(3, 4.0, (0, 40, 0)), lesion(4, 4.0, (11, 40, 0)))


def words(regions):
    matches, new = match_lesions(PLAN, tuple(regions))
    return {m.lesion: (m.word, m.regions) for m in matches}, new


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


def test_a_neighbour_is_another_lesion():
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
