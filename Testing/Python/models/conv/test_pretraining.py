"""Pre-training: it learns, goes on after an interruption with the same result, and stops at NaN."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conv_lesions import patch_of

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.models.conv.autoencoder import Autoencoder, Shape, network_units
from RTResponseCAMLib.models.conv.encoder import CARD, WEIGHTS, load_encoder, save_encoder
from RTResponseCAMLib.models.conv.pretraining import STATE_CARD, Plan, pretrain
from RTResponseCAMLib.progress import Cancelled

PLAN = Plan(Shape((4, 8)), epochs=8, batch=4, learning_rate=1e-2, seed=3)


@pytest.fixture(scope="module")
def lesions():
    return [patch_of(n, coarse=bool(n % 2)) for n in range(24)]


@pytest.fixture(scope="module")
def trained(lesions):
    return pretrain(lambda epoch, progress: lesions, PLAN)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_hidden_voxels_of_new_lesions_are_filled_in_better_than_by_the_mean(trained):
    patch = patch_of(99, coarse=True)
    mr, fraction = (torch.from_numpy(a)[None, None] for a in (patch.mr, patch.fraction))
    hidden = torch.zeros_like(mr)
    hidden[..., 10:14, 10:14, 10:14] = 1
    with torch.no_grad():
        found = trained.network(mr, fraction, hidden)
    truth, here = network_units(mr), hidden > 0
    outside = truth[(fraction > 0) & ~here].mean()
    assert float((found - truth)[here].square().mean()) < 0.9 * float((outside - truth)[here].square().mean())
    assert trained.losses[-1] < 0.7 * trained.losses[0]


def test_what_is_hidden_is_not_seen(trained):
    patch = patch_of(98)
    mr, fraction = (torch.from_numpy(a)[None, None] for a in (patch.mr, patch.fraction))
    hidden = torch.zeros_like(mr)
    hidden[..., 10:14, 10:14, 10:14] = 1
    with torch.no_grad():
        assert torch.equal(
            trained.network(mr, fraction, hidden),
            trained.network(torch.where(hidden > 0, mr + 5, mr), fraction, hidden),
        )


def test_the_units_of_the_last_layer_are_those_of_the_lesions(trained, lesions):
    found = []
    with torch.no_grad():
        for patch in lesions:
            mr, fraction = (torch.from_numpy(a)[None, None] for a in (patch.mr, patch.fraction))
            channels = trained.network.channels(mr, fraction)[0].flatten(1)
            weight = fraction.flatten() / fraction.sum()
            found.append(torch.stack([channels @ weight, channels**2 @ weight]))
    mean, square = torch.stack(found).mean(0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-3, rtol=0)
    torch.testing.assert_close(square, torch.ones_like(square), atol=1e-2, rtol=0)


def test_a_cancelled_run_goes_on_with_the_same_result(trained, lesions, tmp_path):
    def cancel(fraction, text=""):
        if "epoch 3" in text:
            raise Cancelled

    with pytest.raises(Cancelled):
        pretrain(lambda epoch, progress: lesions, PLAN, state=tmp_path / "state", progress=cancel)
    assert len(json.loads((tmp_path / "state" / STATE_CARD).read_text())["losses"]) == 2
    seen = []

    def later(epoch, progress):
        seen.append(epoch)
        return lesions

    resumed = pretrain(later, PLAN, state=tmp_path / "state")
    assert seen[0] == 2  # the first two epochs are not repeated
    assert equal(resumed.network, trained.network)
    assert resumed.losses == pytest.approx(trained.losses)


def test_the_state_of_other_settings_is_refused(lesions, tmp_path):
    pretrain(lambda epoch, progress: lesions, replace(PLAN, epochs=1), state=tmp_path)
    with pytest.raises(ModelError, match="other settings"):
        pretrain(lambda epoch, progress: lesions, replace(PLAN, epochs=1, seed=4), state=tmp_path)


def test_the_state_of_other_lesions_is_refused(lesions, tmp_path):
    one = replace(PLAN, epochs=1)
    pretrain(lambda epoch, progress: lesions, one, state=tmp_path, origin="a")
    with pytest.raises(ModelError, match="other lesions"):
        pretrain(lambda epoch, progress: lesions, one, state=tmp_path, origin="b")


def test_a_damaged_state_is_named(lesions, tmp_path):
    pretrain(lambda epoch, progress: lesions, replace(PLAN, epochs=1), state=tmp_path)
    (tmp_path / STATE_CARD).write_text('{"key": 1')
    with pytest.raises(ModelError, match="is damaged"):
        pretrain(lambda epoch, progress: lesions, replace(PLAN, epochs=1), state=tmp_path)


def test_nan_stops_at_its_step_and_keeps_the_last_epoch(lesions, tmp_path):
    bad = [replace(lesions[0], mr=np.full_like(lesions[0].mr, np.nan)), *lesions[1:]]
    with pytest.raises(ModelError, match=r"NaN at step [1-6] of epoch 2"):
        pretrain(lambda epoch, progress: bad if epoch else lesions, PLAN, state=tmp_path)
    assert len(json.loads((tmp_path / STATE_CARD).read_text())["losses"]) == 1


def test_without_epochs_the_encoder_is_untrained_but_has_units(lesions):
    found = pretrain(lambda epoch, progress: lesions, replace(PLAN, epochs=0))
    torch.manual_seed(PLAN.seed)
    fresh = Autoencoder(PLAN.shape)
    assert torch.equal(found.network.last.weight, fresh.last.weight)
    assert found.losses == ()
    assert float((found.network.channel_deviation - 1).abs().min()) > 1e-3


@pytest.fixture
def folder(trained, tmp_path):
    save_encoder(tmp_path / "encoder", trained.network, card={"lesions": 24, "losses": list(trained.losses)})
    return tmp_path / "encoder"


def test_an_encoder_is_restored_as_it_was(trained, folder):
    found = load_encoder(folder)
    assert equal(found.autoencoder(), trained.network)
    assert found.card["lesions"] == 24


def changed(**values):
    def change(folder):
        card = json.loads((folder / CARD).read_text())
        (folder / CARD).write_text(json.dumps({**card, **values}))

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / CARD).unlink(), "holds no pre-trained encoder"),
        (lambda f: (f / CARD).write_text("[]"), "is not the card of an encoder"),
        (changed(schema_version=99), "schema version 99"),
        (changed(input="CT"), "trained on another input: 'CT'"),
        (changed(shape={"channels": [4, 9], "spacing_mm": 1.0}), "does not fit the shape"),
        (changed(shape={"channels": [True], "spacing_mm": 1.0}), "does not fit the shape"),
        (lambda f: (f / WEIGHTS).unlink(), "is missing"),
        (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-4] + b"abcd"), "has the SHA-256"),
    ],
)
def test_what_is_no_encoder_is_refused_with_its_cause(folder, damage, said):
    damage(folder)
    with pytest.raises(ModelError, match=said):
        load_encoder(folder)


def test_an_encoder_with_nan_is_refused(trained, tmp_path):
    network = Autoencoder(PLAN.shape)
    network.load_state_dict(trained.network.state_dict())
    with torch.no_grad():
        network.last.bias[0] = float("nan")
    save_encoder(tmp_path / "bad", network, card={})
    with pytest.raises(ModelError, match="not numbers"):
        load_encoder(tmp_path / "bad")


def test_a_patch_of_any_size_is_padded_to_the_levels():
    network = Autoencoder(Shape((3, 4, 5))).eval()
    with torch.no_grad():
        found = network.features(torch.randn(1, 1, 10, 11, 13), torch.ones(1, 1, 10, 11, 13))
    assert found.shape == (1, 3, 10, 11, 13)
