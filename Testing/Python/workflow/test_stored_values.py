"""Predictions, dose, exports and a comparison are, for one seed, what they were before models had an interface.

``stored_values.json`` holds what the commit f7ebcb9 gave for the study and the cohort of `conftest`. Whoever changes a
figure on purpose stores it anew and says why.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from comparisons import SHORT, table

from RTResponseCAMLib.cli import DONE, main
from RTResponseCAMLib.evaluation.protocol import chosen_models
from RTResponseCAMLib.workflow.evaluate import evaluate

STORED = json.loads(Path(__file__).with_name("stored_values.json").read_text())


def printed(capsys, *line: str) -> dict:
    assert main(["--quiet", *line, "--json"]) == DONE
    return json.loads(capsys.readouterr().out)


def test_predictions_of_a_study(study_folder, tmp_path, capsys):
    line = ["predict", str(study_folder / "dicom"), "--out", str(tmp_path / "out"), "--no-scene"]
    lesions = printed(capsys, *line)["lesions"]
    assert [x["label"] for x in lesions] == STORED["labels"]
    assert [x["p_response"] for x in lesions] == pytest.approx(STORED["p_response"], abs=1e-6)
    for lesion, interval in zip(lesions, STORED["intervals"], strict=True):
        assert lesion["p_response_interval"] == pytest.approx(interval, abs=1e-6)


@pytest.mark.slow
def test_its_dose_and_plan_indices(study_folder, tmp_path, capsys):
    found = printed(capsys, "dvh", str(study_folder / "dicom"), "--out", str(tmp_path / "out"))
    for row in found["structures"]:
        values = [row[key] for key in ("volume_cc", "mean_gy", "d98_gy", "d2_gy")]
        assert values == pytest.approx(STORED["structures"][row["structure"]], abs=1e-4)
    for row in found["targets"]:
        values = [row[key] for key in ("coverage", "paddick_ci", "gradient_index")]
        assert values == pytest.approx(STORED["targets"][row["name"]], rel=1e-6)


@pytest.mark.slow
def test_its_subregions_and_their_contours(study_folder, tmp_path, capsys):
    study = str(study_folder / "dicom")
    found = printed(capsys, "subregion", study, "--out", str(tmp_path / "parts"), "--anyway")["subregions"]
    assert [row["volume_cc"] for row in found] == pytest.approx(STORED["subregions_cc"], abs=1e-4)
    line = ["export", study, "--out", str(tmp_path / "dicom"), "--format", "rtstruct", "--anyway"]
    assert main(["--quiet", *line]) == DONE
    written = pydicom.dcmread(tmp_path / "dicom" / "RS_subregions.dcm")
    counts = [
        [len(roi.ContourSequence), sum(int(c.NumberOfContourPoints) for c in roi.ContourSequence)]
        for roi in written.ROIContourSequence
    ]
    assert counts == STORED["rtstruct"]


@pytest.mark.slow
def test_every_held_out_probability_of_a_comparison(small_cohort, tmp_path):
    protocol = replace(SHORT, models=chosen_models(["gradient", "scale-space"]))
    evaluate(small_cohort, tmp_path / "out", protocol=protocol)
    found = {
        f"{r['patient_group_id']} {r['lesion']} {r['approach']}": float(r["p_non_response"])
        for r in table(tmp_path / "out" / "predictions.csv")
    }
    assert found.keys() == STORED["comparison"].keys()
    assert len(found) == 72
    assert [found[key] for key in found] == pytest.approx([STORED["comparison"][key] for key in found], abs=2e-5)
