"""Display of nodes in Slicer: evidence colors, window and legend, outlines, the three slice views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.colors import EVIDENCE_RANGE, dose_palette, evidence_palette
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.scene.nodes import volume_display

EVIDENCE_COLORS, DOSE_COLORS = "RTResponseCAM evidence", "RTResponseCAM dose"
FOREGROUND_OPACITY = 0.65
LESION_COLOR = (1.0, 0.90, 0.20)
SUBREGION_COLOR = (1.0, 0.20, 0.55)
QUANTITY = ("RTR-1", "99RTRESPONSECAM", "Local evidence for non-response")
UNITS = ("1", "UCUM", "no units")
# Name, orientation, label and color as in the application.
VIEWS = (
    ("Red", "Axial", "R", (0.9529, 0.2902, 0.2)),
    ("Green", "Coronal", "G", (0.4314, 0.6902, 0.2941)),
    ("Yellow", "Sagittal", "Y", (0.9294, 0.8353, 0.2980)),
)


def color_node(scene: Any, name: str, *, colors: npt.NDArray[np.float64], low: float, high: float) -> Any:
    """Add a color table of 256 entries; returns it. Visible in lists: hidden nodes are not saved with the scene."""
    import slicer

    node = slicer.vtkMRMLColorTableNode()
    node.SetName(name)
    node.SetTypeToUser()
    node.SetNumberOfColors(256)
    paint_color_node(node, colors, low=low, high=high)
    node.SetHideFromEditors(False)
    return scene.AddNode(node)


def paint_color_node(node: Any, colors: npt.NDArray[np.float64], *, low: float, high: float) -> None:
    """Set all colors of a table; each entry is named by its value."""
    modifying = node.StartModify()
    for entry, (red, green, blue, alpha) in enumerate(colors.tolist()):
        node.SetColor(entry, f"{low + (high - low) * entry / 255:.2f}", red, green, blue, alpha)
    node.EndModify(modifying)


def show_evidence(scene: Any, cam: Any, *, scale: str) -> None:
    """Set colors, fixed window (comparable between lesions and patients), legend, quantity and units."""
    low, high = EVIDENCE_RANGE
    display, _ = volume_display(scene, cam)
    display.SetAndObserveColorNodeID(
        color_node(scene, EVIDENCE_COLORS, colors=evidence_palette(), low=low, high=high).GetID()
    )
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(low, high)
    display.SetInterpolate(True)
    display.SetThreshold(-1e6, 1e6)
    display.SetAutoThreshold(False)
    display.SetApplyThreshold(False)
    cam.SetVoxelValueQuantity(_coded(QUANTITY))
    cam.SetVoxelValueUnits(_coded(UNITS))
    cam.SetAttribute("RTResponseCAM.Scale", scale)
    add_legend(cam)


def add_legend(cam: Any) -> Any:
    """Add the color legend of the evidence; returns it.

    An older legend is replaced, because a view shows only legends that were created after the view.
    """
    return _legend(cam, "Evidence (logit):\n+ non-response\n- response")


def _legend(volume: Any, title: str) -> Any:
    import slicer

    scene = volume.GetScene()
    if not scene.IsNodeClassRegistered("vtkMRMLColorLegendDisplayNode"):  # the application has already registered it
        scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    old = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume)
    if old is not None:
        scene.RemoveNode(old)
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volume)
    if legend is not None:
        legend.SetTitleText(title)
        legend.SetLabelFormat("%.1f")
        legend.SetNumberOfLabels(5)
        legend.SetSize(0.10, 0.45)
        legend.SetPosition(0.97, 0.5)
    return legend


def hide_other_legends(scene: Any, chosen: Sequence[Any]) -> None:
    """Hide the legends of evidence and dose volumes that are not in ``chosen``, such as those of another study."""
    ids = {volume.GetID() for volume in chosen if volume is not None}
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode")):
        legend = scene.GetNthNodeByClass(index, "vtkMRMLColorLegendDisplayNode")
        volume = legend.GetDisplayableNode()
        display_node = volume.GetDisplayNode() if volume is not None else None
        colors = display_node.GetColorNode() if display_node is not None else None
        is_own = colors is not None and colors.GetName().startswith((EVIDENCE_COLORS, DOSE_COLORS))
        if is_own and volume.GetID() not in ids:
            legend.SetVisibility(False)


def refresh_legend(cam: Any) -> None:
    """Trigger an update of the legend: views evaluate it before the volume is in the foreground."""
    import slicer

    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(cam)
    if legend is not None:
        legend.Modified()


def show_head(node: Any, mr: sitk.Image) -> None:
    """Set the gray window of the MR from the median and the interquartile range of the head's intensities.

    The window separates brain and enhancement in the intensity units of the scanner.
    """
    head = head_intensity(mr)
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(max(head.median - 2.2 * head.iqr, 0.0), head.median + 3.2 * head.iqr)


def show_dose(scene: Any, dose: Any, *, maximum_gy: float) -> None:
    """Set the display of the dose as a color wash in the foreground.

    The wash is off by default; isodose lines show the dose.
    """
    display, _ = volume_display(scene, dose)
    colors = display.GetColorNode()
    if colors is not None and colors.GetName().startswith(DOSE_COLORS):
        paint_color_node(colors, dose_palette(), low=0.0, high=maximum_gy)
    else:
        display.SetAndObserveColorNodeID(
            color_node(scene, DOSE_COLORS, colors=dose_palette(), low=0.0, high=maximum_gy).GetID()
        )
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, maximum_gy)
    display.SetAutoThreshold(False)
    display.SetThreshold(0.02 * maximum_gy, 1e6)
    display.SetApplyThreshold(True)


def show_dose_legend(dose: Any, unit: str, *, shown: bool, anew: bool = False) -> None:
    """Show or hide the legend of the dose in its unit.

    Parameters
    ----------
    shown : whether the color wash is shown.
    anew : create the legend again, for views that were opened after it.
    """
    import slicer

    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(dose)
    if shown and (legend is None or anew or not legend.GetVisibility()):  # new views need a new legend
        legend = _legend(dose, f"Dose ({unit})")
        if legend is not None:
            legend.SetPosition(0.03, 0.5)
    if legend is not None:
        legend.SetVisibility(shown)


def show_outlines(segmentation: Any) -> None:
    """Show segments as outlines, so that the image inside them stays visible."""
    display = segmentation.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetSliceIntersectionThickness(2)
    display.SetOpacity3D(0.4)


def show_only(segmentation: Any, other: Any) -> None:
    """Show the outlines of the chosen segmentation, and hide those of the ``other`` one."""
    for node, visible in ((other, False), (segmentation, True)):
        if node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(visible)


def set_up_views(scene: Any, background: Any, *, foreground: Any, center_ras: Sequence[float], field_mm: float) -> None:
    """Set up three slice views: MR in the background, evidence in the foreground.

    Parameters
    ----------
    center_ras : center of the views, RAS, mm.
    field_mm : field of view, mm.
    """
    for name, orientation, label, color in VIEWS:
        view = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if view is None:
            view = scene.CreateNodeByClass("vtkMRMLSliceNode")  # with the scene's orientation presets
            view.SetSingletonTag(name)
            view.SetName(name)
            view.SetLayoutName(name)
            view.SetLayoutLabel(label)
            view.SetLayoutColor(*color)
            view = scene.AddNode(view)
        view.SetOrientation(orientation)
        view.SetFieldOfView(field_mm, field_mm, 1.0)
        view.JumpSliceByCentering(*center_ras)
        composite = scene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode")
        if composite is None:
            composite = scene.CreateNodeByClass("vtkMRMLSliceCompositeNode")
            composite.SetSingletonTag(name)
            composite.SetName(f"{name} composite")
            composite.SetLayoutName(name)
            composite = scene.AddNode(composite)
        composite.SetBackgroundVolumeID(background.GetID())
        composite.SetForegroundVolumeID(foreground.GetID())
        composite.SetForegroundOpacity(FOREGROUND_OPACITY)
        composite.SetLinkedControl(True)


def _coded(value: tuple[str, str, str]) -> Any:
    import slicer

    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(*value)
    return entry
