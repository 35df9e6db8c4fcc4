"""What went wrong in the real application, where the stand-in behaves as that does: views, editor, colors, names."""

from __future__ import annotations

import types

import numpy as np
import pytest
import slicer
from slicer_host.segment_editor import Editor

from RTResponseCAMLib.scene.views import SIDE_GROUP, WASH_OPACITY, isodoses_of

from .looking import composite_of, looks, middle_of, view_of

SIDE = ["RTRDose", "RTREvidence", "RTRFollowUp"]


def show_wash(panel):
    from RTResponseCAMLib.gui.choices import DoseDisplay

    panel.parameters.doseDisplay = DoseDisplay.WASH


class TestSideBySide:
    @pytest.mark.slow
    def test_every_view_of_the_row_shows_the_lesion_whole(self, host, predicted):
        predicted.ui.sideBySideButton.checked = True
        host.settle()
        middle, extent_mm = middle_of(predicted)
        for name in SIDE:
            view = view_of(host, name)
            assert view.GetSliceOffset() == pytest.approx(middle[2], abs=0.5), name
            width, height, _ = view.GetDimensions()
            field = view.GetFieldOfView()
            assert field[0] / width == pytest.approx(field[1] / height), name
            assert min(field[:2]) >= max(60.0, extent_mm), name

    def test_leaving_the_row_puts_the_views_back(self, host, predicted):
        red = view_of(host, "Red")
        red.SetSliceOffset(7.5)
        red.SetFieldOfView(90.0, 180.0, 1.0)
        before = {name: looks(view_of(host, name)) for name in ("Red", "Green", "Yellow")}
        predicted.ui.sideBySideButton.checked = True
        host.settle()
        predicted.ui.sideBySideButton.checked = False
        host.settle()
        for name, was in before.items():
            np.testing.assert_allclose(looks(view_of(host, name)), was, atol=1e-6, err_msg=name)

    def test_a_lesion_chosen_in_the_row_is_shown_after_leaving_it(self, host, predicted):
        predicted.ui.sideBySideButton.checked = True
        predicted.ui.nextLesionButton.click()
        predicted.ui.sideBySideButton.checked = False
        host.settle()
        middle, _ = middle_of(predicted)
        assert view_of(host, "Red").GetSliceOffset() == pytest.approx(middle[2], abs=0.5)

    def test_views_of_the_row_move_no_others_and_hidden_ones_none(self, host, predicted):
        predicted.ui.sideBySideButton.checked = True
        assert {view_of(host, name).GetViewGroup() for name in SIDE} == {SIDE_GROUP}
        assert view_of(host, "Red").GetViewGroup() != SIDE_GROUP
        predicted.ui.sideBySideButton.checked = False
        assert not any(composite_of(host, name).GetLinkedControl() for name in SIDE)
        assert composite_of(host, "Red").GetLinkedControl()

    def test_the_wash_is_as_thin_after_the_row_as_before(self, host, predicted):
        predicted.ui.sideBySideButton.checked = True
        predicted.ui.sideBySideButton.checked = False
        show_wash(predicted)
        for name in ("Red", "Green", "Yellow"):
            assert composite_of(host, name).GetForegroundOpacity() == pytest.approx(WASH_OPACITY)

    def test_without_a_follow_up_no_third_of_the_window_is_empty(self, host, predicted):
        predicted.parameters.followUpVolume = None
        predicted.ui.sideBySideButton.checked = True
        assert host.layouts.sliceViewNames() == SIDE[:2]
        assert predicted.logic.row.is_on()


def test_edit_opens_the_subregion_and_no_treated_volume(host, predicted, monkeypatch):
    editor = Editor()
    widget = types.SimpleNamespace(self=lambda: types.SimpleNamespace(editor=editor))
    module = types.SimpleNamespace(widgetRepresentation=lambda: widget)
    monkeypatch.setattr(slicer.modules, "segmenteditor", module, raising=False)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda *_: object())
    monkeypatch.setattr(slicer.util, "selectModule", editor.enter)
    predicted.ui.createSegmentButton.click()
    predicted.ui.editSegmentButton.click()
    p = predicted.parameters
    assert editor.chosen["segmentation"].GetID() == p.segmentation.GetID()
    assert editor.chosen["source"].GetID() == p.mrVolume.GetID()
    name = p.segmentation.GetSegmentation().GetSegment(editor.chosen["segment"]).GetName()
    assert "evidence >" in name


