"""``rtresponsecam subregion`` and ``export`` on a phantom study: figures, files, and lesions in doubt."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.cli import BAD_INPUT, DONE, main
from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.models.bundle import load_bundle
from RTResponseCAMLib.progress import Cancelled
from RTResponseCAMLib.scene.subregion import StoredSubregion
from RTResponseCAMLib.subregion.select import Selection
from RTResponseCAMLib.warnings import Warning, WarningCode
from RTResponseCAMLib.workflow.export import export_dicom, stored_region
from RTResponseCAMLib.workflow.predict import predict_study
from RTResponseCAMLib.workflow.subregion import contour_subregions, write_subregions

HALF = Selection("percentile", 60)


@pytest.mark.slow
def test_figures_in_all_files_agree(study_folder, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--method", "percentile", "--value", "60", "--anyway", "--boost", "45", "--json"]
    assert main(["--quiet", "subregion", str(study_folder / "dicom"), "--out", str(out), *options]) == DONE
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((out / "subregions.json").read_text(encoding="utf-8"))
    with (out / "subregions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "subregions.seg.nrrd")))
    voxel = np.prod(sitk.ReadImage(str(out / "subregions.seg.nrrd")).GetSpacing()) / 1000
    assert len(rows) == len(content["subregions"]) == 3
    for number, (row, found) in enumerate(zip(rows, content["subregions"], strict=True), start=1):
        assert float(row["volume_cc"]) == pytest.approx(found["volume_cc"])
        assert (labels == number).sum() * voxel == pytest.approx(found["volume_cc"], rel=1e-3)
        assert found["share_of_lesion"] == pytest.approx(0.4, abs=0.02)
        assert found["d98_gy"] < found["mean_gy"] < found["d2_gy"]
        assert found["shift_volume_cc_low"] <= found["volume_cc"] <= found["shift_volume_cc_high"]
        assert found["boost"]["d98_gy"][1] >= 44
        assert found["boost"]["risk_cc"][1] > found["boost"]["risk_cc"][0]
        assert "60th percentile" in found["selection"]
    assert (out / "dvh.png").stat().st_size > 10_000


def test_lesions_in_doubt_are_not_contoured_in_silence(result):
    sure = replace(result.predictions[0], warnings=(), label="response")
    flagged = [
        replace(p, warnings=(Warning(code, "why it is"),))
        for p, code in zip(result.predictions[1:], (WarningCode.CAM_CHECK, WarningCode.INDETERMINATE), strict=True)
    ]
    changed = replace(result, predictions=(sure, *flagged))
    drawn, warnings = contour_subregions(changed, HALF)
    assert len(drawn) == 1
    assert [c.code for c in warnings] == ["not-contoured"] * 2
    assert all("why it is" in c.text for c in warnings)
    asked, _ = contour_subregions(changed, HALF, anyway=True)
    assert [one.quality_flags for one in asked] == [(), ("why it is",), ("why it is",)]
    assert sure.quality_flags == ()


def test_an_export_names_model_and_doubt_and_nothing_of_the_patient(result, study_folder, tmp_path):
    flagged = replace(result.predictions[0], warnings=(WarningCode.CAM_CHECK(what="is odd"),))
    changed = replace(result, predictions=(flagged, *result.predictions[1:]))
    drawn, _ = contour_subregions(changed, HALF, anyway=True)
    names, _ = export_dicom(study_folder / "dicom", changed, contoured=drawn, out=tmp_path / "out", names=("rtstruct",))
    data = pydicom.dcmread(tmp_path / "out" / names[0])
    first = data.StructureSetROISequence[0]
    assert "QUALITY FLAGS: the map is odd" in first.ROIDescription
    assert result.provenance["model_sha256"][:16] in first.ROIDescription
    assert first.ROIName == "GTV 1_CAMres_p60"
    assert str(data.PatientID) not in "".join(names) + first.ROIDescription
    assert {"RTSTRUCT"} == {data.Modality}


@pytest.mark.slow
def test_all_three_objects_are_written_and_never_a_dose(study_folder, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--method", "volume", "--value", "0.1", "--anyway"]
    assert main(["--quiet", "export", str(study_folder / "dicom"), "--out", str(out), *options]) == DONE
    found = {pydicom.dcmread(path, stop_before_pixels=True).Modality for path in out.iterdir()}
    assert found == {"RTSTRUCT", "SEG", "OT"}
    assert "never seen a patient" in capsys.readouterr().out


def test_nothing_to_contour_and_impossible_options_are_refused(result, study_folder, tmp_path, capsys):
    drawn, warnings = contour_subregions(result, Selection("value", 1e6), anyway=True)
    assert {c.code for c in warnings} == {"empty-subregion"}
    with pytest.raises(OutputError, match="nothing to contour"):
        export_dicom(study_folder / "dicom", result, contoured=drawn, out=tmp_path / "out")
    content = write_subregions(result, drawn, warnings=warnings, out=tmp_path / "empty")
    assert {row["volume_cc"] for row in content["subregions"]} == {0.0}
    for options in (
        ["--method", "percentile", "--value", "140"],
        ["--boost", "-3"],
        ["--value", "inf"],
        ["--method", "volume"],
    ):
        arguments = ["--quiet", "subregion", str(study_folder / "dicom"), "--out", str(tmp_path / "out"), *options]
        assert main(arguments) == BAD_INPUT
        assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_cancelled_export_leaves_nothing(result, study_folder, tmp_path):
    drawn, _ = contour_subregions(result, HALF, anyway=True)

    def stop(fraction, text=""):
        if fraction > 0.85:
            raise Cancelled

    with pytest.raises(Cancelled):
        export_dicom(study_folder / "dicom", result, contoured=drawn, out=tmp_path / "out", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_study_without_dose_has_volumes_only(result):
    bare = replace(result, study=replace(result.study, dose=None))
    drawn, warnings = contour_subregions(bare, HALF, anyway=True, boost_gy=30.0)
    assert "no-dose" in {c.code for c in warnings}
    assert all(one.statistics.subregion is None and one.boost is None and one.mask.any() for one in drawn)


def test_a_margin_that_leaves_the_lesion_keeps_dose_boost_and_voxels(result, tmp_path):
    beyond = Selection("percentile", 50, margin_mm=4.0, clip=False)
    drawn, warnings = contour_subregions(result, beyond, anyway=True, boost_gy=45.0)
    content = write_subregions(result, drawn, warnings=warnings, out=tmp_path / "out")
    image = sitk.ReadImage(str(tmp_path / "out" / "subregions.seg.nrrd"))
    labels, voxel = sitk.GetArrayFromImage(image), np.prod(image.GetSpacing()) / 1000
    for number, (one, row) in enumerate(zip(drawn, content["subregions"], strict=True), start=1):
        assert (one.mask & ~one.voxels.inside).any()
        assert row["d98_gy"] is not None
        assert row["boost"] is not None
        assert 0.5 <= row["share_of_lesion"] <= 1
        assert (labels == number).sum() * voxel == pytest.approx(row["volume_cc"], rel=1e-3)
        assert "dose grid" not in " ".join(row["warnings"])


@pytest.mark.slow
def test_lesions_that_overlap_are_in_doubt(result, study, bundle_folder):
    lesion = study.lesions[0]
    twice = replace(study, lesions=(*study.lesions, replace(lesion, id="L9")))
    found = predict_study(twice, load_bundle(bundle_folder, "cpu"))
    shared = {p.lesion.id for p in found.predictions if any("another lesion" in text for text in p.quality_flags)}
    assert shared == {lesion.id, "L9"}
    assert not any("another lesion" in text for p in result.predictions for text in p.quality_flags)
    drawn, warnings = contour_subregions(found, HALF)
    assert not shared & {one.prediction.lesion.id for one in drawn}
    assert sum("another lesion" in c.text for c in warnings) == 2


def test_a_segment_of_other_voxels_and_of_another_model_says_so(result):
    mr = Grid.of(result.study.mr)
    box = mr.crop((20, 30, 10), (8, 6, 4))
    fine = Grid(
        (16, 12, 8), tuple(s / 2 for s in mr.spacing_mm), (*box.to_lps(np.full((1, 3), -0.25))[0],), mr.direction
    )
    mask = np.zeros(fine.shape, dtype=bool)
    mask[2:6, 2:8, 4:12] = True  # whole voxels of the MR: 2 x 3 x 4
    kept = StoredSubregion("L1", "L1 drawn", "0.5", "", "other", False, mask, fine)
    region, warnings = stored_region(kept, result)
    assert {c.code for c in warnings} == {"regridded", "other-model"}
    assert "sha256 other" in region.description
    assert result.provenance["model_sha256"][:16] not in region.description
    assert region.mask.sum() == 24
    np.testing.assert_allclose(
        region.grid.points()[region.mask].mean(axis=0), fine.points()[mask].mean(axis=0), atol=1e-6
    )
    own = StoredSubregion(
        "L1", "L1 drawn", "0.5", "", result.provenance["model_sha256"], True, region.mask, region.grid
    )
    same, none = stored_region(own, result)
    assert none == ()
    assert same.edited
    assert same.mask is own.mask


@pytest.mark.slow
def test_evidence_is_contoured_from_where_it_speaks_for_non_response(study_folder, tmp_path, monkeypatch):
    from RTResponseCAMLib.cam import evidence

    seen = []
    monkeypatch.setattr(evidence, "NEUTRAL", 0.25)
    monkeypatch.setattr(
        "RTResponseCAMLib.workflow.subregion.contour_subregions", lambda *a, **_: seen.append(a[1]) or ((), ())
    )
    assert main(["--quiet", "subregion", str(study_folder / "dicom"), "--out", str(tmp_path / "out")]) == DONE
    assert seen[0].value == 0.25
