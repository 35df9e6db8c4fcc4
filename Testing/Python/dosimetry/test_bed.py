"""Biologically effective dose of usual schedules."""

from __future__ import annotations

import pytest

from RTResponseCAMLib.dosimetry.bed import BRAIN, TUMOR, bed_gy


@pytest.mark.parametrize(
    ("total", "fractions", "tumor", "brain"), [(20, 1, 60, 220), (35, 5, 59.5, 157.5), (30, 5, 48, 120)]
)
def test_bed_of_usual_schedules(total, fractions, tumor, brain):
    assert bed_gy(float(total), fractions, alpha_beta_gy=TUMOR) == pytest.approx(tumor)
    assert bed_gy(float(total), fractions, alpha_beta_gy=BRAIN) == pytest.approx(brain)


def test_bed_needs_a_fraction():
    with pytest.raises(ValueError, match="fraction"):
        bed_gy(20.0, 0, alpha_beta_gy=TUMOR)


@pytest.mark.parametrize("alpha_beta_gy", [0.0, -0.5, -2.0])
def test_bed_needs_an_alpha_beta_above_zero(alpha_beta_gy):
    with pytest.raises(ValueError, match="above 0"):
        bed_gy(20.0, 1, alpha_beta_gy=alpha_beta_gy)


def test_bed_takes_a_small_alpha_beta():
    assert bed_gy(2.0, 1, alpha_beta_gy=0.5) == pytest.approx(10.0)
