"""A bundle that is not what its card says is refused; nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fitted import predictions_of
from safetensors.numpy import load_file, save_file

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.models.bundle import load_bundle
from RTResponseCAMLib.models.card import ASSUMED_CC, SCHEMA_VERSION


@pytest.fixture
def own_bundle(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))


def test_the_shipped_bundle_is_small_and_says_it_never_saw_a_patient(bundle_folder):
    assert sum(f.stat().st_size for f in bundle_folder.iterdir()) < 5_000_000
    card = load_bundle(bundle_folder, "cpu").card
    assert any("never seen a patient" in text for text in card["warnings"])
    assert card["command"].startswith("rtresponsecam train")


def test_altered_weights_are_refused(own_bundle):
    path = own_bundle / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights.safetensors: has the SHA-256 .*not that of model.json"):
        load_bundle(own_bundle, "cpu")
    path.write_bytes(content[:1000])
    with pytest.raises(ModelError, match=r"has 1000 bytes, model.json states \d+: the file is not whole"):
        load_bundle(own_bundle, "cpu")


def test_a_folder_that_is_none_is_named_as_it_is(own_bundle):
    with pytest.raises(ModelError, match=r"absent: there is no such folder"):
        load_bundle(own_bundle / "absent", "cpu")
    with pytest.raises(ModelError, match=r"model.json: is a file, expected the folder of a bundle"):
        load_bundle(own_bundle / "model.json", "cpu")


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


@pytest.mark.parametrize(
    ("version", "message"),
    [(99, "schema version 99, newer than .* Update the program"), (6, "schema version 6; .* Train the model again")],
)
def test_a_schema_of_another_time_is_refused_with_what_to_do(own_bundle, version, message):
    change_card(own_bundle, schema_version=version)
    with pytest.raises(ModelError, match=message):
        load_bundle(own_bundle, "cpu")


def as_schema_7(bundle: Path, **shape) -> None:
    card = json.loads((bundle / "model.json").read_text())
    inputs = {k: v for k, v in card["preprocessing"].items() if k not in ("dose", "families")}
    architecture = {"form": "signed", **card["architecture"], **shape}
    change_card(bundle, schema_version=7, model=None, preprocessing=inputs, architecture=architecture)


def test_a_bundle_of_schema_7_predicts_as_before(own_bundle, shipped, patches):
    as_schema_7(own_bundle)
    old = load_bundle(own_bundle, "cpu")
    assert old.inputs == shipped.inputs
    assert old.sha256 == shipped.sha256
    for one, other in zip(predictions_of(old, patches), predictions_of(shipped, patches), strict=True):
        assert one.total == other.total
        assert np.array_equal(one.map, other.map)


def as_schema_8(bundle: Path) -> None:
    """Options, tensors and warnings under their names of that schema; weights and their sum are new then."""
    card = json.loads((bundle / "model.json").read_text())
    path = bundle / "weights.safetensors"
    tensors = load_file(path)
    tensors["usual"] = tensors.pop("depth_baseline")
    save_file(tensors, path)
    shape = {"half_cc" if k == "shrinkage_volume_cc" else k: v for k, v in card["architecture"].items()}
    weights = [{**card["weights"][0], "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}]
    change_card(bundle, schema_version=8, architecture=shape, weights=weights, cautions=["old words"], warnings=None)


def test_a_bundle_of_schema_8_predicts_as_before(own_bundle, shipped, patches):
    as_schema_8(own_bundle)
    old = load_bundle(own_bundle, "cpu")
    assert old.card["warnings"] == ["old words"]
    for one, other in zip(predictions_of(old, patches), predictions_of(shipped, patches), strict=True):
        assert one.total == other.total
        assert np.array_equal(one.map, other.map)


def test_cumulative_hazards_of_schema_7_are_refused(own_bundle):
    as_schema_7(own_bundle, form="hazard")
    with pytest.raises(ModelError, match=r"cumulative hazard.*, which is no longer supported"):
        load_bundle(own_bundle, "cpu")


def test_a_model_that_this_program_does_not_know_is_named(own_bundle):
    change_card(own_bundle, model="oracle")
    with pytest.raises(ModelError, match=r"names the model 'oracle', .* Choose one of .*scale-space"):
        load_bundle(own_bundle, "cpu")


@pytest.mark.parametrize("name", ["spacing_mm", "margin_mm", "dose", "families"])
def test_a_card_without_its_input_specification_is_refused(own_bundle, name):
    inputs = json.loads((own_bundle / "model.json").read_text())["preprocessing"]
    change_card(own_bundle, preprocessing={k: v for k, v in inputs.items() if k != name})
    with pytest.raises(ModelError, match=f"lacks {name} of the input specification"):
        load_bundle(own_bundle, "cpu")


def test_an_input_specification_that_is_no_number_is_refused(own_bundle):
    inputs = json.loads((own_bundle / "model.json").read_text())["preprocessing"]
    change_card(own_bundle, preprocessing={**inputs, "spacing_mm": "fine"})
    with pytest.raises(ModelError, match="unreadable input specification"):
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": []}, "no usable weights"),
        ({"weights": [{"file": "weights.safetensors"}]}, "no usable weights"),
        ({"weights": "weights.safetensors"}, "no usable weights"),
        ({"calibration": 1.0}, "no usable calibration"),
        ({"calibration": {"slope": "steep", "intercept": 0}}, "no usable calibration"),
        ({"calibration": {"slope": float("nan"), "intercept": 0}}, "no usable calibration"),
        ({"threshold": "high"}, "no usable threshold"),
        ({"threshold": 1.5}, "no usable threshold"),
        ({"architecture": [1]}, "no usable architecture"),
        ({"model": 7}, "names the model '7'"),
        ({"preprocessing": "as usual"}, "of the input specification"),
        ({"calibration": {"slope": -1, "intercept": 0}}, "no usable calibration"),
        ({"calibration": {"slope": 0, "intercept": 0}}, "no usable calibration"),
        ({"threshold": float("nan")}, "no usable threshold"),
        ({"architecture": {}}, "does not fit the architecture"),
        ({"warnings": "careful"}, "no usable warnings"),
        ({"schema_version": None}, "has schema version None"),
        ({"schema_version": "8"}, "has schema version '8', expected a whole number"),
    ],
)
def test_values_that_nothing_can_be_restored_from_are_named(own_bundle, changes, message):
    change_card(own_bundle, **changes)
    with pytest.raises(ModelError, match=message):
        load_bundle(own_bundle, "cpu")


def test_a_card_that_is_no_object_is_refused(own_bundle):
    (own_bundle / "model.json").write_text("[8]")
    with pytest.raises(ModelError, match="not a JSON object"):
        load_bundle(own_bundle, "cpu")


@pytest.mark.parametrize(
    ("name", "value"), [("shrinkage_volume_cc", "x"), ("dose", 3), ("members", None), ("context_mm", -1.0)]
)
def test_an_architecture_with_a_value_of_another_kind_is_refused(own_bundle, name, value):
    card = json.loads((own_bundle / "model.json").read_text())
    change_card(own_bundle, architecture={**card["architecture"], name: value})
    with pytest.raises(ModelError, match="does not fit the architecture"):
        load_bundle(own_bundle, "cpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [("dose", "x"), ("families", "x"), ("spacing_mm", 0), ("margin_mm", -1), ("margin_mm", float("inf"))],
)
def test_inputs_of_another_kind_are_refused(own_bundle, name, value):
    card = json.loads((own_bundle / "model.json").read_text())
    change_card(own_bundle, preprocessing={**card["preprocessing"], name: value})
    with pytest.raises(ModelError, match=r"no usable preprocessing|unreadable input specification"):
        load_bundle(own_bundle, "cpu")


def test_the_shipped_card_has_the_present_schema(bundle_folder):
    assert json.loads((bundle_folder / "model.json").read_text())["schema_version"] == SCHEMA_VERSION == 9
    assert load_bundle(bundle_folder, "cpu").card["schema_version"] == SCHEMA_VERSION


def test_an_input_specification_without_voxel_size_and_volumes_is_read(own_bundle):
    inputs = json.loads((own_bundle / "model.json").read_text())["preprocessing"]
    change_card(own_bundle, preprocessing={k: v for k, v in inputs.items() if k not in ("mr_voxel_mm", "volume_cc")})
    found = load_bundle(own_bundle, "cpu").inputs
    assert (found.mr_voxel_mm, found.volume_cc) == (0.0, tuple(ASSUMED_CC))


@pytest.mark.parametrize(("threshold", "right"), [(0.0, True), (1.0, True), (-0.01, False), (1.01, False)])
def test_a_threshold_is_a_probability(own_bundle, threshold, right):
    change_card(own_bundle, threshold=threshold)
    if right:
        assert load_bundle(own_bundle, "cpu").card["threshold"] == threshold
    else:
        with pytest.raises(ModelError, match="no usable threshold"):
            load_bundle(own_bundle, "cpu")


@pytest.mark.parametrize("form", ["hazard", "unsigned"])
def test_only_signed_models_of_schema_7_are_read(own_bundle, form):
    as_schema_7(own_bundle, form=form)
    with pytest.raises(ModelError, match="cumulative hazard"):
        load_bundle(own_bundle, "cpu")


def test_where_no_bundle_is_installed_the_folder_of_the_sources_is_named(monkeypatch, tmp_path):
    from RTResponseCAMLib.models import card

    monkeypatch.setattr(card, "MODEL_FOLDERS", (tmp_path / "a", tmp_path / "b"))
    assert card.default_bundle() == tmp_path / "b" / "phantom"
    (tmp_path / "a" / "phantom").mkdir(parents=True)
    assert card.default_bundle() == tmp_path / "a" / "phantom"


def test_a_model_without_a_margin_is_read(own_bundle):
    card = json.loads((own_bundle / "model.json").read_text())
    card["preprocessing"]["margin_mm"] = 0.0
    (own_bundle / "model.json").write_text(json.dumps(card))
    assert load_bundle(own_bundle, "cpu").card["preprocessing"]["margin_mm"] == 0.0


def test_damaged_distributions_of_the_training_lesions_are_refused(own_bundle):
    change_card(own_bundle, familiarity={"scan": {"properties": ["noise"]}})
    with pytest.raises(ModelError, match=r"model\.json.*unreadable familiarity.*expected properties, mean"):
        load_bundle(own_bundle, "cpu")
