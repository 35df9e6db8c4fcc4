"""Heatmap of the evidence: colors, display threshold, class, color scale, graded opacity, legend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from RTResponseCAMLib.colors import EVIDENCE_RANGE, palette
from RTResponseCAMLib.scene import display
from RTResponseCAMLib.scene.lesions import PREFIX
from RTResponseCAMLib.scene.nodes import remove_with_display, volume_display, voxels_of

GRADED_ROLE = f"{PREFIX}graded"
GRADED_NAME = "Evidence, graded (display only)"


@dataclass(frozen=True)
class Heatmap:
    """Heatmap settings chosen by the user.

    Attributes
    ----------
    opacity : of the layer, 0…1.
    threshold : absolute evidence (logit) below which nothing is shown.
    shown : class whose evidence is shown: "both", "non-response" or "response".
    colors : a name of `colors.PALETTES`.
    limit : largest value of the color scale; 0 uses the fixed range.
    graded : opacity increases with the evidence, in a display-only RGBA copy (slice views have no graded color tables).
    legend : whether the color legend is shown.
    """

    opacity: float = display.FOREGROUND_OPACITY
    threshold: float = 0.25
    shown: str = "both"
    colors: str = "evidence"
    limit: float = 0.0
    graded: bool = False
    legend: bool = True


def show_heatmap(scene: Any, cam: Any, *, heatmap: Heatmap) -> Any:
    """Apply the settings to the evidence volume; returns the node for the views' foreground."""
    import slicer

    low, high = (-heatmap.limit, heatmap.limit) if heatmap.limit > 0 else EVIDENCE_RANGE
    colors = palette(heatmap.colors, low, high=high, threshold=heatmap.threshold, shown=heatmap.shown)
    display_node, is_new = volume_display(scene, cam)
    if is_new or display_node.GetColorNode() is None:
        display.show_evidence(scene, cam, scale=cam.GetAttribute("RTResponseCAM.Scale") or "")
    display.paint_color_node(display_node.GetColorNode(), colors, low=low, high=high)
    display_node.SetWindowLevelMinMax(low, high)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(cam)
    if legend is not None:
        legend.SetVisibility(heatmap.legend)
    if not heatmap.graded:
        drop_graded(scene, cam)
        return cam
    graded = cam.GetNodeReference(GRADED_ROLE) or _graded_node(scene, cam)
    _paint_graded(graded, cam, colors, low, high, heatmap.threshold)
    return graded


def hide_evidence(scene: Any, cam: Any) -> None:
    """Hide the evidence and its legend in all views; other layers stay."""
    import slicer

    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(cam)
    if legend is not None:
        legend.SetVisibility(False)
    graded = cam.GetNodeReference(GRADED_ROLE)
    evidence_ids = {cam.GetID()} | ({graded.GetID()} if graded is not None else set())
    for composite in _composites(scene):
        if composite.GetForegroundVolumeID() in evidence_ids:
            composite.SetForegroundVolumeID(None)


def set_opacity(scene: Any, foreground: Any, *, opacity: float) -> None:
    """Set the opacity of the evidence in all views that show it in the foreground."""
    for composite in _composites(scene):
        if composite.GetForegroundVolumeID() == foreground.GetID():
            composite.SetForegroundOpacity(opacity)


def drop_graded(scene: Any, cam: Any) -> None:
    """Remove the graded copy, for example because the evidence has a new grid."""
    graded = cam.GetNodeReference(GRADED_ROLE)
    if graded is not None:
        remove_with_display(scene, graded)


def _composites(scene: Any) -> list[Any]:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode") for n in range(count)]


def _graded_node(scene: Any, cam: Any) -> Any:
    import vtk

    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", GRADED_NAME)
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    matrix = vtk.vtkMatrix4x4()
    cam.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    image = vtk.vtkImageData()
    image.SetDimensions(cam.GetImageData().GetDimensions())
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 4)
    image.GetPointData().GetScalars().Fill(0)
    node.SetAndObserveImageData(image)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSaveWithScene(False)
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    cam.SetNodeReferenceID(GRADED_ROLE, node.GetID())
    return node


def _paint_graded(graded: Any, cam: Any, colors: Any, low: float, high: float, threshold: float) -> None:
    from vtk.util.numpy_support import vtk_to_numpy

    values = voxels_of(cam).ravel()
    nonzero = np.flatnonzero(values)
    evidence = values[nonzero]
    entry = np.clip(np.rint((evidence - low) / (high - low) * 255), 0, 255).astype(int)
    strength = np.clip((np.abs(evidence) - threshold) / max(high - threshold, 1e-6), 0, 1) * 0.85 + 0.15
    scalars = graded.GetImageData().GetPointData().GetScalars()
    rgba = vtk_to_numpy(scalars)
    rgba[nonzero, :3] = np.rint(255 * colors[entry, :3])
    rgba[nonzero, 3] = np.rint(255 * colors[entry, 3] * strength)
    scalars.Modified()
    graded.GetImageData().Modified()
