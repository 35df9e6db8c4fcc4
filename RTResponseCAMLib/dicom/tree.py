"""What a folder holds, what of it is used, and why not the rest: the answer of ``rtresponsecam inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from RTResponseCAMLib.dicom.chain import Chain, Course, choose_chain, find_courses, t1c_score
from RTResponseCAMLib.dicom.follow_ups import find_follow_ups
from RTResponseCAMLib.dicom.index import Entry, date_of, index_folder
from RTResponseCAMLib.dicom.privacy import Scrubber, pseudonym
from RTResponseCAMLib.dicom.registration import read_links
from RTResponseCAMLib.dicom.rtstruct import choose_lesions, read_structures
from RTResponseCAMLib.dicom.seg import read_segments
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.progress import Progress, silent
from RTResponseCAMLib.study import Structure


def inspect_folder(
    folder: Path, series: str | None = None, progress: Progress = silent, course: str | None = None
) -> dict[str, Any]:
    """Describe a folder in plain values; problems are part of the answer, under ``problem``.

    No value holds the patient's name, number or a raw UID. Every object says whether it is used, and if not, why.

    Raises
    ------
    StudyError : the folder does not exist or holds no DICOM object.
    """
    index = index_folder(folder, progress)
    links, cautions = read_links(index.registrations)
    found: dict[str, Any] = {
        "courses": [],
        "series": [],
        "structure_sets": [],
        "plans": [],
        "doses": [],
        "registrations": [{"file": e.path.name} for e in index.registrations],
        "frames_linked": len(links) // 2,
        "other_modalities": index.others,
        "cautions": [c.text for c in (*index.cautions, *cautions)],
        "problem": None,
    }
    chain = None
    courses: tuple[Course, ...] = ()
    try:
        courses = find_courses(index, links)
        chain = choose_chain(index, courses, series, course)
    except RTResponseError as error:
        found["problem"] = str(error)
    found["courses"] = [_course(c, chain, courses) for c in courses]
    later = find_follow_ups(index, chain, links) if chain is not None else ()
    follow_files = {file: f.days_after_plan for f in later for file in f.files}
    found["series"] = [
        _series(uid, files, chain, courses, follow_files.get(str(files[0].path), "none"))
        for uid, files in index.series.items()
    ]
    for key, entries, chosen in (
        ("structure_sets", index.structures, (chain.structures,) if chain else ()),
        ("plans", index.plans, (chain.plan,) if chain else ()),
        ("doses", index.doses, chain.doses if chain else ()),
    ):
        found[key] = [_object(entry, any(entry is c for c in chosen), chain, courses) for entry in entries]
    if chain is not None:
        found["cautions"] += [c.text for c in chain.cautions]
        found["follow_ups"] = [
            {
                "description": f.description,
                "days_after_plan": f.days_after_plan,
                "files": len(f.files),
                "structures": len(f.structures),
                "frame": "same as the plan" if f.same_frame else "linked by REG" if f.to_plan else "own",
            }
            for f in later
        ]
        _add_structures(found, chain.structures)
    return _scrubbed(found, Scrubber(index.headers()))


def _course(course: Course, chain: Chain | None, courses: tuple[Course, ...]) -> dict[str, Any]:
    first = min((c.date for c in courses if c.date is not None), default=None)
    days = None if course.date is None or first is None else int((course.date - first).astype(int))
    used = chain is not None and any(c.structures is chain.structures for c in course.chains)
    return {
        "name": course.name,
        "label": course.label,
        "patient": course.patient,
        "day": days,
        "chains": len(course.chains),
        "used": used,
        "why_not": None if used or chain is None else "another course is used (choose with --course)",
    }


def _series(
    uid: str, files: tuple[Entry, ...], chain: Chain | None, courses: tuple[Course, ...], follow_up: int | str | None
) -> dict[str, Any]:
    first = files[0]
    score, used = t1c_score(first), chain is not None and files is chain.images
    why = None
    if chain is not None and not used:
        planned, own = date_of(chain.images[0]), date_of(first)
        if follow_up != "none":
            why = "a later scan: see follow-ups"
        elif first.modality != "MR":
            why = f"{first.modality} is not read; the classifier reads contrast-enhanced T1 MR"
        elif any(files is c.images for course in courses for c in course.chains):
            why = f"T1c score {score}, the planning series has {chain.t1c_score}, or another course is used"
        elif planned is not None and own is not None and own < planned:
            why = "earlier than the plan"
        else:
            why = "no structures were drawn on it, and it is no later T1c"
    return {
        "uid_hash": pseudonym(uid),
        "modality": first.modality,
        "description": first.text("SeriesDescription"),
        "files": len(files),
        "frames": sum(int(e.text("NumberOfFrames") or 1) if e.text("NumberOfFrames").isdigit() else 1 for e in files),
        "t1c_score": score,
        "used": used,
        "why_not": why,
    }


def _object(entry: Entry, used: bool, chain: Chain | None, courses: tuple[Course, ...]) -> dict[str, Any]:
    homes = [
        course.name
        for course in courses
        if any(entry is c.structures or entry is c.plan or any(entry is d for d in c.doses) for c in course.chains)
    ]
    why = None
    if not used and chain is not None:
        why = (
            f"belongs to another chain or course ({', '.join(homes)})" if homes else "nothing that is used refers to it"
        )
    return {
        "file": entry.path.name,
        "kind": entry.modality,
        "label": entry.text("RTPlanLabel") or entry.text("StructureSetLabel"),
        "units": entry.text("DoseUnits"),
        "summation": entry.text("DoseSummationType"),
        "courses": homes,
        "used": used,
        "why_not": why,
    }


def _add_structures(found: dict[str, Any], entry: Entry) -> None:
    try:
        reader = read_segments(entry) if entry.modality == "SEG" else read_structures(entry.path)
        structures, cautions = reader
        found["cautions"] += [c.text for c in cautions]
        found["rois"] = [_roi(structure) for structure in structures]
        lesions, cautions = choose_lesions(entry.path, structures)
        found["cautions"] += [c.text for c in cautions]
        names = {lesion.structure.name: lesion.id for lesion in lesions}
        for roi in found["rois"]:
            roi["lesion"] = names.get(roi["name"])
    except RTResponseError as error:
        found["problem"] = str(error)


def _roi(structure: Structure) -> dict[str, Any]:
    volume, remark = None, None
    if structure.contours:
        try:
            volume = round(contour_volume_cc(structure), 4)
        except RTResponseError as error:
            remark = str(error)
    return {
        "number": structure.number,
        "name": structure.name,
        "type": structure.kind,
        "contours": len(structure.contours),
        "volume_cc": volume,
        "remark": remark,
        "lesion": None,
    }


def _scrubbed(value: Any, scrub: Scrubber) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {key: _scrubbed(item, scrub) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item, scrub) for item in value]
    return value


def as_text(found: dict[str, Any]) -> str:
    """The description as a tree for people."""
    lines = []
    for item in found["courses"]:
        day = "unknown date" if item["day"] is None else f"day {item['day']}"
        lines.append(_line(item, f"course {item['name']} '{item['label']}' of {item['patient']}, {day}"))
    for item in found["series"]:
        name = item["description"] or "without description"
        frames = "" if item["frames"] == item["files"] else f", {item['frames']} frames"
        text = f"{item['modality']} '{name}', {item['files']} files{frames}, T1c score {item['t1c_score']}"
        lines.append(_line(item, text))
    for key in ("structure_sets", "plans", "doses"):
        for item in found[key]:
            extra = " ".join(x for x in (item["label"] and f"'{item['label']}'", item["summation"], item["units"]) if x)
            lines.append(_line(item, f"{item['kind']} {item['file']} {extra}".rstrip()))
    lines += [f"  REG {item['file']}" for item in found["registrations"]]
    for roi in found.get("rois", ()):
        volume = "no volume" if roi["volume_cc"] is None else f"{roi['volume_cc']:.3f} cm³"
        role = f"  → {roi['lesion']}" if roi["lesion"] else ""
        kind = roi["type"] or "no type"
        lines.append(f"    ROI {roi['number']} '{roi['name']}' ({kind}), {roi['contours']} contours, {volume}{role}")
        if roi["remark"]:
            lines.append(f"        {roi['remark']}")
    for item in found.get("follow_ups", ()):
        when = "unknown date" if item["days_after_plan"] is None else f"{item['days_after_plan']} days later"
        drawn = f", {item['structures']} structure set(s)" if item["structures"] else ""
        lines.append(f"  follow-up '{item['description']}', {when}, frame of reference: {item['frame']}{drawn}")
    lines += [f"  left out: {count} × {name}" for name, count in found["other_modalities"].items()]
    lines += [f"! {text}" for text in found["cautions"]]
    if found["problem"]:
        lines.append(f"PROBLEM {found['problem']}")
    return "\n".join([*lines, "", "* is used for prediction"])


def _line(item: dict[str, Any], text: str) -> str:
    return f"{'*' if item['used'] else ' '} {text}" + (f"  ({item['why_not']})" if item["why_not"] else "")
