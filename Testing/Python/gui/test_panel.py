"""The panel as a hand would drive it: load, predict, look, contour, export. Real Qt, MRML, files and torch."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import vtk
from quirks import edit
from slicer_host import sample_data

from RTResponseCAMLib.dicom.files import decimal
from RTResponseCAMLib.dicom.load import load_study, read_follow_up
from RTResponseCAMLib.models.bundle import load_bundle
from RTResponseCAMLib.workflow.predict import predict_study

from .looking import composite_of, voxels

ROOT = Path(__file__).parents[3]


def cells(table) -> list[list[str]]:
    return [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]


@pytest.mark.slow
def test_the_panel_opens_without_torch_and_without_the_numerical_libraries():
    code = (
        "import sys; sys.path[:0] = ['Testing/Python']; import slicer_host; from pathlib import Path\n"
        "host = slicer_host.start(); host.load_module(Path('RTResponseCAM/RTResponseCAM.py').resolve())\n"
        "host.open_panel()\n"
        "print([n for n in ('torch', 'SimpleITK', 'scipy', 'pydicom', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_empty_scene_says_what_is_needed(panel):
    assert not panel.ui.predictButton.enabled
    assert "Load a study" in panel.ui.studyMessageLabel.text
    assert panel.ui.predictButton.toolTip.startswith("Load a study")
    assert "Research use only" in panel.ui.researchLabel.text
    assert "never seen a patient" in panel.ui.researchLabel.text


def assert_follow_up_lies_on_the_plan(panel, study_folder):
    """Its voxels are where the planted pose says they are, in the plan's space (RAS, mm)."""
    series = read_follow_up(load_study(study_folder / "dicom", with_dose=False).follow_ups[0])
    pose = sitk.ReadTransform(str(study_folder / "truth" / "planning_to_follow_up.tfm"))
    matrix = vtk.vtkMatrix4x4()
    panel.parameters.followUpVolume.GetIJKToRASMatrix(matrix)
    for index in ((0, 0, 0), (115, 0, 79), (58, 135, 40)):
        place = np.asarray(matrix.MultiplyPoint([*index, 1.0])[:3]) * (-1, -1, 1)
        there = pose.TransformPoint(place.tolist())
        assert np.linalg.norm(np.subtract(there, series.image.TransformIndexToPhysicalPoint(index))) < 1.0


def test_a_folder_loads_beside_the_event_loop(host, panel, study_folder):
    panel.study.load_folder(study_folder / "dicom")
    assert panel.busy
    assert panel.ui.loadSampleButton.text == "Cancel"
    host.wait()
    panel.refresh()
    assert panel.ui.loadSampleButton.text == "Load sample"
    assert panel.parameters.mrVolume.GetName() == "MR T1 MPRAGE +C"
    assert panel.parameters.followUpVolume.GetName().endswith("(registered)")
    assert_follow_up_lies_on_the_plan(panel, study_folder)
    assert panel.ui.mrSelector.currentNode() is panel.parameters.mrVolume
    assert panel.ui.lesionTable.rowCount == 3
    assert panel.ui.predictButton.enabled


@pytest.mark.slow
def test_the_table_shows_volume_and_dose_before_and_probability_after_the_prediction(loaded, study, opened):
    from RTResponseCAMLib.dosimetry.lesion import lesion_dose
    from RTResponseCAMLib.imaging.planes import contour_volume_cc

    for row, lesion in zip(cells(loaded.ui.lesionTable), study.lesions, strict=True):
        dose = lesion_dose(study, lesion.structure)
        assert row[0] == f"{lesion.id} {lesion.structure.name}"
        assert float(row[1]) == pytest.approx(contour_volume_cc(lesion.structure), abs=0.006)
        assert row[2:5] == [f"{dose.mean_gy:.1f}", f"{dose.d98_gy:.1f}", f"{100 * dose.coverage:.0f} %"]
        assert row[5] == row[6] == "–"
    assert loaded.ui.readAResultLabel.text.startswith("<a href")
    result = loaded.logic.predict()
    loaded.refresh()
    for row, prediction in zip(cells(loaded.ui.lesionTable), result.predictions, strict=True):
        assert row[5].startswith(f"{prediction.p_response:.2f} (")
        assert row[6] == prediction.label
    rule = f"Class: response from p(response) {prediction.class_threshold:.2f}. <a href"
    assert loaded.ui.readAResultLabel.text.startswith(rule)


