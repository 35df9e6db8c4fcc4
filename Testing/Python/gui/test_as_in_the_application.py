"""What went wrong in the real application, where the stand-in behaves as that does: views, editor, colors, names."""

from __future__ import annotations

import types
import zipfile

import numpy as np
import pytest
import slicer
import vtk
from slicer_host.segment_editor import Editor

from RTResponseCAMLib.scene.views import SIDE_GROUP, WASH_OPACITY, isodoses_of

from .conftest import MODULE

SIDE = ["RTRDose", "RTREvidence", "RTRFollowUp"]


def view_of(host, name):
    return host.scene.GetSingletonNode(name, "vtkMRMLSliceNode")


def composite_of(host, name):
    return host.scene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode")


def middle_of(panel):
    from RTResponseCAMLib.scene.lesions import lesion_segments

    p = panel.parameters
    segment = lesion_segments(p.segmentation)[p.selectedLesion]
    return panel.logic.session._gatherer.box_ras(p.segmentation, segment)


def show_wash(panel):
    from RTResponseCAMLib.gui.choices import DoseDisplay

    panel.parameters.doseDisplay = DoseDisplay.WASH


def looks(view):
    matrix = view.GetSliceToRAS()
    turn = [matrix.GetElement(r, c) for r in range(4) for c in range(4)]
    return np.asarray([*turn, *view.GetFieldOfView()[:2], *view.GetXYZOrigin()])


class TestSideBySide:
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
        assert predicted.logic.isSideBySide()


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
        predicted.logic.resetHeatmap(predicted.parameters)
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
            assert len(set(view.GetLayoutColor())) == 3  # not grey

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
        loaded.logic.showStudy(opened, loaded.parameters)
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
            assert not logic._gatherer.is_dose(node)


def opened_again(host, file, tmp_path):
    """A saved scene in place of the one that is shown."""
    host.scene.Clear(False)
    host.settle()
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(file) as bundle:
        bundle.extractall(folder)
    host.scene.SetURL(str(next(folder.rglob("*.mrml"))))
    host.scene.Import()


class TestSaved:
    def reopened(self, host, panel, tmp_path):
        from RTResponseCAMLib.scene.save import save_scene

        save_scene(host.scene, tmp_path / "saved.mrb")
        opened_again(host, tmp_path / "saved.mrb", tmp_path)
        panel.initializeParameterNode()
        panel.refresh()

    def test_dose_columns_of_an_unpredicted_study_survive_saving_and_reloading(self, host, loaded, tmp_path):
        before = loaded.logic.state(loaded.parameters).rows
        assert before[0].d98_gy is not None
        self.reopened(host, loaded, tmp_path)
        assert loaded.logic.state(loaded.parameters).rows == before
        host.reload(MODULE)
        assert host.widget.logic.state(host.widget.parameters).rows == before

    def test_a_reopened_scene_predicts_the_same_figures(self, host, predicted, tmp_path):
        before = predicted.logic.result.predictions
        self.reopened(host, predicted, tmp_path)
        after = predicted.logic.predict().predictions
        for one, other in zip(before, after, strict=True):
            assert other.p_response == pytest.approx(one.p_response, abs=1e-4)
            assert other.dose.d98_gy == pytest.approx(one.dose.d98_gy, abs=1e-3)
            assert other.volume_cc == pytest.approx(one.volume_cc, rel=1e-4)

    def test_a_scene_of_an_earlier_version_says_that_its_contours_are_lost(self, host, predicted, tmp_path):
        """It kept voxels only: figures made anew differ from those that it shows, which stay."""
        from RTResponseCAMLib.scene.remembered import CONTOURS, MEASURES

        p = predicted.parameters
        before = predicted.logic.state(p).rows
        assert not any("contours" in note for note in predicted.logic.state(p).notes)
        for attribute in (CONTOURS, MEASURES):
            p.segmentation.RemoveAttribute(attribute)
        self.reopened(host, predicted, tmp_path)
        state = predicted.logic.state(predicted.parameters)
        assert any("no contours of L1, L2, L3" in note for note in state.notes)
        assert "no contours of L1, L2, L3" in predicted.ui.studyMessageLabel.text
        assert state.rows == before
        assert dict(state.stale) == {}
        predicted.logic.predict()
        assert predicted.logic.state(predicted.parameters).rows != before

    def test_contours_of_a_segment_that_was_edited_do_not_count(self, host, loaded, tmp_path):
        from RTResponseCAMLib.scene.remembered import CONTOURS, kept_contours

        p = loaded.parameters
        gatherer = loaded.logic.session._gatherer
        gatherer.forget()
        segment = p.segmentation.GetSegmentation().GetNthSegmentID(0)
        kept = kept_contours(p.segmentation)[segment][1]
        assert len(gatherer.structure(p.segmentation, segment).contours) == len(kept.contours)
        labelmap = p.segmentation.GetSegmentation().GetSegment(segment).GetRepresentation("Binary labelmap")
        scalars = labelmap.GetPointData().GetScalars()
        middle = next(n for n in range(scalars.GetNumberOfTuples()) if scalars.GetTuple1(n))
        scalars.SetTuple1(middle, 0)
        labelmap.Modified()
        gatherer.forget()
        assert len(gatherer.structure(p.segmentation, segment).contours) != len(kept.contours)
        for spoiled in ("", "nonsense", "eJwr", '{"a": 1}'):
            p.segmentation.SetAttribute(CONTOURS, spoiled)
            assert kept_contours(p.segmentation) == {}


