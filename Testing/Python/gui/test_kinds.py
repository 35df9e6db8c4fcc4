"""Further cases of the faults that the application showed: other doses, other studies, other layouts, lost nodes."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk

from RTResponseCAMLib.scene.lesions import PREFIX, rows_of
from RTResponseCAMLib.scene.nodes import voxels_of
from RTResponseCAMLib.scene.views import isodoses_of

from .looking import composite_of, looks, middle_of, view_of


def texts(panel, row=0):
    return [panel.ui.lesionTable.item(row, column).text() for column in range(8)]


def inputs(panel):
    p = panel.parameters
    return p.mrVolume, p.doseVolume, p.segmentation


def choose(panel, nodes):
    p = panel.parameters
    p.mrVolume, p.doseVolume, p.segmentation = nodes


def pose(host, *nodes, matrix=((1, 0, 0, 12), (0, 0, -1, 3), (0, 1, 0, -5), (0, 0, 0, 1))):
    transform, found = host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Pose"), vtk.vtkMatrix4x4()
    found.DeepCopy([float(v) for row in matrix for v in row])
    transform.SetMatrixTransformToParent(found)
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def halve(dose):
    voxels_of(dose)[:] *= 0.5
    dose.GetImageData().GetPointData().GetScalars().Modified()
    dose.GetImageData().Modified()


def in_the_way(shown, view):
    return shown.GetVisibility() and view.GetID() in (shown.GetViewNodeIDs() or [view.GetID()])


class TestOtherDoses:
    @pytest.mark.slow
    def test_lines_and_wash_are_made_anew_when_the_dose_has_other_voxels(self, host, loaded):
        dose = loaded.parameters.doseVolume
        before = isodoses_of(dose)[0].GetPolyData().GetBounds()
        halve(dose)
        host.settle()
        after = isodoses_of(dose)[0].GetPolyData().GetBounds()
        assert after[1] - after[0] < 0.9 * (before[1] - before[0])
        assert dose.GetDisplayNode().GetWindowLevelMax() == pytest.approx(float(voxels_of(dose).max()))

    def test_columns_that_were_measured_of_another_dose_are_empty(self, host, loaded):
        dose, before = loaded.parameters.doseVolume, texts(loaded)
        assert "–" not in before[:5]
        loaded.parameters.prescriptionGy = 30.0
        host.settle()
        assert texts(loaded)[:5] == [*before[:4], "–"]
        loaded.parameters.doseVolume = None
        host.settle()
        assert texts(loaded)[:5] == [*before[:2], "–", "–", "–"]
        loaded.parameters.doseVolume, loaded.parameters.prescriptionGy = dose, 0.0
        host.settle()
        assert texts(loaded) == before
        halve(dose)
        host.settle()
        assert texts(loaded)[:5] == [*before[:2], "–", "–", "–"]

    def test_lines_of_a_dose_that_is_not_chosen_are_not_shown(self, host, loaded):
        dose = loaded.parameters.doseVolume
        loaded.parameters.doseVolume = None
        host.settle()
        assert not any(model.GetDisplayNode().GetVisibility() for model in isodoses_of(dose))

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["evidence", "label map", "cGy", "negative values"])
    def test_what_is_no_dose_in_gray_is_refused_at_once(self, host, predicted, kind):
        p = predicted.parameters
        dose = p.doseVolume
        if kind == "evidence":
            p.doseVolume = p.camVolume
        elif kind == "label map":
            labels = host.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
            image = vtk.vtkImageData()
            image.DeepCopy(dose.GetImageData())
            labels.SetAndObserveImageData(image)
            p.doseVolume = labels
        elif kind == "cGy":
            unit = slicer.vtkCodedEntry()
            unit.SetValueSchemeMeaning("cGy", "UCUM", "centigray")
            dose.SetVoxelValueUnits(unit)
        else:
            voxels_of(dose)[0, 0, 0] = -1
            dose.GetImageData().GetPointData().GetScalars().Modified()
        predicted.refresh()
        said = predicted.ui.studyMessageLabel.text
        assert {"evidence": "evidence map", "label map": "label map"}.get(kind, kind) in said
        assert not predicted.ui.predictButton.enabled

    def test_evidence_is_no_mr(self, host, predicted):
        predicted.parameters.mrVolume = predicted.parameters.camVolume
        host.settle()
        assert "evidence map" in predicted.ui.studyMessageLabel.text
        assert not predicted.ui.predictButton.enabled


class TestTwoStudies:
    @pytest.mark.slow
    def test_each_study_has_its_own_result_prescription_and_outlines(self, host, predicted, opened):
        p = predicted.parameters
        p.prescriptionGy = 22.0
        predicted.logic.predict()
        first, cam, rows = inputs(predicted), p.camVolume, predicted.logic.state(p).rows
        later = p.followUpVolume
        result = predicted.logic.result
        predicted.logic.show_study(opened, p)
        assert p.prescriptionGy != 22.0
        assert p.camVolume is None
        assert predicted.logic.result is None
        predicted.logic.predict()
        second, other, theirs = inputs(predicted), p.camVolume, predicted.logic.state(p).rows
        assert not first[2].GetDisplayNode().GetVisibility()
        assert not any(model.GetDisplayNode().GetVisibility() for model in isodoses_of(first[1]))
        choose(predicted, first)
        host.settle()
        assert (p.prescriptionGy, p.camVolume, p.followUpVolume) == (22.0, cam, later)
        assert predicted.logic.result is result
        assert predicted.logic.state(p).rows == rows
        assert dict(predicted.logic.state(p).stale) == {}
        legend_of = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode
        assert (legend_of(cam).GetVisibility(), legend_of(other).GetVisibility()) == (1, 0)
        assert first[2].GetDisplayNode().GetVisibility()
        assert not second[2].GetDisplayNode().GetVisibility()
        predicted.logic.predict()
        assert p.camVolume is cam
        assert rows_of(other) == theirs
        assert other.GetNodeReferenceID(f"{PREFIX}sourceMR") == second[0].GetID()

    @pytest.mark.slow
    def test_a_result_of_a_study_that_is_not_chosen_any_more_is_kept_for_it(self, host, loaded, opened):
        from RTResponseCAMLib.workflow.task import compute

        p, session = loaded.parameters, loaded.logic.session
        task = session.prepare(p)
        first = inputs(loaded)
        result = compute(task)
        loaded.logic.show_study(opened, p)
        assert not session.show(task, result, parameters=p)
        assert p.camVolume is None
        choose(loaded, first)
        host.settle()
        assert p.camVolume.GetNodeReferenceID(f"{PREFIX}sourceMR") == first[0].GetID()
        assert dict(loaded.logic.state(p).stale) == {}

    @pytest.mark.slow
    @pytest.mark.parametrize("gone", ["mrVolume", "segmentation"])
    def test_a_result_whose_study_was_deleted_is_left_out(self, host, loaded, gone):
        loaded.ui.predictButton.click()
        host.scene.RemoveNode(getattr(loaded.parameters, gone))
        host.wait()
        assert "was deleted during the prediction" in loaded.ui.staleLabel.text
        assert loaded.parameters.camVolume is None


class TestPlaces:
    def test_evidence_that_is_moved_alone_comes_back(self, host, predicted):
        pose(host, predicted.parameters.camVolume)
        host.settle()
        assert predicted.parameters.camVolume.GetTransformNodeID() is None

    @pytest.mark.slow
    def test_evidence_that_was_hardened_elsewhere_is_hidden_and_struck_out(self, host, predicted):
        cam = predicted.parameters.camVolume
        pose(host, cam)
        cam.HardenTransform()
        host.settle()
        assert len(predicted.logic.state(predicted.parameters).stale) == 3
        assert composite_of(host, "Red").GetForegroundVolumeID() is None
        assert not predicted.ui.createSegmentButton.enabled
        assert not predicted.ui.measureButton.enabled
        assert not predicted.ui.dvhButton.enabled
        predicted.logic.predict()
        assert composite_of(host, "Red").GetForegroundVolumeID() == cam.GetID()

    @pytest.mark.slow
    def test_hardened_inputs_take_lines_with_them_and_leave_the_follow_up(self, host, predicted):
        p = predicted.parameters
        pose(host, *inputs(predicted))
        host.settle()
        for node in inputs(predicted):
            node.HardenTransform()
        host.settle()
        predicted.logic.predict()
        bounds = [0.0] * 6
        p.segmentation.GetRASBounds(bounds)
        for line in isodoses_of(p.doseVolume):
            np.testing.assert_allclose(line.GetPolyData().GetBounds(), bounds, atol=6)
        assert any("was registered to another MR" in note for note in predicted.logic.state(p).notes)
        predicted.ui.sideBySideButton.checked = True
        host.settle()
        assert not in_the_way(p.segmentation.GetDisplayNode(), view_of(host, "RTRFollowUp"))

    def test_points_lie_where_their_lesion_does(self, host, predicted, tmp_path):
        x, y, z = middle_of(predicted)[0]
        table = tmp_path / "points.csv"
        table.write_text(f"x,y,z,value,frame\n{x},{y},{z},3,RAS\n")
        (points,), _ = predicted.logic.show_points(table)
        transform = pose(host, *inputs(predicted))
        host.settle()
        assert points.GetTransformNodeID() == transform.GetID()
        (points,), _ = predicted.logic.show_points(table)
        assert points.GetTransformNodeID() == transform.GetID()

    def test_a_follow_up_that_the_user_has_moved_stays_there(self, host, predicted):
        later = predicted.parameters.followUpVolume
        correction = pose(host, later)
        predicted.ui.thresholdSlider.value = 1.0
        host.settle()
        assert later.GetTransformNodeID() == correction.GetID()

    def test_a_mirror_is_refused(self, host, predicted):
        pose(host, *inputs(predicted), matrix=np.diag([-1.0, 1.0, 1.0, 1.0]))
        host.settle()
        assert "not rigid" in predicted.ui.studyMessageLabel.text


class TestRow:
    def test_a_row_that_is_left_by_another_module_is_left_as_by_the_button(self, host, predicted):
        view_of(host, "Red").SetSliceOffset(7.5)
        before = looks(view_of(host, "Red"))
        predicted.ui.sideBySideButton.checked = True
        host.settle()
        layout = host.layouts.node
        layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
        host.settle()
        np.testing.assert_allclose(looks(view_of(host, "Red")), before, atol=1e-6)
        assert not predicted.ui.sideBySideButton.checked
        shown = isodoses_of(predicted.parameters.doseVolume)[0].GetDisplayNode()
        assert in_the_way(shown, view_of(host, "Red"))
        assert not composite_of(host, "RTRDose").GetHotLinkedControl()

    def test_the_row_has_a_view_for_a_follow_up_as_soon_as_there_is_one(self, host, predicted):
        later, predicted.parameters.followUpVolume = predicted.parameters.followUpVolume, None
        predicted.ui.sideBySideButton.checked = True
        host.settle()
        assert len(host.layouts.sliceViewNames()) == 2
        predicted.parameters.followUpVolume = later
        host.settle()
        assert len(host.layouts.sliceViewNames()) == 3
        predicted.ui.sideBySideButton.checked = False
        host.settle()
        assert host.layouts.sliceViewNames() == ["Red", "Green", "Yellow"]

    def test_a_study_that_was_loaded_in_the_row_is_in_view_after_it(self, host, predicted, opened):
        view_of(host, "Red").SetSliceOffset(7.5)
        predicted.ui.sideBySideButton.checked = True
        predicted.logic.show_study(opened, predicted.parameters)
        view_of(host, "Red").SetSliceOffset(0.0)
        predicted.ui.sideBySideButton.checked = False
        host.settle()
        assert view_of(host, "Red").GetSliceOffset() == pytest.approx(middle_of(predicted)[0][2], abs=0.5)


class TestLost:
    @pytest.mark.slow
    @pytest.mark.parametrize("what", ["evidence", "wash", "line"])
    def test_a_display_node_that_was_deleted_is_made_again_or_missed(self, host, predicted, what):
        p = predicted.parameters
        if what == "wash":
            p.doseDisplay = type(p.doseDisplay)["WASH"]
            host.settle()
        node = {"evidence": p.camVolume, "wash": p.doseVolume, "line": isodoses_of(p.doseVolume)[0]}[what]
        host.scene.RemoveNode(node.GetDisplayNode())
        host.settle()
        predicted.ui.thresholdSlider.value = 1.0
        predicted.ui.gradedCheckBox.checked = True
        predicted.logic.predict()
        if what != "line":
            assert node.GetDisplayNode().IsA("vtkMRMLScalarVolumeDisplayNode")
            assert node.GetDisplayNode().GetColorNode().GetName().startswith("RTResponseCAM")
            legends = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
            assert [legend.GetDisplayableNode() is not None for legend in legends] == [True] * len(legends)
            assert slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node) in legends

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("attribute", "value"),
        [("inputs", "{oops"), ("inputs", "[1, 2]"), ("warnings", "{oops"), ("warnings", "5"), ("lesions", "[1]"),
         ("lesions", '{"a": 1}'), ("subregionThreshold", "abc")],
    )  # fmt: skip
    def test_attributes_that_cannot_be_read_are_said_or_missed(self, host, predicted, attribute, value):
        p = predicted.parameters
        p.camVolume.SetAttribute(f"{PREFIX}{attribute}", value)
        predicted.refresh()
        predicted.ui.thresholdSlider.value = 0.9
        predicted.ui.cutZeroButton.click()
        host.settle()
        predicted.initializeParameterNode()
        if attribute == "inputs":
            assert len(predicted.logic.state(p).stale) == 3
        if attribute == "lesions":
            assert texts(predicted)[5] == "–"

    def test_a_lesion_that_is_renamed_like_anatomy_stays_a_lesion(self, host, predicted):
        before = texts(predicted)[1:]
        predicted.parameters.segmentation.GetSegmentation().GetNthSegment(0).SetName("L1 brainstem")
        host.settle()
        assert texts(predicted) == ["L1 brainstem", *before]

    def test_an_edited_subregion_is_not_drawn_over(self, host, predicted):
        from RTResponseCAMLib.scene.nodes import segment_mask

        p = predicted.parameters
        names = []
        for edited in (False, True):
            predicted.ui.createSegmentButton.click()
            segment = predicted.subregion._created
            names.append(p.segmentation.GetSegmentation().GetSegment(segment).GetName())
            if not edited:
                labelmap = p.segmentation.GetSegmentation().GetSegment(segment).GetRepresentation("Binary labelmap")
                scalars = labelmap.GetPointData().GetScalars()
                inside = [n for n in range(scalars.GetNumberOfTuples()) if scalars.GetTuple1(n)]
                for n in inside[: len(inside) // 2]:
                    scalars.SetTuple1(n, 0)
                scalars.Modified()
                labelmap.Modified()
                first, count = segment, segment_mask(p.segmentation, segment)[0].sum()
        assert names[1] == f"{names[0]} (2)"
        assert segment_mask(p.segmentation, first)[0].sum() == count
        predicted.ui.createSegmentButton.click()
        assert p.segmentation.GetSegmentation().GetNumberOfSegments() == 5
