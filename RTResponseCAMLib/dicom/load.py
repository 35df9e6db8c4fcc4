"""Reading of a folder into a `Study`: index, choose course and reference graph, read objects, report missing data."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from RTResponseCAMLib.dicom.courses import Course, choose_reference_graph, find_courses
from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.follow_ups import find_follow_ups
from RTResponseCAMLib.dicom.identity import compare, person_key
from RTResponseCAMLib.dicom.index import TAGS, Entry, Index, index_folder
from RTResponseCAMLib.dicom.mr import Series, read_series
from RTResponseCAMLib.dicom.options import AS_FOUND, NO_DOSE, ReadOptions
from RTResponseCAMLib.dicom.plans import check_twin, is_named
from RTResponseCAMLib.dicom.plausibility import check_dose
from RTResponseCAMLib.dicom.prescriptions import check_prescription, unprescribed, with_prescription
from RTResponseCAMLib.dicom.privacy import Scrubber, pseudonym, unnamed_errors
from RTResponseCAMLib.dicom.reference_graph import ReferenceGraph
from RTResponseCAMLib.dicom.references import contour_images, contoured_on, frames_of, map_into, roi_frames
from RTResponseCAMLib.dicom.registration import Links, map_between, read_links
from RTResponseCAMLib.dicom.rtdose import read_plan_dose
from RTResponseCAMLib.dicom.rtplan import read_plan, unclear_prescriptions
from RTResponseCAMLib.dicom.rtstruct import read_structures
from RTResponseCAMLib.dicom.seg import read_segments
from RTResponseCAMLib.dicom.targets import choose_lesions
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.rigid import Matrix, moved_structure
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.study import GY, Dose, FollowUp, Lesion, Plan, Structure, Study
from RTResponseCAMLib.warnings import Warning, WarningCode

SAME_PLANES = ("Modality", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")


@dataclass(frozen=True)
class Contents:
    """Content of a folder: its index, the rigid maps of its registrations with their warnings, and its courses."""

    index: Index
    links: Links
    registration_warnings: tuple[Warning, ...]
    courses: tuple[Course, ...]


def load_study(
    folder: Path, prescription_gy: float | None = None, *, progress: Progress = no_progress, **options: Any
) -> Study:
    """Read a Gamma Knife study.

    Parameters
    ----------
    prescription_gy : prescription for every target, Gy, when the plan states none; if given, it overrides the plan.
    options : see `ReadOptions`.

    Raises
    ------
    StudyError, GeometryError : see the readers; also for a dose without a prescription, for objects that disagree
        where no rule decides, and for a dose and a prescription that cannot belong together.
    """
    with _collector_paused():
        index = index_folder(folder, subprogress(progress, 0.0, 0.3))
        scrub = Scrubber(index.headers())
        read_options = ReadOptions(prescription_gy, **options)
        with unnamed_errors(scrub):
            contents = contents_of(index, read_options)
            return _unnamed(
                read_reference_graph(
                    contents, find_reference_graph(contents, read_options), options=read_options, progress=progress
                ),
                scrub,
            )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause garbage collection, a tenth of the reading time: headers are thousands of objects that all stay alive."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def contents_of(index: Index, options: ReadOptions = AS_FOUND) -> Contents:
    """Read the registrations of an index, and group its objects into courses.

    Raises
    ------
    StudyError : see `courses.find_courses`.
    """
    links, warnings = read_links(index)
    return Contents(
        index, links, warnings, find_courses(index, links, plan=options.plan, structures=options.structures)
    )


def find_reference_graph(contents: Contents, options: ReadOptions = AS_FOUND) -> ReferenceGraph:
    """Return the reference graph of the objects that are read together.

    Raises
    ------
    StudyError : see `courses.choose_reference_graph`.
    """
    course = options.course or (options.course_if_several if len(contents.courses) > 1 else None)
    return choose_reference_graph(
        contents.index,
        contents.courses,
        links=contents.links,
        series=options.series,
        course=course,
        registration_warnings=contents.registration_warnings,
    )


def read_follow_up(follow_up: FollowUp, progress: Progress = no_progress) -> Series:
    """Read a later MR series in its own frame of reference, without registration.

    Raises
    ------
    StudyError, GeometryError : see `dicom.mr.read_series`.
    """
    entries = tuple(Entry(Path(file), read_header(Path(file), TAGS)) for file in follow_up.files)
    with unnamed_errors(Scrubber([entries[0].header])):
        return read_series(entries, progress=progress)


def read_follow_up_structures(file: Path) -> tuple[tuple[Structure, ...], tuple[Warning, ...], str]:
    """Return the structures of a follow-up without patient identifiers, warnings, and the modality (RTSTRUCT or SEG).

    Raises
    ------
    StudyError : see `read_structures` and `read_segments`.
    """
    entry = Entry(file, read_header(file, TAGS))
    scrub = Scrubber([entry.header])
    with unnamed_errors(scrub):
        structures_and_warnings = read_segments(entry) if entry.modality == "SEG" else read_structures(file)
    structures = tuple(replace(s, name=scrub(s.name)) for s in structures_and_warnings[0])
    return structures, tuple(w.reworded(scrub) for w in structures_and_warnings[1]), entry.modality


def read_reference_graph(
    contents: Contents, graph: ReferenceGraph, *, options: ReadOptions, progress: Progress = no_progress
) -> Study:
    """Read the objects of a reference graph; its texts still hold the patient's identifiers from the headers.

    Raises
    ------
    StudyError, GeometryError : see `load_study`.
    """
    index, links = contents.index, contents.links
    structures, structure_warnings = read_reference_graph_structures(
        graph, links, progress=subprogress(progress, 0.3, 0.4)
    )
    lesions, lesion_warnings = choose_lesions(graph.structures.path, structures, wanted=options.rois)
    mr = read_series(
        graph.images, lambda: contoured_on(graph.structures, graph.images), progress=subprogress(progress, 0.4, 0.8)
    )
    progress(0.8, "reading the dose")
    plan, plan_warnings, plan_problem = _read_plan(graph)
    dose, dose_warnings = _read_dose(contents, graph, plan, options)
    unit = dose.unit if dose is not None else GY
    plan = with_prescription(plan, dose, lesions=lesions, options=options)
    plan_warnings += unclear_prescriptions(plan) if plan is not None else ()
    if dose is not None:
        check_prescription(graph, plan, lesions=lesions, unread=plan_problem, unit=unit)
    plausible = check_dose(dose, plan, lesions=lesions, where=graph.doses[0].path if graph.doses else index.folder)
    visits, zero, visit_warnings = find_follow_ups(index, graph, links=links, wanted=options.visits)
    first_image = graph.images[0]
    warnings = (
        *index.warnings, *contents.registration_warnings, *graph.warnings, *structure_warnings, *lesion_warnings,
        *mr.warnings, *_elsewhere(index, graph), *dose_warnings, *plan_warnings,
        *unprescribed(plan, lesions, unit=unit), *_gap_warnings(mr, lesions), *plausible, *visit_warnings,
    )  # fmt: skip
    progress(1.0, "study read")
    return Study(
        patient=pseudonym(person_key(first_image), "P-"),
        mr=mr.image,
        mr_description=first_image.text("SeriesDescription"),
        structures=structures,
        lesions=lesions,
        dose=dose,
        plan=plan,
        follow_ups=visits,
        warnings=warnings,
        sources={
            "mr_series": pseudonym(first_image.text("SeriesInstanceUID")),
            "rtstruct": pseudonym(graph.structures.uid),
            "rtplan": pseudonym(graph.plan.uid) if graph.plan else "",
            "rtdose": " ".join(dose.sources) if dose else "",
            "course": next(c.name for c in contents.courses if any(k.structures is graph.structures for k in c.graphs)),
        },
        day_zero=zero.source,
    )


def read_reference_graph_structures(
    graph: ReferenceGraph, links: Links, *, progress: Progress = no_progress
) -> tuple[tuple[Structure, ...], tuple[Warning, ...]]:
    """Return the structures in the frame of the images, and warnings.

    A ROI in another frame that the set lists, without a map to the images, keeps no contours.
    """
    if graph.structures.modality == "SEG":
        structures, warnings = read_segments(graph.structures)
    else:
        structures, warnings = read_structures(graph.structures.path, progress)
    frame_of_roi, image_frames = roi_frames(graph.structures), frames_of(graph.images[0])
    listed_frames = frames_of(graph.structures)
    placed: list[Structure] = []
    not_mapped, unknown_frame = [], []
    for structure in structures:
        matrix, frame = graph.to_images, frame_of_roi.get(str(structure.number), "")
        if frame in image_frames:
            matrix = None
        elif frame and image_frames:
            maps = (map_between(links, frame, stop=image_frame) for image_frame in sorted(image_frames))
            matrix = next((m for m in maps if m is not None), None)
            if matrix is None and frame in listed_frames and len(listed_frames) > 1:
                not_mapped += [structure.name] if structure.contours else []
                structure = replace(structure, contours=())
            elif matrix is None:  # no other object uses this frame: it was renamed for this ROI only
                matrix = graph.to_images
                unknown_frame += [structure.name] if structure.contours else []
        placed.append(structure if matrix is None else moved_structure(matrix, structure))
    if not_mapped:
        warnings = (*warnings, WarningCode.ROI_IN_OTHER_FRAME(names=", ".join(not_mapped)))
    if unknown_frame:
        warnings = (*warnings, WarningCode.ROI_FRAME_UNKNOWN(names=", ".join(unknown_frame)))
    return tuple(placed), warnings


def _read_dose(
    contents: Contents, graph: ReferenceGraph, plan: Plan | None, options: ReadOptions
) -> tuple[Dose | None, tuple[Warning, ...]]:
    index, links = contents.index, contents.links
    doses, chosen = _wanted_doses(index, graph, options.doses)
    if not options.with_dose:
        return None, ()
    if options.doses == (NO_DOSE,):
        return None, (WarningCode.NO_DOSE(reason="the dose is left out as requested; the prediction ignores dose"),)
    if not doses:
        no_dose = WarningCode.NO_DOSE(reason="no RTDOSE belongs to this plan; the prediction ignores dose")
        return None, (no_dose, *_foreign_doses(index, graph))
    frames = frames_of(graph.images[0])
    moves: dict[Path, Matrix] = {}
    for entry in doses:
        if not chosen:
            check_twin(index, entry)
        if not frames or not frames_of(entry) or frames & frames_of(entry):
            continue
        matrix = map_into(links, entry, images=graph.images[0])
        if matrix is None:
            raise StudyError(
                entry.path,
                "lies in another frame of reference (0020,0052) than the planning MR",
                "Export dose and MR from the same plan, or the registration (REG) between them",
            )
        moves[entry.path] = matrix
    add_up = len(doses) > 1 and chosen
    dose, warnings = read_plan_dose(
        tuple(e.path for e in doses), plan, dose_fractions=options.dose_fractions, moves=moves, add_up=add_up
    )
    if moves:
        warnings = (*warnings, WarningCode.MOVED_DOSE())
    if chosen and len(graph.doses) != len(doses):
        used = ", ".join(e.path.name for e in doses)
        warnings = (*warnings, WarningCode.DOSE_CHOSEN(count=max(len(graph.doses), len(doses)), used=used))
    if plan is not None and plan.ion and dose.unit == GY:
        warnings = (*warnings, WarningCode.ION_PRESCRIPTION())
    return dose, warnings


def _foreign_doses(index: Index, graph: ReferenceGraph) -> list[Warning]:
    """Return warnings that explain why the doses in the folder do not belong to the structures."""
    warnings = []
    for entry in index.doses:
        person = compare(entry, graph.structures)
        reason = "it references another plan and structure set, and has another frame of reference or none (--dose)"
        if person.other:
            reason = f"it belongs to another patient than the structures, by {person.reason}"
        warnings.append(WarningCode.NOT_LINKED(file=entry.path.name, reason=reason))
    return warnings


def _elsewhere(index: Index, graph: ReferenceGraph) -> list[Warning]:
    """Return warnings where contours reference other series of the same planes: the scan was split into several."""
    if graph.structures.modality != "RTSTRUCT":
        return []
    planes = [str(graph.images[0].header.get(k)) for k in SAME_PLANES]
    same_planes = [f for f in index.series.values() if [str(f[0].header.get(k)) for k in SAME_PLANES] == planes]
    others = [files for files in same_planes if files is not graph.images]
    contour_uids = set(contour_images(graph.structures)) if others else set()  # this reads the complete object
    image_uids = {e.uid for e in graph.images}
    if not image_uids & contour_uids:
        return []
    warnings = []
    for files in others:
        missing = len({e.uid for e in files} & contour_uids - image_uids)
        if missing:
            name = files[0].text("SeriesDescription") or "without description"
            warnings.append(WarningCode.SERIES_INCOMPLETE(missing=missing, other=name))
    return warnings


def _wanted_doses(index: Index, graph: ReferenceGraph, wanted: tuple[str, ...]) -> tuple[tuple[Entry, ...], bool]:
    """Return the doses of the reference graph, or the doses that the user names; True for the latter."""
    if not wanted or wanted == (NO_DOSE,):
        return graph.doses, False
    named_doses = []
    for text in wanted:
        matches = [e for e in index.doses if is_named(e, text)]
        if len(matches) != 1:
            listed = ", ".join(e.path.name for e in index.doses) or "none"
            problem = f"has {len(matches) or 'no'} RTDOSE '{text}'; there are {listed}"
            raise StudyError(index.folder, problem, "Correct --dose (file name, or none)")
        named_doses += matches
    if len({e.path for e in named_doses}) < len(named_doses):
        raise StudyError("--dose", f"names a file twice: {', '.join(wanted)}", "Name each file once")
    for entry in named_doses:
        person = compare(entry, graph.structures)
        if person.other:
            problem = f"belongs to another patient than the structures, by {person.reason}"
            raise StudyError(entry.path, problem, "Choose a dose of this patient")
    return tuple(named_doses), True


def _read_plan(graph: ReferenceGraph) -> tuple[Plan | None, tuple[Warning, ...], str]:
    """Return the plan, its warnings, and why it cannot be read ("" when it can)."""
    if graph.plan is None:
        return None, (), ""
    try:
        return *read_plan(graph.plan.path), ""
    except StudyError as error:
        # Only the prescription of the plan is used: dose and targets are read even if the plan is damaged.
        return None, (WarningCode.UNREADABLE_PLAN(file=graph.plan.path.name, reason=error.what),), error.what


def _gap_warnings(mr: Series, lesions: tuple[Lesion, ...]) -> list[Warning]:
    """Return a warning that names the lesions which reach into interpolated slices."""
    touched = []
    for lesion in lesions:
        positions_mm = np.concatenate(lesion.structure.contours) @ mr.normal
        if any(positions_mm.min() < stop and positions_mm.max() > start for start, stop in mr.gaps_mm):
            touched.append(lesion.structure.name)
    if not touched:
        return []
    return [WarningCode.GAP_IN_LESION(names=", ".join(touched))]


def _unnamed(study: Study, scrub: Scrubber) -> Study:
    """Return the study without the patient's name, number or UIDs in any text."""
    structures: dict[int, Structure] = {}
    for s in study.structures:
        name = scrub(s.name)
        repeats = len([o for o in structures.values() if re.fullmatch(rf"{re.escape(name)}(#\d+)?", o.name)])
        structures[s.number] = replace(s, name=f"{name}#{repeats + 1}" if repeats and name != s.name else name)
    warnings = [w.reworded(scrub) for w in study.warnings]
    hidden = [s.number for s in study.structures if structures[s.number].name != s.name]
    if hidden:
        warnings.append(WarningCode.HIDDEN_NAME(count=len(hidden)))
    plan = study.plan
    return replace(
        study,
        mr_description=scrub(study.mr_description),
        structures=tuple(structures[s.number] for s in study.structures),
        lesions=tuple(Lesion(lesion.id, structures[lesion.structure.number]) for lesion in study.lesions),
        plan=replace(plan, label=scrub(plan.label)) if plan is not None else None,
        follow_ups=tuple(_unnamed_visit(f, scrub) for f in study.follow_ups),
        warnings=tuple(warnings),
    )


def _unnamed_visit(visit: FollowUp, scrub: Scrubber) -> FollowUp:
    return replace(
        visit,
        description=scrub(visit.description),
        chosen_structures=scrub(visit.chosen_structures),
        rival_structures=scrub(visit.rival_structures),
    )