class TestTransforms:
    def moved(self, host, *nodes, matrix=((1, 0, 0, 12), (0, 0, -1, 3), (0, 1, 0, -5), (0, 0, 0, 1))):
        pose = host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Pose")
        found = vtk.vtkMatrix4x4()
        found.DeepCopy([float(v) for row in matrix for v in row])
        pose.SetMatrixTransformToParent(found)
        for node in nodes:
            node.SetAndObserveTransformNodeID(pose.GetID())
        return pose

    def inputs(self, panel):
        p = panel.parameters
        return p.mrVolume, p.doseVolume, p.segmentation

    def test_what_was_derived_follows_inputs_that_are_moved_together(self, host, predicted):
        p = predicted.parameters
        before = predicted.logic.state(p).rows
        pose = self.moved(host, *self.inputs(predicted))
        host.settle()
        derived = [p.camVolume, p.followUpVolume, *isodoses_of(p.doseVolume)]
        assert {node.GetTransformNodeID() for node in derived} == {pose.GetID()}
        state = predicted.logic.state(p)
        assert (state.problems, dict(state.stale), state.rows) == ((), {}, before)
        assert composite_of(host, "Red").GetForegroundVolumeID() == p.camVolume.GetID()
        predicted.logic.centerOnLesion(p)
        y = middle_of(predicted)[0][1]
        assert view_of(host, "Red").GetSliceOffset() == pytest.approx(y - 5, abs=0.5)
        for node in self.inputs(predicted):
            node.SetAndObserveTransformNodeID(None)
        host.settle()
        assert not any(node.GetTransformNodeID() for node in derived)

    def test_inputs_that_are_moved_together_are_predicted_as_before(self, host, predicted):
        before = predicted.logic.result.predictions
        pose = self.moved(host, *self.inputs(predicted))
        after = predicted.logic.predict().predictions
        assert [p.p_response for p in after] == [p.p_response for p in before]
        assert predicted.parameters.camVolume.GetTransformNodeID() == pose.GetID()

    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_a_map_whose_inputs_were_moved_apart_is_hidden_and_struck_out(self, host, predicted, which):
        p = predicted.parameters
        self.moved(host, self.inputs(predicted)[which])
        host.settle()
        state = predicted.logic.state(p)
        assert {reasons for reasons in state.stale.values()} == {("transform",)}
        assert len(state.stale) == 3
        assert "under the transform 'Pose'" in state.problems[0]
        assert composite_of(host, "Red").GetForegroundVolumeID() is None
        assert not slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(p.camVolume).GetVisibility()
        self.inputs(predicted)[which].SetAndObserveTransformNodeID(None)
        host.settle()
        assert composite_of(host, "Red").GetForegroundVolumeID() == p.camVolume.GetID()
        assert dict(predicted.logic.state(p).stale) == {}

    def test_a_transform_that_stretches_is_refused(self, host, predicted):
        self.moved(host, *self.inputs(predicted), matrix=np.diag([1.1, 1.0, 1.0, 1.0]))
        host.settle()
        assert "not rigid" in predicted.ui.studyMessageLabel.text
        assert not predicted.ui.predictButton.enabled
        assert composite_of(host, "Red").GetForegroundVolumeID() is None


