"""Dose-volume histograms against fields whose DVH in a ball is known in closed form, and against Eclipse's tables."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import ball, cc

from RTResponseCAMLib.dosimetry.dvh import INTERPOLATIONS, Dvh, dvh, dvhs, table_row
from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.study import Dose, Structure

CENTER = np.asarray([0.3, -0.2, 0.1])


def dose_of(field, half_mm=16.0, step=1.0) -> Dose:
    count = int(2 * half_mm / step) + 1
    grid = Grid((count,) * 3, (step,) * 3, (-half_mm + 0.13,) * 3)
    return Dose(grid.image(field(grid.points() - CENTER).astype(np.float32)), ())


def peaked(radius):
    """40 Gy in the middle, half of it on the surface; what x % of the volume receive lies at (x / 100)^(1/3) radii."""
    return lambda p: 40 * 2 ** -((p / radius) ** 2).sum(-1)


@pytest.mark.parametrize("interpolation", ["cubic", "quintic"])
@pytest.mark.parametrize("volume_cc", [0.1, 0.5, 2.0])
def test_dose_and_volume_figures_of_a_ball_are_within_half_a_percent_by_splines(volume_cc, interpolation):
    radius = (volume_cc / cc(1)) ** (1 / 3)
    found = dvh(ball(radius), dose_of(peaked(radius)), interpolation=interpolation)
    for percent in (98, 95, 50, 2):
        truth = 40 * 2 ** -((percent / 100) ** (2 / 3))
        assert found.dose_to_percent(percent) == pytest.approx(truth, rel=0.005), percent
    for level in (22.0, 28.0):
        truth = 100 * np.log2(40 / level) ** 1.5
        assert found.volume_at_percent(level) == pytest.approx(truth, rel=0.01), level
    assert found.volume_cc == pytest.approx(volume_cc, rel=0.01)


@pytest.mark.parametrize("volume_cc", [2.0, 5.0])
def test_the_middle_of_a_body_is_filled_finely_enough_for_its_hottest_part(volume_cc):
    """With one point for each cell these were off by 0.07 to 0.10 %."""
    radius = (volume_cc / cc(1)) ** (1 / 3)
    found = dvh(ball(radius), dose_of(peaked(radius)), interpolation="quintic")
    for percent in (50, 2):
        assert found.dose_to_percent(percent) == pytest.approx(40 * 2 ** -((percent / 100) ** (2 / 3)), rel=5e-4)


def test_a_lesion_of_a_fiftieth_cubic_centimeter_is_within_three_percent():
    radius = (0.02 / cc(1)) ** (1 / 3)
    found = dvh(ball(radius), dose_of(peaked(radius)), interpolation="cubic")
    for percent in (98, 95, 50):
        assert found.dose_to_percent(percent) == pytest.approx(40 * 2 ** -((percent / 100) ** (2 / 3)), rel=0.03)


def test_the_quintic_spline_comes_closer_to_a_shot_than_the_cubic_one():
    half_mm, radius = 3.0, (0.1 / cc(1)) ** (1 / 3)
    shot = dose_of(lambda p: 40 / (1 + ((p / half_mm) ** 2).sum(-1) ** 2))
    level = 40 / (1 + (0.3 ** (1 / 3) * radius / half_mm) ** 4)
    cubic, quintic = (
        abs(dvh(ball(radius), shot, interpolation=k).volume_at_percent(level) - 30) for k in ("cubic", "quintic")
    )
    assert quintic < 0.5 * cubic


def test_linear_dose_is_exact_in_a_linear_field_and_low_where_dose_is_peaked():
    slope = dvh(ball(8.0), dose_of(lambda p: 20 + p @ np.asarray([0.6, 0.0, 0.8])))
    assert slope.mean_gy == pytest.approx(20, abs=0.02)
    assert slope.dose_to_percent(50) == pytest.approx(20, abs=0.05)
    peak = peaked(4.0)
    linear, cubic = (dvh(ball(4.0), dose_of(peak, step=2.5), interpolation=kind) for kind in ("linear", "cubic"))
    truth = 40 * 2 ** -(0.95 ** (2 / 3))
    assert abs(cubic.dose_to_percent(95) - truth) < 0.3 < truth - linear.dose_to_percent(95)
    assert (linear.interpolation, cubic.interpolation) == ("linear", "cubic")


def test_curves_add_up_and_fall():
    found = dvh(ball(6.0), dose_of(peaked(6.0)))
    dose, volume = found.cumulative()
    assert dose[0] == 0
    assert volume[0] == pytest.approx(found.volume_cc)
    assert volume[-1] == 0
    assert (np.diff(volume) <= 1e-12).all()
    middles, per_gy = found.differential(0.5)
    assert per_gy.sum() * 0.5 == pytest.approx(found.volume_cc)
    assert (middles * per_gy).sum() * 0.5 / found.volume_cc == pytest.approx(found.mean_gy, abs=0.1)
    for percent in (98, 60, 20):
        assert found.volume_at_percent(found.dose_to_percent(percent)) == pytest.approx(percent, abs=0.2)


def test_small_targets_are_reported_by_an_absolute_volume():
    small, tiny, large = (dvh(ball(r), dose_of(peaked(r))) for r in (5.0, 1.9, 9.0))
    assert small.near_maximum_gy() == pytest.approx(small.dose_to_percent(3.5 / small.volume_cc), rel=1e-6)
    assert small.near_minimum_gy() == pytest.approx(small.dose_to_percent(100 - 3.5 / small.volume_cc), rel=1e-6)
    assert tiny.volume_cc < 0.035
    assert (tiny.near_minimum_gy(), tiny.near_maximum_gy()) == (None, None)
    assert large.volume_cc > 2
    assert large.near_minimum_gy() == large.dose_to_percent(98)
    assert large.dose_to_cc(100.0) is None


def test_what_lies_beyond_the_dose_grid_is_said_and_counts_as_nothing():
    half = Grid((20, 40, 40), (1.0,) * 3, (-19.2, -20.0, -20.0))  # ends half a voxel beyond x = -0.2 + 0.5
    found = dvh(ball(6.0), Dose(half.image(np.full(half.shape, 20, np.float32)), ()))
    assert found.outside == pytest.approx(0.5, abs=0.025)  # one layer of points is 4 %
    assert found.dose_to_percent(98) == 0
    assert found.mean_gy == pytest.approx(20 * (1 - found.outside))
    assert table_row(found, 18.0)["v_prescription_percent"] == pytest.approx(50, abs=2.5)


def test_contours_along_voxels_are_measured_as_the_voxels(study):
    from RTResponseCAMLib.scene.scene_reader import edge_contours

    grid = Grid.of(study.mr)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[30:34, 60:66, 50:57] = True
    mask[31:33, 66:68, 52:55] = True

    def rising(points):
        return points @ np.asarray([0.1, 0.2, 0.3]) + 60

    dose = Dose(grid.image(rising(grid.points()).astype(np.float32)), ())
    found = dvh(Structure(1, "part", "GTV", edge_contours(mask, grid)), dose)
    assert found.outside == 0
    assert found.volume_cc == pytest.approx(mask.sum() * grid.voxel_cc, rel=1e-6)
    assert found.mean_gy == pytest.approx(rising(grid.points()[mask]).mean(), rel=1e-3)


def test_an_interpolation_of_another_name_is_refused():
    with pytest.raises(ValueError, match="cubic"):
        dvh(ball(5.0), dose_of(peaked(5.0)), interpolation="nearest")


def test_a_structure_that_cannot_be_filled_stands_beside_the_others_with_its_reason():
    crossed = Structure(2, "crossed", "", (*ball(5.0).contours[:3], ball(5.0).contours[3][:, [2, 0, 1]]))
    good, bad = dvhs([ball(5.0), crossed], dose_of(peaked(5.0)))
    assert isinstance(good, Dvh)
    assert isinstance(bad, GeometryError)
    assert "crossed" in str(bad)


def test_figures_agree_with_eclipse(samples):
    """20 to 117 cm³ of a prostate plan on a 2.5 mm dose; a planning system interpolates linearly."""
    from eclipse import read_eclipse

    dose, structures = read_eclipse(samples / "slicerrt_prostate")
    apart = []
    for structure, stated_cc, table in structures[1:]:  # without the body, which takes seconds
        found = dvh(structure, dose)
        assert found.volume_cc == pytest.approx(stated_cc, rel=0.015)
        apart.append([found.dose_to_percent(x) - np.interp(-x, -table[:, 1], table[:, 0]) for x in (95, 50)])
    assert len(apart) == 5
    assert (np.abs(apart).mean(axis=0) <= 0.06).all()


@pytest.mark.parametrize(("volume_cc", "by_share"), [(1.9, False), (2.1, True), (2.9, True)])
def test_near_minimum_and_maximum_are_shares_from_two_cubic_centimeters_on(volume_cc, by_share):
    """ICRU 91: below 2 cm³ they are the doses of 35 mm³."""
    radius = (volume_cc / cc(1)) ** (1 / 3)
    found = dvh(ball(radius), dose_of(peaked(radius)), interpolation="cubic")
    assert (found.near_minimum_gy() == found.dose_to_percent(98)) is by_share
    assert (found.near_maximum_gy() == found.dose_to_percent(2)) is by_share
    if not by_share:
        assert found.near_minimum_gy() == found.dose_to_cc(found.volume_cc - 0.035)
        assert found.near_maximum_gy() == found.dose_to_cc(0.035)


def test_the_whole_volume_has_a_dose_and_no_more_than_that():
    found = dvh(ball(5.0), dose_of(peaked(5.0)))
    assert found.dose_to_cc(found.volume_cc) == found.dose_gy[0]
    assert found.dose_to_cc(found.volume_cc * (1 + 1e-12)) == found.dose_gy[0]  # rounding
    assert found.dose_to_cc(found.volume_cc * 1.001) is None
    assert found.dose_to_cc(0.0) == found.dose_gy[-1]
    assert found.dose_to_cc(-0.001) is None
    assert found.volume_at_cc(float(found.dose_gy[-1]) + 1.0) == 0.0
    assert found.volume_at_cc(0.0) == found.volume_cc


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_the_first_planes_of_a_dose_count_like_others(interpolation):
    """A body at the corner of the grid: its dose must not depend on which voxel is the first."""
    steep = Grid((24, 24, 24), (1.0,) * 3, (0.0, 0.0, 0.0))
    dose = Dose(steep.image((10 + steep.points()[..., 0]).astype(np.float32)), ())
    corner = Structure(1, "GTV", "GTV", tuple(c + np.asarray([4.0, 4.0, 4.0]) for c in ball(3.0).contours))
    found = dvh(corner, dose, interpolation=interpolation)
    middle = 10 + 4.0 + float(CENTER[0])
    assert found.mean_gy == pytest.approx(middle, abs=0.35)
    assert found.dose_gy[0] == pytest.approx(found.mean_gy - 3.0, abs=0.2)
    assert found.dose_gy[-1] == pytest.approx(found.mean_gy + 3.0, abs=0.2)
    assert found.outside == 0.0


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_voxel_of_the_dose_reaches_half_its_size_beyond_its_middle(axis, side):
    """Half of a ball whose middle lies on that border is outside; none of one that ends just within."""
    grid = Grid((20, 20, 20), (1.0,) * 3, (0.0, 0.0, 0.0))
    dose = Dose(grid.image(np.full(grid.shape, 10.0, np.float32)), ())
    border = np.asarray([9.5, 9.5, 9.5])
    border[axis] = -0.5 if side < 0 else 19.5

    def at(center):
        moved = tuple(c - np.asarray(CENTER) + center for c in ball(3.0).contours)
        return dvh(Structure(1, "GTV", "GTV", moved), dose)

    assert at(border).outside == pytest.approx(0.5, abs=0.06)
    inward = border.copy()
    inward[axis] -= side * 3.6
    assert at(inward).outside == 0.0


def test_a_curve_ends_with_the_first_dose_that_nothing_receives():
    found = dvh(ball(5.0), dose_of(peaked(5.0)))
    for step in (0.5, 1.0):
        doses, volumes = found.cumulative(step)
        assert doses.tolist() == [n * step for n in range(int(np.ceil(found.dose_gy[-1] / step)) + 2)]
        assert volumes[0] == found.volume_cc
        assert volumes[-1] == 0.0


def test_splines_have_the_degree_of_their_name():
    assert INTERPOLATIONS == {"linear": 1, "cubic": 3, "quintic": 5}


def test_a_curve_has_four_hundred_steps_up_to_the_maximum_unless_a_step_is_asked_for():
    found = dvh(ball(4.0), dose_of(peaked(4.0)))
    edges, _ = found.cumulative()
    assert edges[1] == pytest.approx(found.dose_gy[-1] / 400)
    assert edges[0] == 0 <= edges[-2] <= found.dose_gy[-1] + 1e-9 < edges[-1]
    assert found.cumulative(0.5)[0][1] == 0.5


def test_a_row_names_the_doses_that_it_holds():
    found = dvh(ball(4.0), dose_of(peaked(4.0)))
    row = table_row(found, 20.0)
    for percent in (98, 95, 50, 2):
        assert row[f"d{percent}_gy"] == found.dose_to_percent(percent)
