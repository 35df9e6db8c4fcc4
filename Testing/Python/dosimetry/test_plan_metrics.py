"""Plan indices of balls in doses whose isodose volumes are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from bodies import ball, cc
from scipy.integrate import quad
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from RTResponseCAMLib.dosimetry import isodose
from RTResponseCAMLib.dosimetry.plan_metrics import COARSE, _distance_mm, _nearest, nyumets_row, plan_metrics
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.volume_sampling import volume_samples
from RTResponseCAMLib.study import Dose, Prescription

GRID = Grid((61, 41, 41), (1.0,) * 3, (-29.87, -19.87, -19.87))


def peaked(center, radius, peak=40.0):
    return peak * 2 ** -(((GRID.points() - center) / radius) ** 2).sum(-1)


def placed(radius, center, number=1):
    return ball(radius, center, number=number)


def dose_of(*parts) -> Dose:
    return Dose(GRID.image(np.sum(parts, axis=0).astype(np.float32)), ())


def test_indices_of_one_ball_are_those_of_the_formulas():
    center, radius = np.asarray([0.2, 0.1, -0.3]), 6.0
    target = placed(radius, center)
    (found,) = plan_metrics(
        [target], dose_of(peaked(center, radius * 1.1)), prescription=Prescription(20.0, 50.0, 1), interpolation="cubic"
    )
    volume, piv = cc(radius), cc(radius * 1.1)

    def within(r_mm):
        return quad(lambda x: 4 * np.pi * x * x * 40 * 2 ** -((x / radius / 1.1) ** 2) / 1000, 0, r_mm)[0]

    assert found.piv_cc == pytest.approx(piv, rel=0.01)
    assert found.coverage == pytest.approx(1, abs=0.002)
    assert found.selectivity == pytest.approx(volume / piv, rel=0.01)
    assert found.paddick_ci == pytest.approx(volume / piv, rel=0.01)
    assert found.gradient_index == pytest.approx(2**1.5, rel=0.01)
    assert found.efficiency_index == pytest.approx(within(radius) / within(radius * 1.1 * 2**0.5), rel=0.01)
    assert found.risk_cc == pytest.approx(piv * np.log2(40 / 12) ** 1.5, rel=0.01)
    assert found.isodose_percent == pytest.approx(50, rel=0.01)
    assert (found.nearest_mm, found.nearest, found.warnings) == (None, "", ())
    row = nyumets_row(found)
    assert (row["pci"], row["gri"], row["beam_on_time"]) == (found.paddick_ci, found.gradient_index, None)
    assert list(row) == [
        "target_working_label", "target_volume", "planned_isodose_volume", "gtvpiv", "pci", "gri", "margin_dose",
        "percent_isodose", "volume_12gy", "max_dose", "beam_on_time",
    ]  # fmt: skip


def test_half_covered_targets_lose_conformity_twice():
    """A dose that lies beside the target by its radius: the lens of two equal balls a radius apart is 5/16 of one."""
    center, radius = np.asarray([0.0, 0.0, 0.0]), 6.0
    aside = center + np.asarray([radius, 0, 0])
    (found,) = plan_metrics(
        [placed(radius, center)],
        dose_of(peaked(aside, radius)),
        prescription=Prescription(20.0, None, 1),
        interpolation="cubic",
    )
    assert found.coverage == pytest.approx(5 / 16, abs=0.01)
    assert found.paddick_ci == pytest.approx((5 / 16) ** 2, abs=0.01)


def test_targets_share_the_dose_by_nearness_and_are_told_when_isodoses_meet():
    one, two = np.asarray([-14.0, 0, 0]), np.asarray([14.0, 0, 0])
    targets = [placed(5.0, one, 1), placed(4.0, two, 2)]
    apart = plan_metrics(targets, dose_of(peaked(one, 5.0), peaked(two, 4.0)), prescription=Prescription(20.0, 50.0, 3))
    assert [round(m.piv_cc / m.volume_cc, 1) for m in apart] == [1.0, 1.0]
    assert [m.nearest_mm for m in apart] == [pytest.approx(19, abs=0.5)] * 2
    assert [m.nearest for m in apart] == ["ball 2", "ball 1"]
    assert not [c for m in apart for c in m.warnings]
    assert {m.risk_gy for m in apart} == {20.0}
    near = np.asarray([-2.5, 0, 0])
    met = plan_metrics(
        [targets[0], placed(4.0, near, 2)],
        dose_of(peaked(one, 5.0), peaked(near, 4.0)),
        prescription=Prescription(20.0, 50.0, 1),
    )
    assert {c.code for m in met for c in m.warnings} == {"isodoses-meet"}
    whole = peaked(one, 5.0) + peaked(near, 4.0)
    assert sum(m.risk_cc for m in met) == pytest.approx((whole >= 12).sum() * GRID.voxel_cc, rel=0.03)


@pytest.mark.parametrize("gap", [0.0, 0.3, 4.0])
def test_the_distance_of_two_point_clouds_is_that_of_their_closest_pair(gap):
    """The closest pair is planted between points that the coarse bound does not contain."""
    rng = np.random.default_rng(7)
    one, two = rng.uniform(0, 10, (3000, 3)), rng.uniform((20, 0, 0), (30, 10, 10), (2000, 3))
    two[COARSE + 1] = one[17] + [gap, 0, 0]
    nearest = min(gap, float(cdist(one, two).min()))
    assert _distance_mm(cKDTree(one), two) == pytest.approx(nearest, abs=1e-12)
    assert _distance_mm(cKDTree(two), one) == pytest.approx(nearest, abs=1e-12)


def test_the_nearest_target_is_the_first_of_those_that_touch():
    balls = [placed(5.0, np.asarray([x, 0.0, 0.0]), n + 1) for n, x in enumerate((-20.0, -12.0, 0.0, 9.9))]
    samples = [volume_samples(b) for b in balls]
    assert [_nearest(n, samples) for n in (2, 3)] == [(3, 0.0), (2, 0.0)]
    index, distance = _nearest(1, samples)
    assert (index, distance) == (0, 0.0)
    index, distance = _nearest(0, [samples[0], samples[3], samples[2]])
    assert index == 2
    assert distance == pytest.approx(10.0, abs=0.3)
    assert _nearest(0, samples[:1]) == (None, None)


def test_targets_have_their_own_prescriptions():
    one, two = np.asarray([-14.0, 0, 0]), np.asarray([14.0, 0, 0])
    targets = [placed(5.0, one, 1), placed(4.0, two, 2)]
    found = plan_metrics(
        targets,
        dose_of(peaked(one, 5.0), peaked(two, 4.0, 36.0)),
        prescription=Prescription(20.0, None, 1, {2: 18.0}),
        interpolation="cubic",
    )
    assert [m.prescription_gy for m in found] == [20.0, 18.0]
    assert [m.piv_cc / m.volume_cc for m in found] == [pytest.approx(1, abs=0.02)] * 2


def test_a_dose_grid_too_small_and_a_target_beyond_it_are_said():
    center = np.asarray([27.0, 0, 0])
    (cut,) = plan_metrics([placed(6.0, center)], dose_of(peaked(center, 6.0)), prescription=Prescription(20.0, None, 1))
    assert {c.code for c in cut.warnings} == {"isodose-truncated", "target-outside-dose"}
    far = plan_metrics(
        [placed(6.0, [90.0, 0, 0])], dose_of(peaked(np.zeros(3), 6.0)), prescription=Prescription(20.0, None, 2)
    )[0]
    assert (far.coverage, far.selectivity, far.paddick_ci, far.risk_gy) == (0.0, 0.0, 0.0, None)


@pytest.mark.parametrize("volume_cc", [0.1, 0.3])
def test_isodose_volumes_of_small_targets_are_within_one_percent(volume_cc):
    center, radius = np.asarray([0.2, 0.1, -0.3]), (volume_cc / cc(1)) ** (1 / 3)
    (found,) = plan_metrics(
        [placed(radius, center)],
        dose_of(peaked(center, radius)),
        prescription=Prescription(20, None, 1),
        interpolation="cubic",
    )
    assert found.piv_cc == pytest.approx(volume_cc, rel=0.01)
    assert found.gradient_index == pytest.approx(2**1.5, rel=0.01)


def test_targets_in_separate_isodoses_are_measured_as_if_alone():
    """Regions that do not touch are worked out one by one; a small one on finer voxels."""
    one, two = np.asarray([-18.0, 0, 0]), np.asarray([18.0, 0, 0])
    targets = [placed(4.0, one, 1), placed(6.0, two, 2)]
    parts = [np.where(peaked(o, r) > 0.5, peaked(o, r), 0) for o, r in ((one, 4.0), (two, 6.0))]
    together = plan_metrics(targets, dose_of(*parts), prescription=Prescription(20.0, None, 1))
    for target, part, found in zip(targets, parts, together, strict=True):
        (alone,) = plan_metrics([target], dose_of(part), prescription=Prescription(20.0, None, 1))
        assert (found.piv_cc, found.risk_cc) == pytest.approx((alone.piv_cc, alone.risk_cc), rel=1e-6)
        assert found.gradient_index == pytest.approx(alone.gradient_index, rel=1e-6)


def test_no_dose_at_all_leaves_indices_undefined():
    (found,) = plan_metrics(
        [placed(6.0, np.zeros(3))], dose_of(np.zeros(GRID.shape)), prescription=Prescription(20.0, None, 1)
    )
    assert (found.piv_cc, found.coverage, found.paddick_ci, found.gradient_index) == (0.0, 0.0, None, None)
    assert found.isodose_percent is None


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_blocks_find_the_nearest_target_as_if_each_voxel_were_asked(share):
    """The whole box, and a body of scattered voxels: where targets meet, and at a rim that is no whole block."""
    rng = np.random.default_rng(3)
    points = rng.uniform(-30, 30, (12, 3)).repeat(50, axis=0) + rng.normal(0, 3, (600, 3))
    number = np.arange(12, dtype=np.int16).repeat(50)
    nearest = cKDTree(points)
    kept = (GRID.points() ** 2).sum(-1) < share * 3000
    expected = number[nearest.query(GRID.points_of(kept))[1]]
    found = isodose._nearest_samples(kept, GRID, nearest, number)
    assert np.mean(found[kept] == expected) > 0.999
    assert (found[~kept] == -1).all()


def test_isodoses_that_meet_at_half_the_prescription_alone_are_named_so():
    one, two = np.asarray([-8.0, 0, 0]), np.asarray([8.0, 0, 0])
    apart = dose_of(np.maximum(peaked(one, 5.0), peaked(two, 5.0)))
    alone = plan_metrics([placed(5.0, one), placed(5.0, two, 2)], apart, prescription=Prescription(20.0, 50.0, 1))
    assert [c.code for m in alone for c in m.warnings] == []
    near = np.asarray([4.5, 0, 0])
    joined = dose_of(np.maximum(peaked(one, 5.0), peaked(near, 5.0)))
    found = plan_metrics([placed(5.0, one), placed(5.0, near, 2)], joined, prescription=Prescription(20.0, 50.0, 1))
    for metrics in found:
        (said,) = metrics.warnings
        assert said.code == "isodoses-meet"
        assert "isodose of half the prescription" in said.text


def test_the_share_of_a_target_beyond_the_grid_is_said_in_percent():
    edge = float(GRID.points()[0, 0, -1, 0]) + 0.5  # half a voxel beyond the last center
    (found,) = plan_metrics(
        [placed(6.0, [edge, 0, 0])], dose_of(peaked(np.asarray([edge, 0, 0]), 6.0)),
        prescription=Prescription(20.0, None, 1),
    )  # fmt: skip
    (said,) = (c.text for c in found.warnings if c.code == "target-outside-dose")
    share = float(said.split(" %")[0].split()[-1])
    assert share == pytest.approx(50, abs=6)
    (far,) = plan_metrics(
        [placed(3.0, [90.0, 0, 0])], dose_of(peaked(np.zeros(3), 6.0)), prescription=Prescription(20.0)
    )
    assert any("100.0 % of the target" in c.text for c in far.warnings)


@pytest.mark.parametrize(("fractions", "risk_gy"), [(1, 12.0), (3, 20.0), (5, 24.0), (2, None), (None, None)])
def test_the_dose_at_risk_is_that_of_the_fractions(fractions, risk_gy):
    """HyTEC: V12 of one fraction, V20 of three, V24 of five; of others none is known."""
    center, radius = np.zeros(3), 6.0
    (found,) = plan_metrics(
        [placed(radius, center)], dose_of(peaked(center, radius)), prescription=Prescription(20.0, 50.0, fractions),
        interpolation="cubic",
    )  # fmt: skip
    assert found.risk_gy == risk_gy
    if risk_gy is None:
        assert found.risk_cc is None
    else:
        assert found.risk_cc == pytest.approx(cc(radius) * np.log2(40 / risk_gy) ** 1.5, rel=0.01)
    if fractions == 1:
        assert nyumets_row(found)["volume_12gy"] == found.risk_cc
    elif fractions:
        assert nyumets_row(found)["volume_12gy"] is None


def test_progress_goes_up_to_the_end_and_names_each_target_once():
    heard = []
    centers = [np.asarray([-14.0, 0, 0]), np.asarray([14.0, 0, 0])]
    targets = [placed(4.0, c, n) for n, c in enumerate(centers, start=1)]
    plan_metrics(
        targets, dose_of(*(peaked(c, 4.0) for c in centers)), prescription=Prescription(20.0, 50.0, 1),
        progress=lambda fraction, text="": heard.append((fraction, text)),
    )  # fmt: skip
    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1
    indices = [text for _, text in heard if text.startswith("indices of target")]
    assert indices == ["indices of target 1 of 2", "indices of target 2 of 2"]
    assert [text for _, text in heard if text.startswith("target")] == ["target 1 of 2", "target 2 of 2"]


def test_isodoses_that_meet_at_half_of_an_odd_prescription_are_found():
    one, near = np.asarray([-8.0, 0, 0]), np.asarray([4.5, 0, 0])
    joined = dose_of(np.maximum(peaked(one, 5.0), peaked(near, 5.0)))
    found = plan_metrics([placed(5.0, one), placed(5.0, near, 2)], joined, prescription=Prescription(21.0, 50.0, 1))
    assert [[c.code for c in m.warnings] for m in found] == [["isodoses-meet"]] * 2


def test_a_dose_below_every_level_gives_an_empty_field():
    target = volume_samples(placed(5.0, np.zeros(3)))
    field = isodose.isodose_field(
        dose_of(peaked(np.zeros(3), 5.0, 10.0)), [target], levels_gy=[20.0], interpolation="linear"
    )
    assert len(field.dose) == len(field.owner) == 0


def test_regions_of_the_dose_that_overlap_are_one_box_and_others_are_their_own():
    dose = dose_of(peaked(np.asarray([-20.0, 0, 0]), 3.0), peaked(np.asarray([-11.0, 3.0, 0]), 3.0))
    assert len(list(isodose._regions(dose, 25.0))) == 1
    dose = dose_of(peaked(np.asarray([-20.0, 0, 0]), 3.0), peaked(np.asarray([15.0, 3.0, 0]), 3.0))
    boxes = list(isodose._regions(dose, 25.0))
    assert len(boxes) == 2
    above = sitk.GetArrayViewFromImage(dose.image) >= 25.0
    assert sum(int(above[box].sum()) for box in boxes) == int(above.sum())