class TestOnce:
    """No change is worked on twice: in the application each of these took half a second."""

    def counted(self, monkeypatch, owner, name):
        calls = []
        original = getattr(owner, name)

        def count(*arguments, **named):
            calls.append(name)
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, count)
        return calls

    def test_a_threshold_is_shown_once_and_evaluated_once(self, host, predicted, monkeypatch):
        from RTResponseCAMLib.scene import heatmap, views

        host.settle()
        session = predicted.logic.session
        painted = self.counted(monkeypatch, heatmap, "show_heatmap")
        filled = self.counted(monkeypatch, views, "fill_views")
        evaluated = self.counted(monkeypatch, session, "state")
        predicted.ui.thresholdSlider.value = 1.0
        host.settle()
        assert (len(painted), len(filled), len(evaluated)) == (1, 1, 1)

    def test_a_subregions_threshold_is_drawn_once_and_touches_no_view(self, host, predicted, monkeypatch):
        from RTResponseCAMLib.scene import heatmap
        from RTResponseCAMLib.scene.subregion import Preview

        host.settle()
        drawn = self.counted(monkeypatch, Preview, "show")
        painted = self.counted(monkeypatch, heatmap, "show_heatmap")
        predicted.ui.subregionSlider.value = 1.0
        host.settle()
        assert (len(drawn), len(painted)) == (1, 0)

    def test_the_outline_of_a_subregion_moves_with_the_inputs(self, host, predicted):
        predicted.ui.subregionSlider.value = 1.0
        p = predicted.parameters
        pose = host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Pose")
        for node in (p.mrVolume, p.doseVolume, p.segmentation):
            node.SetAndObserveTransformNodeID(pose.GetID())
        host.settle()
        assert host.scene.GetFirstNodeByName("Subregion preview").GetTransformNodeID() == pose.GetID()

    def test_the_next_lesion_is_centered_once(self, host, predicted, monkeypatch):
        host.settle()
        centered = self.counted(monkeypatch, predicted.logic.session, "center")
        painted = self.counted(monkeypatch, predicted.logic.session, "apply_display")
        predicted.ui.nextLesionButton.click()
        host.settle()
        assert (len(centered), len(painted)) == (1, 0)

    def test_an_export_takes_the_main_thread_for_one_step_at_a_time(self, host, predicted, tmp_path, monkeypatch):
        from RTResponseCAMLib.scene import save

        steps, here, beside = [], [], []

        def on_main_thread(call):
            steps.append(call)
            here.append(True)
            call()
            here.pop()

        original = save.write_image
        monkeypatch.setattr(save, "write_image", lambda *a: (beside.append(not here), original(*a)))
        between = []
        work = predicted.logic.exporter(tmp_path / "out", on_main_thread, between=lambda *_: between.append(bool(here)))
        work(lambda *_: None)
        assert beside == [True] * 3  # voxels of MR, dose and evidence are written while the application goes on
        with zipfile.ZipFile(tmp_path / "out" / "scene.mrb") as bundle:
            files = [name for name in bundle.namelist() if "/Data/" in name]
        assert len(steps) == len(files) - len(beside) + 5  # new, build, list, one for each file, the scene, clear
        assert len(between) > 8
        assert all(between)

    def test_an_exported_scene_has_the_voxels_and_places_of_the_one_shown(self, host, predicted, tmp_path):
        from RTResponseCAMLib.scene.nodes import grid_of, voxels_of

        p = predicted.parameters
        shown = {n.GetName(): (np.array(voxels_of(n)), grid_of(n)) for n in (p.mrVolume, p.doseVolume, p.camVolume)}
        predicted.logic.export(tmp_path / "out")
        opened_again(host, tmp_path / "out" / "scene.mrb", tmp_path)
        for name, (values, grid) in shown.items():
            node = host.scene.GetFirstNodeByName(name)
            np.testing.assert_array_equal(voxels_of(node), values, err_msg=name)
            assert voxels_of(node).dtype == values.dtype, name
            np.testing.assert_allclose(grid_of(node).axes, grid.axes, atol=1e-9, err_msg=name)
            np.testing.assert_allclose(grid_of(node).origin_mm, grid.origin_mm, atol=1e-6, err_msg=name)
