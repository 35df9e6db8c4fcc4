"""The main job from the command line: whole results, honest warnings, nothing half-written."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import typer

from RTResponseCAMLib.cam.checks import AGREES, STEADY
from RTResponseCAMLib.cli import BAD_INPUT, CANCELLED, DONE, FAILED, main
from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command, typer_function
from RTResponseCAMLib.dicom.files import decimal, save
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.errors import ExistsError, ModelError, OutputError, StudyError
from RTResponseCAMLib.progress import Cancelled
from RTResponseCAMLib.report.html import READ_A_RESULT, write_report
from RTResponseCAMLib.tables import safe_cell
from RTResponseCAMLib.workflow.write import result_json, write_result

COMMAND = [sys.executable, "-m", "RTResponseCAMLib.cli", "--quiet"]


@pytest.fixture(scope="session")
def written(result, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "result"
    write_result(result, folder, scene=None)
    return folder


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_every_part_of_the_result_is_there(written):
    assert leftovers(written) == [
        "cam.nrrd",
        "evidence",
        "lesions.csv",
        "report.html",
        "result.json",
        "subregions.seg.nrrd",
    ]
    assert leftovers(written / "evidence") == ["L1.nrrd", "L2.nrrd", "L3.nrrd"]


def test_the_json_speaks_of_each_lesion(written, result):
    content = json.loads((written / "result.json").read_text())
    assert content["schema_version"] == 3
    assert "Research use only" in content["notice"]
    assert any("never seen a patient" in c["text"] for c in content["warnings"])
    for found, prediction in zip(content["lesions"], result.predictions, strict=True):
        low, high = found["p_response_interval"]
        assert low <= found["p_response"] <= high or high - low < 0.05
        assert found["label"] in ("response", "non-response", "indeterminate")
        assert found["volume_cc"] == prediction.volume_cc
        assert found["dose"]["d98_gy"] <= found["dose"]["mean_gy"] <= found["dose"]["d2_gy"]


def test_json_and_report_name_the_class_threshold_that_the_labels_follow(written):
    content = json.loads((written / "result.json").read_text())
    for found in content["lesions"]:
        (low, high), threshold = found["p_response_interval"], found["class_threshold"]
        if found["label"] == "response":
            assert threshold <= low
        elif found["label"] == "non-response":
            assert high < threshold
    report = (written / "report.html").read_text()
    assert f"where p(response) is at least {threshold:.2f}" in report
    assert f'class="threshold" style="left:{100 * threshold}%"' in report


def test_the_map_on_disk_adds_up_to_the_number_on_disk(written):
    for found in json.loads((written / "result.json").read_text())["lesions"]:
        image = sitk.ReadImage(str(written / found["evidence_map"]))
        assert image.GetPixelID() == sitk.sitkFloat32
        total = sitk.GetArrayViewFromImage(image).sum(dtype=np.float64) + found["evidence_bias"]
        assert total == pytest.approx(found["evidence_total"], abs=1e-4)


def test_the_checks_of_each_map_lie_beside_it_and_a_failed_one_is_said(written, result):
    for found, prediction in zip(
        json.loads((written / "result.json").read_text())["lesions"], result.predictions, strict=True
    ):
        checks = found["map_checks"]
        assert set(checks) == {"gap", "noise", "shift", "deletion", "fixed_pattern", "rim_share", "agreement"}
        assert checks["gap"] < 1e-3
        failed = [c for c in prediction.warnings if c.code == "cam-check"]
        assert bool(failed) == (
            checks["noise"] < 0.7
            or checks["shift"] < 0.7
            or checks["deletion"] <= 0
            or checks["fixed_pattern"] > 0.7
            or checks["agreement"] < 0.3
        )
        assert found["bias_from_volume"] == prediction.from_volume
    text = (written / "report.html").read_text()
    assert "Checks of the map" in text
    assert re.search(rf"with the contour shifted by 0.5 mm r = -?\d\.\d\d \(limit: at least {STEADY}\)", text)
    assert re.search(rf"among the ensemble members r = -?\d\.\d\d \(limit: at least {AGREES}\)", text)


def test_the_prediction_carries_its_own_sum(result):
    for prediction in result.predictions:
        shares = float(sitk.GetArrayViewFromImage(prediction.evidence).sum(dtype="float64"))
        assert shares + prediction.bias == pytest.approx(prediction.total, abs=1e-4)


def test_the_cam_lies_on_voxels_of_the_mr(written, study):
    cam = sitk.ReadImage(str(written / "cam.nrrd"))
    assert cam.GetPixelID() == sitk.sitkFloat32
    index = study.mr.TransformPhysicalPointToContinuousIndex(cam.GetOrigin())
    np.testing.assert_allclose(index, np.rint(index), atol=1e-4)
    np.testing.assert_allclose(cam.GetSpacing(), study.mr.GetSpacing())


def test_covered_targets_have_about_the_planned_coverage(result):
    """The phantom's isodose covers 98 % of each target."""
    for prediction in result.predictions:
        assert prediction.dose.coverage > 0.9
        assert prediction.dose.d98_gy == pytest.approx(prediction.dose.prescription_gy, rel=0.12)


