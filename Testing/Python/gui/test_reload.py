"""A saved scene, opened again: results and all settings are back, also what Slicer does not save. Real views."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("trame_slicer", reason="trame-slicer is not installed: no scene reader, no views")

import slicer_host

from .conftest import MODULE


@pytest.fixture(scope="module")
def rendering():
    host = slicer_host.start(render=True)
    host.load_module(MODULE)
    host.open_panel()
    yield host
    host.close()


def pixels(image) -> np.ndarray:
    from vtk.util.numpy_support import vtk_to_numpy

    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[..., :3].astype(int)


def colored(image) -> float:
    """Share of pixels that are not gray."""
    picture = pixels(image)
    return float(((picture.max(axis=2) - picture.min(axis=2)) > 40).mean())


@pytest.mark.slow
@pytest.mark.render
def test_a_saved_scene_comes_back_with_results_and_settings(rendering, opened, tmp_path):
    from RTResponseCAMLib.gui.choices import Colors, DoseDisplay, Shown
    from RTResponseCAMLib.scene.save import save_scene
    from RTResponseCAMLib.scene.views import is_side_by_side

    host = rendering
    panel = host.widget
    panel.logic.show_study(opened, panel.parameters)
    before = [x.p_response for x in panel.logic.predict().predictions]
    p = panel.parameters
    p.opacity, p.threshold, p.subregionThreshold = 0.4, 1.1, -0.35
    p.shown, p.colors, p.doseDisplay = Shown.NON_RESPONSE, Colors.HEAT, DoseDisplay.NOTHING
    p.graded, p.selectedLesion = True, "L2"
    panel.refresh()
    table = [[panel.ui.lesionTable.item(r, c).text() for c in range(8)] for r in range(3)]
    save_scene(host.scene, tmp_path / "saved.mrb")
    host.scene.Clear(False)
    host.settle()
    assert panel.ui.lesionTable.rowCount == 0
    assert host.trame.io_manager.load_scene(tmp_path / "saved.mrb")
    host.settle()
    p = panel.parameters
    assert (p.opacity, p.threshold, p.subregionThreshold) == (0.4, 1.1, -0.35)
    assert (p.shown, p.colors, p.doseDisplay) == (Shown.NON_RESPONSE, Colors.HEAT, DoseDisplay.NOTHING)
    assert p.selectedLesion == "L2"
    assert [[panel.ui.lesionTable.item(r, c).text() for c in range(8)] for r in range(3)] == table
    assert panel.ui.staleLabel.text == ""  # the same voxels, contours and prescription
    composite = host.scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    front = host.scene.GetNodeByID(composite.GetForegroundVolumeID())
    assert front.IsA("vtkMRMLVectorVolumeNode")  # the graded copy is never saved, but made anew
    assert composite.GetForegroundOpacity() == pytest.approx(0.4)
    assert host.scene.GetNumberOfNodesByClass("vtkMRMLVectorVolumeNode") == 1
    assert not is_side_by_side(host.scene)
    panel.ui.subregionSlider.value = -1.0
    assert "cm³ of" in panel.ui.subregionVolumeLabel.text
    # The contours were not saved: voxels of 1.7 × 1.5 × 2 mm stand for them now, and the third lesion has 7 mm.
    found = [x.p_response for x in panel.logic.predict().predictions]
    assert found[:2] == pytest.approx(before[:2], abs=0.01)
    assert found[2] == pytest.approx(before[2], abs=0.02)


@pytest.mark.slow
@pytest.mark.render
def test_the_views_show_what_the_panel_says(rendering, opened):
    from RTResponseCAMLib.gui.choices import DoseDisplay

    host = rendering
    panel = host.widget
    host.scene.Clear(False)
    panel.logic.show_study(opened, panel.parameters)
    p = panel.parameters
    p.doseDisplay = DoseDisplay.NOTHING
    before = {name: colored(image) for name, image in host.draw_views().items()}
    panel.logic.predict()
    p.threshold = 0.25
    after = host.draw_views()
    assert all(colored(after[name]) > before[name] + 0.01 for name in after)
    p.doseDisplay = DoseDisplay.LINES
    assert colored(host.draw_views()["Red"]) > colored(after["Red"])
    panel.ui.sideBySideButton.checked = True
    row = host.draw_views()
    assert list(row) == ["RTRDose", "RTREvidence", "RTRFollowUp"]
    assert all(pixels(image).mean() > 20 for image in row.values())
    panel.ui.sideBySideButton.checked = False
