"""A selection against what it must hold: thresholds, components, margins, clipping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.subregion.select import Selection, padded, select, subregion_threshold
from RTResponseCAMLib.subregion.voxels import LesionVoxels

GRID = Grid((31, 29, 27), (1.0, 1.0, 1.0), (-15.0, -14.0, -13.0))
POINTS = GRID.points()
BALL = np.linalg.norm(POINTS, axis=-1) < 10


def voxels_of(field, inside=BALL):
    return LesionVoxels(GRID, inside, np.where(inside, field, 0).astype(np.float32), None)


RAMP = voxels_of(POINTS[..., 0] + 0.01 * POINTS[..., 1] + 0.001 * POINTS[..., 2])


def test_methods_cut_where_they_say():
    assert (select(RAMP, Selection("value", 3.0)) == (BALL & (RAMP.evidence > 3))).all()
    upper = select(RAMP, Selection("percentile", 80))
    assert upper.sum() / BALL.sum() == pytest.approx(0.2, abs=0.01)
    for volume in (0.5, 0.001):
        assert select(RAMP, Selection("volume", volume)).sum() == round(volume * 1000)
    assert (select(RAMP, Selection("volume", 50.0)) == BALL).all()
    even = voxels_of(np.ones(GRID.shape))
    assert select(even, Selection("volume", 0.5)).sum() == 500  # of equal voxels as many as were asked for
    two = voxels_of(np.where(POINTS[..., 0] > 4, 5.0, -1.0) + 0.1 * np.sin(POINTS[..., 1]))
    assert (select(two, Selection("otsu")) == (BALL & (POINTS[..., 0] > 4))).all()
    assert -0.9 < subregion_threshold(two, Selection("otsu")) < 4.9


def test_small_and_lesser_components_are_left_out():
    spots = [((-5, 0, 0), 2.6), ((5, 0, 0), 3.6), ((0, 6, 0), 1.6)]
    field = np.sum([np.linalg.norm(POINTS - c, axis=-1) < r for c, r in spots], axis=0)
    lesion = voxels_of(field)
    sizes = [int((np.linalg.norm(POINTS - c, axis=-1) < r).sum()) for c, r in spots]
    assert select(lesion, Selection("value", 0.5)).sum() == sum(sizes)
    assert select(lesion, Selection("value", 0.5, minimum_cc=0.05)).sum() == sizes[0] + sizes[1]
    assert select(lesion, Selection("value", 0.5, largest=1)).sum() == sizes[1]
    assert select(lesion, Selection("value", 0.5, minimum_cc=sizes[0] / 1000)).sum() == sizes[0] + sizes[1]
    assert not select(lesion, Selection("value", 0.5, minimum_cc=1.0)).any()


def test_a_margin_grows_and_shrinks_by_millimeters_and_is_clipped():
    core = voxels_of(np.linalg.norm(POINTS, axis=-1) < 5)
    for margin in (-2.0, 2.0):
        grown = select(core, Selection("value", 0.5, margin_mm=margin))
        assert grown.sum() == pytest.approx(4 / 3 * np.pi * (5 + margin) ** 3, abs=4 * np.pi * (5 + margin) ** 2 * 0.3)
    assert (select(core, Selection("value", 0.5, margin_mm=20)) == BALL).all()
    wide = padded(core, 3.0)
    beyond = select(replace(wide), Selection("value", -0.5, margin_mm=3.0, clip=False))
    assert beyond.sum() == pytest.approx(4 / 3 * np.pi * 13**3, rel=0.08)
    np.testing.assert_allclose(wide.grid.points()[wide.inside], POINTS[BALL], atol=1e-9)


def test_smoothing_takes_away_specks_and_keeps_the_bulk():
    rng = np.random.default_rng(0)
    clean = POINTS[..., 0] > 0
    noisy = voxels_of(np.where(rng.random(GRID.shape) < 0.1, ~clean, clean))
    smooth = select(noisy, Selection("value", 0.5, smooth_mm=1.5))
    truth = BALL & clean
    assert 2 * (smooth & truth).sum() / (smooth.sum() + truth.sum()) > 0.97
    rough = select(noisy, Selection("value", 0.5))
    assert 2 * (rough & truth).sum() / (rough.sum() + truth.sum()) < 0.93


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"method": "middle"}, "percentile"),
        ({"method": "percentile", "value": 120}, "0 to 100"),
        ({"method": "volume", "value": 0}, "more than 0"),
        ({"smooth_mm": -1}, "negative"),
        ({"value": float("nan")}, "finite"),
        ({"method": "volume", "value": float("inf")}, "finite"),
    ],
)
def test_an_impossible_selection_is_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        Selection(**arguments)


def test_what_was_asked_for_can_be_read():
    text = Selection("percentile", 80, smooth_mm=1, minimum_cc=0.1, largest=2, margin_mm=-0.5).as_text()
    for word in ("80th percentile", "1 mm", "0.1 cm3", "2 largest", "-0.5 mm"):
        assert word in text
    assert "clipped" in Selection(clip=False).as_text()


def test_limits_of_a_percentile_are_those_of_percentiles_alone():
    for percent in (0.0, 100.0):
        assert Selection("percentile", percent).value == percent
    for percent in (-0.5, 100.5):
        with pytest.raises(ValueError, match="expected 0 to 100"):
            Selection("percentile", percent)
    assert (
        Selection("otsu", 150.0).value == Selection("value", 150.0).value == Selection("volume", 150.0).value == 150.0
    )


def test_a_box_that_need_not_be_wider_is_the_same():
    assert padded(RAMP, 0.0) is RAMP
    assert padded(RAMP, -2.0) is RAMP
    wider = padded(RAMP, 0.5)
    assert wider.grid.size == tuple(n + 2 for n in GRID.size)
    assert wider.inside.sum() == BALL.sum()
    np.testing.assert_allclose(wider.grid.points()[1, 1, 1], GRID.points()[0, 0, 0])


def test_the_volume_of_the_whole_lesion_takes_every_voxel():
    values = np.arange(27, dtype=np.float32).reshape(3, 3, 3) - 5
    voxels = LesionVoxels(Grid((3, 3, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), np.ones((3, 3, 3), bool), values, None)
    for volume_cc in (0.027, 0.5):
        chosen = Selection("volume", volume_cc)
        assert subregion_threshold(voxels, chosen) < values.min()
        assert select(voxels, chosen).all()
    assert subregion_threshold(voxels, Selection("volume", 0.026)) == values.min()


@pytest.mark.parametrize("margin_mm", [0.0, 0.5, 0.9])
def test_a_small_margin_never_shrinks(margin_mm):
    inside = np.zeros((9, 9, 9), bool)
    inside[2:7, 2:7, 2:7] = True
    voxels = LesionVoxels(Grid((9, 9, 9), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), inside, inside.astype(np.float32), None)
    found = select(voxels, Selection("value", 0.5, margin_mm=margin_mm, clip=False))
    assert (found & inside == inside).all()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0)])
def test_a_wider_box_is_wider_by_the_margin_in_voxels_of_each_axis(spacing):
    inside = np.ones((2, 3, 4), bool)
    voxels = LesionVoxels(Grid((4, 3, 2), spacing, (1.0, 2.0, 3.0)), inside, inside.astype(np.float32), None)
    wide = padded(voxels, 3.0)
    steps = [int(np.ceil(3.0 / s)) for s in spacing]
    assert wide.grid.size == tuple(n + 2 * w for n, w in zip((4, 3, 2), steps, strict=True))
    np.testing.assert_allclose(wide.grid.origin_mm, np.asarray([1.0, 2.0, 3.0]) - np.multiply(steps, spacing))
    assert wide.inside.sum() == inside.sum()


def test_components_just_as_large_as_asked_for_stay_and_smaller_ones_go():
    inside = np.ones((3, 3, 12), bool)
    evidence = np.zeros((3, 3, 12), np.float32)
    evidence[1, 1, 0:3] = evidence[1, 1, 5:9] = 1.0  # three voxels and four
    voxels = LesionVoxels(Grid((12, 3, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), inside, evidence, None)
    for minimum_cc, left in ((0.003, 7), (0.004, 4), (0.005, 0)):
        assert select(voxels, Selection("value", 0.5, minimum_cc=minimum_cc)).sum() == left
