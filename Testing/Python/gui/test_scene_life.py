"""Scenes come and go: closing, deleting nodes, reloading the module, names that repeat. Nothing is left over."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import slicer

from .conftest import MODULE


def classes(scene) -> Counter:
    return Counter(scene.GetNthNode(n).GetClassName() for n in range(scene.GetNumberOfNodes()))


def test_closing_the_scene_empties_the_panel_and_leaves_no_node(host, predicted):
    empty = classes(host.scene)
    predicted.ui.subregionSlider.value = -1.0
    host.scene.Clear(False)
    host.settle()
    assert predicted.parameters.camVolume is None
    assert predicted.logic.result is None
    assert predicted.ui.lesionTable.rowCount == 0
    assert "Load a study" in predicted.ui.studyMessageLabel.text
    left = classes(host.scene)
    for name in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLModelNode", "vtkMRMLVectorVolumeNode"):
        assert left[name] == 0, name
    assert empty["vtkMRMLScalarVolumeNode"] > 0


@pytest.mark.slow
def test_a_study_loads_again_after_the_scene_was_closed(host, predicted, opened):
    host.scene.Clear(False)
    predicted.logic.show_study(opened, predicted.parameters)
    predicted.logic.predict()
    predicted.refresh()
    assert predicted.ui.lesionTable.rowCount == 3
    assert predicted.ui.staleLabel.text == ""


def test_closing_the_scene_while_predicting_stops_it(host, loaded):
    loaded.ui.predictButton.click()
    host.scene.Clear(False)
    assert not loaded.busy
    host.settle()
    assert loaded.ui.predictButton.text == "Predict"
    assert classes(host.scene)["vtkMRMLScalarVolumeNode"] == 0


def test_closing_the_scene_while_loading_stops_it(host, panel, study_folder):
    panel.study.load_folder(study_folder / "dicom")
    host.scene.Clear(False)
    assert not panel.busy
    host.settle()
    assert classes(host.scene)["vtkMRMLScalarVolumeNode"] == 0


def test_observers_do_not_pile_up(host, predicted):
    before = len(predicted.Observations)
    for _ in range(3):
        host.leave()
        host.enter()
    assert len(predicted.Observations) == before
    widget = host.reload(MODULE)
    assert len(predicted.Observations) == 0
    assert len(widget.Observations) == before


def test_a_reloaded_module_shows_the_scene_as_it_is(host, predicted):
    predicted.ui.thresholdSlider.value = 1.5
    widget = host.reload(MODULE)
    assert widget.ui.lesionTable.rowCount == 3
    assert widget.ui.thresholdSlider.value == pytest.approx(1.5)
    assert widget.ui.lesionTable.item(0, 6).text() != "–"
    assert widget.ui.staleLabel.text == ""
    assert len(widget._shortcuts) == 2


def test_a_job_of_a_widget_that_was_reloaded_does_not_come_back(host, loaded):
    loaded.ui.predictButton.click()
    widget = host.reload(MODULE)
    host.settle()
    assert not widget.busy
    assert widget.parameters.camVolume is None


@pytest.mark.slow
def test_deleting_the_evidence_takes_its_colors_legend_and_copy_with_it(host, predicted):
    plain = classes(host.scene)
    predicted.ui.gradedCheckBox.checked = True
    predicted.ui.subregionSlider.value = -0.5
    host.scene.RemoveNode(predicted.parameters.camVolume)
    host.settle()
    left = classes(host.scene)
    assert predicted.parameters.camVolume is None
    assert left["vtkMRMLColorLegendDisplayNode"] == 0
    assert left["vtkMRMLVectorVolumeNode"] == left["vtkMRMLVectorVolumeDisplayNode"] == 0
    assert left["vtkMRMLColorTableNode"] == plain["vtkMRMLColorTableNode"] - 1
    assert left["vtkMRMLScalarVolumeDisplayNode"] == plain["vtkMRMLScalarVolumeDisplayNode"] - 1
    assert left["vtkMRMLSegmentationNode"] == 1
    assert predicted.ui.lesionTable.item(0, 6).text() == "–"
    assert not predicted.ui.createSegmentButton.enabled
    predicted.logic.predict()
    predicted.refresh()
    assert predicted.ui.lesionTable.item(0, 6).text() != "–"


def test_deleting_the_dose_takes_its_lines_with_it(host, predicted):
    host.scene.RemoveNode(predicted.parameters.doseVolume)
    host.settle()
    left = classes(host.scene)
    assert left["vtkMRMLModelNode"] == left["vtkMRMLModelDisplayNode"] == 0
    assert "dose" in predicted.ui.staleLabel.text
    assert "No dose" in predicted.ui.studyMessageLabel.text
    assert predicted.ui.predictButton.enabled


def test_deleting_the_lesions_disables_the_prediction(host, predicted):
    predicted.ui.subregionSlider.value = -0.5
    host.scene.RemoveNode(predicted.parameters.segmentation)
    host.settle()
    assert predicted.ui.lesionTable.rowCount == 0
    assert not predicted.ui.predictButton.enabled
    assert "segmentation" in predicted.ui.predictButton.toolTip


@pytest.mark.slow
def test_two_lesions_of_the_same_name_keep_apart(host, loaded):
    segments = loaded.parameters.segmentation.GetSegmentation()
    for number in range(2):
        segments.GetNthSegment(number).SetName("GTV")
    result = loaded.logic.predict()
    loaded.refresh()
    assert [p.lesion.structure.name for p in result.predictions][:2] == ["GTV", "GTV"]
    assert loaded.ui.lesionTable.item(0, 0).text() == "L1 GTV"
    assert loaded.ui.lesionTable.item(1, 0).text() == "L2 GTV"
    volumes = {loaded.ui.lesionTable.item(n, 1).text() for n in range(3)}
    assert len(volumes) == 3
    for lesion in ("L1", "L2"):
        loaded.parameters.selectedLesion = lesion
        loaded.ui.subregionSlider.value = -3.0
        loaded.ui.createSegmentButton.click()
    assert segments.GetNumberOfSegments() == 5


def test_undo_in_the_segment_editor_makes_results_fresh_again(host, predicted):
    from .test_panel import paint_over

    segmentation = predicted.parameters.segmentation
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(segmentation.GetSegmentation())
    history.SaveState()
    paint_over(segmentation, segmentation.GetSegmentation().GetNthSegmentID(0))
    host.settle()
    assert "contour changed" in predicted.ui.staleLabel.text
    assert history.RestorePreviousState()
    host.settle()
    assert predicted.ui.staleLabel.text == ""


def test_lesions_keep_their_ids_when_one_is_deleted(host, predicted):
    segments = predicted.parameters.segmentation.GetSegmentation()
    segments.RemoveSegment(segments.GetNthSegmentID(0))
    host.settle()
    names = [predicted.ui.lesionTable.item(n, 0).text() for n in range(predicted.ui.lesionTable.rowCount)]
    assert [name.split()[0] for name in names] == ["L2", "L3"]


def test_parameters_of_an_older_version_are_put_back_with_a_sentence(host):
    host.close_panel()
    host.scene.Clear(False)
    node = host.module.RTResponseCAMLogic().getParameterNode().parameterNode
    node.SetParameter("version", "0")
    node.SetParameter("colors", "A_COLOR_THAT_WAS_DROPPED")
    node.SetParameter("opacity", "17")
    node.SetParameter("somethingElse", "1")
    widget = host.open_panel()
    assert widget.parameters.opacity == pytest.approx(0.65)
    assert "another version" in widget.ui.studyMessageLabel.text


def test_the_exported_scene_of_the_command_line_opens_as_a_result(host, result):
    """What `rtresponsecam predict` writes is what the panel shows, without parameters of the module in it."""
    from RTResponseCAMLib.scene.build import build_scene

    build_scene(host.scene, result)
    host.enter()
    panel = host.widget
    assert panel.ui.lesionTable.rowCount == len(result.predictions)
    first = result.predictions[0]
    assert panel.ui.lesionTable.item(0, 5).text().startswith(f"{first.p_response:.2f}")
    assert panel.parameters.mrVolume is not None
    assert panel.logic.session.subregions.voxels(panel.parameters) is not None


def test_voxels_are_never_touched_by_the_panel(host, predicted):
    from RTResponseCAMLib.scene.nodes import voxels_of

    p = predicted.parameters
    before = [np.array(voxels_of(n)) for n in (p.mrVolume, p.doseVolume, p.camVolume)]
    predicted.ui.gradedCheckBox.checked = True
    predicted.ui.thresholdSlider.value = 1.0
    predicted.ui.sideBySideButton.checked = True
    predicted.ui.resetHeatmapButton.click()
    for node, values in zip((p.mrVolume, p.doseVolume, p.camVolume), before, strict=True):
        np.testing.assert_array_equal(voxels_of(node), values)
