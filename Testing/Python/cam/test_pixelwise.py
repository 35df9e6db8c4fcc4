"""The map is the mean of the heads' maps after calibration, and its spread is their standard deviation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_gradient_maps import network_of, patch_of

from RTResponseCAMLib.cam.pixelwise import find_evidence
from RTResponseCAMLib.evaluation.network_arm import plain_bundle

SLOPE, INTERCEPT = 1.7, -0.4


@pytest.mark.parametrize("form", ["signed", "hazard"])
def test_spread_and_interval_are_those_of_the_heads(form):
    network, patch = network_of(form=form), patch_of()
    (found,) = find_evidence(plain_bundle(network, SLOPE, INTERCEPT), [patch])
    mr, occupancy, dose = (torch.from_numpy(a)[None, None] for a in (patch.mr, patch.occupancy, patch.dose))
    with torch.no_grad():
        output = network(mr, occupancy, dose, patch.coarseness)
    raw, total = output.maps[0].double().numpy(), output.total[0].double().numpy()
    if form == "signed":
        totals = SLOPE * total + INTERCEPT
        maps, p = SLOPE * raw, 1 / (1 + np.exp(totals))
    else:
        totals = np.exp(INTERCEPT) * total**SLOPE
        maps, p = raw * (totals / total)[:, None, None, None], np.exp(-totals)
    np.testing.assert_allclose(found.map, maps.mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.spread, maps.std(0), rtol=1e-3, atol=1e-8)
    assert found.spread.max() > 0.05 * np.abs(found.map).max()  # heads that differ
    assert (found.low, found.high) == pytest.approx(np.percentile(p, (5, 95)), abs=1e-6)
    assert float(found.map.sum()) + found.bias == pytest.approx(totals.mean(), rel=1e-4)
