"""Gradient CAMs of the same network: formulas on a layer whose gradients are known, and what ties them to our map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fitted import predictions_of, sample_of

from RTResponseCAMLib.cam.gradient import METHODS, gradient_map
from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.scale_space.classifier import Architecture, AutoencoderClassifier
from RTResponseCAMLib.models.scale_space.model import FittedScaleSpace

LAYERS = ("stem", "hidden", "code")


def patch_of(seed=0, size=24):
    rng = np.random.default_rng(seed)
    grid = Grid((size,) * 3, (1.0,) * 3, (0.0, 0.0, 0.0))
    radius = np.linalg.norm(grid.points() - (size - 1) / 2, axis=-1)
    inside = np.clip(7.5 - radius, 0, 1).astype(np.float32)
    return Patch(grid, rng.normal(3, 1, grid.shape).astype(np.float32), np.ones(grid.shape, np.float32), inside, False)


def network_of(**parts):
    torch.manual_seed(5)
    return AutoencoderClassifier(Architecture(members=2, code_members=2, **parts)).eval()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map_for_either_class(method, layer):
    model, sample = FittedScaleSpace(network_of()), sample_of(patch_of())
    assert tuple(model.named_layers()) == LAYERS
    maps = [
        gradient_map(model, sample, method=method, layer=layer, toward=toward)
        for toward in ("non-response", "response")
    ]
    assert all(m.shape == sample.patch.mr.shape and np.isfinite(m).all() for m in maps)
    if layer != "code":  # six untrained numbers may all speak for one class
        assert not np.array_equal(*maps)
    if method != "hirescam":
        assert all(m.min() >= 0 for m in maps)


@pytest.mark.parametrize("method", ["grad-cam", "hirescam"])
def test_the_raw_map_of_one_class_is_minus_that_of_the_other(method):
    network, patch = network_of(), patch_of()
    with torch.no_grad():  # one feature alone speaks, the brightness in lesion units: it has either sign for sure
        network.stem_head.hidden.weight.zero_()[:, 1] = 1
        network.code_head.hidden.weight.zero_()
    fitted, sample = FittedScaleSpace(network), sample_of(patch)
    one, other = (
        gradient_map(fitted, sample, method=method, layer="stem", toward=c, signed=True)
        for c in ("non-response", "response")
    )
    np.testing.assert_allclose(one, -other, atol=1e-7 + 1e-5 * np.abs(one).max())
    assert one.min() < 0 < one.max()


def test_hirescam_at_the_hidden_units_adds_up_to_the_total_without_its_offsets():
    """The rest of the network is linear from there on: gradient times activation is the whole total but the offsets."""
    network = network_of(volume=False)
    fitted, patch = FittedScaleSpace(network), patch_of()
    (evidence,) = predictions_of(fitted, [patch])
    offsets = torch.cat([network.stem_head.bias, network.code_head.bias])
    constant = float(
        (network.offset + offsets).mean().detach()
    )  # the offsets of the heads' evidence pass through the mean
    found = float(gradient_map(fitted, sample_of(patch), method="hirescam", layer="hidden").sum(dtype=np.float64))
    assert found == pytest.approx(evidence.total - constant, abs=2e-3)


def test_the_formulas_are_those_of_the_papers():
    from RTResponseCAMLib.cam.gradient import _combined

    activation = torch.tensor([[[[1.0, -2.0]]], [[[3.0, 0.5]]]])
    gradient = torch.tensor([[[[0.5, -1.0]]], [[[-0.2, 0.4]]]])
    grad_cam = [-0.25 * 1 + 0.1 * 3, -0.25 * -2 + 0.1 * 0.5]
    np.testing.assert_allclose(_combined("grad-cam", activation, gradient).ravel(), grad_cam, rtol=1e-6)
    np.testing.assert_allclose(_combined("hirescam", activation, gradient).ravel(), [-0.1, 2.2], rtol=1e-6)
    np.testing.assert_allclose(_combined("layercam", activation, gradient).ravel(), [0.5, 0.2], rtol=1e-6)
    np.testing.assert_allclose(_combined("elementwise", activation, gradient).ravel(), [0.5, 2.2], rtol=1e-6)
    share = [
        sum(max(g, 0) * g * g / (2 * g * g + sum(a_ * g**3 for a_ in a)) for g in gs)
        for a, gs in (((1.0, -2.0), (0.5, -1.0)), ((3.0, 0.5), (-0.2, 0.4)))
    ]
    plus = [share[0] * 1 + share[1] * 3, share[0] * -2 + share[1] * 0.5]
    np.testing.assert_allclose(_combined("grad-cam++", activation, gradient).ravel(), plus, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("saliency", "code", "response"), "method: is 'saliency'"),
        (("grad-cam", "fc", "response"), "layer: is 'fc'"),
        (("grad-cam", "code", "stable"), "class: is 'stable'"),
    ],
)
def test_unknown_names_are_refused(arguments, message):
    named = dict(zip(("method", "layer", "toward"), arguments, strict=True))
    with pytest.raises(ModelError, match=message):
        gradient_map(FittedScaleSpace(network_of()), sample_of(patch_of()), **named)


def test_the_code_of_a_network_without_autoencoder_is_refused():
    network = network_of(autoencoder=False)
    with pytest.raises(ModelError, match=r"is 'code', expected one of \('stem', 'hidden'\)"):
        gradient_map(FittedScaleSpace(network), sample_of(patch_of()), layer="code")
