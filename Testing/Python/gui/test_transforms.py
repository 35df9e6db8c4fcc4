"""Inputs under transforms: moved together they stay one study, moved apart the map is hidden and struck out."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk

from RTResponseCAMLib.scene.views import isodoses_of

from .looking import composite_of, middle_of, view_of


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
        predicted.logic.center(p)
        y = middle_of(predicted)[0][1]
        assert view_of(host, "Red").GetSliceOffset() == pytest.approx(y - 5, abs=0.5)
        for node in self.inputs(predicted):
            node.SetAndObserveTransformNodeID(None)
        host.settle()
        assert not any(node.GetTransformNodeID() for node in derived)

    @pytest.mark.slow
    def test_inputs_that_are_moved_together_are_predicted_as_before(self, host, predicted):
        before = predicted.logic.result.predictions
        pose = self.moved(host, *self.inputs(predicted))
        after = predicted.logic.predict().predictions
        assert [p.p_response for p in after] == [p.p_response for p in before]
        assert predicted.parameters.camVolume.GetTransformNodeID() == pose.GetID()

    @pytest.mark.slow
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
