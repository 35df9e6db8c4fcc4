"""What the panel shows in its views: lesions centered, heatmap, dose, side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from RTResponseCAMLib.colors import EVIDENCE_RANGE

from .looking import composite_of, voxels


def test_selecting_a_lesion_centers_all_views_on_it(host, loaded):
    import slicer

    from RTResponseCAMLib.imaging.planes import centroid_mm

    for row, lesion in enumerate(loaded.logic.session.prepare(loaded.parameters).study.lesions):
        loaded.ui.lesionTable.setCurrentCell(row, 0)
        x, y, z = centroid_mm(lesion.structure)
        for view in ("Red", "Green", "Yellow"):
            matrix = host.scene.GetSingletonNode(view, "vtkMRMLSliceNode").GetSliceToRAS()
            middle = [matrix.GetElement(i, 3) for i in range(3)]
            np.testing.assert_allclose(middle, (-x, -y, z), atol=2.1)
    assert slicer.mrmlScene is host.scene


def test_the_next_lesion_comes_by_keyboard_and_goes_round(loaded):
    seen = [loaded.parameters.selectedLesion]
    for _ in range(3):
        loaded._shortcuts._added[0]._qt.activated.emit()
        seen.append(loaded.parameters.selectedLesion)
    assert seen[0] == seen[3]
    assert len(set(seen)) == 3
    loaded._shortcuts._added[1]._qt.activated.emit()
    assert loaded.parameters.selectedLesion == seen[2]


def alpha(panel) -> np.ndarray:
    node, color, found = panel.parameters.camVolume.GetDisplayNode().GetColorNode(), [0.0] * 4, []
    for entry in range(256):
        node.GetColor(entry, color)
        found.append(color[3])
    return np.array(found)


def test_sliders_change_opacity_threshold_class_and_scale(host, predicted):
    from RTResponseCAMLib.gui.choices import Scale, Shown

    predicted.ui.opacitySlider.value = 0.3
    assert composite_of(host, "Green").GetForegroundOpacity() == pytest.approx(0.3)
    predicted.ui.thresholdSlider.value = 2.0
    values = np.linspace(*EVIDENCE_RANGE, 256)
    np.testing.assert_array_equal(alpha(predicted) > 0, np.abs(values) > 2)
    predicted.ui.shownComboBox.currentIndex = list(Shown).index(Shown.NON_RESPONSE)
    np.testing.assert_array_equal(alpha(predicted) > 0, values > 2)
    predicted.ui.shownComboBox.currentIndex = list(Shown).index(Shown.RESPONSE)
    np.testing.assert_array_equal(alpha(predicted) > 0, values < -2)
    predicted.ui.scaleComboBox.currentIndex = list(Scale).index(Scale.LESION)
    peak = predicted.logic.session.subregions.voxels(predicted.parameters).peak
    assert predicted.parameters.camVolume.GetDisplayNode().GetWindowLevelMax() == pytest.approx(peak)
    before = voxels(predicted.parameters.camVolume)
    predicted.ui.resetHeatmapButton.click()
    assert composite_of(host).GetForegroundOpacity() == pytest.approx(0.65)
    assert predicted.ui.thresholdSlider.value == pytest.approx(0.25)
    assert predicted.parameters.camVolume.GetDisplayNode().GetWindowLevelMax() == 6
    assert predicted.ui.thresholdSlider.maximum == EVIDENCE_RANGE[1]  # whatever has a color can be left out
    np.testing.assert_array_equal(voxels(predicted.parameters.camVolume), before)  # display never touches the map


def test_graded_transparency_grows_with_the_evidence_and_leaves_nothing_behind(host, predicted):
    nodes = host.scene.GetNumberOfNodes()
    predicted.ui.gradedCheckBox.checked = True
    front = host.scene.GetNodeByID(composite_of(host).GetForegroundVolumeID())
    assert front.IsA("vtkMRMLVectorVolumeNode")
    from vtk.util.numpy_support import vtk_to_numpy

    rgba = vtk_to_numpy(front.GetImageData().GetPointData().GetScalars())
    evidence = np.abs(voxels(predicted.parameters.camVolume).ravel())
    assert rgba[evidence == 0, 3].max() == 0
    shown = np.flatnonzero(rgba[:, 3])
    ordered = rgba[shown[np.argsort(evidence[shown])], 3].astype(int)
    assert (np.diff(ordered) >= 0).all()
    assert ordered[0] < 60 < 230 < ordered[-1]
    predicted.ui.gradedCheckBox.checked = False
    assert composite_of(host).GetForegroundVolumeID() == predicted.parameters.camVolume.GetID()
    assert host.scene.GetNumberOfNodes() == nodes


def test_the_dose_is_shown_as_lines_as_wash_or_not_at_all(host, predicted):
    from RTResponseCAMLib.gui.choices import DoseDisplay
    from RTResponseCAMLib.scene.views import isodoses_of

    lines = isodoses_of(predicted.parameters.doseVolume)
    assert lines
    assert all(model.GetDisplayNode().GetVisibility() for model in lines)
    predicted.ui.doseComboBox.currentIndex = list(DoseDisplay).index(DoseDisplay.WASH)
    assert composite_of(host).GetForegroundVolumeID() == predicted.parameters.doseVolume.GetID()
    assert not any(model.GetDisplayNode().GetVisibility() for model in lines)
    predicted.ui.doseComboBox.currentIndex = list(DoseDisplay).index(DoseDisplay.NOTHING)
    assert composite_of(host).GetForegroundVolumeID() == predicted.parameters.camVolume.GetID()


def test_isodose_lines_follow_the_prescription(host, loaded):
    from RTResponseCAMLib.scene.views import isodoses_of

    def names() -> list[str]:
        return [model.GetName() for model in isodoses_of(loaded.parameters.doseVolume)]

    assert "Isodose 24 Gy" in names()
    nodes = host.scene.GetNumberOfNodes()
    loaded.ui.prescriptionSpinBox.value = 20.0
    assert names() == ["Isodose 20 Gy", "Isodose 12 Gy", "Isodose 10 Gy"]
    assert host.scene.GetNumberOfNodes() <= nodes + 2
    loaded.ui.prescriptionSpinBox.value = 199.0
    assert "Isodose 199 Gy" not in names()  # the dose never gets there


def test_side_by_side_shows_dose_evidence_and_follow_up(host, predicted):
    from RTResponseCAMLib.scene.views import REGISTERED, isodoses_of

    predicted.ui.sideBySideButton.checked = True
    assert host.layouts.sliceViewNames() == ["RTRDose", "RTREvidence", "RTRFollowUp"]
    p = predicted.parameters
    assert composite_of(host, "RTRDose").GetBackgroundVolumeID() == p.mrVolume.GetID()
    assert composite_of(host, "RTRDose").GetForegroundVolumeID() is None
    assert composite_of(host, "RTREvidence").GetForegroundVolumeID() == p.camVolume.GetID()
    assert composite_of(host, "RTRFollowUp").GetBackgroundVolumeID() == p.followUpVolume.GetID()
    assert all(composite_of(host, v).GetLinkedControl() for v in host.layouts.sliceViewNames())
    shown = isodoses_of(p.doseVolume)[0].GetDisplayNode()
    assert shown.IsDisplayableInView(host.scene.GetSingletonNode("RTRDose", "vtkMRMLSliceNode").GetID())
    assert not shown.IsDisplayableInView(host.scene.GetSingletonNode("RTREvidence", "vtkMRMLSliceNode").GetID())
    # The plan's contours are shown on a follow-up that was moved onto the plan, and on no other.
    contours = p.segmentation.GetDisplayNode()
    later = host.scene.GetSingletonNode("RTRFollowUp", "vtkMRMLSliceNode").GetID()
    assert contours.IsDisplayableInView(later)
    p.followUpVolume.SetAttribute(REGISTERED, None)
    predicted.ui.sideBySideButton.checked = False
    predicted.ui.sideBySideButton.checked = True
    assert not contours.IsDisplayableInView(host.scene.GetSingletonNode("RTRFollowUp", "vtkMRMLSliceNode").GetID())
    predicted.ui.sideBySideButton.checked = False
    assert host.layouts.sliceViewNames() == ["Red", "Green", "Yellow"]
    assert shown.IsDisplayableInView(host.scene.GetSingletonNode("Red", "vtkMRMLSliceNode").GetID())


def test_what_the_members_of_an_ensemble_add_and_a_missing_interval_are_shown(predicted, known_result):
    first, *others = known_result.predictions
    parts = replace(
        first, contributions={"conv": 0.61, "radiomics": -0.2}, p_response_low=first.p_response,
        p_response_high=first.p_response,
    )  # fmt: skip
    session = predicted.logic.session
    task = session.prepare(predicted.parameters)
    result = replace(known_result, predictions=(parts, *others), study=task.study)
    session.show(task, result, parameters=predicted.parameters)
    predicted.refresh()
    table = predicted.ui.lesionTable
    assert table.item(0, 5).text() == f"{first.p_response:.2f}"
    assert "–" in table.item(1, 5).text()
    assert "+0.61 Convolutional" in table.item(0, 5).toolTip()
    assert "-0.20 Radiomics" in table.item(0, 5).toolTip()
    assert not any("Radiomics" in table.item(n, 5).toolTip() for n in (1, 2))
