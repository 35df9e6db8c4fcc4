"""Pre-training from cohorts and from phantoms: what the card says, what an interruption leaves, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.cli import BAD_INPUT, CANCELLED, main
from RTResponseCAMLib.cli import pretrain as command
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.evaluation.protocol import Protocol, chosen_models
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.phantom.families import FAMILIES
from RTResponseCAMLib.phantom.patient import planning_grid, render_mr, sample_patient
from RTResponseCAMLib.phantom.scanner import SCANNERS
from RTResponseCAMLib.phantom.single import head_units, lesion_patch, single_lesion
from RTResponseCAMLib.phantom.spec import PhantomSpec
from RTResponseCAMLib.progress import Cancelled
from RTResponseCAMLib.workflow.pretrain import LARGEST, MIN_LESIONS, cropped, pretrain_encoder, state_folder
from RTResponseCAMLib.workflow.train import train_bundle

SETTINGS = {"epochs": 2, "channels": [3, 4]}


@pytest.fixture(scope="module")
def encoder(small_cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("pretrain") / "encoder"
    figures = pretrain_encoder([small_cohort], out, synthetic=16, settings=SETTINGS)
    return out, figures


def test_the_card_states_lesions_schedule_and_loss_without_a_path(encoder, small_cohort):
    out, figures = encoder
    card = json.loads((out / "encoder.json").read_text())
    assert card["lesions"] == figures["lesions"] == card["sources"]["cohort_lesions"] + 16
    assert card["sources"]["cohort_lesions"] > 0
    assert card["losses"] == pytest.approx(figures["losses"], abs=1e-4)
    assert len(card["losses"]) == card["schedule"]["epochs"] == 2
    assert card["command"].startswith(
        "rtresponsecam pretrain COHORT --out ENCODER --synthetic 16 --synthetic-seed 9100"
    )
    assert str(small_cohort) not in json.dumps(card)
    assert "Research use only" in card["intended_use"]
    assert sorted(p.name for p in out.parent.iterdir()) == ["encoder"]  # no state is left


@pytest.mark.slow
def test_a_bundle_is_trained_on_the_encoder_and_names_it(encoder, small_cohort, tmp_path):
    options = {"encoder": str(encoder[0]), "members": 2, "n_augmentations": 1, "steps": 30}
    train_bundle(small_cohort, tmp_path / "bundle", name="conv", options=options, card={"command": "x", "warnings": []})
    text = (tmp_path / "bundle" / "model.json").read_text()
    card = json.loads(text)
    assert card["model"] == "conv"
    assert card["schedule"]["encoder"]["lesions"] == encoder[1]["lesions"]
    assert str(encoder[0]) not in text


def in_epoch_two(fraction, text=""):
    if "epoch 2" in text:
        raise Cancelled


def test_an_interrupted_run_goes_on_after_its_last_epoch(tmp_path):
    out = tmp_path / "encoder"
    with pytest.raises(Cancelled):
        pretrain_encoder([], out, synthetic=MIN_LESIONS, settings=SETTINGS, progress=in_epoch_two)
    assert sorted(p.name for p in tmp_path.iterdir()) == [state_folder(out).name]  # the state, and nothing half-written
    said = []
    pretrain_encoder(
        [], out, synthetic=MIN_LESIONS, settings=SETTINGS, progress=lambda fraction, text="": said.append(text)
    )
    assert not any(text.startswith("epoch 1") for text in said)
    assert any(text.startswith("epoch 2") for text in said)
    assert [p.name for p in tmp_path.iterdir()] == ["encoder"]


def test_an_interrupted_command_says_how_it_goes_on(tmp_path, capsys, monkeypatch):
    def interrupted(cohorts, out, **options):
        state_folder(out).mkdir()
        raise Cancelled

    monkeypatch.setattr("RTResponseCAMLib.workflow.pretrain.pretrain_encoder", interrupted)
    assert main(["pretrain", "--out", str(tmp_path / "encoder"), "--synthetic", "20"]) == CANCELLED
    assert "encoder.unfinished holds the finished epochs; the same command goes on" in capsys.readouterr().err
    assert command.COMMANDS[0].name == "pretrain"


def test_an_interrupted_run_does_not_go_on_with_other_lesions(tmp_path):
    out = tmp_path / "encoder"
    with pytest.raises(Cancelled):
        pretrain_encoder([], out, synthetic=MIN_LESIONS, settings=SETTINGS, progress=in_epoch_two)
    with pytest.raises(RTResponseError, match="other lesions"):
        pretrain_encoder([], out, synthetic=MIN_LESIONS + 1, settings=SETTINGS)


def test_fresh_lesions_can_be_cancelled_while_they_are_made(tmp_path):
    said = []

    def stop(fraction, text=""):
        said.append(text)
        if len([t for t in said if t.startswith("synthetic lesion")]) > 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        pretrain_encoder([], tmp_path / "encoder", synthetic=MIN_LESIONS, fresh=True, settings=SETTINGS, progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_fresh_lesions_are_never_the_same(tmp_path):
    figures = pretrain_encoder([], tmp_path / "encoder", synthetic=MIN_LESIONS, fresh=True, settings=SETTINGS)
    fixed = pretrain_encoder([], tmp_path / "other", synthetic=MIN_LESIONS, settings=SETTINGS)
    assert figures["losses"][0] == fixed["losses"][0]  # the first epoch is the same
    assert figures["losses"][1] != fixed["losses"][1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], f"are 0 lesions, expected at least {MIN_LESIONS}"),
        (["--synthetic", "4"], "are 4 lesions"),
        (["--synthetic", "-1"], "--synthetic: is -1"),
        (["--synthetic", "20", "--families", "nothing"], "there is no family 'nothing'"),
        (["--synthetic", "20", "--families", "coarse"], "'coarse' has no lesions without a study"),
        (["--synthetic", "20", "--channels", "8"], "--channels: is '8'"),
        (["--synthetic", "20", "--channels", "8,x"], "--channels: is '8,x'"),
        (["--synthetic", "20", "--epochs", "-2"], "--epochs: is -2"),
        (["--synthetic", "20", "--learning-rate", "5"], "--learning-rate: is 5"),
    ],
)
def test_what_cannot_be_pre_trained_is_refused(arguments, said, tmp_path, capsys):
    assert main(["pretrain", "--out", str(tmp_path / "encoder"), *arguments]) == BAD_INPUT
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_existing_encoder_is_not_replaced(tmp_path):
    (tmp_path / "encoder").mkdir()
    with pytest.raises(RTResponseError, match="exists already"):
        pretrain_encoder([], tmp_path / "encoder", synthetic=MIN_LESIONS)


def test_single_lesions_are_fixed_by_seed_and_number():
    first, again, other, seed = (lesion_patch(*key) for key in ((9100, 4), (9100, 4), (9100, 6), (6, 4)))
    np.testing.assert_array_equal(first.mr, again.mr)
    assert first.mr.shape != other.mr.shape or not np.array_equal(first.mr, other.mr)
    assert first.mr.shape != seed.mr.shape or not np.array_equal(first.mr, seed.mr)
    for patch in (first, other, seed):
        assert np.isfinite(patch.mr).all()
        assert 0 < patch.fraction.sum() < patch.fraction.size / 4


@pytest.mark.parametrize("name", ["mprage-3t", "se-1.5t"])
def test_units_of_intensity_are_those_of_the_whole_head(name):
    spec = PhantomSpec(seed=5, patient=3, lesions=1, family="texture", scanner=name)
    patient = sample_patient(spec)
    whole = head_intensity(render_mr(patient, planning_grid(patient)))
    coarse = head_units(5, 2, scanner_name=name)
    # The gain of a scan is arbitrary, and a session's contrast varies by 5 %.
    assert coarse.iqr / coarse.median == pytest.approx(whole.iqr / whole.median, rel=0.15)
    assert name in SCANNERS


def test_all_families_and_large_lesions_give_patches():
    for family in FAMILIES:
        assert lesion_patch(9100, 4, families=(family,)).fraction.any()
    large = lesion_patch(9100, 21)  # 10.7 cm³
    assert large.mr.shape[0] > LARGEST
    small = cropped(large)
    assert small.mr.shape == (LARGEST,) * 3
    middle = sitk.GetArrayFromImage(sitk.Resample(large.grid.image(large.mr), small.grid.blank()))
    np.testing.assert_allclose(small.mr, middle, atol=1e-4)


def test_the_encoder_of_a_comparison_is_named_by_its_content_not_by_its_folder(encoder):
    protocol = Protocol(models=chosen_models(["conv"]), options={"steps": 20, "encoder": str(encoder[0])})
    protocol.check()
    text = json.dumps(protocol.as_json())
    assert str(encoder[0]) not in text
    assert len(protocol.as_json()["options"]["encoder"]) == 64
    assert protocol.as_json()["options"]["steps"] == 20


@pytest.mark.parametrize(
    ("models", "options", "said"),
    [
        (["conv"], {"encoder": "nowhere"}, "holds no pre-trained encoder"),
        (["radiomics"], {"encoder": "somewhere"}, "is an option of no model that is compared"),
    ],
)
def test_a_comparison_without_a_fitting_encoder_is_refused_at_once(models, options, said):
    with pytest.raises(RTResponseError, match=said):
        Protocol(models=chosen_models(models), options=options).check()


def test_lesions_of_a_patient_share_head_and_scanner_and_another_scanner_shows_the_same_lesion():
    first, second = (single_lesion(9100, n, families=("dose",), patient=3) for n in (40, 41))
    assert (first.scanner, first.unit) == (second.scanner, second.unit)
    assert not np.allclose(first.lesion.center_mm, second.lesion.center_mm)
    other_name = next(name for name in SCANNERS if name != first.scanner)
    other = single_lesion(9100, 40, families=("dose",), patient=3, scanner=other_name)
    assert other.scanner == other_name
    np.testing.assert_array_equal(other.lesion.center_mm, first.lesion.center_mm)
    assert other.lesion.volume_ratio == first.lesion.volume_ratio
    assert not np.allclose(other.mr, first.mr)