class TestColors:
    def test_hot_spots_are_red_and_cold_ones_blue(self, host, predicted):
        colors = predicted.parameters.doseVolume.GetDisplayNode().GetColorNode()
        low, high = [0.0] * 4, [0.0] * 4
        colors.GetColor(0, low)
        colors.GetColor(colors.GetNumberOfColors() - 1, high)
        assert low[2] > low[0]
        assert high[0] > 0.7 > 0.3 > high[2]

    def test_the_wash_has_a_legend_in_gy_and_lines_have_none(self, host, predicted):
        dose = predicted.parameters.doseVolume
        assert slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(dose) is None
        show_wash(predicted)
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(dose)
        assert legend.GetTitleText() == "Dose (Gy)"
        assert legend.GetVisibility()
        predicted.logic.reset_heatmap(predicted.parameters)
        assert not legend.GetVisibility()

    def test_a_dose_that_others_have_loaded_gets_the_same_colors(self, host, predicted):
        dose = predicted.parameters.doseVolume
        dose.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
        show_wash(predicted)
        assert dose.GetDisplayNode().GetColorNode().GetName().startswith("RTResponseCAM dose")

    def test_a_scenes_views_keep_their_letters_and_colors(self, host, predicted, tmp_path):
        from RTResponseCAMLib.scene.build import build_scene, new_scene

        scene = new_scene()
        build_scene(scene, predicted.logic.result)
        for name, label in (("Red", "R"), ("Green", "G"), ("Yellow", "Y")):
            view = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
            assert view.GetLayoutLabel() == label
            assert len(set(view.GetLayoutColor())) == 3  # not gray

    @pytest.mark.slow
    def test_segments_that_were_filled_are_outlines_beside_the_evidence(self, host, loaded):
        shown = loaded.parameters.segmentation.GetDisplayNode()
        shown.SetVisibility2DFill(True)
        loaded.logic.predict()
        assert not shown.GetVisibility2DFill()
        assert shown.GetVisibility2DOutline()


class TestNodes:
    def test_isodoses_of_another_prescription_stay_in_their_folder(self, host, loaded):
        loaded.ui.prescriptionSpinBox.value = 20.0
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
        models = isodoses_of(loaded.parameters.doseVolume)
        assert models
        for model in models:
            assert tree.GetItemName(tree.GetItemParent(tree.GetItemByDataNode(model))) == "Isodoses"

    def test_display_nodes_are_removed_once(self, host, predicted):
        """The application removes a display node with its node; a second removal is an error in its log."""
        predicted.ui.gradedCheckBox.checked = True
        predicted.ui.gradedCheckBox.checked = False
        predicted.ui.prescriptionSpinBox.value = 20.0
        host.scene.RemoveNode(predicted.parameters.camVolume)
        host.scene.RemoveNode(predicted.parameters.doseVolume)
        host.settle()
        assert host.warnings.records == []

    @pytest.mark.slow
    def test_a_renamed_segment_has_its_name_in_the_table(self, host, loaded):
        segment = loaded.parameters.segmentation.GetSegmentation().GetNthSegment(0)
        for name in ("L1 left frontal", "L1 right frontal"):  # measured, and predicted
            segment.SetName(name)
            loaded.refresh()
            assert loaded.ui.lesionTable.item(0, 0).text() == name
            loaded.logic.predict()

    def test_no_subregion_without_the_mr(self, host, predicted):
        predicted.parameters.mrVolume = None
        predicted.refresh()
        assert not predicted.ui.createSegmentButton.enabled
        assert predicted.ui.subregionVolumeLabel.text == "Choose the planning MR."

    def test_a_second_study_can_be_told_from_the_first(self, host, loaded, opened):
        loaded.logic.show_study(opened, loaded.parameters)
        for kind in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLModelNode"):
            count = host.scene.GetNumberOfNodesByClass(kind)
            names = [host.scene.GetNthNodeByClass(n, kind).GetName() for n in range(count)]
            assert len(set(names)) == len(names), names


class TestRoles:
    def test_a_dose_is_never_chosen_as_the_mr(self, host, predicted):
        host.scene.RemoveNode(predicted.parameters.mrVolume)
        host.settle()
        predicted.initializeParameterNode()
        mr = predicted.parameters.mrVolume
        assert mr is None or mr.GetName().startswith("Follow-up")
        assert not predicted.ui.predictButton.enabled or mr is not None

    def test_a_map_whose_mr_was_deleted_is_hidden_and_struck_out(self, host, predicted):
        p = predicted.parameters
        host.scene.RemoveNode(p.mrVolume)
        host.settle()
        assert p.mrVolume is None
        assert len(predicted.logic.state(p).stale) == 3
        assert predicted.ui.lesionTable.item(0, 5).font().strikeOut()
        assert not predicted.ui.predictButton.enabled
        assert composite_of(host, "Red").GetForegroundVolumeID() is None
        assert not slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(p.camVolume).GetVisibility()

    @pytest.mark.parametrize("known_by", ["attribute", "name", "unit", "values"])
    def test_a_dose_chosen_as_mr_is_said(self, host, loaded, known_by):
        dose = loaded.parameters.doseVolume
        if known_by != "attribute":
            dose.RemoveAttribute("DicomRtImport.DoseVolume")
            dose.RemoveAttribute("DicomRtImport.DoseUnitName")
        dose.SetName("RTDOSE plan 1" if known_by == "name" else "image 3")
        if known_by == "unit":
            unit = slicer.vtkCodedEntry()
            unit.SetValueSchemeMeaning("Gy", "UCUM", "gray")
            dose.SetVoxelValueUnits(unit)
        loaded.parameters.doseVolume = None
        loaded.parameters.mrVolume = dose
        loaded.refresh()
        assert "is a dose" in loaded.ui.studyMessageLabel.text
        assert not loaded.ui.predictButton.enabled

    def test_one_volume_cannot_be_both(self, host, loaded):
        loaded.parameters.doseVolume = loaded.parameters.mrVolume
        loaded.refresh()
        assert "one volume cannot be both" in loaded.ui.studyMessageLabel.text

    def test_no_mr_is_taken_for_a_dose(self, host, loaded):
        logic = loaded.logic.session
        for node in (loaded.parameters.mrVolume, loaded.parameters.followUpVolume):
            assert not logic._scene_reader.is_dose(node)
