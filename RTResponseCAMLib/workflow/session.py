"""One user's work in one scene: load, predict, show, contour, export. What a panel or a script drives.

Everything here runs on the main thread. `task.compute` and `sample.open_study` touch neither scene nor widgets, and
may run elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from RTResponseCAMLib.appearance import prescribed_levels
from RTResponseCAMLib.errors import RTResponseError, StudyError
from RTResponseCAMLib.network.card import default_bundle, read_card
from RTResponseCAMLib.progress import Progress, part, silent
from RTResponseCAMLib.scene import heatmap, views
from RTResponseCAMLib.scene.build import add_evidence, add_isodoses, add_study, put_beside, put_isodoses
from RTResponseCAMLib.scene.display import (
    add_legend,
    refresh_legend,
    show_dose,
    show_dose_legend,
    show_head,
    show_outlines,
)
from RTResponseCAMLib.scene.gather import LESION_PRINT, Gatherer, Inputs
from RTResponseCAMLib.scene.lesions import (
    ISODOSE_LEVELS,
    ISODOSE_ROLE,
    PREFIX,
    attach_result,
    dose_columns,
    inputs_of,
    lesion_name,
    lesion_segments,
    notes_of,
    rows_of,
)
from RTResponseCAMLib.scene.nodes import dose_unit, fill_volume, image_of, remove_with_display, volume_node, voxels_of
from RTResponseCAMLib.scene.placement import Placement, in_world
from RTResponseCAMLib.scene.remembered import keep_measures, kept_measures
from RTResponseCAMLib.state import Row, State
from RTResponseCAMLib.study import GY, Prescription, Result, Study
from RTResponseCAMLib.workflow.contour import Subregions
from RTResponseCAMLib.workflow.sample import Opened
from RTResponseCAMLib.workflow.task import Parameters, Task

FIELD_MM, FIELD_FACTOR = 60.0, 2.5
PLAIN_COLORS = (None, "vtkMRMLColorTableNodeGrey", "vtkMRMLColorTableNodeRainbow")  # which show no dose as one expects


class Session:
    """Holds what the scene cannot: the contours that were loaded, and the result with its shares.

    Attributes
    ----------
    result : the last one; None after a scene was loaded.
    folder : from which the study was read, for objects that refer to it; None when it is not known.
    subregions : the selected lesion's voxels, and what is drawn on them.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._gatherer = Gatherer()
        self.subregions = Subregions(scene, self._gatherer)
        self.folder: Path | None = None
        self._seen: set[str] = set()
        self._placed = Placement(None, "")
        self.result: Result | None = None

    def forget(self) -> None:
        """Forget everything: the scene is another one."""
        self._gatherer.forget()
        self._seen.clear()
        self._placed = Placement(None, "")
        self.subregions.forget()
        self.result, self.folder = None, None

    def add(self, opened: Opened, parameters: Parameters, progress: Progress = silent) -> Any:
        """Add a study to the scene and choose it; returns its nodes."""
        study = opened.study
        nodes = add_study(self._scene, study, part(progress, 0.0, 0.7), opened.mr)
        progress(0.75, "follow-up")
        follow_up = None
        if opened.follow_up is not None:
            follow_up = volume_node(self._scene, opened.follow_up, opened.follow_up_name)
            follow_up.SetAttribute(views.REGISTERED, "1" if opened.registered else None)
            show_head(follow_up, opened.follow_up)
            put_beside(self._scene, nodes.mr, (follow_up,))
        progress(0.9, "remembering the contours")
        self._gatherer.remember(nodes, study)
        prescription = study.plan.prescription if study.plan else None
        parameters.mrVolume, parameters.doseVolume = nodes.mr, nodes.dose
        parameters.segmentation, parameters.followUpVolume, parameters.camVolume = nodes.lesions, follow_up, None
        parameters.prescriptionGy = _common_dose(study, prescription)
        parameters.isodosePercent = (prescription.isodose_percent or 0.0) if prescription else 0.0
        parameters.fractions = (prescription.fractions or 1) if prescription else 1
        keep_measures(nodes.lesions, self._measure(opened, nodes.lesions))
        self.result, self.folder = None, opened.folder
        parameters.selectedLesion = max(opened.measures, key=lambda name: opened.measures[name][0])
        progress(1.0)
        return nodes

    def inputs(self, parameters: Parameters) -> Inputs:
        """The chosen inputs."""
        return Inputs(
            parameters.mrVolume,
            parameters.doseVolume,
            parameters.segmentation,
            parameters.prescriptionGy,
            parameters.isodosePercent,
            parameters.fractions,
        )

    def state(self, parameters: Parameters) -> State:
        """Judge inputs and results."""
        inputs, card, problems = self.inputs(parameters), None, []
        try:
            card = read_card(self.bundle_folder(parameters))
        except RTResponseError as error:
            problems.append(f"The model cannot be used: {error}")
        needs_dose = bool(card and card["architecture"].get("dose"))
        problems = self._gatherer.problems(inputs, needs_dose) + problems
        warnings = tuple(str(text) for text in (card or {}).get("cautions", ()))
        return State(
            problems=tuple(problems),
            notes=tuple(note for note in self._notes(inputs, parameters) if note not in warnings),
            rows=self._rows(inputs, parameters),
            stale=self._stale(inputs, parameters, card),
            warnings=warnings,
            card=card,
            prescriptions=tuple(self._gatherer.prescriptions(inputs)),
            dose_unit=GY if inputs.dose is None else dose_unit(inputs.dose),
        )

    def bundle_folder(self, parameters: Parameters) -> Path:
        """Folder of the chosen model, or of the one that ships."""
        return Path(parameters.bundleFolder) if parameters.bundleFolder else default_bundle()

    def prepare(self, parameters: Parameters, lesions: Sequence[str] = ()) -> Task:
        """Take a prediction of some lesions (all without ``lesions``) from the scene.

        Raises
        ------
        StudyError, GeometryError, ModelError : the first thing that is wrong.
        """
        card = read_card(self.bundle_folder(parameters))
        inputs = self.inputs(parameters)
        problems = self._gatherer.problems(inputs, bool(card["architecture"].get("dose")))
        if problems:
            raise StudyError("", problems[0].rstrip("."), "See the Study section")
        gathered = self._gatherer.gather(inputs)
        keep: tuple[str, ...] = ()
        study = gathered.study
        wanted = [x for x in study.lesions if x.id in lesions]
        if wanted and self.result is not None and parameters.camVolume is not None:
            stale = self._stale(inputs, parameters, card)
            keep = tuple(p.lesion.id for p in self.result.predictions if p.lesion.id not in stale)
            study = replace(study, lesions=tuple(wanted))
        prints = {**self._gatherer.fingerprints(inputs), "model": str(card["weights"][0]["sha256"])}
        return Task(
            study,
            gathered.segments,
            prints,
            self.bundle_folder(parameters),
            str(parameters.device.value),
            keep,
            self.result,
        )

    def show(self, task: Task, result: Result, parameters: Parameters) -> None:
        """Put a computed prediction into the scene and in front of the views."""
        mr, cam = parameters.mrVolume, parameters.camVolume
        if cam is None:
            cam = add_evidence(self._scene, result, mr)
            put_beside(self._scene, mr, (cam,))
        else:
            heatmap.drop_graded(self._scene, cam)
            fill_volume(cam, result.cam)
        attach_result(cam, result, task.segments, parameters.doseVolume, parameters.segmentation, task.prints)
        self.result, self._voxels = result, None
        self._seen.add(cam.GetID())
        parameters.camVolume = cam
        ids = [p.lesion.id for p in result.predictions]
        if parameters.segmentation.GetDisplayNode() is not None:
            show_outlines(parameters.segmentation)  # filled segments would hide the evidence
        if parameters.selectedLesion not in ids:
            parameters.selectedLesion = max(result.predictions, key=lambda p: p.volume_cc).lesion.id
        self.apply_display(parameters)

    def apply_display(self, parameters: Parameters) -> None:
        """Show MR, evidence and dose in the slice views as the user chose."""
        mr, cam, dose = parameters.mrVolume, parameters.camVolume, parameters.doseVolume
        front = None
        if cam is not None and (mr is None or self._gatherer.placement(self.inputs(parameters)).problem):
            heatmap.hide_evidence(self._scene, cam)
            cam = None  # it lies where its lesions do not, or on nothing
        if cam is not None:
            front = heatmap.show_heatmap(self._scene, cam, self._heatmap(parameters))
        lines, wash = parameters.doseDisplay.value == "lines", parameters.doseDisplay.value == "wash"
        if dose is not None and lines:
            self._update_isodoses(parameters)
        if mr is not None:
            later = parameters.followUpVolume
            views.fill_views(self._scene, mr, cam, front, dose, later, parameters.opacity, wash)
        if dose is not None and dose.GetImageData() is not None and dose.GetDisplayNode() is not None:
            if wash and dose.GetDisplayNode().GetColorNodeID() in PLAIN_COLORS:  # a dose that others have loaded
                show_dose(self._scene, dose, float(voxels_of(dose).max()))
            show_dose_legend(dose, dose_unit(dose), wash)
        views.show_overlays(self._scene, dose, parameters.followUpVolume, lines)
        if cam is not None:
            refresh_legend(cam)
        self._place(parameters)

    def follow_placement(self, parameters: Parameters) -> None:
        """Move what was derived with the inputs; hide the evidence where they were moved apart."""
        if self._gatherer.placement(self.inputs(parameters)) != self._placed:
            self.apply_display(parameters)

    def _place(self, parameters: Parameters) -> None:
        """Put evidence, isodoses and the registered follow-up under the transform of the inputs."""
        placement = self._gatherer.placement(self.inputs(parameters))
        self._placed = placement
        cam, dose, later = parameters.camVolume, parameters.doseVolume, parameters.followUpVolume
        for node in (cam, cam.GetNodeReference(heatmap.GRADED_ROLE) if cam is not None else None):
            _put_under(node, placement.transform_id)
        if later is not None and later.GetAttribute(views.REGISTERED) == "1" and not placement.problem:
            _put_under(later, placement.transform_id)
        for model in views.isodoses_of(dose) if dose is not None else ():
            _put_under(model, dose.GetTransformNodeID())

    def renew_legend(self, parameters: Parameters) -> None:
        """Make the legend known to views that were opened after it."""
        cam = parameters.camVolume
        if cam is not None:
            legend = add_legend(cam, cam.GetAttribute(f"{PREFIX}form") or "signed")
            legend.SetVisibility(parameters.legend)
        dose = parameters.doseVolume
        if dose is not None and parameters.doseDisplay.value == "wash":
            show_dose_legend(dose, dose_unit(dose), True, anew=True)

    def apply_opacity(self, parameters: Parameters) -> None:
        """Change the opacity of the evidence alone."""
        cam = parameters.camVolume
        if cam is not None:
            front = cam.GetNodeReference(heatmap.GRADED_ROLE) or cam
            heatmap.set_opacity(self._scene, front, parameters.opacity)

    def center(self, parameters: Parameters) -> None:
        """Turn all views to the selected lesion."""
        segment_id = lesion_segments(parameters.segmentation).get(parameters.selectedLesion)
        box = self._gatherer.box_ras(parameters.segmentation, segment_id) if segment_id else None
        if box is not None:
            middle, extent_mm = in_world(parameters.segmentation, box[0]), box[1]
            views.center_views(self._scene, middle, max(FIELD_MM, FIELD_FACTOR * extent_mm))

    def restore(self, parameters: Parameters) -> bool:
        """Take up a result that a loaded scene brought; tell whether there was one that was not shown yet."""
        cam = parameters.camVolume
        if cam is None:
            cams = [n for n in _nodes(self._scene, "vtkMRMLScalarVolumeNode") if rows_of(n)]
            cam = parameters.camVolume = cams[-1] if cams else None
        if cam is None or cam.GetID() in self._seen:
            return False
        self._seen.add(cam.GetID())
        parameters.mrVolume = parameters.mrVolume or cam.GetNodeReference(f"{PREFIX}sourceMR")
        parameters.doseVolume = parameters.doseVolume or cam.GetNodeReference(f"{PREFIX}dose")
        parameters.segmentation = parameters.segmentation or cam.GetNodeReference(f"{PREFIX}segmentation")
        rows = rows_of(cam)
        if parameters.selectedLesion not in {row.id for row in rows}:
            parameters.selectedLesion = max(rows, key=lambda row: row.volume_cc).id if rows else ""
        return True

    def choose_inputs(self, parameters: Parameters) -> None:
        """Choose inputs where none are chosen: the dose, and as MR the first volume that is none."""
        volumes = [n for n in _nodes(self._scene, "vtkMRMLScalarVolumeNode") if n.IsA("vtkMRMLScalarVolumeNode")]
        plain = [n for n in volumes if not n.IsA("vtkMRMLLabelMapVolumeNode") and not rows_of(n)]
        doses = [n for n in plain if self._gatherer.is_dose(n)]
        images = [n for n in plain if n not in doses and n is not parameters.followUpVolume]
        segmentations = [n for n in _nodes(self._scene, "vtkMRMLSegmentationNode") if not n.GetHideFromEditors()]
        if parameters.mrVolume is None and images:
            parameters.mrVolume = images[0]
        if parameters.doseVolume is None and doses:
            parameters.doseVolume = doses[0]
        if parameters.segmentation is None and segmentations:
            parameters.segmentation = segmentations[0]
        ids = list(lesion_segments(parameters.segmentation))
        if ids and parameters.selectedLesion not in ids:
            parameters.selectedLesion = ids[0]

    def _update_isodoses(self, parameters: Parameters) -> None:
        """Isodose lines at the levels of the present prescription; made once per set of levels."""
        dose = parameters.doseVolume
        levels = prescribed_levels([gy for _, gy in self._gatherer.prescriptions(self.inputs(parameters)) if gy])
        wanted = " ".join(f"{level:g}" for level in levels)
        if dose.GetAttribute(ISODOSE_LEVELS) == wanted or dose.GetImageData() is None:
            return
        for model in views.isodoses_of(dose):
            remove_with_display(self._scene, model)
        dose.RemoveNodeReferenceIDs(ISODOSE_ROLE)
        models = add_isodoses(self._scene, dose, image_of(dose), levels, silent)
        put_isodoses(self._scene, dose, models)

    def _heatmap(self, parameters: Parameters) -> heatmap.Heatmap:
        limit = 0.0
        if parameters.scale.value == "lesion":
            voxels = self.subregions.voxels(parameters)
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

    def _notes(self, inputs: Inputs, parameters: Parameters) -> list[str]:
        notes = self._gatherer.notes(inputs)
        if parameters.camVolume is not None:
            notes += [text for text in notes_of(parameters.camVolume) if text not in notes]
        return notes

    def _rows(self, inputs: Inputs, parameters: Parameters) -> tuple[Row, ...]:
        """A row for each lesion of the segmentation: its result, else what was measured, else its volume."""
        known = {row.id: row for row in rows_of(parameters.camVolume)} if parameters.camVolume else {}
        kept = kept_measures(inputs.segmentation) if inputs.segmentation is not None else {}
        rows = []
        for name, segment_id in lesion_segments(inputs.segmentation).items():
            state = self._gatherer.segment_print(inputs.segmentation, segment_id)
            measured = kept.get(name)
            own_name = lesion_name(inputs.segmentation.GetSegmentation().GetSegment(segment_id))
            if name in known and known[name].segment_id in ("", segment_id):
                rows.append(replace(known[name], name=own_name))  # it may have been renamed
            elif measured and measured[0] == state and measured[1].segment_id == segment_id:
                rows.append(replace(measured[1], name=own_name))
            else:
                volume = self._gatherer.volume_cc(inputs.segmentation, segment_id)
                rows.append(Row(segment_id, name, own_name, volume))
        return tuple(rows)

    def _stale(
        self, inputs: Inputs, parameters: Parameters, card: Mapping[str, Any] | None
    ) -> dict[str, tuple[str, ...]]:
        cam = parameters.camVolume
        then = inputs_of(cam) if cam is not None else {}
        if not then:
            return {}
        if self._gatherer.placement(inputs).problem:
            return {row.id: ("transform",) for row in rows_of(cam)}
        now = self._gatherer.fingerprints(inputs)
        if card is not None:
            now["model"] = str(card["weights"][0]["sha256"])
        common = {k for k in {*then, *now} if not k.startswith(LESION_PRINT) and then.get(k) != now.get(k)}
        stale = {}
        for row in rows_of(cam):
            own = f"{LESION_PRINT}{row.id}"
            reasons = sorted(common) + (["contour"] if then.get(own) != now.get(own) else [])
            if reasons:
                stale[row.id] = tuple(reasons)
        return stale

    def _measure(self, opened: Opened, segmentation: Any) -> dict[str, tuple[str, Row]]:
        segments, measured = lesion_segments(segmentation), {}
        for lesion in opened.study.lesions:
            volume, dose = opened.measures[lesion.id]
            row = Row(segments[lesion.id], lesion.id, lesion.structure.name, volume, **dose_columns(dose))
            measured[lesion.id] = (self._gatherer.segment_print(segmentation, segments[lesion.id]), row)
        return measured


def _put_under(node: Any, transform_id: str | None) -> None:
    if node is not None and node.GetTransformNodeID() != transform_id:
        node.SetAndObserveTransformNodeID(transform_id)


def _common_dose(study: Study, prescription: Prescription | None) -> float:
    """The prescription of all lesions when it is the same, else 0 (as planned)."""
    doses = {prescription.dose_for(x.structure) for x in study.lesions} if prescription else set()
    return doses.pop() if len(doses) == 1 else 0.0


def _nodes(scene: Any, name: str) -> list[Any]:
    return [scene.GetNthNodeByClass(n, name) for n in range(scene.GetNumberOfNodesByClass(name))]
