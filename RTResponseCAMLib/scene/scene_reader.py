"""Reads nodes of the scene into a `Study`, and lists the problems that prevent it.

Loaded contours are used until a segment is edited: a `SceneReader` stores the study that a node was made from, and uses
its contours while the segment's voxels are unchanged. Other segments get contours along voxel edges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from RTResponseCAMLib.dicom.privacy import pseudonym
from RTResponseCAMLib.dicom.series_kind import named_otherwise
from RTResponseCAMLib.errors import RTResponseError, StudyError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.outlines import edge_contours
from RTResponseCAMLib.scene.build import StudyNodes
from RTResponseCAMLib.scene.doses import checked_dose, dose_problem, is_labeled_dose, looks_like_dose, read_dose
from RTResponseCAMLib.scene.inputs import Inputs, SceneStudy
from RTResponseCAMLib.scene.lesions import (
    LESION_TAG,
    is_evidence,
    lesion_name,
    lesion_segments,
    tag_of,
    tagged_prescription_gy,
)
from RTResponseCAMLib.scene.nodes import (
    dose_unit,
    fingerprint,
    grid_of,
    image_of,
    ras,
    segment_mask,
    voxels_of,
)
from RTResponseCAMLib.scene.placement import Placement, placement_of
from RTResponseCAMLib.scene.problems import segmentation_problems, tilt_deg, volume_problems
from RTResponseCAMLib.scene.stored_data import stored_contours
from RTResponseCAMLib.state import NOTHING_CHOSEN
from RTResponseCAMLib.study import Dose, Lesion, Plan, Prescription, Structure, Study
from RTResponseCAMLib.translation import tr
from RTResponseCAMLib.warnings import Warning, WarningCode

LESION_PRINT = "lesion "
TILT_DEG = 1.0
FRAME, SERIES = "0020,0052", "0020,000E"  # Frame of Reference UID, Series Instance UID


class SceneReader:
    """Reads nodes; stores the study they were made from, and caches values by modification time."""

    def __init__(self) -> None:
        self._studies: dict[str, tuple[str, Study]] = {}
        self._structures: dict[tuple[str, str], tuple[str, Structure]] = {}
        self._asked: set[str] = set()
        self._prints: dict[str, tuple[Any, Any]] = {}

    def register_source(self, nodes: StudyNodes, study: Study) -> None:
        """Store the study that nodes were made from."""
        self._studies[nodes.mr.GetID()] = (self.volume_print(nodes.mr), study)
        segments = lesion_segments(nodes.lesions)
        for lesion in study.lesions:
            key = (nodes.lesions.GetID(), segments[lesion.id])
            self._structures[key] = (self.segment_print(nodes.lesions, key[1]), lesion.structure)
        self._asked.add(nodes.lesions.GetID())

    def forget(self) -> None:
        """Discard all stored data: the scene has changed."""
        self._studies.clear()
        self._structures.clear()
        self._asked.clear()
        self._prints.clear()

    def problems(self, inputs: Inputs, needs_dose: bool = False) -> list[str]:
        """Sentences that state what is missing or wrong, in the order of the panel; empty without problems.

        Parameters
        ----------
        needs_dose : whether the model reads the dose.
        """
        if inputs.mr is None and inputs.segmentation is None:
            return [tr(NOTHING_CHOSEN)]
        problems = volume_problems(inputs.mr, "planning MR (contrast-enhanced T1)")
        problems += segmentation_problems(inputs.segmentation)
        if inputs.dose is not None:
            problems += volume_problems(inputs.dose, "dose")
        if not problems and self.placement(inputs).problem:
            problems = [self.placement(inputs).problem]
        if not problems and inputs.mr is not None:
            problems += self._role_problems(inputs)
        if problems:
            return problems
        problems = self._frame_problems(inputs)
        if needs_dose and inputs.dose is None:
            problems.append(tr("This model requires the dose: choose the dose volume."))
        elif needs_dose and self._prescription(inputs) is None:
            problems.append(
                tr("This model requires the dose relative to the prescription: enter the prescription dose (Gy).")
            )
        return problems

    def placement(self, inputs: Inputs) -> Placement:
        """Placement of the inputs under transforms."""
        roles = (("planning MR", inputs.mr), ("dose", inputs.dose), ("segmentation", inputs.segmentation))
        return placement_of(roles)

    def is_dose(self, node: Any) -> bool:
        """Whether a volume is a dose, by its attributes, its name, its unit or its values."""
        if is_labeled_dose(node):
            return True
        image = node.GetImageData()
        if image is None or image.GetPointData().GetScalars() is None:
            return False
        key = (image.GetMTime(), image.GetPointData().GetScalars().GetMTime())
        has_dose_values: bool = self._cached(f"{node.GetID()} as dose", key, lambda: looks_like_dose(node))
        return has_dose_values

    def _role_problems(self, inputs: Inputs) -> list[str]:
        name = inputs.mr.GetName()
        if inputs.dose is not None and inputs.mr.GetID() == inputs.dose.GetID():
            return [tr("'{name}' is chosen as MR and as dose: one volume cannot be both.").format(name=name)]
        if is_evidence(inputs.mr):
            return [
                tr("The planning MR '{name}' is an evidence map: choose the contrast-enhanced T1.").format(name=name)
            ]
        if self.is_dose(inputs.mr):
            text = tr("The planning MR '{name}' is a dose: choose the contrast-enhanced T1 on which the plan was made.")
            return [text.format(name=name)]
        if inputs.dose is None:
            return []
        state = self.volume_print(inputs.dose)
        lowest = self._cached(f"{inputs.dose.GetID()} lowest", state, lambda: float(voxels_of(inputs.dose).min()))
        problem = dose_problem(inputs.dose, lowest)
        return [problem] if problem else []

    def notes(self, inputs: Inputs) -> list[str]:
        """Sentences with information that does not prevent a prediction."""
        notes = []
        if inputs.mr is not None and not volume_problems(inputs.mr, ""):
            tilt = tilt_deg(grid_of(inputs.mr))
            if tilt > TILT_DEG:
                notes.append(
                    tr("The MR slices are tilted by {tilt:.0f}°; the evidence map has the same tilt.").format(tilt=tilt)
                )
        if inputs.dose is None and inputs.mr is not None:
            notes.append(tr("No dose is chosen: dose metrics and isodose lines are not available."))
        elif inputs.dose is not None and inputs.segmentation is not None and self._prescription(inputs) is None:
            notes.append(tr("No prescription dose is stated: coverage and dose metrics are not available."))
        if inputs.segmentation is not None and (without_contours := self._without_contours(inputs.segmentation)):
            text = tr(
                "The scene contains no contours of {names}: volumes, doses and predictions are computed from voxels "
                "and differ slightly. Load the DICOM folder again to use the contours."
            )
            notes.append(text.format(names=", ".join(without_contours)))
        return notes

    def read_study(self, inputs: Inputs) -> SceneStudy:
        """Make a study of the chosen nodes.

        Raises
        ------
        StudyError, GeometryError : the first of `problems`, a segment that cannot be read, or a dose that does not
            match its prescription or these lesions.
        """
        problems = self.problems(inputs)
        if problems:
            raise StudyError("", problems[0].rstrip("."), "See the Study section")
        loaded = self._known_study(inputs.mr)
        warnings = list(loaded.warnings if loaded else _mr_warnings(inputs.mr))
        mr = loaded.mr if loaded else image_of(inputs.mr)
        lesions, segments = self._lesions(inputs, warnings)
        dose, dose_warnings = read_dose(inputs.dose, loaded)
        prescription = self._prescription(inputs)
        plan = Plan("", prescription) if prescription else None
        warnings += [*dose_warnings, *checked_dose(inputs.dose, dose, plan=plan, lesions=lesions)]
        series = _in_database(inputs.mr, SERIES)  # used by an export to find the original files
        study = Study(
            patient=loaded.patient if loaded else "P-scene",
            mr=mr,
            mr_description=loaded.mr_description if loaded else str(inputs.mr.GetName()),
            structures=tuple(lesion.structure for lesion in lesions),
            lesions=lesions,
            dose=dose,
            plan=plan,
            follow_ups=loaded.follow_ups if loaded else (),
            warnings=tuple(dict.fromkeys(warnings)),
            sources=loaded.sources if loaded else {"mr_series": pseudonym(series or self.volume_print(inputs.mr))},
        )
        return SceneStudy(study, segments)

    def fingerprints(self, inputs: Inputs) -> dict[str, str]:
        """Fingerprints of all inputs of a result, by name; equal strings mean equal voxels, places and numbers."""
        prints = {}
        for name, node in (("MR", inputs.mr), ("dose", inputs.dose)):
            if node is not None:
                prints[name] = self.volume_print(node)
        if inputs.segmentation is not None:
            for lesion, segment in lesion_segments(inputs.segmentation).items():
                prints[f"{LESION_PRINT}{lesion}"] = self.segment_print(inputs.segmentation, segment)
        prints["prescription"] = f"{inputs.prescription_gy:g} {inputs.isodose_percent:g} {inputs.fractions}"
        return prints

    def volume_cc(self, segmentation: Any, segment_id: str) -> float:
        """Volume of a segment's voxels, cm³."""
        return self._segment_state(segmentation, segment_id)[2]

    def box_ras(self, segmentation: Any, segment_id: str) -> tuple[tuple[float, float, float], float] | None:
        """Center of a segment's bounding box (RAS, mm) and its largest extent (mm); None for an empty segment."""
        box = self._segment_state(segmentation, segment_id)[1]
        if box is None:
            return None
        center = box.to_lps((np.asarray([box.size]) - 1) / 2)[0].tolist()
        return ras(center), float((np.asarray(box.size) * np.asarray(box.spacing_mm)).max())

    def key(self, segmentation: Any, segment_id: str, *, dose: Any) -> tuple[str, str]:
        """Fingerprints of a segment and of a dose; the latter is "" without a dose."""
        return self.segment_print(segmentation, segment_id), "" if dose is None else self.volume_print(dose)

    def prescriptions(self, inputs: Inputs) -> list[tuple[str, float | None]]:
        """Prescription of each lesion, Gy; None when none is stated."""
        segments = lesion_segments(inputs.segmentation)
        prescription = self._prescription(inputs) if segments else None
        if prescription is None:
            return [(name, None) for name in segments]
        return [
            (name, prescription.by_roi.get(roi_number, prescription.dose_gy))
            for roi_number, name in enumerate(segments, start=1)
        ]

    def dose_of(self, node: Any) -> Dose | None:
        """Dose of a volume node, read once; None without a node."""
        if node is None:
            return None
        image = self._cached(f"{node.GetID()} image", self.volume_print(node), lambda: image_of(node))
        return Dose(image, (), dose_unit(node))

    def _known_study(self, mr: Any) -> Study | None:
        entry = self._studies.get(mr.GetID())
        return entry[1] if entry and entry[0] == self.volume_print(mr) else None

    def _lesions(self, inputs: Inputs, warnings: list[Warning]) -> tuple[tuple[Lesion, ...], dict[str, str]]:
        lesions, segments = [], {}
        for roi_number, (name, segment_id) in enumerate(lesion_segments(inputs.segmentation).items(), start=1):
            try:
                structure = self.structure(inputs.segmentation, segment_id, number=roi_number)
            except RTResponseError as error:
                warnings.append(WarningCode.EMPTY_ROI(what=f"{error.where} {error.what} and"))
                continue
            lesions.append(Lesion(name, structure))
            segments[name] = segment_id
        return tuple(lesions), segments

    def structure(self, segmentation: Any, segment_id: str, *, number: int = 0) -> Structure:
        """Structure of a segment: its loaded contours, or contours along its voxel edges after it was edited.

        Raises
        ------
        GeometryError : the segment is empty.
        """
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        loaded = self._loaded(segmentation).get((segmentation.GetID(), segment_id))
        name = lesion_name(segment)
        if loaded and loaded[0] == self.segment_print(segmentation, segment_id):
            return replace(loaded[1], number=number, name=name)
        return Structure(number, name, "GTV", edge_contours(*segment_mask(segmentation, segment_id)))

    def _loaded(self, segmentation: Any) -> dict[tuple[str, str], tuple[str, Structure]]:
        """Contours that segments were loaded with, by node id and segment id, each with its valid fingerprint."""
        node = segmentation.GetID()
        if node not in self._asked:  # a segmentation of a loaded scene
            self._asked.add(node)
            self._structures |= {(node, s): entry for s, entry in stored_contours(segmentation).items()}
        return self._structures

    def _without_contours(self, segmentation: Any) -> list[str]:
        """Ids of lesions whose loaded contours are not in the scene, which an earlier version has saved."""
        segments, loaded = segmentation.GetSegmentation(), self._loaded(segmentation)
        return [
            name
            for name, segment_id in lesion_segments(segmentation).items()
            if tag_of(segments.GetSegment(segment_id), LESION_TAG) and (segmentation.GetID(), segment_id) not in loaded
        ]

    def _prescription(self, inputs: Inputs) -> Prescription | None:
        isodose = inputs.isodose_percent or None
        if inputs.prescription_gy > 0:
            return Prescription(inputs.prescription_gy, isodose, inputs.fractions, {}, source="user")
        segments = inputs.segmentation.GetSegmentation()
        stated = [
            tagged_prescription_gy(segments.GetSegment(segment))
            for segment in lesion_segments(inputs.segmentation).values()
        ]
        by_roi = {roi_number: dose for roi_number, dose in enumerate(stated, start=1) if dose is not None}
        if by_roi:
            return Prescription(max(by_roi.values()), isodose, inputs.fractions, by_roi, source="RTPLAN")
        if isodose and inputs.dose is not None and not volume_problems(inputs.dose, ""):
            peak = float(voxels_of(inputs.dose).max())
            return Prescription(peak * isodose / 100, isodose, inputs.fractions, {}, source="user")
        return None

    def _frame_problems(self, inputs: Inputs) -> list[str]:
        centers = {}
        for name, segment_id in lesion_segments(inputs.segmentation).items():
            box = self._segment_state(inputs.segmentation, segment_id)[1]
            if box is not None:
                centers[name] = box.to_lps((np.asarray([box.size]) - 1) / 2)
        if not centers:
            return [
                tr("All lesions of '{name}' are empty: contour them first.").format(name=inputs.segmentation.GetName())
            ]
        mr = grid_of(inputs.mr)
        outside = [name for name, center in centers.items() if not _holds(mr, center)]
        if outside:
            text = tr("{names}: outside the MR. Choose the MR on which the lesions were contoured.")
            return [text.format(names=", ".join(outside))]
        if inputs.dose is None:
            return []
        frames = [_in_database(node, FRAME) for node in (inputs.mr, inputs.dose)]
        dose = grid_of(inputs.dose)
        if (all(frames) and frames[0] != frames[1]) or not any(_holds(dose, m) for m in centers.values()):
            return ["MR and dose have different frames of reference: the dose does not belong to these lesions."]
        return []

    def volume_print(self, node: Any) -> str:
        """Fingerprint of a volume's voxels and geometry; "unreadable" without a usable grid."""
        try:
            grid, image = grid_of(node), node.GetImageData()
        except RTResponseError:
            return "unreadable"
        key = (image.GetMTime(), image.GetPointData().GetScalars().GetMTime(), grid)
        return str(self._cached(node.GetID(), key, lambda: fingerprint(voxels_of(node), grid)))

    def segment_print(self, segmentation: Any, segment_id: str) -> str:
        """Fingerprint of a segment's voxels."""
        return self._segment_state(segmentation, segment_id)[0]

    def _segment_state(self, segmentation: Any, segment_id: str) -> tuple[str, Grid | None, float]:
        """Fingerprint, bounding box and volume (cm³) of a segment."""

        def read() -> tuple[str, Grid | None, float]:
            try:
                mask, grid = segment_mask(segmentation, segment_id)
            except RTResponseError:
                return "empty", None, 0.0
            return fingerprint(mask, grid), grid, int(mask.sum()) * grid.voxel_cc

        segments = segmentation.GetSegmentation()
        segment = segments.GetSegment(segment_id)
        source = segment.GetRepresentation(segments.GetSourceRepresentationName())
        key = (source.GetMTime() if source else 0, segment.GetLabelValue())
        state: tuple[str, Grid | None, float] = self._cached(f"{segmentation.GetID()} {segment_id}", key, read)
        return state

    def _cached(self, name: str, key: Any, make: Callable[[], Any]) -> Any:
        if name not in self._prints or self._prints[name][0] != key:
            self._prints[name] = (key, make())
        return self._prints[name][1]


def _holds(grid: Grid, point_mm: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    index = grid.to_index(point_mm)[0]
    return bool((index > -0.5).all() and (index < np.asarray(grid.size) - 0.5).all())


def _in_database(node: Any, tag: str) -> str:
    """Value of a DICOM tag of a volume that was loaded from the application's DICOM database, else ""."""
    import slicer

    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    return str(database.instanceValue(uids[0], tag)) if uids and database else ""


def _mr_warnings(node: Any) -> list[Warning]:
    name = node.GetName()
    if named_otherwise(name):
        return [WarningCode.NOT_T1C(what=f"the volume '{name}' is not named like a contrast-enhanced T1")]
    return [WarningCode.SERIES_BY_HAND(name=name)]
