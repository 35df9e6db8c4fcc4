"""Dose of one lesion against a linear field, in which linear interpolation is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bodies import ball, cc
from scipy.optimize import brentq

from RTResponseCAMLib.dosimetry.lesion import dose_metrics, lesion_dose
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.study import GY_RBE, Dose, Lesion, Plan, Prescription, Study

RADIUS = 6.0
CENTER_X = 0.3  # of `bodies.ball`


def sloped(low_x=-20.0, high_x=20.0, **changes) -> Dose:
    """20 Gy at the center of the ball, 1 Gy more for each mm along x."""
    grid = Grid((int(high_x - low_x) + 1, 41, 41), (1.0, 1.0, 1.0), (low_x, -20.0, -20.0))
    return replace(Dose(grid.image((20 + grid.points()[..., 0] - CENTER_X).astype(np.float32)), ()), **changes)


def hottest_fraction(depth_mm: float) -> float:
    """Part of the ball's volume in the cap of a depth."""
    return depth_mm**2 * (3 * RADIUS - depth_mm) / (4 * RADIUS**3)


def dose_to(percent: float) -> float:
    depth = brentq(lambda h: hottest_fraction(h) - percent / 100, 0, 2 * RADIUS)
    return 20 + RADIUS - depth


@pytest.fixture(scope="module")
def found():
    return dose_metrics(ball(RADIUS, step=0.25), sloped(), prescription_gy=22.0)


@pytest.mark.parametrize(("name", "percent"), [("d98_gy", 98), ("d50_gy", 50), ("d2_gy", 2)])
def test_doses_to_a_volume_are_those_of_the_cap(found, name, percent):
    assert getattr(found, name) == pytest.approx(dose_to(percent), abs=0.04)


def test_mean_coverage_and_what_they_refer_to(found):
    assert found.mean_gy == pytest.approx(20.0, abs=0.02)
    assert found.coverage == pytest.approx(hottest_fraction(RADIUS - 2), abs=0.005)
    assert (found.prescription_gy, found.outside_grid, found.unit) == (22.0, 0.0, "Gy")


def test_the_unit_is_that_of_the_dose():
    assert dose_metrics(ball(RADIUS), sloped(unit=GY_RBE), prescription_gy=20.0).unit == GY_RBE


def test_a_lesion_that_lies_partly_outside_the_grid_has_metrics_until_most_of_it_does():
    part = dose_metrics(ball(RADIUS), sloped(low_x=-1.2), prescription_gy=20.0)
    assert part.outside_grid == pytest.approx(1 - hottest_fraction(RADIUS + 1.5), abs=0.05)
    assert dose_metrics(ball(RADIUS), sloped(low_x=3.0), prescription_gy=20.0) is None


def study(dose, plan) -> Study:
    lesion = ball(RADIUS, number=3)
    return Study("P", sloped().image, "T1", (lesion,), (Lesion("L1", lesion),), dose, plan, (), (), {})


def test_the_prescription_of_the_target_counts():
    plan = Plan("", Prescription(24.0, by_roi={3: 18.0}))
    found = lesion_dose(study(sloped(), plan), ball(RADIUS, number=3))
    assert found.prescription_gy == 18.0
    assert found.coverage == pytest.approx(hottest_fraction(RADIUS + 2), abs=0.01)


@pytest.mark.parametrize(
    ("dose", "plan"), [(None, Plan("", Prescription(20.0))), (sloped(), None), (sloped(), Plan("", None))]
)
def test_without_dose_or_prescription_there_are_no_metrics(dose, plan):
    assert lesion_dose(study(dose, plan), ball(RADIUS, number=3)) is None


def test_the_ball_has_its_volume():
    assert cc(RADIUS) == pytest.approx(0.905, abs=0.001)
