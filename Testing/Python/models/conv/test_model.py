"""The convolutional classifier as a model: it learns a texture, its map adds up, and it restores from its tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conv_lesions import patch_of, samples_of

from RTResponseCAMLib.cam.gradient import METHODS, gradient_maps
from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.models.calibration import Calibrated
from RTResponseCAMLib.models.card import default_encoder
from RTResponseCAMLib.models.conv.autoencoder import Shape
from RTResponseCAMLib.models.conv.classifier import Architecture, ConvClassifier
from RTResponseCAMLib.models.conv.encoder import save_encoder
from RTResponseCAMLib.models.conv.entries import Options
from RTResponseCAMLib.models.conv.model import ConvModel, restore
from RTResponseCAMLib.models.conv.pretraining import Plan, pretrain
from RTResponseCAMLib.models.conv.training import describe
from RTResponseCAMLib.models.interface import Calibration
from RTResponseCAMLib.models.registry import entry_of
from RTResponseCAMLib.models.scale_space.stem import DEPTH_TERMS, STEM_CHANNELS
from RTResponseCAMLib.samples.sample import LesionSample


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    lesions = [patch_of(500 + n, coarse=bool(n % 2)) for n in range(24)]
    network = pretrain(
        lambda epoch, progress: lesions, Plan(Shape((4, 8)), epochs=3, batch=8, learning_rate=5e-3)
    ).network
    save_encoder(folder, network, card={"lesions": 24})
    return folder


def model_of(encoder, **options):
    values = {"members": 3, "n_augmentations": 1, "steps": 120, **options}
    return entry_of("conv").model({"encoder": str(encoder), **values})


@pytest.fixture(scope="module")
def fitted(encoder):
    return model_of(encoder).fit(samples_of(24))


@pytest.fixture(scope="module")
def unseen():
    return samples_of(12, first_seed=100)


def test_a_texture_is_learned_from_few_lesions(fitted, unseen):
    totals = np.asarray([p.total for p in fitted.predict(unseen)])
    labels = np.asarray([s.label for s in unseen])
    assert totals[labels == 1].min() > totals[labels == 0].max()


@pytest.mark.parametrize("line", [Calibration(), Calibration(0.6, -0.3)])
def test_the_map_adds_up_to_the_logit(fitted, unseen, line):
    for sample, found in zip(unseen, fitted.predict(unseen, calibration=line), strict=True):
        assert float(found.map.sum(dtype=np.float64)) + found.bias == pytest.approx(found.total, abs=1e-4)
        assert not found.map[sample.patch.fraction == 0].any()
        assert found.low < found.p_response < found.high


def test_no_voxel_can_outweigh_the_others(fitted):
    wild = patch_of(7)
    wild.mr[12, 12, 12] = 1e4
    (found,) = fitted.predict([LesionSample(wild, 0.5)])
    slope = float(fitted.network.log_slope.detach().exp().max())
    assert np.abs(found.map).max() <= slope / 2 / wild.fraction.sum() * 1.001


def test_a_lesion_of_one_voxel_has_a_prediction(fitted):
    patch = patch_of(8)
    patch.fraction[:] = 0
    patch.fraction[12, 12, 12] = 0.4
    (found,) = fitted.predict([LesionSample(patch, 4e-4)])
    assert np.isfinite(found.total)
    assert float(found.map.sum()) + found.bias == pytest.approx(found.total, abs=1e-4)


def test_a_fit_is_repeatable_and_depends_on_its_seed(encoder, fitted, unseen):
    again = model_of(encoder).fit(samples_of(24))
    other = model_of(encoder).fit(samples_of(24), seed=5)
    totals = [[p.total for p in f.predict(unseen)] for f in (fitted, again, other)]
    assert totals[0] == totals[1]
    assert totals[0] != totals[2]


def test_it_is_restored_from_architecture_and_tensors(fitted, unseen):
    found = restore(fitted.architecture(), fitted.tensors())
    for a, b in zip(fitted.predict(unseen), found.predict(unseen), strict=True):
        assert a.total == b.total
        np.testing.assert_array_equal(a.map, b.map)


@pytest.mark.parametrize(
    "change",
    [{"members": 4}, {"members": True}, {"width": -1}, {"learned": 1}, {"learned": False, "fixed": False}, {"more": 1}],
)
def test_an_architecture_that_does_not_fit_is_refused(fitted, change):
    with pytest.raises((ValueError, RuntimeError)):
        restore({**fitted.architecture(), **change}, fitted.tensors())


@pytest.mark.parametrize(("options", "count"), [({"learned": False}, 28), ({"fixed": False}, 12), ({}, 40)])
def test_either_kind_of_features_can_be_left_out(encoder, unseen, options, count):
    found = model_of(encoder, steps=20, **options).fit(samples_of(8))
    assert found.network.architecture.features == count
    assert len(found.predict(unseen)) == len(unseen)


def test_lesions_without_a_label_serve_the_units_alone(encoder):
    labeled = samples_of(12)
    extra = [LesionSample(patch_of(900 + n, radius_mm=4), 0.3, patient=f"U{n}", index=50 + n) for n in range(6)]
    with_extra, without = (model_of(encoder, steps=20).fit(s) for s in ([*labeled, *extra], labeled))
    assert not torch.equal(with_extra.network.feature_mean, without.network.feature_mean)


def test_calibration_and_threshold_come_from_folds(encoder, unseen):
    found = Calibrated(model_of(encoder, steps=60)).fit(samples_of(24))
    assert len(found.held_out) == 24
    labels = np.asarray([s.label for s in samples_of(24)])
    assert found.held_out[labels == 1].mean() > found.held_out[labels == 0].mean() + 0.3


def test_gradient_maps_at_every_named_layer(fitted, unseen):
    assert list(fitted.named_layers()) == ["encoder", "bottleneck", "decoder"]
    shape = unseen[0].patch.mr.shape
    seen = set()
    for layer in fitted.named_layers():
        for method, found in gradient_maps(fitted, unseen[0], methods=METHODS, layer=layer).items():
            assert found.shape == shape
            assert np.isfinite(found).all()
            seen.add((layer, method, round(float(np.abs(found).sum()), 9)))
    assert len({total for *_, total in seen}) > 10  # neither layers nor methods are all alike


def test_the_gradient_is_that_of_the_logit(fitted, unseen):
    (found,) = fitted.predict(unseen[:1])
    assert float(fitted.differentiable_total(unseen[0]).detach()) == pytest.approx(found.total, abs=1e-5)


def test_untrained_heads_keep_the_body(fitted):
    control = fitted.with_random_weights(3)
    assert torch.equal(control.network.autoencoder.last.weight, fitted.network.autoencoder.last.weight)
    assert not torch.equal(control.network.weight, fitted.network.weight)
    assert torch.equal(control.network.feature_mean, fitted.network.feature_mean)


def test_the_mean_pattern_is_stored_with_the_weights(fitted):
    assert fitted.mean_pattern is None
    pattern = np.random.default_rng(1).standard_normal((12, 12, 12)).astype(np.float32)
    stored = fitted.with_mean_pattern(pattern)
    np.testing.assert_array_equal(restore(stored.architecture(), stored.tensors()).mean_pattern, pattern)
    assert fitted.mean_pattern is None


def test_a_lesion_without_images_is_named(fitted):
    with pytest.raises(ModelError, match="GTV 7"):
        fitted.predict([LesionSample(None, 1.0, lesion="GTV 7")])


def test_an_encoder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match="holds no pre-trained encoder"):
        ConvModel.of(Options(encoder=str(tmp_path)))


def test_heads_without_features_are_refused(encoder):
    with pytest.raises(ModelError, match="neither learned nor fixed"):
        model_of(encoder, learned=False, fixed=False)


def test_an_option_that_is_a_path_must_be_text():
    with pytest.raises(ModelError, match=r"--encoder.*expected a path"):
        entry_of("conv").model({"encoder": 3})


def test_the_card_names_the_encoder_by_its_hash(encoder):
    settings = model_of(encoder).settings()
    assert settings["encoder"]["lesions"] == 24
    assert len(settings["encoder"]["sha256"]) == 64
    assert str(encoder) not in str(settings)


def test_the_architecture_survives_json():
    shape = Architecture(Shape((5, 6, 7), 0.5), 3, 4, True, False)
    assert Architecture.of(shape.as_json()) == shape


def test_what_is_usual_at_a_depth_is_taken_from_the_fixed_features(encoder):
    samples = samples_of(16)
    found = model_of(encoder, steps=20, n_augmentations=0).fit(samples)
    network = found.network
    residuals, terms, weights = [], [], []
    for sample in samples:
        mr, fraction = (torch.from_numpy(a)[None, None] for a in (sample.patch.mr, sample.patch.fraction))
        with torch.no_grad():
            described = network.describe(mr, fraction)
            kept = network.without_depth(described)
        inside = fraction[0, 0] > 0
        terms.append(described[0, -DEPTH_TERMS:, inside])
        residuals.append(kept[0, -STEM_CHANNELS:, inside])
        weights.append(fraction[0, 0][inside] / fraction.sum())
    t, r, w = torch.cat(terms, 1), torch.cat(residuals, 1), torch.cat(weights)
    left = ((w * r) @ t.T).abs().max()
    before = ((w * torch.cat([r + network.depth_baseline.T @ t])) @ t.T).abs().max()
    assert float(left) < 0.05 * float(before)  # voxels are sampled and weighted by their smoothing: not exactly zero
    assert network.depth_baseline.abs().max() > 0.1


@pytest.fixture(scope="module")
def few():
    """Lesions whose features are computed once for all tests."""
    return samples_of(10)


@pytest.mark.parametrize("options", [{"dropout": 0.0}, {"consistency": 1.0}, {"l2": 0.1}, {"n_augmentations": 1}])
def test_every_option_of_the_training_changes_the_fit(encoder, unseen, few, options):
    common = {"steps": 20, "n_augmentations": 2}
    first, again, other = (
        model_of(encoder, **{**common, **o}).fit(few).predict(unseen[:1])[0].total for o in ({}, {}, options)
    )
    assert first == again
    assert other != first


def test_consistency_brings_the_copies_of_a_lesion_together(encoder, few):
    def spread(consistency: float) -> float:
        network = model_of(encoder, steps=60, n_augmentations=2, consistency=consistency).fit(few).network
        found = []
        for sample in few:
            lesion = describe(network, sample, n_augmentations=2)
            with torch.no_grad():
                rows = network.standardized(lesion.rows.flatten(0, 1)).reshape(*lesion.rows.shape[:2], -1)
                mean = torch.einsum("cvm,cv->cm", network.evidence(rows), lesion.weight)
                found.append(float((mean * network.log_slope.exp()).std(0).mean()))
        return float(np.mean(found))

    assert spread(3.0) < 0.7 * spread(0.0)


def test_without_memory_on_the_gpu_batches_are_halved_and_a_single_lesion_runs_on_the_cpu(fitted, unseen, monkeypatch):
    """No GPU is needed: the network says that its memory does not suffice for more than one lesion, or for any."""
    before = fitted.predict(unseen)
    forward, sizes = ConvClassifier.forward, []

    def limited(most):
        def run(network, mr, *rest):
            sizes.append(len(mr))
            if len(mr) > most and network is fitted.network:
                raise torch.cuda.OutOfMemoryError("of the test")
            return forward(network, mr, *rest)

        return run

    for most in (1, 0):
        sizes.clear()
        monkeypatch.setattr(ConvClassifier, "forward", limited(most))
        found = fitted.predict(unseen)
        assert sizes[0] == len(unseen)
        assert sizes.count(1) == len(unseen) * (2 - most)
        for a, b in zip(before, found, strict=True):
            assert b.total == pytest.approx(a.total, abs=1e-5)
            np.testing.assert_allclose(b.map, a.map, atol=1e-6)


def test_without_an_encoder_the_included_one_is_used():
    model = entry_of("conv").model({})
    assert model.encoder.card["sources"]["synthetic_lesions"] == model.encoder.card["lesions"] >= 1000
    assert model.settings()["encoder"]["sha256"] == model.encoder.sha256
    assert sum(path.stat().st_size for path in default_encoder().iterdir()) < 5e6
    losses = model.encoder.card["losses"]
    assert losses[-1] < 0.5 * losses[0]  # it was trained
