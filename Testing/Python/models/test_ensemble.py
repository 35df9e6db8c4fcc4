"""An ensemble: what it weights, that the sum still holds, and that it is restored with its members."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conv_lesions import patch_of, samples_of
from scipy.special import expit, logit

from RTResponseCAMLib.models.calibration import Calibrated
from RTResponseCAMLib.models.conv.autoencoder import Shape
from RTResponseCAMLib.models.conv.encoder import save_encoder
from RTResponseCAMLib.models.conv.pretraining import Plan, pretrain
from RTResponseCAMLib.models.ensemble import FittedEnsemble, member_weights
from RTResponseCAMLib.models.interface import Calibration
from RTResponseCAMLib.models.registry import entry_of

RNG = np.random.default_rng(4)


def with_radiomics(samples):
    rng = np.random.default_rng(11)
    return [
        replace(s, features={"radiomics": {"a_original_b": s.label + rng.normal(), "a_original_c": rng.normal()}})
        for s in samples
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    lesions = [patch_of(500 + n, coarse=bool(n % 2)) for n in range(16)]
    save_encoder(folder, pretrain(lambda epoch, progress: lesions, Plan(Shape((3, 4)), epochs=1)).network, card={})
    options = {"encoder": str(folder), "members": 2, "n_augmentations": 0, "steps": 60}
    return entry_of("ensemble").model(options)


@pytest.fixture(scope="module")
def fitted(model):
    return Calibrated(model).fit(with_radiomics(samples_of(24)))


@pytest.fixture(scope="module")
def unseen():
    return with_radiomics(samples_of(8, first_seed=200))


def test_the_logit_is_that_of_the_members_and_the_map_still_adds_up(fitted, unseen):
    members = fitted.fitted.members
    alone = [m.fitted.predict(unseen) for m in members]
    for n, found in enumerate(fitted.predict(unseen)):
        raw = sum(m.line.slope * p[n].total + m.line.intercept for m, p in zip(members, alone, strict=True))
        assert found.total == pytest.approx(fitted.calibration.slope * raw + fitted.calibration.intercept, abs=1e-5)
        assert float(found.map.sum(dtype=np.float64)) + found.bias == pytest.approx(found.total, abs=1e-4)
        assert sum(found.contributions.values()) == pytest.approx(found.total, abs=1e-6)
        assert set(found.contributions) == {"conv", "radiomics"}
        assert found.p_response == pytest.approx(expit(-found.total))


def half_widths(predictions):
    return [(logit(p.high) - logit(p.p_response), logit(p.p_response) - logit(p.low)) for p in predictions]


def test_half_widths_of_the_members_intervals_add_up_as_independent(fitted, unseen):
    lines = [Calibration(fitted.calibration.slope * m.line.slope, 0.0) for m in fitted.fitted.members]
    alone = [
        half_widths(m.fitted.predict(unseen, calibration=line))
        for m, line in zip(fitted.fitted.members, lines, strict=True)
    ]
    np.testing.assert_allclose(half_widths(fitted.predict(unseen)), np.hypot(*alone), atol=1e-4)


def test_a_member_without_an_interval_leaves_none(fitted, unseen):
    conv, radiomics = fitted.fitted.members
    without = replace(radiomics.fitted, bootstrap_intercepts=np.zeros(0))
    ensemble = FittedEnsemble((conv, replace(radiomics, fitted=without)))
    assert all(np.isnan(p.low) and np.isnan(p.high) for p in ensemble.predict(unseen))


def test_it_is_restored_with_its_members(fitted, unseen):
    found = entry_of("ensemble").restore(fitted.fitted.architecture(), fitted.fitted.tensors())
    for a, b in zip(fitted.fitted.predict(unseen), found.predict(unseen), strict=True):
        assert a.total == pytest.approx(b.total, abs=1e-12)
        np.testing.assert_array_equal(a.map, b.map)


def test_weights_that_do_not_add_up_are_refused(fitted):
    architecture = fitted.fitted.architecture()
    architecture["members"] = architecture["members"][:1]
    with pytest.raises(ValueError, match="do not add up"):
        entry_of("ensemble").restore(architecture, fitted.fitted.tensors())


def test_the_member_that_ranks_has_the_larger_weight():
    labels = np.arange(80) % 2
    good, useless = 2.0 * (labels - 0.5) + RNG.normal(size=80), 0.3 * RNG.normal(size=80)
    weights = member_weights(np.stack([good, useless]), labels)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > 0.6


def test_few_lesions_leave_the_weights_nearly_equal():
    labels = np.asarray([0, 1, 0, 1, 0, 1])
    weights = member_weights(np.stack([labels - 0.5, 0.3 * RNG.normal(size=6)]), labels)
    assert weights == pytest.approx([0.5, 0.5], abs=0.1)


def test_layers_pattern_and_untrained_control_are_those_of_the_member_with_maps(fitted, unseen):
    ensemble = fitted.fitted
    assert list(ensemble.named_layers()) == ["encoder", "bottleneck", "decoder"]
    pattern = RNG.standard_normal((12, 12, 12)).astype(np.float32)
    np.testing.assert_array_equal(ensemble.with_mean_pattern(pattern).mean_pattern, pattern)
    control = ensemble.with_random_weights(1)
    assert control.predict(unseen)[0].contributions["radiomics"] == pytest.approx(
        ensemble.predict(unseen)[0].contributions["radiomics"]
    )
    assert control.predict(unseen)[0].total != ensemble.predict(unseen)[0].total
    assert set(ensemble.summary()["weights"]) == {"conv", "radiomics"}
