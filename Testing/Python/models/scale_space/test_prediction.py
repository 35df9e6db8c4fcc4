"""The map is the mean of the heads' maps after calibration, and its spread is their standard deviation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fitted import plain_model, sample_of
from test_gradient_maps import network_of, patch_of

SLOPE, INTERCEPT = 1.7, -0.4


def test_spread_and_interval_are_those_of_the_heads():
    network, patch = network_of(), patch_of()
    (found,) = plain_model(network, SLOPE, INTERCEPT).predict([sample_of(patch)], members=True)
    mr, fraction, dose = (torch.from_numpy(a)[None, None] for a in (patch.mr, patch.fraction, patch.dose))
    with torch.no_grad():
        output = network(mr, fraction, dose, patch.mr_voxel_volume_ratio)
    raw, total = output.maps[0].double().numpy(), output.total[0].double().numpy()
    totals = SLOPE * total + INTERCEPT
    maps, p = SLOPE * raw, 1 / (1 + np.exp(totals))
    np.testing.assert_allclose(found.map, maps.mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.ensemble_sd, maps.std(0), rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(found.member_maps, maps, rtol=1e-4, atol=1e-7)
    assert found.ensemble_sd.max() > 0.05 * np.abs(found.map).max()  # heads that differ
    assert (found.low, found.high) == pytest.approx(np.percentile(p, (5, 95)), abs=1e-6)
    assert float(found.map.sum()) + found.bias == pytest.approx(totals.mean(), rel=1e-4)
