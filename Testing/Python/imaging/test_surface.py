"""Distances to the surface of a ball are the geometry's own, but for the lattice, out to the reach."""

from __future__ import annotations

import numpy as np
import pytest

from RTResponseCAMLib.imaging.surface import distance_from_surface


@pytest.mark.parametrize("step_mm", [0.5, 1.0])
@pytest.mark.parametrize("reach_mm", [1.5, 3.0])
def test_distances_from_a_ball_hold_within_the_reach_and_are_infinite_beyond(step_mm, reach_mm):
    radius_mm = 6.3
    count = int(24 / step_mm) + 1
    places = (np.indices((count,) * 3) - (count - 1) / 2) * step_mm
    truth = radius_mm - np.linalg.norm(places, axis=0)
    found = distance_from_surface(truth, step_mm, reach_mm=reach_mm)
    # The surface is known at points of the lattice's lines: the nearest lies to the side by less than a step.
    most = np.hypot(truth, step_mm)
    near = most < reach_mm
    assert (np.abs(found[near]) <= most[near]).all()
    assert (np.abs(found) >= np.abs(truth) - 0.1 * step_mm).all()
    assert np.isinf(found[np.abs(truth) > reach_mm + 0.1 * step_mm]).all()
    assert (np.sign(found) == np.where(truth > 0, 1, -1)).all()
