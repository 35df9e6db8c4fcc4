"""The checks of a map pass where they should, and each fails where its fault is planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fitted import plain_model, predictions_of, sample_of
from scipy.ndimage import gaussian_filter
from test_gradient_maps import network_of, patch_of

from RTResponseCAMLib.cam import checks as checks_of_maps
from RTResponseCAMLib.cam.checks import MapChecks, check_map, mean_pattern, model_checks, model_warnings_of, warnings_of

GOOD = MapChecks(0.0, 0.99, 0.95, 0.4, 0.1, 0.5, 0.8)


def darkness_network():
    """Evidence is minus the intensity in head units, in every head: its map is known everywhere."""
    network = network_of(volume=False)
    with torch.no_grad():
        for head in (network.stem_head, network.code_head):
            for parameter in head.parameters():
                parameter.zero_()
        network.stem_head.hidden.weight[:, 0] = -1.0  # channel 0 of the stem: intensity in head units
        network.stem_head.hidden.bias += 20.0  # gelu is the identity there
        network.stem_head.weight.fill_(1.0)
        network.stem_head.bias.fill_(-20.0 * network.stem_head.weight.shape[1])
    return network


def test_a_good_map_passes_and_says_nothing():
    found = check_map(plain_model(darkness_network()), sample_of(patch_of()))
    assert found.gap < 1e-4
    assert found.noise > 0.9
    assert found.deletion > 0
    assert 0.3 < found.rim_share < 0.95
    assert np.isnan(found.fixed_pattern)  # no pattern is known of this network
    assert warnings_of(found) == warnings_of(GOOD) == ()


def test_without_its_strongest_voxels_a_prediction_falls_further_than_without_others():
    """Evidence is minus the intensity here, so the darkest voxels carry it."""
    model, patch = plain_model(darkness_network()), patch_of()
    upside_down = replace(patch, mr=-patch.mr)
    assert check_map(model, sample_of(patch)).deletion > 0
    assert check_map(model, sample_of(upside_down)).deletion > 0  # the strongest evidence is elsewhere, and found again


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("gap", 0.1, "does not add up"),
        ("gap", float("nan"), "does not add up"),
        ("noise", 0.2, "a little noise"),
        ("shift", 0.2, "shifted by 0.5 mm"),
        ("deletion", -0.1, "depends on"),
        ("fixed_pattern", 0.9, "fixed pattern"),
        ("agreement", 0.0, "differs between"),
    ],
)
def test_each_failure_is_a_caution_of_its_own(part, value, words):
    (warning,) = warnings_of(replace(GOOD, **{part: value}))
    assert words in warning.text
    assert warning.code == "cam-check"


def test_a_lesion_like_all_others_shows_a_fixed_pattern():
    model = plain_model(darkness_network())
    patches = [patch_of(seed) for seed in range(4)]
    slope = np.broadcast_to(np.linspace(0, 6, 24, dtype=np.float32), (24, 24, 24)).copy()
    alike = [replace(p, mr=slope + 0.05 * p.mr) for p in patches]
    maps = [e.map for e in predictions_of(model, alike)]
    model = replace(model, fitted=model.fitted.with_mean_pattern(mean_pattern(alike, maps)))
    assert check_map(model, sample_of(alike[0])).fixed_pattern > 0.95
    turned = replace(alike[0], mr=np.ascontiguousarray(alike[0].mr.transpose(2, 1, 0)))  # its slope runs elsewhere
    assert abs(check_map(model, sample_of(turned)).fixed_pattern) < 0.3


@pytest.mark.parametrize("slope", [-3.0, 0.0, 3.0])
def test_what_the_volume_adds_is_not_taken_for_the_maps_work(slope):
    """Leaving out voxels makes a lesion smaller, which the volume's term would answer to."""
    plain, leaning = darkness_network(), darkness_network()
    leaning.architecture = replace(leaning.architecture, volume=True)
    with torch.no_grad():
        leaning.volume_slope.fill_(slope)
    one, other = (check_map(plain_model(n), sample_of(patch_of())).deletion for n in (plain, leaning))
    assert one == pytest.approx(other, abs=1e-4)


def test_a_flat_map_says_nothing_of_steadiness():
    """Evidence alike everywhere: shares still follow the lesion's edge, which is no agreement about evidence."""
    network = darkness_network()
    with torch.no_grad():
        network.stem_head.hidden.weight.zero_()
    found = check_map(plain_model(network), sample_of(patch_of()))
    assert np.isnan(found.noise)
    assert np.isnan(found.agreement)
    assert any("shows no location" in warning.text for warning in warnings_of(found))


def test_heads_that_share_an_offset_but_nothing_else_do_not_agree():
    network = darkness_network()
    with torch.no_grad():
        network.stem_head.weight[0] *= -0.5
        network.stem_head.bias += 1000.0
    patch = patch_of()
    soft = replace(patch, fraction=gaussian_filter(patch.fraction, 1.5))  # shares follow it, evidence does not
    assert check_map(plain_model(network), sample_of(soft)).agreement < 0.6


def test_a_speck_has_checks_that_cannot_be_made_but_no_error():
    patch = patch_of()
    speck = np.zeros_like(patch.fraction)
    speck[12, 12, 12] = 0.04
    network = darkness_network()
    network.pattern.copy_(torch.randn(network.pattern.shape))
    found = check_map(plain_model(network), sample_of(replace(patch, fraction=speck)))
    assert found.as_json()["noise"] is None
    assert found.gap < 1e-4
    assert any("too few voxels" in warning.text for warning in warnings_of(found))


def test_the_models_checks_tell_a_trained_head_from_a_random_one():
    model = plain_model(darkness_network())
    samples = [sample_of(patch_of(seed)) for seed in range(3)]
    found = model_checks(model, [plain_model(darkness_network())], samples=samples)
    assert found["seed_to_seed"] == pytest.approx(1.0, abs=1e-5)
    assert found["randomized_abs_rho"] < checks_of_maps.RANDOM_LEFT
    assert model_warnings_of(found) == ()
    # Random heads against random heads of the same draw: nothing is learned, and nothing changes.
    untaught = replace(model, fitted=model.fitted.with_random_weights())
    assert model_checks(untaught, [untaught], samples=samples)["randomized_abs_rho"] == pytest.approx(1.0)
    assert len(model_warnings_of({"randomized_abs_rho": 0.9, "seed_to_seed": 0.1})) == 2
