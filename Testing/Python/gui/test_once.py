"""What takes long in the application is done once per change, and in steps."""

from __future__ import annotations

import time
import zipfile

import numpy as np
import pytest
import slicer

from .looking import opened_again


@pytest.mark.slow
@pytest.mark.parametrize(("end", "said"), [("cancel", [""]), ("stop", [])])
def test_a_job_that_ends_during_a_step_on_the_main_thread_ends_once(host, end, said):
    """Events are looked at within such a step, the job's own among them."""
    from RTResponseCAMLib.gui.runner import Runner

    ends, during = [], []
    runner = Runner(None, lambda: None)

    def step():
        getattr(runner, end)()
        until = time.monotonic() + 0.4  # the work notices within a tenth of a second
        while time.monotonic() < until:
            slicer.app.processEvents()
        during.extend(ends)

    runner.start(lambda _progress: runner.on_main_thread(step), ends.append, failed=ends.append)
    until = time.monotonic() + 1
    while runner.busy or time.monotonic() < until:
        slicer.app.processEvents()
    assert during == []
    assert ends == said


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
        centered = self.counted(monkeypatch, predicted.logic.session.display, "center")
        painted = self.counted(monkeypatch, predicted.logic.session.display, "apply")
        predicted.ui.nextLesionButton.click()
        host.settle()
        assert (len(centered), len(painted)) == (1, 0)

    @pytest.mark.slow
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
        work = predicted.logic.export_work(
            tmp_path / "out", on_main_thread=on_main_thread, between=lambda *_: between.append(bool(here))
        )
        work(lambda *_: None)
        assert beside == [True] * 3  # voxels of MR, dose and evidence are written while the application goes on
        with zipfile.ZipFile(tmp_path / "out" / "scene.mrb") as bundle:
            files = [name for name in bundle.namelist() if "/Data/" in name]
        assert len(steps) == len(files) - len(beside) + 5  # new, build, list, one for each file, the scene, clear
        assert len(between) > 8
        assert all(between)

    @pytest.mark.slow
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
