"""One user's work in one scene: load, predict, show, contour, export. What a panel or a script drives.

Everything here runs on the main thread. `task.compute` and `sample.open_study` touch neither scene nor widgets, and
may run elsewhere.
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
from RTResponseCAMLib.scene.scene_reader import LESION_PRINT, Inputs, SceneReader
from RTResponseCAMLib.scene.stored_data import keep_measures, keep_prescription, kept_measures, kept_prescription
from RTResponseCAMLib.state import Row, State
from RTResponseCAMLib.study import GY, Prescription, Result, Study
from RTResponseCAMLib.workflow.contour import Subregions
from RTResponseCAMLib.workflow.display import Display, inputs_from
from RTResponseCAMLib.workflow.sample import LoadedStudy
from RTResponseCAMLib.workflow.task import Parameters, Task

FOLLOW_UP = f"{PREFIX}followUp"  # reference of a segmentation
OF_DOSE = " of dose "  # between the fingerprints of a segment and of the dose that was measured in it


class Session:
    """Holds what the scene cannot: the contours that were loaded, and the result with its shares.

    Attributes
    ----------
    result : of the chosen study; None after a scene was loaded.
    folder : from which the chosen study was read, for objects that refer to it; None when it is not known.
    subregions : the selected lesion's voxels, and what is drawn on them.
    display : how all this is shown.
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
        """Forget everything: the scene is another one."""
        self._scene_reader.forget()
        self.subregions.forget()
        self.display.forget()
        for known in (self._seen, self._folders, self._results):
            known.clear()
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
        progress(0.9, "remembering the contours")
        self._scene_reader.remember(nodes, study)
        prescription = study.plan.prescription if study.plan else None
        isodose, fractions = (prescription.isodose_percent, prescription.fractions) if prescription else (None, None)
        keep_prescription(
            nodes.lesions, _common_dose(study, prescription), isodose_percent=isodose or 0.0, fractions=fractions or 1
        )
        keep_measures(nodes.lesions, self._measure(opened, nodes))
        self._folders[nodes.lesions.GetID()] = opened.folder
        self._leave_for(nodes.lesions, parameters)
        parameters.segmentation = nodes.lesions  # first: by it a study is told from another
        parameters.mrVolume, parameters.doseVolume = nodes.mr, nodes.dose
        parameters.followUpVolume = follow_up
        self._take_up(nodes.lesions, parameters)
        parameters.selectedLesion = max(opened.measures, key=lambda name: opened.measures[name][0])
        progress(1.0)
        return nodes

    def follow(self, parameters: Parameters) -> None:
        """Keep up with the scene: with another study that is chosen, and with where its inputs lie."""
        self.follow_study(parameters)
        self.display.follow(parameters)

    def follow_study(self, parameters: Parameters) -> None:
        """When the lesions of another study are chosen: take up its prescription and result, show its outlines alone.

        What is chosen first is taken with the parameters as they are: by hand, or from a scene.
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
            keep_prescription(
                old,
                parameters.prescriptionGy,
                isodose_percent=parameters.isodosePercent,
                fractions=parameters.fractions,
            )
            show_only(segmentation, old)
        self._chosen = str(segmentation.GetID())
        self.folder = self._folders.get(self._chosen)

    def _take_up(self, segmentation: Any, parameters: Parameters) -> None:
        gray, isodose, fractions = kept_prescription(segmentation)
        parameters.prescriptionGy, parameters.isodosePercent, parameters.fractions = gray, isodose, fractions
        if segmentation.GetNodeReference(FOLLOW_UP) is not None:
            parameters.followUpVolume = segmentation.GetNodeReference(FOLLOW_UP)
        cam = self._evidence_of(segmentation)
        parameters.camVolume = cam
        self._results = {node: found for node, found in self._results.items() if self._scene.GetNodeByID(node)}
        self.result = None if cam is None else self._results.get(cam.GetID())

    def _evidence_of(self, segmentation: Any) -> Any | None:
        """The evidence that was found for a segmentation; None without one."""
        found = [cam for cam in _nodes(self._scene, "vtkMRMLScalarVolumeNode") if is_evidence(cam)]
        found = [cam for cam in found if cam.GetNodeReferenceID(f"{PREFIX}segmentation") == segmentation.GetID()]
        return found[-1] if found else None

    def state(self, parameters: Parameters) -> State:
        """Judge inputs and results."""
        inputs, card, problems = inputs_from(parameters), None, []
        try:
            card = read_card(self.bundle_folder(parameters))
        except RTResponseError as error:
            problems.append(f"The model cannot be used: {error}")
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
        """Folder of the chosen model, or of the one that ships."""
        return Path(parameters.bundleFolder) if parameters.bundleFolder else default_bundle()

    def prepare(self, parameters: Parameters, lesions: Sequence[str] = ()) -> Task:
        """Take a prediction of some lesions (all without ``lesions``) from the scene.

        Raises
        ------
        StudyError, GeometryError, ModelError : the first thing that is wrong.
        """
        card = read_card(self.bundle_folder(parameters))
        inputs = inputs_from(parameters)
        problems = self._scene_reader.problems(inputs, bool(card["preprocessing"]["dose"]))
        if problems:
            raise StudyError("", problems[0].rstrip("."), "See the Study section")
        scene_study = self._scene_reader.gather(inputs)
        keep: tuple[str, ...] = ()
        study = scene_study.study
        wanted = [x for x in study.lesions if x.id in lesions]
        if wanted and self.result is not None and parameters.camVolume is not None:
            stale = self._stale(inputs, parameters, card)
            keep = tuple(p.lesion.id for p in self.result.predictions if p.lesion.id not in stale)
            study = replace(study, lesions=tuple(wanted))
        prints = {**self._scene_reader.fingerprints(inputs), "model": str(card["weights"][0]["sha256"])}
        return Task(
            study,
            scene_study.segments,
            prints,
            self.bundle_folder(parameters),
            str(parameters.device.value),
            keep,
            self.result,
            (inputs.mr.GetID(), "" if inputs.dose is None else inputs.dose.GetID(), inputs.segmentation.GetID()),
        )

    def show(self, task: Task, result: Result, *, parameters: Parameters) -> bool:
        """Put a computed prediction into the scene; tell whether its study is still chosen, and it is shown.

        Raises
        ------
        StudyError : its MR or its lesions were deleted meanwhile.
        """
        mr, dose, segmentation = (self._scene.GetNodeByID(node) if node else None for node in task.nodes)
        if mr is None or segmentation is None:
            gone = "the planning MR" if mr is None else "the segmentation"
            raise StudyError(
                "", f"{gone} was deleted while predicting; the result was left out", "Load the study again"
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
        plain = [n for n in volumes if not n.IsA("vtkMRMLLabelMapVolumeNode") and not is_evidence(n)]
        doses = [n for n in plain if self._scene_reader.is_dose(n)]
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

    def _notes(self, inputs: Inputs, parameters: Parameters) -> list[str]:
        notes = self._scene_reader.notes(inputs)
        later = parameters.followUpVolume
        stated = later is not None and later.GetAttribute(views.REGISTERED) == "1"
        if stated and inputs.mr is not None and not views.is_registered(later, inputs.mr):
            name = later.GetName()
            notes.append(
                f"'{name}' was registered to another MR, or to where this one lay before: load the study again."
            )
        if parameters.camVolume is not None:
            notes += [text for text in notes_of(parameters.camVolume) if text not in notes]
        return notes

    def _rows(self, inputs: Inputs, parameters: Parameters) -> tuple[Row, ...]:
        """A row for each lesion of the segmentation: its result, else what was measured, else its volume."""
        known = {row.id: row for row in rows_of(parameters.camVolume)} if parameters.camVolume else {}
        kept = kept_measures(inputs.segmentation) if inputs.segmentation is not None else {}
        stated = dict(self._scene_reader.prescriptions(inputs)) if kept else {}
        rows = []
        for name, segment_id in lesion_segments(inputs.segmentation).items():
            measured = kept.get(name)
            own_name = lesion_name(inputs.segmentation.GetSegmentation().GetSegment(segment_id))
            if name in known and known[name].segment_id in ("", segment_id):
                rows.append(replace(known[name], name=own_name))  # it may have been renamed
            elif measured and measured[1].segment_id == segment_id and self._holds(measured[0], inputs, segment_id):
                rows.append(replace(self._with_present_dose(*measured, inputs, stated.get(name)), name=own_name))
            else:
                volume = self._scene_reader.volume_cc(inputs.segmentation, segment_id)
                rows.append(Row(segment_id, name, own_name, volume))
        return tuple(rows)

    def _holds(self, state: str, inputs: Inputs, segment_id: str) -> bool:
        """Whether a lesion is the one that was measured."""
        return state.partition(OF_DOSE)[0] == self._scene_reader.segment_print(inputs.segmentation, segment_id)

    def _with_present_dose(self, state: str, row: Row, inputs: Inputs, prescription_gy: float | None) -> Row:
        """A measured row without what another dose, or another prescription, was measured of."""
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
        then = inputs_of(cam) if cam is not None else {}
        if not then:
            return {}
        if self._scene_reader.placement(inputs).problem:
            return {row.id: ("transform",) for row in rows_of(cam)}
        if was_moved(cam):
            return {row.id: ("place of the evidence",) for row in rows_of(cam)}
        now = self._scene_reader.fingerprints(inputs)
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
    """The prescription of all lesions when it is the same, else 0 (as planned)."""
    doses = {prescription.dose_for(x.structure) for x in study.lesions} if prescription else set()
    return doses.pop() if len(doses) == 1 else 0.0


def _nodes(scene: Any, name: str) -> list[Any]:
    return [scene.GetNthNodeByClass(n, name) for n in range(scene.GetNumberOfNodesByClass(name))]
