"""A bundle that is not what its card says is refused; nothing is unpickled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.network.bundle import load_bundle


@pytest.fixture
def own_bundle(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))


def test_the_shipped_bundle_is_small_and_says_it_never_saw_a_patient(bundle_folder):
    assert sum(f.stat().st_size for f in bundle_folder.iterdir()) < 5_000_000
    card = load_bundle(bundle_folder, "cpu").card
    assert any("never seen a patient" in text for text in card["cautions"])
    assert card["command"].startswith("rtresponsecam train")


def test_altered_weights_are_refused(own_bundle):
    path = own_bundle / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights.safetensors: has SHA-256 .*model.json says"):
        load_bundle(own_bundle, "cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [("weights.safetensors", "weights named in model.json are missing"), ("model.json", "there is no model card")],
)
def test_a_missing_file_is_named(own_bundle, name, message):
    (own_bundle / name).unlink()
    with pytest.raises(ModelError, match=message):
        load_bundle(own_bundle, "cpu")


def change_card(bundle: Path, **changes) -> None:
    card = json.loads((bundle / "model.json").read_text())
    card.update(changes)
    (bundle / "model.json").write_text(json.dumps({k: v for k, v in card.items() if v is not None}))


def test_a_card_without_calibration_is_refused(own_bundle):
    change_card(own_bundle, calibration=None)
    with pytest.raises(ModelError, match="lacks calibration"):
        load_bundle(own_bundle, "cpu")


def test_a_newer_schema_is_refused(own_bundle):
    change_card(own_bundle, schema_version=99)
    with pytest.raises(ModelError, match="schema version 99"):
        load_bundle(own_bundle, "cpu")


def test_weights_of_another_architecture_are_refused(own_bundle):
    card = json.loads((own_bundle / "model.json").read_text())
    change_card(own_bundle, architecture={**card["architecture"], "width": 3})
    with pytest.raises(ModelError, match="does not fit the architecture"):
        load_bundle(own_bundle, "cpu")


def test_weights_outside_the_bundle_are_refused(own_bundle):
    card = json.loads((own_bundle / "model.json").read_text())
    change_card(own_bundle, weights=[{**card["weights"][0], "file": "../../x.safetensors"}])
    with pytest.raises(ModelError, match="are missing"):
        load_bundle(own_bundle, "cpu")
