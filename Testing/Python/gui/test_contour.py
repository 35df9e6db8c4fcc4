"""Subregions in the panel: threshold, doubts, segment, chart, figures, DICOM."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest


def previews(host) -> list:
    nodes = host.scene.GetNodesByClass("vtkMRMLSegmentationNode")
    return [n for n in (nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())) if n.GetHideFromEditors()]


def a_cut(panel, share: float) -> float:
    found = panel.logic.session.subregions.voxels(panel.parameters)
    return float(np.round(np.quantile(found.evidence[found.inside], share), 2))


def test_the_subregion_follows_the_slider_and_becomes_a_segment_inside_its_lesion(host, predicted):
    from RTResponseCAMLib.scene.nodes import segment_mask

    assert previews(host) == []
    for share in (0.7, 0.4):
        predicted.ui.subregionSlider.value = a_cut(predicted, share)
        found = predicted.logic.session.subregions.voxels(predicted.parameters)
        mask = found.above(predicted.ui.subregionSlider.value)
        drawn, grid = segment_mask(previews(host)[0], previews(host)[0].GetSegmentation().GetNthSegmentID(0))
        assert drawn.sum() == mask.sum()
        volume = mask.sum() * grid.voxel_cc
        assert predicted.ui.subregionVolumeLabel.text.startswith(f"{volume:.3f} cm³ of")
        assert float(predicted.ui.subregionTable.item(0, 1).text()) == pytest.approx(volume, abs=6e-4)
        rest = float(predicted.ui.subregionTable.item(1, 1).text())
        assert volume + rest == pytest.approx(found.volume_cc(found.inside), abs=1.1e-3)
    predicted.ui.createSegmentButton.click()
    segmentation = predicted.parameters.segmentation.GetSegmentation()
    assert previews(host) == []
    assert segmentation.GetNumberOfSegments() == 4
    created = segmentation.GetNthSegment(3)
    cut = predicted.ui.subregionSlider.value
    lesion = predicted.parameters.selectedLesion
    assert created.GetName().startswith(f"{lesion} GTV")
    assert created.GetName().endswith(f"evidence > {cut:.2f}")
    kept, grid = segment_mask(predicted.parameters.segmentation, segmentation.GetNthSegmentID(3))
    assert kept.sum() == mask.sum()
    assert predicted.ui.staleLabel.text == ""  # a subregion is no lesion
    assert predicted.ui.lesionTable.rowCount == 3
    predicted.ui.createSegmentButton.click()
    assert segmentation.GetNumberOfSegments() == 4  # the same again replaces


def test_edit_chooses_the_subregion_in_the_segment_editor(host, predicted):
    assert not predicted.ui.editSegmentButton.enabled
    predicted.ui.subregionSlider.value = a_cut(predicted, 0.5)
    predicted.ui.createSegmentButton.click()
    assert predicted.ui.editSegmentButton.enabled
    predicted.ui.editSegmentButton.click()
    editor = host.scene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    assert editor.GetSegmentationNode() is predicted.parameters.segmentation
    segments = predicted.parameters.segmentation.GetSegmentation()
    assert editor.GetSelectedSegmentID() == segments.GetNthSegmentID(3)
    assert editor.GetSourceVolumeNode() is predicted.parameters.mrVolume


def test_thresholds_are_chosen_by_a_button(predicted):
    found = predicted.logic.session.subregions.voxels(predicted.parameters)
    values = found.evidence[found.inside]
    predicted.ui.cutPercentileButton.click()
    assert found.above(predicted.ui.subregionSlider.value).sum() == pytest.approx(0.2 * len(values), rel=0.15)
    predicted.ui.cutOtsuButton.click()
    assert values.min() < predicted.ui.subregionSlider.value < values.max()
    predicted.ui.cutZeroButton.click()
    assert predicted.ui.subregionSlider.value == 0


def test_the_dose_of_the_subregion_is_charted_against_the_rest(host, predicted):
    from vtkmodules.util.numpy_support import vtk_to_numpy

    for share in (0.6, 0.4):
        predicted.ui.subregionSlider.value = a_cut(predicted, share)
        predicted.ui.dvhButton.click()
    assert host.scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 1
    assert host.scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 2
    chart = host.scene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
    mean = float(predicted.ui.subregionTable.item(0, 2).text())
    series = chart.GetNthPlotSeriesNode(0)
    table = series.GetTableNode().GetTable()
    dose, volume = (vtk_to_numpy(table.GetColumn(n)) for n in (0, 1))
    assert volume[0] == pytest.approx(100)
    assert np.trapezoid(volume, dose) / 100 == pytest.approx(
        mean, rel=0.02
    )  # a cumulative histogram's area is the mean
    assert series.GetName().startswith("subregion")


def test_a_threshold_that_nothing_exceeds_disables_the_button(predicted):
    assert 8 < predicted.logic.session.subregions.voxels(predicted.parameters).peak < 20
    predicted.ui.subregionSlider.value = 8.0
    assert predicted.ui.createSegmentButton.enabled
    predicted.ui.subregionSlider.value = 20.0
    assert not predicted.ui.createSegmentButton.enabled
    assert "No voxel" in predicted.ui.createSegmentButton.toolTip


def test_evidence_in_doubt_is_contoured_only_when_asked_for(host, predicted):
    from RTResponseCAMLib.errors import StudyError
    from RTResponseCAMLib.scene.lesions import ROWS
    from RTResponseCAMLib.scene.subregion import stored_subregions

    cam, lesion = predicted.parameters.camVolume, predicted.parameters.selectedLesion
    rows = json.loads(cam.GetAttribute(ROWS))
    for row in rows:
        row["quality_flags"] = ["the map is odd"] if row["id"] == lesion else []
    cam.SetAttribute(ROWS, json.dumps(rows))
    predicted.ui.subregionSlider.value = a_cut(predicted, 0.5)
    assert "Quality flags: the map is odd" in predicted.ui.subregionVolumeLabel.text
    assert not predicted.ui.createSegmentButton.enabled
    assert "quality flags" in predicted.ui.createSegmentButton.toolTip
    with pytest.raises(StudyError, match="quality flags"):
        predicted.logic.session.subregions.create(predicted.parameters, predicted.parameters.subregionThreshold)
    predicted.ui.contourFlaggedCheckBox.checked = True
    predicted.ui.createSegmentButton.click()
    (kept,) = stored_subregions(predicted.parameters.segmentation)
    assert kept.quality_flags == "the map is odd"
    assert "(flagged)" in kept.name
    other = next(row["id"] for row in rows if row["id"] != lesion)
    predicted.parameters.selectedLesion = other
    predicted.refresh()
    assert not predicted.ui.contourFlaggedCheckBox.checked  # asked for that lesion, not for this one
    assert "Quality flags" not in predicted.ui.subregionVolumeLabel.text


@pytest.mark.slow
def test_the_subregion_is_measured_beside_the_event_loop(host, predicted):
    from RTResponseCAMLib.subregion.select import Selection
    from RTResponseCAMLib.subregion.statistics import measure

    predicted.ui.subregionSlider.value = a_cut(predicted, 0.6)
    predicted.ui.boostSpinBox.value = 60
    predicted.ui.measureButton.click()
    assert predicted.busy
    host.wait()
    predicted.refresh()
    text = predicted.ui.measureText.plainText
    voxels = predicted.logic.session.subregions.voxels(predicted.parameters)
    cut = predicted.ui.subregionSlider.value
    _mask, expected = measure(voxels, Selection("value", cut), dose=None, prescription_gy=None)
    assert f"Dice at least {expected.shifts.dice:.2f}" in text
    for words in ("Simulated boost to 60 Gy", "with the lowest dose", "beam model"):
        assert words in text
    predicted.ui.subregionSlider.value = a_cut(predicted, 0.4)
    assert predicted.ui.measureText.plainText == ""  # those figures were of another threshold
    predicted.ui.subregionSlider.value = cut
    assert predicted.ui.measureText.plainText == text
    predicted.logic.predict()
    predicted.parameters.subregionThreshold = cut
    predicted.refresh()
    assert predicted.ui.measureText.plainText == ""  # nor of another map


def test_kept_subregions_go_out_as_dicom_with_what_was_edited(host, predicted, opened, tmp_path):
    import pydicom
    import slicer

    from RTResponseCAMLib.scene.nodes import oriented_labelmap, segment_mask

    segmentation = predicted.parameters.segmentation
    masks = []
    for share in (0.6, 0.3):
        created = predicted.logic.session.subregions.create(predicted.parameters, a_cut(predicted, share), anyway=True)
        masks.append(segment_mask(segmentation, created))
    mask, grid = masks[1]
    edited = mask.copy()
    edited[: len(edited) // 2] = False
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(oriented_labelmap(edited, grid), segmentation, created, logic.MODE_REPLACE)
    predicted.refresh()
    predicted.ui.exportPathLineEdit.currentPath = str(tmp_path)
    predicted.ui.dicomCheckBox.checked = True
    host.settle()
    assert predicted.ui.dicomPathLineEdit.currentPath == str(opened.folder)
    predicted.ui.exportButton.click()
    host.wait()
    folder = tmp_path / "RTResponseCAM result" / "dicom"
    assert {path.name for path in folder.iterdir()} == {"RS_subregions.dcm", "SEG_subregions.dcm", "PM_evidence.dcm"}
    data = pydicom.dcmread(folder / "RS_subregions.dcm")
    assert [roi.ROIGenerationAlgorithm for roi in data.StructureSetROISequence] == ["AUTOMATIC", "SEMIAUTOMATIC"]
    assert "Edited by hand" in data.StructureSetROISequence[1].ROIDescription
    voxel_cc = grid.voxel_cc
    volumes = [float(roi.ROIVolume) for roi in data.StructureSetROISequence]
    assert volumes == pytest.approx([masks[0][0].sum() * voxel_cc, edited.sum() * voxel_cc], abs=1e-3)
    seg = pydicom.dcmread(folder / "SEG_subregions.dcm")
    assert [s.SegmentAlgorithmType for s in seg.SegmentSequence] == ["AUTOMATIC", "SEMIAUTOMATIC"]


@pytest.mark.slow
def test_without_highdicom_the_contour_goes_out_alone_and_the_map_is_missed_aloud(
    host, predicted, opened, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "highdicom", None)  # as Python sees a package that is not installed
    for name in [n for n in sys.modules if n.startswith("highdicom.")]:
        monkeypatch.setitem(sys.modules, name, None)
    predicted.ui.exportPathLineEdit.currentPath = str(tmp_path)
    predicted.ui.dicomCheckBox.checked = True
    host.settle()
    assert "highdicom" in predicted.ui.exportLabel.text
    predicted.ui.exportButton.click()  # no subregion yet: there is nothing that could be written
    host.wait()
    predicted.refresh()
    assert "no subregion" in predicted.ui.exportLabel.text
    assert not any(tmp_path.iterdir())
    predicted.logic.session.subregions.create(predicted.parameters, a_cut(predicted, 0.5), anyway=True)
    predicted.refresh()
    predicted.ui.exportButton.click()
    host.wait()
    predicted.refresh()
    assert "neither SEG nor Parametric Map" in predicted.ui.exportLabel.text
    folder = tmp_path / "RTResponseCAM result"
    assert [path.name for path in (folder / "dicom").iterdir()] == ["RS_subregions.dcm"]
    assert (folder / "lesions.csv").is_file()


@pytest.mark.slow
def test_dicom_says_what_is_missing(host, predicted, study_folder, tmp_path):
    predicted.ui.exportPathLineEdit.currentPath = str(tmp_path)
    predicted.ui.dicomCheckBox.checked = True
    predicted.ui.dicomPathLineEdit.currentPath = ""
    host.settle()
    assert "original DICOM" in predicted.ui.exportButton.toolTip
    (tmp_path / "empty").mkdir()
    predicted.ui.dicomPathLineEdit.currentPath = str(tmp_path / "empty")
    host.settle()
    predicted.ui.exportButton.click()
    host.wait()
    predicted.refresh()
    assert not (tmp_path / "RTResponseCAM result").exists()
    assert predicted.ui.exportLabel.text
    predicted.ui.dicomPathLineEdit.currentPath = str(study_folder / "dicom")
    host.settle()
    predicted.ui.exportButton.click()
    host.wait()
    predicted.refresh()
    assert "contains the evidence map only" in predicted.ui.exportLabel.text
    names = {path.name for path in (tmp_path / "RTResponseCAM result" / "dicom").iterdir()}
    assert names == {"PM_evidence.dcm"}


@pytest.mark.slow
def test_points_become_markups_and_are_compared_with_the_map(host, predicted, tmp_path):
    predicted.ui.pointsPathLineEdit.currentPath = ""
    predicted.refresh()
    assert not predicted.ui.pointsButton.enabled
    voxels = predicted.logic.session.subregions.voxels(predicted.parameters)
    places = voxels.grid.points()[voxels.inside][::7]
    values = voxels.evidence[voxels.inside][::7]
    lines = [f"{x},{y},{z},{v},LPS,cells" for (x, y, z), v in zip(places.tolist(), values.tolist(), strict=True)]
    table = tmp_path / "points.csv"
    table.write_text("\n".join(["x,y,z,value,frame,type", *lines]), encoding="utf-8")
    for _again in range(2):  # the second replaces the first
        predicted.ui.pointsPathLineEdit.currentPath = str(table)
        host.settle()
        predicted.ui.pointsButton.click()
    assert host.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 1
    node = host.scene.GetFirstNodeByClass("vtkMRMLMarkupsFiducialNode")
    assert node.GetNumberOfControlPoints() == len(lines)
    assert np.allclose(node.GetNthControlPointPosition(0), places[0] * [-1, -1, 1], atol=1e-4)
    assert float(node.GetNthControlPointLabel(0)) == pytest.approx(float(values[0]), rel=1e-4)
    text = predicted.ui.pointsLabel.text
    assert f"{len(lines)} of {len(lines)} points lie in lesions" in text
    rho = float(text.partition("ρ = ")[2].split()[0])
    assert rho > 0.6  # the values are the map's own; the mean within a sphere is not quite the voxel
    table.write_text("x,y,value\n1,2,3\n", encoding="utf-8")
    predicted.ui.pointsButton.click()
    assert "lacks the column" in predicted.ui.pointsLabel.text


@pytest.mark.slow
def test_a_volume_of_the_applications_own_database_finds_its_files_again(host, loaded, opened, tmp_path, monkeypatch):
    import pydicom
    import slicer

    from RTResponseCAMLib.dicom.source_series import find_source_series

    source_series = find_source_series(opened.folder, opened.study)

    def value_of(_uid: str, tag: str) -> str:
        return str(source_series.header[f"0x{tag.replace(',', '')}"].value)

    # Stands in for the application's database.
    monkeypatch.setattr(slicer, "dicomDatabase", SimpleNamespace(instanceValue=value_of), raising=False)
    loaded.logic.session.forget()  # as if another module had loaded the volumes
    uid = source_series.slices[0].entry.uid
    for node in (loaded.parameters.mrVolume, loaded.parameters.doseVolume):
        node.SetAttribute("DICOM.instanceUIDs", uid)
    loaded.logic.predict()
    loaded.refresh()
    loaded.logic.session.subregions.create(loaded.parameters, a_cut(loaded, 0.5), anyway=True)
    assert loaded.logic.export(tmp_path / "out", opened.folder) == ()
    data = pydicom.dcmread(tmp_path / "out" / "dicom" / "RS_subregions.dcm")
    frame = data.ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == source_series.header.SeriesInstanceUID
