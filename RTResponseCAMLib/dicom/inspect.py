"""Description of a folder for ``rtresponsecam inspect``: its objects, which are used, and why others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from RTResponseCAMLib.dicom.courses import Course
from RTResponseCAMLib.dicom.dates import image_date
from RTResponseCAMLib.dicom.follow_ups import find_follow_ups
from RTResponseCAMLib.dicom.identity import compare
from RTResponseCAMLib.dicom.index import Entry, index_folder
from RTResponseCAMLib.dicom.load import Contents, contents_of, find_reference_graph, read_reference_graph
from RTResponseCAMLib.dicom.options import AS_FOUND, ReadOptions
from RTResponseCAMLib.dicom.privacy import Scrubber, pseudonym
from RTResponseCAMLib.dicom.reference_graph import ReferenceGraph
from RTResponseCAMLib.dicom.rtdose import UNITS
from RTResponseCAMLib.dicom.rtstruct import read_structures
from RTResponseCAMLib.dicom.seg import read_segments
from RTResponseCAMLib.dicom.series_kind import series_kind
from RTResponseCAMLib.dicom.targets import choose_lesions
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.planes import stack_planes
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.study import GY, FollowUp, Structure, Study
from RTResponseCAMLib.warnings import by_severity, labeled


def inspect_folder(
    folder: Path, options: ReadOptions = AS_FOUND, *, progress: Progress = no_progress
) -> dict[str, Any]:
    """Return a description of a folder in plain values; a problem with the study is stored under ``problem``.

    The study is read as in `load_study`, so every error of reading is a problem here too. No value holds the patient's
    name, number or an original UID. Every object states whether it is used, and if not, why.

    Raises
    ------
    StudyError : the folder does not exist or holds no DICOM object.
    """
    index = index_folder(folder, subprogress(progress, 0.0, 0.3))
    problem, warnings = None, index.warnings
    contents: Contents | None = None
    graph: ReferenceGraph | None = None
    study: Study | None = None
    try:
        contents = contents_of(index, options)
        warnings = (*warnings, *contents.registration_warnings)
        graph = find_reference_graph(contents, options)
        warnings = (*warnings, *graph.warnings)
        study = read_reference_graph(contents, graph, options=options, progress=progress)
        warnings = study.warnings
    except RTResponseError as error:
        problem = str(error)
    courses = contents.courses if contents is not None else ()
    visits, day_zero_source = (study.follow_ups, study.day_zero) if study is not None else _later(contents, graph)
    follow_up_days = {file: f.days_after_plan for f in visits for file in f.files}
    doses = tuple(e for e in graph.doses if study is None or _used(study, e)) if graph else ()
    content: dict[str, Any] = {
        "courses": [_course(c, graph, courses) for c in courses],
        "series": [
            _series(uid, files, graph, courses, follow_up_days.get(str(files[0].path), "none"))
            for uid, files in index.series.items()
        ],
        "structure_sets": [],
        "plans": [],
        "doses": [],
        "registrations": [{"file": e.path.name} for e in index.registrations],
        "other_modalities": index.others,
        "day_zero": day_zero_source,
        "dose_unit": study.dose.unit if study is not None and study.dose is not None else None,
        "follow_ups": [_follow_up(f) for f in visits],
        "rois": [] if graph is None else _rois(graph, study),
        "warnings": [w.as_json() for w in by_severity(warnings)],
        "problem": problem,
    }
    for key, entries, chosen in (
        ("structure_sets", index.structures, (graph.structures,) if graph else ()),
        ("plans", index.plans, (graph.plan,) if graph else ()),
        ("doses", index.doses, doses),
    ):
        content[key] = [_object(entry, any(entry is c for c in chosen), graph, courses) for entry in entries]
    return _scrubbed(content, Scrubber(index.headers()))


def _later(contents: Contents | None, graph: ReferenceGraph | None) -> tuple[tuple[FollowUp, ...], str]:
    """Return the follow-ups, and the source of day zero, of a study that cannot be read."""
    if contents is None or graph is None:
        return (), ""
    visits, zero, _ = find_follow_ups(contents.index, graph, links=contents.links)
    return visits, zero.source


def _used(study: Study, entry: Entry) -> bool:
    return study.dose is not None and pseudonym(entry.uid) in study.dose.sources


def _follow_up(visit: FollowUp) -> dict[str, Any]:
    return {
        "description": visit.description,
        "days_after_plan": visit.days_after_plan,
        "date_source": visit.date_source,
        "files": len(visit.files),
        "structures": len(visit.structures),
        "frame": "same as the plan" if visit.same_frame else "linked by REG" if visit.to_plan else "own",
    }


def _course(course: Course, graph: ReferenceGraph | None, courses: tuple[Course, ...]) -> dict[str, Any]:
    first_date = min((c.date for c in courses if c.date is not None), default=None)
    days = None if course.date is None or first_date is None else int((course.date - first_date).astype(int))
    used = graph is not None and any(c.structures is graph.structures for c in course.graphs)
    return {
        "name": course.name,
        "label": course.label,
        "patient": course.patient,
        "day": days,
        "reference_graphs": len(course.graphs),
        "used": used,
        "why_not": None if used or graph is None else "another course is used (choose with --course)",
    }


def _series(
    uid: str,
    files: tuple[Entry, ...],
    graph: ReferenceGraph | None,
    courses: tuple[Course, ...],
    follow_up: int | str | None,
) -> dict[str, Any]:
    first = files[0]
    kind = series_kind(first)
    score, used = kind.score, graph is not None and files is graph.images
    why_not = None
    if graph is not None and not used:
        planning_day, series_day = image_date(graph.images[0]).day, image_date(first).day
        person = compare(first, graph.images[0])
        if follow_up != "none":
            why_not = "a later scan: see follow-ups"
        elif person.other:
            why_not = f"belongs to another patient, by {person.reason}"
        elif kind.computed:
            why_not = f"{kind.computed}, not a scan"
        elif first.modality != "MR":
            why_not = f"{first.modality} is not read; the classifier reads contrast-enhanced T1 MR"
        elif any(files is c.images for course in courses for c in course.graphs):
            why_not = f"T1c score {score}, the planning series has {graph.t1c_score}, or another course is used"
        elif planning_day is not None and series_day is not None and series_day < planning_day:
            why_not = "earlier than the planning MR"
        elif kind.uncertainty:
            why_not = f"it may be a T1c, but {kind.uncertainty} (select it with --visit)"
        else:
            why_not = "no structures were contoured on it, and it is not a T1c of a later day"
    return {
        "uid_hash": pseudonym(uid),
        "modality": first.modality,
        "description": first.text("SeriesDescription"),
        "files": len(files),
        "frames": sum(int(e.text("NumberOfFrames") or 1) if e.text("NumberOfFrames").isdigit() else 1 for e in files),
        "t1c_score": score,
        "contrast": kind.contrast.value,
        "used": used,
        "why_not": why_not,
    }


def _object(entry: Entry, used: bool, graph: ReferenceGraph | None, courses: tuple[Course, ...]) -> dict[str, Any]:
    course_names = [
        course.name
        for course in courses
        if any(entry is c.structures or entry is c.plan or any(entry is d for d in c.doses) for c in course.graphs)
    ]
    why_not = None
    if not used and graph is not None:
        why_not = (
            f"belongs to another reference graph or course ({', '.join(course_names)})"
            if course_names
            else "no used object refers to it"
        )
    return {
        "file": entry.path.name,
        "kind": entry.modality,
        "label": entry.text("RTPlanLabel") or entry.text("StructureSetLabel"),
        "status": entry.text("ApprovalStatus").lower(),
        "units": UNITS.get(entry.text("DoseType").upper(), GY)
        if entry.text("DoseUnits").upper() == "GY"
        else entry.text("DoseUnits"),
        "summation": entry.text("DoseSummationType"),
        "courses": course_names,
        "used": used,
        "why_not": why_not,
    }


def _rois(graph: ReferenceGraph, study: Study | None) -> list[dict[str, Any]]:
    """Return the ROIs of the chosen structure set.

    Without a study, these are the ROIs that can be read, with the lesions that would be chosen.
    """
    lesions: dict[int, str] = {}
    if study is not None:
        structures, lesions = study.structures, {x.structure.number: x.id for x in study.lesions}
    else:
        try:
            entry = graph.structures
            structures, _ = read_segments(entry) if entry.modality == "SEG" else read_structures(entry.path)
            lesions = {x.structure.number: x.id for x in choose_lesions(entry.path, structures)[0]}
        except RTResponseError:  # the error is already stored under ``problem``
            structures = ()
    return [_roi(s) | {"lesion": lesions.get(s.number)} for s in structures]


def _roi(structure: Structure) -> dict[str, Any]:
    volume, remark = None, None
    if structure.contours:
        try:
            stack = stack_planes(structure)
            volume = round(stack.volume_mm3 / 1000, 4)
            remark = "; ".join(w.labeled() for w in by_severity(stack.warnings)) or None
        except RTResponseError as error:
            remark = str(error)
    return {
        "number": structure.number,
        "name": structure.name,
        "type": structure.kind,
        "contours": len(structure.contours),
        "volume_cc": volume,
        "remark": remark,
    }


def _scrubbed(value: Any, scrub: Scrubber) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {key: _scrubbed(item, scrub) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item, scrub) for item in value]
    return value


def as_text(description: dict[str, Any]) -> str:
    """Return the description as indented text."""
    lines = []
    for item in description["courses"]:
        day = "unknown date" if item["day"] is None else f"day {item['day']}"
        lines.append(_line(item, f"course {item['name']} '{item['label']}' of {item['patient']}, {day}"))
    for item in description["series"]:
        name = item["description"] or "without description"
        frames = "" if item["frames"] == item["files"] else f", {item['frames']} frames"
        text = f"{item['modality']} '{name}', {item['files']} files{frames}, T1c score {item['t1c_score']}"
        lines.append(_line(item, text))
    for key in ("structure_sets", "plans", "doses"):
        for item in description[key]:
            label = item["label"] and f"'{item['label']}'"
            extra = " ".join(x for x in (label, item["status"], item["summation"], item["units"]) if x)
            lines.append(_line(item, f"{item['kind']} {item['file']} {extra}".rstrip()))
    lines += [f"  REG {item['file']}" for item in description["registrations"]]
    for roi in description.get("rois", ()):
        volume = "no volume" if roi["volume_cc"] is None else f"{roi['volume_cc']:.3f} cm³"
        role = f"  → {roi['lesion']}" if roi["lesion"] else ""
        kind = roi["type"] or "no type"
        lines.append(f"    ROI {roi['number']} '{roi['name']}' ({kind}), {roi['contours']} contours, {volume}{role}")
        if roi["remark"]:
            lines.append(f"        {roi['remark']}")
    for item in description.get("follow_ups", ()):
        when = "unknown date" if item["days_after_plan"] is None else f"{item['days_after_plan']} days later"
        structure_sets = f", {item['structures']} structure set(s)" if item["structures"] else ""
        source = f" by {item['date_source']}" if item["date_source"] else ""
        lines.append(
            f"  follow-up '{item['description']}', {when}{source}, frame of reference: {item['frame']}{structure_sets}"
        )
    if description["day_zero"]:
        lines.append(f"  days count from {description['day_zero']}")
    lines += [f"  left out: {count} × {name}" for name, count in description["other_modalities"].items()]
    lines += [f"! {labeled(**w)}" for w in description["warnings"]]
    if description["problem"]:
        lines.append(f"PROBLEM {description['problem']}")
    return "\n".join([*lines, "", "* is used for prediction"])


def _line(item: dict[str, Any], text: str) -> str:
    return f"{'*' if item['used'] else ' '} {text}" + (f"  ({item['why_not']})" if item["why_not"] else "")
