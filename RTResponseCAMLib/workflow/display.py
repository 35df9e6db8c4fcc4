"""Display of the chosen inputs and their result in the scene, updated when the scene changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from RTResponseCAMLib.colors import prescribed_levels
from RTResponseCAMLib.progress import no_progress
from RTResponseCAMLib.scene import heatmap, views
from RTResponseCAMLib.scene.build import add_isodoses, isodose_state, put_isodoses
from RTResponseCAMLib.scene.display import (
    DOSE_COLORS,
    add_legend,
    hide_other_legends,
    refresh_legend,
    show_dose,
    show_dose_legend,
)
from RTResponseCAMLib.scene.inputs import Inputs
from RTResponseCAMLib.scene.lesions import ISODOSE_LEVELS, ISODOSE_ROLE, lesion_segments, was_moved
from RTResponseCAMLib.scene.nodes import dose_unit, image_of, remove_with_display, volume_display, voxels_of
from RTResponseCAMLib.scene.placement import Placement, in_world
from RTResponseCAMLib.scene.points import points_lists
from RTResponseCAMLib.scene.scene_reader import SceneReader
from RTResponseCAMLib.workflow.contour import Subregions
from RTResponseCAMLib.workflow.task import Parameters

FIELD_MM, FIELD_FACTOR = 60.0, 2.5
PLAIN_COLORS = (None, "vtkMRMLColorTableNodeGrey", "vtkMRMLColorTableNodeRainbow")  # not suitable for a dose


@dataclass(frozen=True)
class Shown:
    """Properties of the scene that determine where and how nodes are displayed.

    Attributes
    ----------
    placement : placement of the inputs.
    dose : fingerprint of the dose; "" without a dose.
    evidence : transform id of the evidence, and whether the evidence was moved; None without evidence.
    registered : whether the follow-up is registered to the MR.
    """

    placement: Placement
    dose: str
    evidence: tuple[str | None, bool] | None
    registered: bool


NOTHING = Shown(Placement(None, ""), "", None, False)


def inputs_from(parameters: Parameters) -> Inputs:
    """Return the chosen inputs."""
    return Inputs(
        parameters.mrVolume,
        parameters.doseVolume,
        parameters.segmentation,
        parameters.prescriptionGy,
        parameters.isodosePercent,
        parameters.fractions,
    )


class Display:
    """Displays the chosen nodes, and stores the scene state that the display was made for."""

    def __init__(self, scene: Any, scene_reader: SceneReader, subregions: Subregions) -> None:
        self._scene, self._scene_reader, self._subregions = scene, scene_reader, subregions
        self._shown = NOTHING

    def forget(self) -> None:
        """Reset the stored state, because the scene was replaced."""
        self._shown = NOTHING

    def apply(self, parameters: Parameters) -> None:
        """Show MR, evidence and dose in the slice views with the user's settings."""
        mr, cam, dose = parameters.mrVolume, parameters.camVolume, parameters.doseVolume
        if cam is not None and self.hides_map(parameters):
            heatmap.hide_evidence(self._scene, cam)
            cam = None
        hide_other_legends(self._scene, (cam, dose))
        front = None if cam is None else heatmap.show_heatmap(self._scene, cam, heatmap=self._heatmap(parameters))
        lines, wash = parameters.doseDisplay.value == "lines", parameters.doseDisplay.value == "wash"
        if dose is not None and lines:
            self._update_isodoses(parameters)
        if mr is not None:
            follow_up = parameters.followUpVolume
            views.fill_views(
                self._scene,
                mr,
                cam=cam,
                front=front,
                dose=dose,
                follow_up=follow_up,
                opacity=parameters.opacity,
                wash=wash,
            )
        if dose is not None and dose.GetImageData() is not None:
            self._show_dose(dose, wash)
        registered = views.is_registered(parameters.followUpVolume, mr)
        views.show_overlays(self._scene, dose, lines=lines, registered=registered)
        if cam is not None:
            refresh_legend(cam)
        self._place(parameters)
        self._shown = self._state(parameters)

    def hides_map(self, parameters: Parameters) -> bool:
        """Return whether the map is hidden: without an MR, or where it would not lie on its lesions."""
        cam = parameters.camVolume
        placement = self._scene_reader.placement(inputs_from(parameters))
        return parameters.mrVolume is None or bool(placement.problem) or (cam is not None and was_moved(cam))

    def follow(self, parameters: Parameters) -> None:
        """Update the display if inputs were moved, together or separately, or the voxels of the dose changed."""
        if self._state(parameters) != self._shown:
            self.apply(parameters)

    def renew_legend(self, parameters: Parameters) -> None:
        """Add the legends to views that were opened after them."""
        cam = parameters.camVolume
        if cam is not None:
            legend = add_legend(cam)
            legend.SetVisibility(parameters.legend)
        dose = parameters.doseVolume
        if dose is not None and parameters.doseDisplay.value == "wash":
            show_dose_legend(dose, dose_unit(dose), shown=True, anew=True)

    def apply_opacity(self, parameters: Parameters) -> None:
        """Change only the opacity of the evidence."""
        cam = parameters.camVolume
        if cam is not None:
            front = cam.GetNodeReference(heatmap.GRADED_ROLE) or cam
            heatmap.set_opacity(self._scene, front, opacity=parameters.opacity)

    def center(self, parameters: Parameters) -> None:
        """Center all views on the selected lesion."""
        segment_id = lesion_segments(parameters.segmentation).get(parameters.selectedLesion)
        box = self._scene_reader.box_ras(parameters.segmentation, segment_id) if segment_id else None
        if box is not None:
            middle, extent_mm = in_world(parameters.segmentation, box[0]), box[1]
            views.center_views(self._scene, middle, field_mm=max(FIELD_MM, FIELD_FACTOR * extent_mm))

    def _state(self, parameters: Parameters) -> Shown:
        cam, dose, follow_up = parameters.camVolume, parameters.doseVolume, parameters.followUpVolume
        return Shown(
            self._scene_reader.placement(inputs_from(parameters)),
            "" if dose is None else self._scene_reader.volume_print(dose),
            None if cam is None else (cam.GetTransformNodeID(), was_moved(cam)),
            views.is_registered(follow_up, parameters.mrVolume),
        )

    def _show_dose(self, dose: Any, wash: bool) -> None:
        """Set colors and legend of the color wash; new colors if the dose changed or another module loaded it."""
        display_node, is_new = volume_display(self._scene, dose)
        colors = display_node.GetColorNode()
        has_dose_colors = colors is not None and colors.GetName().startswith(DOSE_COLORS)
        voxels_changed = has_dose_colors and self._scene_reader.volume_print(dose) != self._shown.dose
        if is_new or voxels_changed or (wash and display_node.GetColorNodeID() in PLAIN_COLORS):
            show_dose(self._scene, dose, maximum_gy=float(voxels_of(dose).max()))
        show_dose_legend(dose, dose_unit(dose), shown=wash)

    def _place(self, parameters: Parameters) -> None:
        """Set the transform of the inputs on evidence, isodoses, points and the registered follow-up."""
        placement = self._scene_reader.placement(inputs_from(parameters))
        previous = self._shown.placement
        cam, dose, follow_up = parameters.camVolume, parameters.doseVolume, parameters.followUpVolume
        for node in (cam, cam.GetNodeReference(heatmap.GRADED_ROLE) if cam is not None else None):
            _put_under(node, placement.transform_id)
        registered = views.is_registered(follow_up, parameters.mrVolume) and not placement.problem
        # Another transform means that the user moved the follow-up.
        if registered and follow_up.GetTransformNodeID() in (None, previous.transform_id):
            _put_under(follow_up, placement.transform_id)
        for node in points_lists(self._scene):
            _put_under(node, placement.transform_id)
        for model in views.isodoses_of(dose) if dose is not None else ():
            _put_under(model, dose.GetTransformNodeID())

    def _update_isodoses(self, parameters: Parameters) -> None:
        """Create isodose lines at the levels of the current prescription, once per set of levels, dose and position."""
        dose = parameters.doseVolume
        if dose.GetImageData() is None:
            return
        prescriptions = self._scene_reader.prescriptions(inputs_from(parameters))
        levels = prescribed_levels([gy for _, gy in prescriptions if gy])
        if dose.GetAttribute(ISODOSE_LEVELS) == isodose_state(levels, self._scene_reader.volume_print(dose)):
            return
        for model in views.isodoses_of(dose):
            remove_with_display(self._scene, model)
        dose.RemoveNodeReferenceIDs(ISODOSE_ROLE)
        put_isodoses(
            self._scene,
            dose,
            models=add_isodoses(self._scene, dose, image=image_of(dose), levels_gy=levels, progress=no_progress),
        )

    def _heatmap(self, parameters: Parameters) -> heatmap.Heatmap:
        limit = 0.0
        if parameters.scale.value == "lesion":
            voxels = self._subregions.voxels(parameters)
            limit = voxels.peak if voxels is not None else 0.0
        return heatmap.Heatmap(
            parameters.opacity,
            parameters.threshold,
            parameters.shown.value,
            parameters.colors.value,
            limit,
            parameters.graded,
            parameters.legend,
        )


def _put_under(node: Any, transform_id: str | None) -> None:
    if node is not None and node.GetTransformNodeID() != transform_id:
        node.SetAndObserveTransformNodeID(transform_id)