def test_the_panel_predicts_what_the_library_predicts(host, loaded, study, bundle_folder):
    loaded.ui.predictButton.click()
    assert loaded.ui.predictButton.text == "Cancel"
    host.wait()
    loaded.refresh()
    expected = predict_study(study, load_bundle(bundle_folder, "cpu"))
    found = loaded.logic.result
    assert [p.p_response for p in found.predictions] == pytest.approx([p.p_response for p in expected.predictions])
    from SimpleITK import GetArrayFromImage

    np.testing.assert_allclose(voxels(loaded.parameters.camVolume), GetArrayFromImage(expected.cam), atol=1e-5)
    assert composite_of(host).GetForegroundVolumeID() == loaded.parameters.camVolume.GetID()
    assert loaded.ui.staleLabel.text == ""


def test_cancelling_a_prediction_leaves_earlier_results_alone(host, predicted):
    before, nodes = voxels(predicted.parameters.camVolume), host.scene.GetNumberOfNodes()
    predicted.ui.predictButton.click()
    predicted.ui.predictButton.click()
    host.wait()
    predicted.refresh()
    assert predicted.ui.predictButton.text == "Predict"
    assert "canceled" in predicted.ui.staleLabel.text
    np.testing.assert_array_equal(voxels(predicted.parameters.camVolume), before)
    assert host.scene.GetNumberOfNodes() == nodes


def test_cancelling_the_sample_leaves_the_scene_alone(host, panel):
    nodes = host.scene.GetNumberOfNodes()
    panel.ui.loadSampleButton.click()
    panel.ui.loadSampleButton.click()
    host.wait()
    panel.refresh()
    assert "canceled" in panel.ui.studyMessageLabel.text
    assert host.scene.GetNumberOfNodes() == nodes


def test_a_folder_without_a_plan_is_a_sentence_in_the_panel(host, panel, tmp_path):
    panel.study.load_folder(tmp_path)
    host.wait()
    panel.refresh()
    assert "holds no DICOM object" in panel.ui.studyMessageLabel.text
    assert not panel.ui.predictButton.enabled


def test_one_lesion_can_be_predicted_again_and_the_others_stay(predicted):
    from RTResponseCAMLib.gui.choices import Scope

    before = predicted.logic.result
    segments = predicted.parameters.segmentation.GetSegmentation()
    paint_over(predicted.parameters.segmentation, segments.GetNthSegmentID(1))
    predicted.refresh()
    assert "L2" in predicted.ui.staleLabel.text
    predicted.parameters.scope, predicted.parameters.selectedLesion = Scope.SELECTED, "L2"
    result = predicted.logic.predict(["L2"])
    predicted.refresh()
    assert predicted.ui.staleLabel.text == ""
    assert [p.lesion.id for p in result.predictions] == ["L1", "L2", "L3"]
    assert result.predictions[0] is before.predictions[0]
    assert result.predictions[1].volume_cc > before.predictions[1].volume_cc
    old, new = (voxels_of_lesion(predicted, r, "L1") for r in (before, result))
    np.testing.assert_array_equal(old, new)


def voxels_of_lesion(panel, result, lesion) -> np.ndarray:
    from RTResponseCAMLib.subregion.voxels import lesion_voxels

    structure = next(p.lesion.structure for p in result.predictions if p.lesion.id == lesion)
    return lesion_voxels(result.cam, structure, dose=None).evidence


def paint_over(segmentation, segment_id) -> None:
    """Grow a segment by one voxel all round, as a hand with a brush would."""
    import slicer
    from scipy.ndimage import binary_dilation

    from RTResponseCAMLib.scene.nodes import oriented_labelmap, segment_mask

    mask, grid = segment_mask(segmentation, segment_id)
    grown = binary_dilation(np.pad(mask, 1))
    larger = grid.crop((-1, -1, -1), tuple(n + 2 for n in grid.size))
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        oriented_labelmap(grown, larger), segmentation, segment_id
    )


def test_results_turn_stale_when_an_input_changes_and_fresh_when_it_changes_back(host, predicted):
    predicted.parameters.prescriptionGy = 17.5
    host.settle()
    assert "out of date (prescription changed)" in predicted.ui.staleLabel.text
    assert predicted.ui.lesionTable.item(0, 5).font().strikeOut()
    predicted.parameters.prescriptionGy = predicted.logic.result.study.plan.prescription.dose_gy
    host.settle()
    assert predicted.ui.staleLabel.text == ""
    paint_over(
        predicted.parameters.segmentation, predicted.parameters.segmentation.GetSegmentation().GetNthSegmentID(0)
    )
    host.settle()
    assert "L1" in predicted.ui.staleLabel.text
    assert "contour changed" in predicted.ui.staleLabel.text
    assert not predicted.ui.exportButton.enabled


