"""Training is reproducible from its seed, and a cohort that cannot be used is refused by line and column."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SMALL
from sklearn.metrics import roc_auc_score

from RTResponseCAMLib.cli import BAD_INPUT, DONE, main
from RTResponseCAMLib.cohort.case import cases_of, read_case
from RTResponseCAMLib.cohort.manifest import read_cohort
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.models.bundle import load_bundle
from RTResponseCAMLib.models.registry import Requirements, default_name, entry_of
from RTResponseCAMLib.models.scale_space.classifier import Architecture
from RTResponseCAMLib.models.scale_space.training import Schedule
from RTResponseCAMLib.phantom.cohort import write_cohort
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.workflow.train import _beaten_by_volume, train_bundle

SHORT = {"steps": 12, "members": 2}
NAMED = {"name": default_name(), "options": SHORT, "card": {"name": "x"}}


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "cohort"
    spec = PhantomSpec(seed=21, lesions=4, follow_up=False, **SMALL)
    write_cohort(spec, 4, folder=folder, variants=(Variant.DARKER, Variant.TEXTURE), workers=1)
    return folder


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(cohort, tmp_path):
    for name in ("one", "two"):
        train_bundle(cohort, tmp_path / name, **NAMED)
    one, two = (load_bundle(tmp_path / name, "cpu") for name in ("one", "two"))
    assert one.sha256 == two.sha256
    assert one.card["calibration"] == two.card["calibration"]
    held_out = one.card["held_out"]
    assert held_out["lesions"] == 16
    rows = read_cohort(cohort)
    cases = cases_of(rows)
    drawn = [{x.structure.name: x.structure for x in read_case(case).lesions} for case in cases]
    volumes = [contour_volume_cc(known[r.lesion]) for case, known in zip(cases, drawn, strict=True) for r in case]
    labels = [r.label for case in cases for r in case]
    assert held_out["volume_alone"]["auc"]["value"] == pytest.approx(roc_auc_score(labels, volumes), abs=1e-3)
    assert set(held_out["volume_alone"]["auc_by_label_source"]) == {r.label_source for r in rows}
    assert one.card["preprocessing"]["mr_voxel_mm"] == max(SMALL["spacing_mm"])
    assert one.card["preprocessing"]["volume_cc"] == [pytest.approx(v, rel=0.05) for v in (min(volumes), max(volumes))]


def test_an_existing_bundle_is_not_replaced(cohort, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(Exception, match="exists already"):
        train_bundle(cohort, tmp_path / "out", **NAMED)


def test_a_model_that_volume_alone_beats_says_so_unless_few_lesions_show_it():
    def auc(value):
        return {"value": value, "low": value and value - 0.1, "high": value and value + 0.05}

    def figures(all_of_them, one, other):
        return {"auc": auc(all_of_them), "auc_by_label_source": {"a": auc(one), "b": auc(other)}}

    found = {**figures(0.8, 0.7, 0.6), "volume_alone": figures(0.75, 0.9, 0.9)}
    (said,) = _beaten_by_volume(found, {"a": 40, "b": 5})
    assert "(labels: a; AUC 0.90 [0.80 to 0.95] against 0.70 [0.60 to 0.75])" in said
    whole = {**figures(0.8, 0.7, 0.6), "volume_alone": figures(0.9, 0.704, None)}
    (said,) = _beaten_by_volume(whole, {"a": 40, "b": 40})
    assert "(all labels; AUC 0.90 [0.80 to 0.95] against 0.80 [0.70 to 0.85])" in said


@pytest.mark.slow
def test_a_scan_under_two_groups_teaches_nothing(cohort, tmp_path):
    copy = Path(shutil.copytree(cohort, tmp_path / "cohort"))
    name = sorted(p.name for p in copy.iterdir() if p.is_dir())[0]
    shutil.copytree(copy / name, copy / "again")
    lines = (copy / "manifest.csv").read_text().splitlines()
    copied = [line.replace(name, "again") for line in lines if name in line]
    (copy / "manifest.csv").write_text("\n".join([*lines, *copied]) + "\n")
    with pytest.raises(CohortError, match=r"one planning MR under several patient groups: .* and 'S21-again'"):
        train_bundle(copy, tmp_path / "out", **NAMED)
    assert not (tmp_path / "out").exists()


def test_every_row_of_the_manifest_is_a_planted_lesion(cohort):
    rows = read_cohort(cohort)
    assert len(rows) == 16
    assert {row.label for row in rows} == {0, 1}
    assert len({row.patient_group for row in rows}) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("label,", "outcome,", r"manifest.csv: lacks the column\(s\) label"),
        (",0,certain,", ",maybe,certain,", r"column label is 'maybe'"),
        ("P0001/dicom", "P9999/dicom", r"line 2: column study: there is no study folder 'P9999/dicom'"),
    ],
)
def test_a_bad_manifest_is_named(cohort, tmp_path, old, new, message):
    folder = tmp_path / "cohort"
    folder.mkdir()
    for patient in cohort.glob("P*"):
        (folder / patient.name).symlink_to(patient)
    text = (cohort / "manifest.csv").read_text()
    assert old in text
    (folder / "manifest.csv").write_text(text.replace(old, new))
    with pytest.raises(CohortError, match=message):
        read_cohort(folder)


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(CohortError, match="there is no manifest"):
        read_cohort(tmp_path)


def test_too_few_lesions_are_refused(cohort, tmp_path):
    folder = Path(shutil.copytree(cohort, tmp_path / "few", ignore=shutil.ignore_patterns("P0002", "P0003", "P0004")))
    lines = (folder / "manifest.csv").read_text().splitlines()
    (folder / "manifest.csv").write_text("\n".join(lines[:4]) + "\n")
    with pytest.raises(CohortError, match="at least 12 lesions and both classes are needed"):
        train_bundle(folder, tmp_path / "out", **NAMED)
    assert not (tmp_path / "out").exists()


def test_the_command_trains_by_default_as_the_comparison_does(monkeypatch):
    """Options that are not given are not passed on: the registry's defaults hold in both."""
    asked = []
    monkeypatch.setattr("RTResponseCAMLib.workflow.train.train_bundle", lambda *_, **given: asked.append(given) or {})
    assert main(["--quiet", "train", "cohort", "--out", "bundle"]) == DONE
    assert (
        main(["--quiet", "train", "cohort", "--out", "bundle", "--shrinkage-volume-cc", "0.3", "--no-autoencoder"])
        == DONE
    )
    assert [given["options"] for given in asked] == [{}, {"shrinkage_volume_cc": 0.3, "autoencoder": False}]
    model = entry_of(default_name()).model({})
    assert (model.network, model.schedule) == (Architecture(), Schedule())
    words = asked[0]["card"]["command"].split()
    for name, value in (Architecture().as_json() | Schedule().as_json()).items():
        flag = f"--{name.replace('_', '-')}"
        assert flag not in words or words[words.index(flag) + 1] == str(value)
    assert "--no-autoencoder" in asked[1]["card"]["command"]


@pytest.mark.slow
def test_a_model_is_not_trained_on_lesions_that_lack_its_input(small_cohort, tmp_path, monkeypatch):
    entry = replace(entry_of("volume"), requires=Requirements(families=("elsewhere",)))
    monkeypatch.setattr("RTResponseCAMLib.workflow.train.entry_of", lambda name: entry)
    with pytest.raises(CohortError, match=r"cannot train 'volume': 18 of 18 lesions lack a required input \(elsewhere"):
        train_bundle(small_cohort, tmp_path / "out", name="volume", options={}, card={})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "3"], "--steps: is 3, expected 10 to"),
        (["--dropout", "1.5"], "--dropout: is 1.5, expected 0 to 0.95"),
        (["--model", "svm"], "there is no model 'svm'"),
        (["--model", "volume", "--steps", "20"], "volume: has no option --steps"),
    ],
)
def test_options_that_a_model_cannot_have_are_refused(tmp_path, capsys, options, message):
    assert main(["--quiet", "train", str(tmp_path), "--out", str(tmp_path / "out"), *options]) == BAD_INPUT
    assert message in capsys.readouterr().err
