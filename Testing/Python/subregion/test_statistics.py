"""Statistics of a subregion against analytic doses, and the null of map and dose against what is radial in both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.study import Dose
from RTResponseCAMLib.subregion.association import LEAST_VOXELS, _orthogonal, map_and_dose
from RTResponseCAMLib.subregion.boost import PAINTABLE_CC, R50_MM, _shots, simulated_boost
from RTResponseCAMLib.subregion.select import Selection
from RTResponseCAMLib.subregion.statistics import COLD_PERCENT, measure
from RTResponseCAMLib.subregion.voxels import LesionVoxels

GRID = Grid((41, 41, 41), (1.0, 1.0, 1.0), (-20.0, -20.0, -20.0))
POINTS = GRID.points()
RADIUS = np.linalg.norm(POINTS, axis=-1)
BALL = RADIUS < 8
RADIAL = 40 * 2 ** -((np.linalg.norm(POINTS - [0.31, -0.23, 0.12], axis=-1) / 8) ** 2)  # off the lattice


def lesion(evidence, dose=RADIAL):
    values = None if dose is None else dose.astype(np.float32)
    return LesionVoxels(GRID, BALL, np.where(BALL, evidence, 0).astype(np.float32), values)


def given(dose):
    return Dose(GRID.image(dose.astype(np.float32)), ())


def test_doses_of_subregion_and_rest_are_those_of_their_voxels():
    ramp = 20 + POINTS[..., 0]
    mask, found = measure(lesion(POINTS[..., 0], ramp), Selection("value", 1.5), dose=given(ramp), prescription_gy=20.0)
    assert (mask == (BALL & (POINTS[..., 0] > 1.5))).all()
    assert found.volume_cc == pytest.approx(mask.sum() / 1000)
    assert found.share == pytest.approx(mask.sum() / BALL.sum())
    assert found.subregion.mean_gy == pytest.approx(ramp[mask].mean(), rel=1e-3)
    assert found.rest.mean_gy == pytest.approx(ramp[BALL & ~mask].mean(), rel=1e-3)
    assert found.subregion.dose_to_percent(98) == pytest.approx(21.5, abs=0.2)  # the face lies at x = 1.5
    assert found.below_prescription == pytest.approx(0.0)
    assert found.cold_share == 0.0
    _, cold = measure(lesion(-POINTS[..., 0], ramp), Selection("value", 1.5), dose=given(ramp), prescription_gy=20.0)
    assert cold.cold_share == 1.0
    assert cold.below_prescription == pytest.approx(1.0)
    half, part = measure(lesion(POINTS[..., 1], ramp), Selection("value", 1.5), dose=given(ramp), prescription_gy=20.0)
    coldest = BALL & (ramp <= np.percentile(ramp[BALL], COLD_PERCENT))
    assert part.cold_share == pytest.approx((coldest & half).sum() / coldest.sum())
    assert 0.2 < part.cold_share < 0.8


def test_robustness_names_the_range_of_the_figures():
    _, found = measure(
        lesion(POINTS[..., 0], 20 + POINTS[..., 0]), Selection("value", 1.5), dose=given(RADIAL), prescription_gy=None
    )
    low, high = found.shifts.volume_cc
    assert low < found.volume_cc < high
    assert high - low == pytest.approx(2 * np.pi * 62 / 1000, rel=0.25)  # two planes' worth of the ball
    assert found.below_prescription is None
    assert 0.7 < found.shifts.dice < 1
    assert found.thresholds.volume_cc[0] < found.volume_cc < found.thresholds.volume_cc[1]
    speck = np.where((RADIUS < 1.1), 1.0, 0.0)
    _, tiny = measure(lesion(speck), Selection("value", 0.5), dose=given(RADIAL), prescription_gy=None)
    assert {"smaller-than-shot"} <= {c.code for c in tiny.warnings}


def test_empty_single_and_uncovered_subregions_are_said():
    _, none = measure(lesion(RADIUS), Selection("value", 99.0), dose=given(RADIAL), prescription_gy=20.0)
    assert "empty-subregion" in {c.code for c in none.warnings}
    assert (none.volume_cc, none.subregion, none.cold_share) == (0.0, None, 0.0)
    _, one = measure(
        lesion(np.where(RADIUS < 0.5, 1.0, 0.0)), Selection("value", 0.5), dose=given(RADIAL), prescription_gy=20.0
    )
    assert {"one-voxel", "smaller-than-shot"} <= {c.code for c in one.warnings}
    assert one.volume_cc == pytest.approx(0.001)
    assert one.subregion.mean_gy == pytest.approx(40, rel=0.01)
    _, bare = measure(lesion(RADIUS, None), Selection("value", 4.0), dose=given(RADIAL), prescription_gy=20.0)
    assert "dose-short" in {c.code for c in bare.warnings}
    assert (bare.subregion, bare.association, bare.shifts.mean_gy) == (None, None, None)


def test_what_is_radial_in_both_is_no_association():
    """Map and dose that fall from the same center correlate fully, and mean nothing."""
    smooth = gaussian_filter(np.random.default_rng(3).normal(size=GRID.shape), 3) * 200
    found = map_and_dose(lesion(RADIAL + smooth))
    assert found.rho == pytest.approx(spearmanr((RADIAL + smooth)[BALL], RADIAL[BALL])[0], abs=1e-4)
    assert found.rho > 0.5
    assert abs(found.rho_beyond_radial) < 0.3
    assert found.p > 0.05
    shared, own = (gaussian_filter(np.random.default_rng(n).normal(size=GRID.shape), 2) * 100 for n in (4, 5))
    linked = map_and_dose(lesion(RADIAL + 2 * shared + own, RADIAL + 2 * shared))
    assert linked.rho_beyond_radial > 0.5
    assert linked.p < 0.02


def test_the_association_does_not_depend_on_the_size_of_the_voxels():
    smooth = gaussian_filter(np.random.default_rng(5).normal(size=GRID.shape), 3) * 200
    coarse = Grid(GRID.size, (2.0, 2.0, 2.0), (-40.0, -40.0, -40.0))
    fine = map_and_dose(lesion(RADIAL + smooth), turns=49)
    wide = map_and_dose(replace(lesion(RADIAL + smooth), grid=coarse), turns=49)
    assert (wide.rho, wide.rho_beyond_radial) == pytest.approx((fine.rho, fine.rho_beyond_radial))
    assert wide.p == fine.p


def test_a_depth_that_is_the_same_everywhere_adds_no_column():
    radius = np.linspace(0.1, 1.0, 50)
    assert _orthogonal(radius, np.ones(50)).shape == (50, 4)
    assert _orthogonal(radius, np.cos(9 * radius) + 2).shape == (50, 7)


@pytest.mark.slow
def test_chance_gives_even_p_values():
    """Smooth noise against a dose that is not quite radial: p below a tenth in about a tenth of the lesions."""
    dose = RADIAL + 0.3 * POINTS[..., 1]
    rng = np.random.default_rng(7)
    p = [
        map_and_dose(lesion(gaussian_filter(rng.normal(size=GRID.shape), 2.5), dose), seed=n, turns=99).p
        for n in range(60)
    ]
    assert 1 <= sum(value <= 0.1 for value in p) <= 13  # 99.9 % of binomial draws
    assert 18 <= sum(value <= 0.5 for value in p) <= 43


def test_a_boost_reaches_the_wish_and_names_its_cost():
    dose = 0.5 * RADIAL
    voxels = lesion(POINTS[..., 0], dose)
    part = BALL & (POINTS[..., 0] > 4)
    found = simulated_boost(voxels, part, dose=given(dose), wish_gy=18.0, fractions=1)
    assert found.d98_gy[0] == pytest.approx(np.percentile(dose[part], 2), rel=1e-3)
    assert found.d98_gy[1] >= 18.0 * 0.97
    assert found.risk_gy == 12.0
    assert found.risk_cc[0] == pytest.approx((dose >= 12).sum() / 1000, rel=0.06)
    assert found.risk_cc[1] > found.risk_cc[0]
    assert found.maximum_gy[1] > found.maximum_gy[0]
    assert found.bed10_gy[0] == pytest.approx(found.d98_gy[0] * (1 + found.d98_gy[0] / 10))
    assert "boost-estimate" in {c.code for c in found.warnings}
    idle = simulated_boost(voxels, part, dose=given(dose), wish_gy=0.1, fractions=None)
    assert idle.added_gy == 0
    assert (idle.risk_cc, idle.bed2_gy) == (None, None)
    assert "boost-idle" in {c.code for c in idle.warnings}
    small = simulated_boost(voxels, BALL & (RADIUS < 1.1), dose=given(dose), wish_gy=30.0, fractions=1)
    assert (small.shots, small.collimator_mm) == (1, 4)
    assert small.added_gy == pytest.approx(30 - np.percentile(dose[RADIUS < 1.1], 0), rel=0.1)
    assert "smaller-than-shot" in {c.code for c in small.warnings}
    assert pytest.approx(0.113, abs=0.001) == PAINTABLE_CC
    assert simulated_boost(voxels, np.zeros_like(part), dose=given(dose), wish_gy=18.0, fractions=1) is None
    with pytest.raises(ValueError, match="more than 0"):
        simulated_boost(voxels, part, dose=given(dose), wish_gy=0.0, fractions=1)


@pytest.mark.parametrize(("radius", "stable"), [(6.0, True), (3.0, True), (1.1, False)])
def test_a_subregion_is_unstable_when_a_millimeter_takes_half_of_it(radius, stable):
    """Two of three keep a Dice above one half: only the smallest is named, with that Dice."""
    _, found = measure(
        lesion(np.where(radius > RADIUS, 1.0, 0.0)), Selection("value", 0.6), dose=None, prescription_gy=None
    )
    codes = {w.code: w.text for w in found.warnings}
    assert ("unstable-subregion" not in codes) is stable
    assert (found.shifts.dice >= 0.5) is stable
    if not stable:
        assert f"{found.shifts.dice:.2f}" in codes["unstable-subregion"]


def test_measuring_reports_progress_up_to_its_end_at_most():
    seen = []
    measure(
        lesion(POINTS[..., 0]), Selection("value", 1.5), dose=None, prescription_gy=None,
        progress=lambda fraction, text="": seen.append(fraction),
    )  # fmt: skip
    assert seen == sorted(seen)
    assert 0 <= seen[0] < seen[-1] < 1
    assert len(seen) >= 3


@pytest.mark.parametrize(("radius", "collimator"), [(2.2, 4), (5.2, 8), (17.0, 16)])
def test_the_smallest_collimator_that_reaches_is_taken_and_shots_fall_to_a_half_at_its_radius(radius, collimator):
    grid = Grid((61, 61, 61), (1.0, 1.0, 1.0), (-30.0, -30.0, -30.0))
    distance = np.linalg.norm(grid.points(), axis=-1)
    dose = np.full(grid.shape, 10.0, np.float32)
    voxels = LesionVoxels(grid, distance < 20, np.ones(grid.shape, np.float32), dose)
    found = simulated_boost(voxels, distance < radius, dose=Dose(grid.image(dose), ()), wish_gy=20.0, fractions=1)
    assert found.collimator_mm == collimator
    assert found.d98_gy == (pytest.approx(10.0), pytest.approx(20.0, rel=0.02))
    assert found.maximum_gy[0] == pytest.approx(10.0)
    assert found.maximum_gy[1] == pytest.approx(10.0 + found.added_gy)
    assert R50_MM == {4: 3.0, 8: 5.5, 16: 10.5}  # the documentation states them
    shot = _shots(np.asarray([[R50_MM[collimator], 0.0, 0.0], [0.0, 0.0, 0.0]]), np.zeros((1, 3)), collimator)
    np.testing.assert_allclose(shot, [0.5, 1.0])
    if found.shots == 1:  # the volume of 12 Gy is a ball, whose radius follows from the shot's profile
        reach = R50_MM[collimator] * (found.added_gy / 2 - 1) ** 0.25
        assert found.risk_cc == (0.0, pytest.approx(4 / 3 * np.pi * reach**3 / 1000, rel=0.08))


def test_two_distant_parts_take_two_shots_of_the_small_collimator():
    parts = [np.linalg.norm(POINTS - [x, 0.0, 0.0], axis=-1) < 2.2 for x in (-5.0, 5.0)]
    found = simulated_boost(lesion(POINTS[..., 0]), parts[0] | parts[1], dose=given(RADIAL), wish_gy=45.0, fractions=1)
    assert (found.shots, found.collimator_mm) == (2, 4)


def test_the_range_over_thresholds_is_that_of_the_subregions_of_both():
    ramp = 20 + POINTS[..., 0]
    _, found = measure(lesion(POINTS[..., 0], ramp), Selection("value", 1.5), dose=given(ramp), prescription_gy=None)
    step = 0.25 * float(POINTS[..., 0][BALL].std())
    doses = [ramp[BALL & (POINTS[..., 0] > 1.5 + sign * step)] for sign in (-1, 1)]
    assert found.thresholds.mean_gy == pytest.approx(sorted(d.mean() for d in doses), rel=1e-5)
    assert found.thresholds.d98_gy == pytest.approx(sorted(np.percentile(d, 2) for d in doses), rel=1e-5)
    assert found.thresholds.volume_cc == pytest.approx(sorted(len(d) / 1000 for d in doses))


def test_a_map_that_is_the_dose_but_for_what_is_radial_has_the_least_p_there_is():
    """No rotation is as near: p is one over one more than the rotations, whatever their number."""
    pattern = gaussian_filter(np.random.default_rng(5).standard_normal(GRID.shape), 1.5)
    dose = 20 + 3 * pattern + 0.5 * (8 - RADIUS)
    for turns in (9, 24):
        found = map_and_dose(lesion(pattern, dose), turns=turns)
        assert found.rho_beyond_radial > 0.9
        assert found.p == pytest.approx(1 / (1 + turns))


@pytest.mark.parametrize(("voxels", "given_"), [(LEAST_VOXELS - 1, False), (LEAST_VOXELS, True)])
def test_the_least_number_of_voxels_is_enough(voxels, given_):
    inside = np.zeros(GRID.shape, bool)
    order = np.argsort(RADIUS.ravel(), kind="stable")[:voxels]
    inside.ravel()[order] = True
    values = LesionVoxels(
        GRID, inside, np.where(inside, POINTS[..., 0], 0).astype(np.float32), RADIAL.astype(np.float32)
    )
    assert (map_and_dose(values, turns=9) is not None) is given_


def test_a_constant_dose_has_no_association():
    assert map_and_dose(lesion(POINTS[..., 0], np.full(GRID.shape, 20.0)), turns=9) is None