def test_the_csv_has_a_line_per_lesion(written):
    with (written / "lesions.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["id"] for row in rows] == ["L1", "L2", "L3"]
    assert all(0 <= float(row["p_response"]) <= 1 for row in rows)


def test_names_that_look_like_formulas_are_disarmed():
    assert safe_cell("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    assert safe_cell("GTV 1") == "GTV 1"


def test_no_identity_of_the_patient_is_written(written):
    for path in written.rglob("*"):
        assert "PHANTOM-4" not in path.name
        if path.is_file():
            assert b"PHANTOM-4" not in path.read_bytes()


def test_the_report_is_one_file_and_says_what_it_is(written):
    text = (written / "report.html").read_text()
    assert text.count("Research use only") >= 2
    result = json.loads((written / "result.json").read_text())
    flagged = {"indeterminate", "unfamiliar", "cam-check", "shared-voxels"}
    flagged = [x["name"] for x in result["lesions"] if {c["code"] for c in x["warnings"]} & flagged]
    charts = text.count(") and rest of the lesion</h3>")
    assert 0 < charts <= 3 - len(flagged)  # none above the cut, no chart
    assert text.count("data:image/png;base64,") == 3 + charts
    assert all(f"{name} is not contoured" in text for name in flagged)
    # With the colon: a picture's base64 may spell the rest. One link for people; nothing is loaded.
    assert text.count("http:") + text.count("https:") == text.count(f'<a href="{READ_A_RESULT}">') == 1
    assert "never seen a patient" in text
    assert "GTV 3" in text


def test_report_and_json_say_what_the_members_of_an_ensemble_add(result, tmp_path):
    first, *others = result.predictions
    parts = replace(
        first, contributions={"conv": 0.61, "radiomics": -0.2}, p_response_low=first.p_response,
        p_response_high=first.p_response,
    )  # fmt: skip
    changed = replace(result, predictions=(parts, *others))
    write_report(changed, tmp_path / "report.html", notice="Research use only")
    text = (tmp_path / "report.html").read_text()
    assert text.count("+0.61 from Convolutional") == text.count("-0.20 from Radiomics") == 1
    assert f"p(response) {first.p_response:.2f}, " in text
    assert "<td>none</td>" in text
    assert text.count("spread evenly over the lesion") == 1
    own, other, *_ = result_json(changed)["lesions"]
    assert own["contributions"] == {"conv": 0.61, "radiomics": -0.2}
    assert other["contributions"] == {}


@pytest.mark.slow
def test_names_in_the_report_are_escaped(own_study, tmp_path, bundle_folder):
    path = own_study / "plan_t1c" / "RS.dcm"
    data = pydicom.dcmread(path)
    data.StructureSetROISequence[0].ROIName = "<script>alert(1)</script>"
    save(data, path)
    assert main(["--quiet", "predict", str(own_study), "--out", str(tmp_path / "r"), "--no-scene"]) == DONE
    text = (tmp_path / "r" / "report.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_an_existing_result_is_kept_without_overwrite(study_folder, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    assert main(["--quiet", "predict", str(study_folder), "--out", str(out)]) == BAD_INPUT
    assert "exists already" in capsys.readouterr().err
    assert (out / "mine.txt").read_text() == "keep"
    assert leftovers(tmp_path) == ["out"]


@pytest.mark.slow
def test_overwrite_replaces_the_old_result(result, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.txt").write_text("old")
    write_result(result, out, overwrite=True, scene=None)
    assert (out / "result.json").is_file()
    assert not (out / "old.txt").exists()
    assert leftovers(tmp_path) == ["out"]


def test_bad_input_is_one_line_and_exit_code_two(tmp_path, capsys):
    assert main(["--quiet", "predict", str(tmp_path), "--out", str(tmp_path / "out")]) == BAD_INPUT
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(tmp_path) in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_lesion_outside_the_dose_grid_has_no_dose_metrics_and_says_so(own_study, tmp_path, capsys):
    path = own_study / "plan_t1c" / "RD.dcm"
    data = pydicom.dcmread(path)
    first = load_study(own_study).lesions[0].structure
    pixels, offsets = data.pixel_array, data.GridFrameOffsetVector
    steps = [*map(float, data.PixelSpacing[::-1]), float(offsets[1])]
    points, corner = np.concatenate(first.contours), np.asarray(data.ImagePositionPatient, float)
    low = np.maximum((points.min(axis=0) - 4 - corner) // steps, 0).astype(int)
    high = np.minimum((points.max(axis=0) + 4 - corner) // steps, pixels.shape[::-1]).astype(int)
    data.ImagePositionPatient = [decimal(c) for c in corner + low * steps]
    data.Columns, data.Rows, data.NumberOfFrames = (high - low).tolist()
    data.GridFrameOffsetVector = list(offsets)[: high[2] - low[2]]
    box = tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))
    data.PixelData = np.ascontiguousarray(pixels[box]).tobytes()
    save(data, path)
    out = tmp_path / "out"
    assert main(["--quiet", "predict", str(own_study), "--out", str(out), "--no-scene"]) == DONE
    content = json.loads((out / "result.json").read_text())
    held, *beyond = content["lesions"]
    assert held["dose"]["unit"] == "Gy"
    assert "lesion-not-covered" in {c["code"] for c in content["warnings"] if c["severity"] == "serious"}
    for lesion in beyond:
        assert lesion["dose"] is None
        assert "outside-dose" in {c["code"] for c in lesion["warnings"]}
    assert "lies outside the dose grid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ExistsError("x", "is there", "y"), BAD_INPUT),
        (OutputError("x", "says that it exists already", "y"), FAILED),
        (StudyError("x", "is wrong", "y"), BAD_INPUT),
        (ModelError("x", "is wrong", "y"), BAD_INPUT),
        (OSError("disk"), FAILED),
    ],
)
def test_the_exit_code_follows_the_type_of_an_error_never_its_words(monkeypatch, tmp_path, error, code):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("RTResponseCAMLib.dicom.inspect.inspect_folder", fails)
    assert main(["--quiet", "inspect", str(tmp_path)]) == code


@pytest.mark.slow
def test_a_disk_that_is_full_leaves_nothing(study_folder, tmp_path):
    """A real limit on file size, 300 kB, which the report exceeds."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    out = tmp_path / "out"
    command = [*COMMAND, "predict", str(study_folder), "--out", str(out), "--no-scene"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == FAILED, done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_ctrl_c_half_way_leaves_nothing(study_folder, tmp_path):
    command = [*COMMAND, "predict", str(study_folder), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    deadline = time.monotonic() + 120
    while not list(tmp_path.iterdir()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == CANCELLED, errors
    assert "Traceback" not in errors
    assert leftovers(tmp_path) == []


def test_cancelling_through_progress_leaves_nothing(result, tmp_path):
    def stop(fraction: float, text: str = "") -> None:
        if fraction > 0.2:
            raise Cancelled

    with pytest.raises(Cancelled):
        write_result(result, tmp_path / "out", scene=None, progress=stop)
    assert leftovers(tmp_path) == []


def test_inspect_prints_json_for_programs(study_folder, capsys):
    assert main(["--quiet", "inspect", str(study_folder), "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["problem"] is None


@pytest.mark.slow
def test_the_phantom_command_is_deterministic(tmp_path):
    for name in ("a", "b"):
        command = ["--quiet", "phantom", "study", "--seed", "5", "--lesions", "1", "--no-follow-up"]
        command += ["--matrix", "90", "100", "60", "--spacing", "2", "2", "2.5", "--out", str(tmp_path / name)]
        assert main(command) == DONE
    files = [sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*.dcm")) for n in ("a", "b")]
    assert files[0] == files[1]
    assert len(files[0]) == 63
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files[0])


@pytest.mark.parametrize("where", ["dicom", "."])
def test_overwrite_never_deletes_an_input(own_study, where, capsys):
    out = (own_study.parent / where).resolve()
    before = sorted(own_study.rglob("*"))
    assert main(["--quiet", "predict", str(own_study), "--out", str(out), "--overwrite"]) == BAD_INPUT
    assert "which --overwrite would delete. Choose another --out" in capsys.readouterr().err
    assert sorted(own_study.rglob("*")) == before


def test_an_interrupt_before_a_command_begins_is_one_line(monkeypatch, capsys):
    from RTResponseCAMLib.cli import application

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(application, "application", interrupted)
    assert main(["predict"]) == CANCELLED
    assert capsys.readouterr().err == "cancelled; nothing was written\n"


def requested(stop, after=None):
    """A command that is asked to stop: while it works, or after its results are complete."""

    def run(*, progress: Any) -> None:
        if after is not None:
            close(progress)
        stop()

    return typer_function(Command("waiting", "", run))


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)


def test_an_interrupt_while_results_are_printed_is_not_a_cancel(capsys):
    with pytest.raises(typer.Exit) as ended:
        requested(interrupt, after="results")()
    assert ended.value.exit_code == DONE
    assert capsys.readouterr().err == "interrupted while printing; the results are complete\n"


def test_a_second_interrupt_does_not_disturb_the_clean_up(capsys):
    cleaned = []

    def stop() -> None:
        try:
            interrupt()
        finally:
            interrupt()
            cleaned.append(True)

    with pytest.raises(typer.Exit) as ended:
        requested(stop)()
    assert ended.value.exit_code == CANCELLED
    assert cleaned == [True]
    assert "cancelled" in capsys.readouterr().err
