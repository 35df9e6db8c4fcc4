"""How the chosen inputs and their result are shown in the scene, and kept shown where they lie."""

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
from RTResponseCAMLib.scene.lesions import ISODOSE_LEVELS, ISODOSE_ROLE, lesion_segments, was_moved
from RTResponseCAMLib.scene.nodes import dose_unit, image_of, remove_with_display, volume_display, voxels_of
from RTResponseCAMLib.scene.placement import Placement, in_world
from RTResponseCAMLib.scene.points import points_lists
from RTResponseCAMLib.scene.scene_reader import Inputs, SceneReader
from RTResponseCAMLib.workflow.contour import Subregions
from RTResponseCAMLib.workflow.task import Parameters

FIELD_MM, FIELD_FACTOR = 60.0, 2.5
PLAIN_COLORS = (None, "vtkMRMLColorTableNodeGrey", "vtkMRMLColorTableNodeRainbow")  # which show no dose as one expects


@dataclass(frozen=True)
class Shown:
    """What of the scene decides where and how things are drawn.

    Attributes
    ----------
    placement : of the inputs. dose : fingerprint of the dose, "" without one.
    evidence : the transform of the evidence, and whether it was put elsewhere; None without it.
    registered : whether the follow-up lies on the MR.
    """

    placement: Placement
    dose: str
    evidence: tuple[str | None, bool] | None
    registered: bool


NOTHING = Shown(Placement(None, ""), "", None, False)


def inputs_from(parameters: Parameters) -> Inputs:
    """The chosen inputs."""
    return Inputs(
        parameters.mrVolume,
        parameters.doseVolume,
        parameters.segmentation,
        parameters.prescriptionGy,
        parameters.isodosePercent,
        parameters.fractions,
    )


class Display:
    """Shows what is chosen; remembers of what state of the scene that holds."""

    def __init__(self, scene: Any, scene_reader: SceneReader, subregions: Subregions) -> None:
        self._scene, self._scene_reader, self._subregions = scene, scene_reader, subregions
        self._shown = NOTHING

    def forget(self) -> None:
        """Forget everything: the scene is another one."""
        self._shown = NOTHING

    def apply(self, parameters: Parameters) -> None:
        """Show MR, evidence and dose in the slice views as the user chose."""
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
            later = parameters.followUpVolume
            views.fill_views(
                self._scene, mr, cam=cam, front=front, dose=dose, follow_up=later, opacity=parameters.opacity, wash=wash
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
        """Whether the map is hidden: it would lie where its lesions do not, or on nothing."""
        cam = parameters.camVolume
        placement = self._scene_reader.placement(inputs_from(parameters))
        return parameters.mrVolume is None or bool(placement.problem) or (cam is not None and was_moved(cam))

    def follow(self, parameters: Parameters) -> None:
        """Keep up with the scene: inputs that were moved, together or apart; a dose that has other voxels."""
        if self._state(parameters) != self._shown:
            self.apply(parameters)

    def renew_legend(self, parameters: Parameters) -> None:
        """Make the legend known to views that were opened after it."""
        cam = parameters.camVolume
        if cam is not None:
            legend = add_legend(cam)
            legend.SetVisibility(parameters.legend)
        dose = parameters.doseVolume
        if dose is not None and parameters.doseDisplay.value == "wash":
            show_dose_legend(dose, dose_unit(dose), shown=True, anew=True)

    def apply_opacity(self, parameters: Parameters) -> None:
        """Change the opacity of the evidence alone."""
        cam = parameters.camVolume
        if cam is not None:
            front = cam.GetNodeReference(heatmap.GRADED_ROLE) or cam
            heatmap.set_opacity(self._scene, front, opacity=parameters.opacity)

    def center(self, parameters: Parameters) -> None:
        """Turn all views to the selected lesion."""
        segment_id = lesion_segments(parameters.segmentation).get(parameters.selectedLesion)
        box = self._scene_reader.box_ras(parameters.segmentation, segment_id) if segment_id else None
        if box is not None:
            middle, extent_mm = in_world(parameters.segmentation, box[0]), box[1]
            views.center_views(self._scene, middle, field_mm=max(FIELD_MM, FIELD_FACTOR * extent_mm))

    def _state(self, parameters: Parameters) -> Shown:
        cam, dose, later = parameters.camVolume, parameters.doseVolume, parameters.followUpVolume
        return Shown(
            self._scene_reader.placement(inputs_from(parameters)),
            "" if dose is None else self._scene_reader.volume_print(dose),
            None if cam is None else (cam.GetTransformNodeID(), was_moved(cam)),
            views.is_registered(later, parameters.mrVolume),
        )

    def _show_dose(self, dose: Any, wash: bool) -> None:
        """Colors and legend of the wash; anew where the dose has other voxels, or was loaded by others."""
        shown, made = volume_display(self._scene, dose)
        colors = shown.GetColorNode()
        ours = colors is not None and colors.GetName().startswith(DOSE_COLORS)
        other = ours and self._scene_reader.volume_print(dose) != self._shown.dose
        if made or other or (wash and shown.GetColorNodeID() in PLAIN_COLORS):
            show_dose(self._scene, dose, maximum_gy=float(voxels_of(dose).max()))
        show_dose_legend(dose, dose_unit(dose), shown=wash)

    def _place(self, parameters: Parameters) -> None:
        """Put evidence, isodoses, points and the registered follow-up under the transform of the inputs."""
        placement = self._scene_reader.placement(inputs_from(parameters))
        before = self._shown.placement
        cam, dose, later = parameters.camVolume, parameters.doseVolume, parameters.followUpVolume
        for node in (cam, cam.GetNodeReference(heatmap.GRADED_ROLE) if cam is not None else None):
            _put_under(node, placement.transform_id)
        registered = views.is_registered(later, parameters.mrVolume) and not placement.problem
        if registered and later.GetTransformNodeID() in (None, before.transform_id):  # else the user has moved it
            _put_under(later, placement.transform_id)
        for node in points_lists(self._scene):
            _put_under(node, placement.transform_id)
        for model in views.isodoses_of(dose) if dose is not None else ():
            _put_under(model, dose.GetTransformNodeID())

    def _update_isodoses(self, parameters: Parameters) -> None:
        """Isodose lines at the levels of the present prescription; made once per set of levels, dose and place."""
        dose = parameters.doseVolume
        if dose.GetImageData() is None:
            return
        stated = self._scene_reader.prescriptions(inputs_from(parameters))
        levels = prescribed_levels([gy for _, gy in stated if gy])
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