@pytest.mark.slow
def test_the_result_is_exported_whole(host, predicted, tmp_path):
    assert not predicted.ui.exportButton.enabled
    predicted.ui.exportPathLineEdit.currentPath = str(tmp_path)
    host.settle()
    predicted.ui.exportButton.click()
    host.wait()
    folder = tmp_path / "RTResponseCAM result"
    names = {path.name for path in folder.iterdir()}
    assert {"result.json", "lesions.csv", "cam.nrrd", "subregions.seg.nrrd", "scene.mrb", "report.html"} <= names
    written = json.loads((folder / "result.json").read_text())
    assert [x["p_response"] for x in written["lesions"]] == [p.p_response for p in predicted.logic.result.predictions]
    assert str(folder) in predicted.ui.exportLabel.text
    predicted.ui.exportButton.click()
    host.wait()
    assert (tmp_path / "RTResponseCAM result 2" / "scene.mrb").is_file()


def test_cancelling_an_export_leaves_nothing(host, predicted, tmp_path):
    predicted.ui.exportPathLineEdit.currentPath = str(tmp_path)
    host.settle()
    predicted.ui.exportButton.click()
    predicted.ui.exportButton.click()
    host.wait()
    predicted.refresh()
    assert list(tmp_path.iterdir()) == []
    assert "canceled" in predicted.ui.exportLabel.text


@pytest.mark.slow
def test_the_self_test_runs_here_as_in_the_application(host):
    test = host.module.RTResponseCAMTest()
    test.messageDelay = 0
    test.runTest()


@pytest.mark.slow
def test_the_sample_is_offered_and_made_without_a_download(host, monkeypatch):
    monkeypatch.setitem(sys.modules, "SampleData", sample_data)
    host.module.registerSampleData()
    host.module.registerSampleData()  # as when the module is reloaded
    (source,) = sample_data.SampleDataLogic.sampleDataSourcesByCategory("RTResponseCAM")
    assert Path(source.thumbnailFileName).is_file()
    nodes = source.customDownloader(None)
    assert [n.GetClassName() for n in nodes][:2] == ["vtkMRMLScalarVolumeNode"] * 2


@pytest.mark.slow
def test_the_sample_is_loaded_by_name_as_any_other(host, panel, monkeypatch):
    monkeypatch.setitem(sys.modules, "SampleData", sample_data)
    host.module.registerSampleData()
    assert sample_data.downloadSample("RTResponseCAMSample").endswith(".mrb")
    panel.initializeParameterNode()
    panel.refresh()
    rows = panel.logic.state(panel.parameters).rows
    panel.logic.loadSample()
    again = panel.logic.state(panel.parameters).rows
    assert [replace(row, segment_id="") for row in rows] == [replace(row, segment_id="") for row in again]
    assert len(rows) == 3


@pytest.mark.slow
def test_weighted_dose_is_named_wherever_the_panel_shows_a_dose(host, panel, study_folder, tmp_path):
    folder = shutil.copytree(study_folder / "dicom", tmp_path / "dicom")
    edit(folder / "plan_t1c" / "RD.dcm", lambda data: setattr(data, "DoseType", "EFFECTIVE"))
    panel.logic.loadStudy(folder)
    panel.refresh()
    assert "Gy (RBE)" in panel.ui.prescriptionLabel.text
    for table, columns in ((panel.ui.lesionTable, (2, 3)), (panel.ui.subregionTable, (2, 3, 4))):
        assert [table.horizontalHeaderItem(c).text().endswith(" Gy (RBE)") for c in columns] == [True] * len(columns)


def hollow(data):
    """Holes of four fifths the width in the first ROI: a serious warning of its own."""
    sequence = data.ROIContourSequence[0].ContourSequence
    for contour in list(sequence):
        points = np.asarray(contour.ContourData, dtype=float).reshape(-1, 3)
        inner = copy.deepcopy(contour)
        inner.ContourData = [decimal(v) for v in (0.8 * (points - points.mean(axis=0)) + points.mean(axis=0)).ravel()]
        sequence.append(inner)


@pytest.mark.slow
def test_each_warning_of_a_lesion_has_the_mark_of_its_severity(host, panel, study_folder, tmp_path):
    folder = shutil.copytree(study_folder / "dicom", tmp_path / "dicom")
    edit(folder / "plan_t1c" / "RS.dcm", hollow)
    panel.logic.loadStudy(folder)
    panel.logic.predict()
    panel.refresh()
    rows = panel.logic.session.state(panel.parameters).rows
    assert rows[0].severities[:2] == ("serious", "warning")
    assert "serious" not in rows[1].severities
    for number, mark in ((0, "‼"), (1, "⚠")):
        cells = panel.ui.lesionTable
        assert cells.item(number, 7).text() == f"{mark} {len(rows[number].warnings)}"
        shown = cells.item(number, 0).toolTip().split("\n")
        marks = {"serious": "‼", "warning": "⚠", "note": "ℹ"}
        assert [line[0] for line in shown] == [marks[s] for s in rows[number].severities]
