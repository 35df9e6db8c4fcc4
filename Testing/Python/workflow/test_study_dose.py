"""``rtresponsecam dvh`` on a phantom study: what is written, and what is said when something is missing."""

from __future__ import annotations

import csv
import json
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quirks import edit

from RTResponseCAMLib.cli import BAD_INPUT, DONE, main
from RTResponseCAMLib.dosimetry.lesion import dose_metrics
from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.progress import Cancelled
from RTResponseCAMLib.study import Structure
from RTResponseCAMLib.workflow.dvh import measure_dose, write_dose


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_tables_agree_with_each_other_and_with_what_was_planned(study_folder, tmp_path, capsys):
    out = tmp_path / "dose"
    assert main(["--quiet", "dvh", str(study_folder / "dicom"), "--out", str(out), "--json"]) == DONE
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((out / "dvh.json").read_text(encoding="utf-8"))
    assert content["interpolation"] == "linear"
    structures = {row["structure"]: row for row in rows(out / "structures.csv")}
    targets = {row["name"]: row for row in rows(out / "targets.csv")}
    truth = json.loads((study_folder / "truth" / "truth.json").read_text())["lesions"]
    assert len(targets) == len(truth) == 3
    for name, target in targets.items():
        assert float(target["coverage"]) == pytest.approx(0.98, abs=0.02)  # shots are packed for 98 %
        assert float(target["paddick_ci"]) == pytest.approx(float(target["coverage"]) * float(target["selectivity"]))
        share = float(structures[name]["v_prescription_percent"]) / 100
        assert share == pytest.approx(float(target["coverage"]), abs=1e-6)
        gy, n = float(target["prescription_gy"]), 1
        assert float(target["prescription_bed10_gy"]) == pytest.approx(gy * (1 + gy / n / 10))
        curve = [r for r in rows(out / "curves.csv") if r["structure"] == name]
        dose, percent = (np.asarray([float(r[k]) for r in curve]) for k in ("dose_gy", "volume_percent"))
        assert np.interp(-95, -percent, dose) == pytest.approx(float(structures[name]["d95_gy"]), rel=0.01)
    assert [r["target_working_label"] for r in rows(out / "nyumets.csv")] == list(targets)
    assert (out / "dvh.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_figures_beside_a_prediction_are_the_same(study):
    found = measure_dose(study)
    by_name = {h.name: h for h in found.histograms}
    for lesion in study.lesions:
        metrics = dose_metrics(
            lesion.structure, study.dose, prescription_gy=study.plan.prescription.dose_for(lesion.structure)
        )
        assert metrics.d98_gy == by_name[lesion.structure.name].dose_to_percent(98)


def test_without_a_prescription_histograms_stand_alone_and_it_is_said(study, tmp_path):
    bare = replace(study, plan=replace(study.plan, prescription=None))
    content = write_dose(bare, tmp_path / "out")
    assert content["targets"] == []
    assert "--prescription" in " ".join(c["text"] for c in content["warnings"])
    assert not (tmp_path / "out" / "targets.csv").exists()
    assert {r["v_prescription_percent"] for r in rows(tmp_path / "out" / "structures.csv")} == {""}


def test_without_fractions_neither_risk_nor_bed_is_guessed(study):
    plan = replace(study.plan, prescription=replace(study.plan.prescription, fractions=None))
    found = measure_dose(replace(study, plan=plan))
    assert found.bed == ()
    assert {t.risk_cc for t in found.targets} == {None}
    assert "no-fractions" in {c.code for c in found.warnings}


def test_a_dose_of_zero_and_structures_that_cannot_be_measured_are_said(study, tmp_path):
    grid = Grid.of(study.dose.image)
    nothing = replace(study.dose, image=grid.image(np.zeros(grid.shape, np.float32)))
    contours = study.structures[0].contours
    crossed = Structure(91, "crossed", "AVOIDANCE", (*contours[:2], contours[5][:, [2, 0, 1]]))
    beside = Structure(92, "beside", "ORGAN", tuple(c + np.asarray([500.0, 0, 0]) for c in contours))
    changed = replace(study, dose=nothing, structures=(*study.structures, crossed, beside))
    content = write_dose(changed, tmp_path / "out")
    assert {t["isodose_percent"] for t in content["targets"]} == {None}
    said = {c["code"]: c["text"] for c in content["warnings"]}
    assert "crossed" in said["structure-left-out"]
    assert any(c["text"].startswith("beside: 100 %") for c in content["warnings"])
    assert "crossed" not in {r["structure"] for r in content["structures"]}
    as_lesion = replace(changed, lesions=(*study.lesions, replace(study.lesions[0], structure=crossed)))
    with pytest.raises(GeometryError, match="crossed"):
        measure_dose(as_lesion)


def test_a_study_without_dose_is_refused(study, own_study, tmp_path, capsys):
    with pytest.raises(StudyError, match="RTDOSE"):
        measure_dose(replace(study, dose=None))
    for path in own_study.rglob("*"):
        if path.is_file() and b"1.2.840.10008.5.1.4.1.1.481.2" in path.read_bytes()[:1500]:
            path.unlink()
    assert main(["--quiet", "dvh", str(own_study), "--out", str(tmp_path / "out")]) == BAD_INPUT
    assert "RTDOSE" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_cancelled_run_leaves_nothing(study, tmp_path):
    def stop(fraction, text=""):
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        write_dose(study, tmp_path / "out", progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def weighted(study_folder, tmp_path_factory):
    """The study with a dose that is weighted by biological effect."""
    folder = Path(shutil.copytree(study_folder / "dicom", tmp_path_factory.mktemp("weighted") / "dicom"))
    edit(folder / "plan_t1c" / "RD.dcm", lambda data: setattr(data, "DoseType", "EFFECTIVE"))
    return folder


@pytest.mark.slow
def test_weighted_dose_is_named_wherever_a_dose_is_written(weighted, tmp_path, capsys):
    assert main(["--quiet", "dvh", str(weighted), "--out", str(tmp_path / "dvh")]) == DONE
    assert "Gy (RBE)" in capsys.readouterr().out
    content = json.loads((tmp_path / "dvh" / "dvh.json").read_text())
    assert content["dose_unit"] == "Gy (RBE)"
    assert all(row["dose_unit"] == "Gy (RBE)" for row in content["structures"] + content["targets"])
    assert all(row["risk_gy"] is None for row in content["targets"])  # known for physical dose only
    assert not any("bed" in key for row in content["targets"] for key in row)
    assert not (tmp_path / "dvh" / "nyumets.csv").exists()
    for name in ("structures.csv", "targets.csv"):
        assert "Gy (RBE)" in (tmp_path / "dvh" / name).read_text()
    assert main(["--quiet", "predict", str(weighted), "--out", str(tmp_path / "out"), "--overwrite"]) == DONE
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert {lesion["dose"]["unit"] for lesion in result["lesions"]} == {"Gy (RBE)"}
    assert "Gy (RBE)" in (tmp_path / "out" / "lesions.csv").read_text()
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Mean / Gy (RBE)" in report
    assert "Mean / Gy<" not in report
    with zipfile.ZipFile(tmp_path / "out" / "scene.mrb") as bundle:
        scene = next(bundle.read(n).decode() for n in bundle.namelist() if n.endswith(".mrml"))
    assert 'name="Dose (Gy (RBE))"' in scene
    assert "DicomRtImport.DoseUnitName:Gy (RBE)" in scene
    assert 'name="Isodose' in scene
    assert not re.search(r'name="Isodose [\d.]+ Gy"', scene)


@pytest.mark.slow
def test_physical_dose_is_in_gray_as_ever(study_folder, tmp_path):
    assert main(["--quiet", "dvh", str(study_folder / "dicom"), "--out", str(tmp_path / "dvh")]) == DONE
    content = json.loads((tmp_path / "dvh" / "dvh.json").read_text())
    assert content["dose_unit"] == "Gy"
    assert (tmp_path / "dvh" / "nyumets.csv").exists()
