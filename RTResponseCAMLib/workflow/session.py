"""Session of one user in one scene: load, predict, show, contour, export. The panel and scripts use it.

Everything here runs on the main thread. `task.compute` and `sample.open_study` access neither scene nor widgets, and
may run in another thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from RTResponseCAMLib.errors import RTResponseError, StudyError
from RTResponseCAMLib.models.card import default_bundle, read_card
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.scene import heatmap, views
from RTResponseCAMLib.scene.build import StudyNodes, add_evidence, add_study, put_beside
from RTResponseCAMLib.scene.display import show_head, show_only, show_outlines
from RTResponseCAMLib.scene.inputs import Inputs
from RTResponseCAMLib.scene.lesions import (
    PREFIX,
    attach_result,
    dose_columns,
    inputs_of,
    is_evidence,
    lesion_name,
    lesion_segments,
    notes_of,
    rows_of,
    was_moved,
)
from RTResponseCAMLib.scene.nodes import dose_unit, fill_volume, place_of_volume, volume_node
from RTResponseCAMLib.scene.scene_reader import LESION_PRINT, SceneReader
from RTResponseCAMLib.scene.stored_data import store_measures, store_prescription, stored_measures, stored_prescription
from RTResponseCAMLib.state import Row, State
from RTResponseCAMLib.study import GY, Prescription, Result, Study
from RTResponseCAMLib.translation import tr
from RTResponseCAMLib.workflow.contour import Subregions
from RTResponseCAMLib.workflow.display import Display, inputs_from
from RTResponseCAMLib.workflow.sample import LoadedStudy
from RTResponseCAMLib.workflow.task import Parameters, Task

FOLLOW_UP = f"{PREFIX}followUp"  # node reference of a segmentation
OF_DOSE = " of dose "  # separates the fingerprint of a segment from that of the dose measured in it


class Session:
    """Stores what the scene does not store: the loaded contours, and the result with its shares.

    Attributes
    ----------
    result : result of the chosen study; None after a scene was loaded.
    folder : folder from which the chosen study was read, for objects that reference it; None if it is unknown.
    subregions : voxels of the selected lesion, and its subregion.
    display : display of inputs and result.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._scene_reader = SceneReader()
        self.subregions = Subregions(scene, self._scene_reader)
        self.display = Display(scene, self._scene_reader, self.subregions)
        self.folder: Path | None = None
        self.result: Result | None = None
        self._seen: set[str] = set()
        self._folders: dict[str, Path | None] = {}  # by segmentation
        self._results: dict[str, Result] = {}  # by evidence volume
        self._chosen = ""  # the segmentation whose study is chosen

    def forget(self) -> None:
        """Clear all state, because the scene was replaced."""
        self._scene_reader.forget()
        self.subregions.forget()
        self.display.forget()
        for cache in (self._seen, self._folders, self._results):
            cache.clear()
        self.result, self.folder, self._chosen = None, None, ""

    def add(self, opened: LoadedStudy, parameters: Parameters, *, progress: Progress = no_progress) -> Any:
        """Add a study to the scene and choose it; returns its nodes."""
        study = opened.study
        nodes = add_study(self._scene, study, progress=subprogress(progress, 0.0, 0.7), stored_mr=opened.mr)
        progress(0.75, "follow-up")
        follow_up = None
        if opened.follow_up is not None:
            follow_up = volume_node(self._scene, opened.follow_up, name=opened.follow_up_name)
            follow_up.SetAttribute(views.REGISTERED, "1" if opened.registered else None)
            follow_up.SetAttribute(views.REGISTERED_TO, place_of_volume(nodes.mr) if opened.registered else None)
            show_head(follow_up, opened.follow_up)
            put_beside(self._scene, nodes.mr, others=(follow_up,))
            nodes.lesions.SetNodeReferenceID(FOLLOW_UP, follow_up.GetID())
        progress(0.9, "storing the contours")
        self._scene_reader.register_source(nodes, study)
        prescription = study.plan.prescription if study.plan else None
        isodose, fractions = (prescription.isodose_percent, prescription.fractions) if prescription else (None, None)
        store_prescription(
            nodes.lesions, _common_dose(study, prescription), isodose_percent=isodose or 0.0, fractions=fractions or 1
        )
        store_measures(nodes.lesions, self._measure(opened, nodes))
        self._folders[nodes.lesions.GetID()] = opened.folder
        self._leave_for(nodes.lesions, parameters)
        parameters.segmentation = nodes.lesions  # first, because it identifies the study
        parameters.mrVolume, parameters.doseVolume = nodes.mr, nodes.dose
        parameters.followUpVolume = follow_up
        self._take_up(nodes.lesions, parameters)
        parameters.selectedLesion = max(opened.measures, key=lambda name: opened.measures[name][0])
        progress(1.0)
        return nodes

    def follow(self, parameters: Parameters) -> None:
        """Update after a change of the scene: another study is chosen, or inputs were moved."""
        self.follow_study(parameters)
        self.display.follow(parameters)

    def follow_study(self, parameters: Parameters) -> None:
        """Restore prescription and result if the lesions of another study are chosen, and show only its outlines.

        For the first choice, by hand or from a scene, the parameters stay as they are.
        """
        segmentation = parameters.segmentation
        if segmentation is None or segmentation.GetID() == self._chosen:
            return
        first = not self._chosen
        self._leave_for(segmentation, parameters)
        if not first:
            self._take_up(segmentation, parameters)

    def _leave_for(self, segmentation: Any, parameters: Parameters) -> None:
        old = self._scene.GetNodeByID(self._chosen) if self._chosen else None
        if old is not None:
            store_prescription(
                old,
                parameters.prescriptionGy,
                isodose_percent=parameters.isodosePercent,
                fractions=parameters.fractions,
            )
            show_only(segmentation, old)
        self._chosen = str(segmentation.GetID())
        self.folder = self._folders.get(self._chosen)

    def _take_up(self, segmentation: Any, parameters: Parameters) -> None:
        gray, isodose, fractions = stored_prescription(segmentation)
        parameters.prescriptionGy, parameters.isodosePercent, parameters.fractions = gray, isodose, fractions
        if segmentation.GetNodeReference(FOLLOW_UP) is not None:
            parameters.followUpVolume = segmentation.GetNodeReference(FOLLOW_UP)
        cam = self._evidence_of(segmentation)
        parameters.camVolume = cam
        self._results = {node: result for node, result in self._results.items() if self._scene.GetNodeByID(node)}
        self.result = None if cam is None else self._results.get(cam.GetID())

    def _evidence_of(self, segmentation: Any) -> Any | None:
        """Return the evidence volume of a segmentation; None without one."""
        evidence_volumes = [cam for cam in _nodes(self._scene, "vtkMRMLScalarVolumeNode") if is_evidence(cam)]
        evidence_volumes = [
            cam for cam in evidence_volumes if cam.GetNodeReferenceID(f"{PREFIX}segmentation") == segmentation.GetID()
        ]
        return evidence_volumes[-1] if evidence_volumes else None

    def state(self, parameters: Parameters) -> State:
        """Return the state of inputs and results: problems, notes, rows and outdated results."""
        inputs, card, problems = inputs_from(parameters), None, []
        try:
            card = read_card(self.bundle_folder(parameters))
        except RTResponseError as error:
            problems.append(tr("The model cannot be used: {error}").format(error=error))
        needs_dose = bool(card and card["preprocessing"]["dose"])
        problems = self._scene_reader.problems(inputs, needs_dose) + problems
        warnings = tuple(str(text) for text in (card or {}).get("warnings", ()))
        return State(
            problems=tuple(problems),
            notes=tuple(note for note in self._notes(inputs, parameters) if note not in warnings),
            rows=self._rows(inputs, parameters),
            stale=self._stale(inputs, parameters, card),
            warnings=warnings,
            card=card,
            prescriptions=tuple(self._scene_reader.prescriptions(inputs)),
            dose_unit=GY if inputs.dose is None else dose_unit(inputs.dose),
        )

    def bundle_folder(self, parameters: Parameters) -> Path:
        """Return the folder of the chosen model, or of the shipped model."""
        return Path(parameters.bundleFolder) if parameters.bundleFolder else default_bundle()

    def prepare(self, parameters: Parameters, lesions: Sequence[str] = ()) -> Task:
        """Return a prediction task, read from the scene, for some lesions (all if ``lesions`` is empty).

        Raises
        ------
        StudyError, GeometryError, ModelError : the first problem of the inputs or the model.
        """
        card = read_card(self.bundle_folder(parameters))
        inputs = inputs_from(parameters)
        problems = self._scene_reader.problems(inputs, bool(card["preprocessing"]["dose"]))
        if problems:
            raise StudyError("", problems[0].rstrip("."), "See the Study section")
        scene_study = self._scene_reader.read_study(inputs)
        keep: tuple[str, ...] = ()
        study = scene_study.study
        chosen_lesions = [x for x in study.lesions if x.id in lesions]
        if chosen_lesions and self.result is not None and parameters.camVolume is not None:
            stale = self._stale(inputs, parameters, card)
            keep = tuple(p.lesion.id for p in self.result.predictions if p.lesion.id not in stale)
            study = replace(study, lesions=tuple(chosen_lesions))
        fingerprints = {**self._scene_reader.fingerprints(inputs), "model": str(card["weights"][0]["sha256"])}
        return Task(
            study,
            scene_study.segments,
            fingerprints,
            self.bundle_folder(parameters),
            str(parameters.device.value),
            keep,
            self.result,
            (inputs.mr.GetID(), "" if inputs.dose is None else inputs.dose.GetID(), inputs.segmentation.GetID()),
        )

    def show(self, task: Task, result: Result, *, parameters: Parameters) -> bool:
        """Put a computed prediction into the scene; returns whether its study is still chosen, so that it is shown.

        Raises
        ------
        StudyError : the MR or the lesions were deleted during the prediction.
        """
        mr, dose, segmentation = (self._scene.GetNodeByID(node) if node else None for node in task.nodes)
        if mr is None or segmentation is None:
            deleted = "the planning MR" if mr is None else "the segmentation"
            raise StudyError(
                "", f"{deleted} was deleted during the prediction; the result is discarded", "Load the study again"
            )
        chosen = parameters.segmentation is not None and parameters.segmentation.GetID() == segmentation.GetID()
        cam = self._evidence_of(segmentation)
        if cam is None:
            cam = add_evidence(self._scene, result, mr=mr)
            put_beside(self._scene, mr, others=(cam,))
        else:
            heatmap.drop_graded(self._scene, cam)
            fill_volume(cam, result.cam)
            cam.SetNodeReferenceID(f"{PREFIX}sourceMR", mr.GetID())
        attach_result(cam, result, segments=task.segments, dose=dose, segmentation=segmentation, inputs=task.prints)
        self._results[cam.GetID()] = result
        self._seen.add(cam.GetID())
        if segmentation.GetDisplayNode() is not None:
            show_outlines(segmentation)  # filled segments would hide the evidence
        if not chosen:
            return False
        self.result = result
        parameters.camVolume = cam
        if parameters.selectedLesion not in [p.lesion.id for p in result.predictions]:
            parameters.selectedLesion = max(result.predictions, key=lambda p: p.volume_cc).lesion.id
        self.display.apply(parameters)
        return True

    def restore(self, parameters: Parameters) -> bool:
        """Use the result of a loaded scene; returns whether there is one that was not shown yet."""
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
        """Choose inputs that are not chosen yet; the MR is the first volume that is not a dose."""
        volumes = [n for n in _nodes(self._scene, "vtkMRMLScalarVolumeNode") if n.IsA("vtkMRMLScalarVolumeNode")]
        candidates = [n for n in volumes if not n.IsA("vtkMRMLLabelMapVolumeNode") and not is_evidence(n)]
        doses = [n for n in candidates if self._scene_reader.is_dose(n)]
        images = [n for n in candidates if n not in doses and n is not parameters.followUpVolume]
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

    def _notes(self, inputs: Inputs, parameters: Parameters) -> list[str]:
        notes = self._scene_reader.notes(inputs)
        follow_up = parameters.followUpVolume
        was_registered = follow_up is not None and follow_up.GetAttribute(views.REGISTERED) == "1"
        if was_registered and inputs.mr is not None and not views.is_registered(follow_up, inputs.mr):
            name = follow_up.GetName()
            text = tr(
                "'{name}' was registered to another MR, or to an earlier position of this MR: load the study again."
            )
            notes.append(text.format(name=name))
        if parameters.camVolume is not None:
            notes += [text for text in notes_of(parameters.camVolume) if text not in notes]
        return notes

    def _rows(self, inputs: Inputs, parameters: Parameters) -> tuple[Row, ...]:
        """Return a row for each lesion of the segmentation: its result, else the stored measures, else its volume."""
        result_rows = {row.id: row for row in rows_of(parameters.camVolume)} if parameters.camVolume else {}
        measures = stored_measures(inputs.segmentation) if inputs.segmentation is not None else {}
        prescriptions = dict(self._scene_reader.prescriptions(inputs)) if measures else {}
        rows = []
        for name, segment_id in lesion_segments(inputs.segmentation).items():
            measured = measures.get(name)
            segment_name = lesion_name(inputs.segmentation.GetSegmentation().GetSegment(segment_id))
            if name in result_rows and result_rows[name].segment_id in ("", segment_id):
                rows.append(replace(result_rows[name], name=segment_name))  # the segment may have been renamed
            elif measured and measured[1].segment_id == segment_id and self._holds(measured[0], inputs, segment_id):
                rows.append(
                    replace(self._with_present_dose(*measured, inputs, prescriptions.get(name)), name=segment_name)
                )
            else:
                volume = self._scene_reader.volume_cc(inputs.segmentation, segment_id)
                rows.append(Row(segment_id, name, segment_name, volume))
        return tuple(rows)

    def _holds(self, state: str, inputs: Inputs, segment_id: str) -> bool:
        """Return whether the stored measures belong to the current contour of the lesion."""
        return state.partition(OF_DOSE)[0] == self._scene_reader.segment_print(inputs.segmentation, segment_id)

    def _with_present_dose(self, state: str, row: Row, inputs: Inputs, prescription_gy: float | None) -> Row:
        """Return a measured row without the values of another dose or of another prescription."""
        dose = "" if inputs.dose is None else self._scene_reader.volume_print(inputs.dose)
        if state.partition(OF_DOSE)[2] != dose:
            return Row(row.segment_id, row.id, row.name, row.volume_cc)
        if row.prescription_gy != prescription_gy:
            return replace(row, coverage=None, prescription_gy=prescription_gy)
        return row

    def _stale(
        self, inputs: Inputs, parameters: Parameters, card: Mapping[str, Any] | None
    ) -> dict[str, tuple[str, ...]]:
        cam = parameters.camVolume
        stored = inputs_of(cam) if cam is not None else {}
        if not stored:
            return {}
        if self._scene_reader.placement(inputs).problem:
            return {row.id: ("transform",) for row in rows_of(cam)}
        if was_moved(cam):
            return {row.id: ("position of the evidence",) for row in rows_of(cam)}
        current = self._scene_reader.fingerprints(inputs)
        if card is not None:
            current["model"] = str(card["weights"][0]["sha256"])
        changed = {k for k in {*stored, *current} if not k.startswith(LESION_PRINT) and stored.get(k) != current.get(k)}
        stale = {}
        for row in rows_of(cam):
            key = f"{LESION_PRINT}{row.id}"
            reasons = sorted(changed) + (["contour"] if stored.get(key) != current.get(key) else [])
            if reasons:
                stale[row.id] = tuple(reasons)
        return stale

    def _measure(self, opened: LoadedStudy, nodes: StudyNodes) -> dict[str, tuple[str, Row]]:
        segments, measured = lesion_segments(nodes.lesions), {}
        dose_print = "" if nodes.dose is None else self._scene_reader.volume_print(nodes.dose)
        for lesion in opened.study.lesions:
            volume, dose = opened.measures[lesion.id]
            row = Row(segments[lesion.id], lesion.id, lesion.structure.name, volume, **dose_columns(dose))
            state = self._scene_reader.segment_print(nodes.lesions, segments[lesion.id])
            measured[lesion.id] = f"{state}{OF_DOSE}{dose_print}", row
        return measured


def _common_dose(study: Study, prescription: Prescription | None) -> float:
    """Return the prescription if it is the same for all lesions, else 0 (as planned)."""
    doses = {prescription.dose_for(x.structure) for x in study.lesions} if prescription else set()
    return doses.pop() if len(doses) == 1 else 0.0


def _nodes(scene: Any, name: str) -> list[Any]:
    return [scene.GetNthNodeByClass(n, name) for n in range(scene.GetNumberOfNodesByClass(name))]
