"""From a folder to a `Study`: index, choose course and chain, read each object, ask for what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.dicom.chain import Chain, Course, choose_chain, find_courses
from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.follow_ups import find_follow_ups
from RTResponseCAMLib.dicom.identity import person_key
from RTResponseCAMLib.dicom.index import TAGS, Entry, Index, index_folder
from RTResponseCAMLib.dicom.mr import Series, read_series
from RTResponseCAMLib.dicom.plans import check_twin, is_named
from RTResponseCAMLib.dicom.plausible import check_dose
from RTResponseCAMLib.dicom.privacy import Scrubber, pseudonym, unnamed_errors
from RTResponseCAMLib.dicom.references import frames_of, map_into, referenced_images, roi_frames
from RTResponseCAMLib.dicom.registration import Links, map_between, read_links
from RTResponseCAMLib.dicom.rtdose import read_plan_dose
from RTResponseCAMLib.dicom.rtplan import read_plan
from RTResponseCAMLib.dicom.rtstruct import read_structures
from RTResponseCAMLib.dicom.seg import read_segments
from RTResponseCAMLib.dicom.targets import choose_lesions
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.rigid import Matrix, moved_structure
from RTResponseCAMLib.progress import Progress, part, silent
from RTResponseCAMLib.study import GY, Dose, FollowUp, Lesion, Plan, Prescription, Structure, Study
from RTResponseCAMLib.warnings import Warning, WarningCode

NO_DOSE = "none"


@dataclass(frozen=True)
class ReadOptions:
    """What a user says of a study where its files do not, or to overrule them.

    Attributes
    ----------
    prescription_gy, isodose_percent : prescription for every target; an isodose alone is taken of the dose maximum.
    prescriptions_gy : prescription of single targets, by ROI name.
    series : part of the Series Description (or UID) of the planning MR.
    rois : names of the ROIs to take as lesions.
    course : name ("C2") or label of the course.
    course_if_several : the same, where it does not matter if there is a single course of another name.
    plan, structures : label or file name of the plan and the structure set.
    doses : file names of the RTDOSE to use, several to be added up; ("none",) leaves the dose out.
    dose_fractions : see `rtdose.read_plan_dose`.
    visits : parts of Series Descriptions (or UIDs) that are follow-ups whatever their kind.
    with_dose : False leaves the dose unread, where only lesions and follow-ups matter.
    """

    prescription_gy: float | None = None
    isodose_percent: float | None = None
    prescriptions_gy: Mapping[str, float] = field(default_factory=dict)
    series: str | None = None
    rois: tuple[str, ...] = ()
    course: str | None = None
    course_if_several: str | None = None
    plan: str | None = None
    structures: str | None = None
    doses: tuple[str, ...] = ()
    dose_fractions: int | None = None
    visits: tuple[str, ...] = ()
    with_dose: bool = True


@dataclass(frozen=True)
class Found:
    """What a folder was found to hold: index, courses and the chain that is used."""

    index: Index
    links: Links
    courses: tuple[Course, ...]
    chain: Chain
    warnings: tuple[Warning, ...]


def load_study(
    folder: Path, prescription_gy: float | None = None, *, progress: Progress = silent, **options: Any
) -> Study:
    """Read a Gamma Knife study.

    Parameters
    ----------
    prescription_gy : prescription for every target, Gy, when the plan states none; stated, it overrules the plan.
    options : see `ReadOptions`.

    Raises
    ------
    StudyError, GeometryError : see the readers; also when there is a dose but no prescription, when objects disagree
        and no rule decides, and when dose and prescription cannot belong together.
    """
    index = index_folder(folder, part(progress, 0.0, 0.3))
    scrub = Scrubber(index.headers())
    with unnamed_errors(scrub):
        return _unnamed(read_index(index, ReadOptions(prescription_gy, **options), progress), scrub)


def find_chain(index: Index, options: ReadOptions) -> Found:
    """Choose the objects that are read.

    Raises
    ------
    StudyError : see `chain.find_courses` and `chain.choose_chain`.
    """
    links, warnings = read_links(index)
    courses = find_courses(index, links, options.plan, options.structures)
    course = options.course or (options.course_if_several if len(courses) > 1 else None)
    chain = choose_chain(index, courses, links, options.series, course)
    return Found(index, links, courses, chain, (*index.warnings, *warnings, *chain.warnings))


def read_follow_up(follow_up: FollowUp, progress: Progress = silent) -> Series:
    """Read a later MR series; it lies in its own frame of reference, nothing is registered.

    Raises
    ------
    StudyError, GeometryError : see `dicom.mr.read_series`.
    """
    entries = tuple(Entry(Path(file), read_header(Path(file), TAGS)) for file in follow_up.files)
    with unnamed_errors(Scrubber([entries[0].header])):
        return read_series(entries, progress=progress)


def read_follow_up_structures(file: Path) -> tuple[tuple[Structure, ...], tuple[Warning, ...], str]:
    """Read what was drawn on a follow-up, and its modality (RTSTRUCT or SEG); freed of the patient's names.

    Raises
    ------
    StudyError : see `read_structures` and `read_segments`.
    """
    entry = Entry(file, read_header(file, TAGS))
    scrub = Scrubber([entry.header])
    with unnamed_errors(scrub):
        reader = read_segments(entry) if entry.modality == "SEG" else read_structures(file)
    structures = tuple(replace(s, name=scrub(s.name)) for s in reader[0])
    return structures, tuple(replace(w, text=scrub(w.text)) for w in reader[1]), entry.modality


def read_index(index: Index, options: ReadOptions, progress: Progress = silent) -> Study:
    """Read a study from an index; texts still hold what the headers say of the patient.

    Raises
    ------
    StudyError, GeometryError : see `load_study`.
    """
    found = find_chain(index, options)
    chain, links = found.chain, found.links
    structures, structure_warnings = read_chain_structures(chain, links)
    lesions, lesion_warnings = choose_lesions(chain.structures.path, structures, options.rois)
    mr = read_series(chain.images, referenced_images(chain.structures), part(progress, 0.3, 0.8))
    progress(0.8, "reading the dose")
    plan, plan_warnings = _read_plan(chain)
    dose, dose_warnings = _read_dose(found, plan, options)
    plan = with_prescription(plan, dose, lesions, options)
    if dose is not None:
        _check_prescription(chain, plan, lesions)
    plausible = check_dose(dose, plan, lesions, chain.doses[0].path if chain.doses else index.folder)
    visits, zero, visit_warnings = find_follow_ups(index, chain, links, options.visits)
    first = chain.images[0]
    warnings = (
        *found.warnings, *structure_warnings, *lesion_warnings, *mr.warnings, *dose_warnings, *plan_warnings,
        *_unprescribed(plan, lesions), *_gap_warnings(mr, lesions), *plausible, *visit_warnings,
    )  # fmt: skip
    progress(1.0, "study read")
    return Study(
        patient=pseudonym(person_key(first), "P-"),
        mr=mr.image,
        mr_description=first.text("SeriesDescription"),
        structures=structures,
        lesions=lesions,
        dose=dose,
        plan=plan,
        follow_ups=visits,
        warnings=warnings,
        sources={
            "mr_series": pseudonym(first.text("SeriesInstanceUID")),
            "rtstruct": pseudonym(chain.structures.uid),
            "rtplan": pseudonym(chain.plan.uid) if chain.plan else "",
            "rtdose": " ".join(dose.sources) if dose else "",
            "course": next(c.name for c in found.courses if any(k.structures is chain.structures for k in c.chains)),
        },
        day_zero=zero.source,
    )


def read_chain_structures(chain: Chain, links: Links) -> tuple[tuple[Structure, ...], tuple[Warning, ...]]:
    """Structures in the frame of the images; a ROI that lies in another frame, without a map, is left out."""
    if chain.structures.modality == "SEG":
        structures, warnings = read_segments(chain.structures)
    else:
        structures, warnings = read_structures(chain.structures.path)
    own, theirs = roi_frames(chain.structures), frames_of(chain.images[0])
    listed = frames_of(chain.structures)
    placed: list[Structure] = []
    foreign, unlisted = [], []
    for s in structures:
        matrix, frame = chain.to_images, own.get(str(s.number), "")
        if frame in theirs:
            matrix = None
        elif frame and theirs:
            maps = (map_between(links, frame, other) for other in sorted(theirs))
            matrix = next((m for m in maps if m is not None), None)
            if matrix is None and frame in listed and len(listed) > 1:
                foreign += [s.name] if s.contours else []
                s = replace(s, contours=())
            elif matrix is None:  # nothing else lies in that frame: one that was renamed for this ROI alone
                matrix = chain.to_images
                unlisted += [s.name] if s.contours else []
        placed.append(s if matrix is None else moved_structure(matrix, s))
    if foreign:
        warnings = (*warnings, WarningCode.ROI_IN_OTHER_FRAME(names=", ".join(foreign)))
    if unlisted:
        warnings = (*warnings, WarningCode.ROI_FRAME_UNKNOWN(names=", ".join(unlisted)))
    return tuple(placed), warnings


def _read_dose(found: Found, plan: Plan | None, options: ReadOptions) -> tuple[Dose | None, tuple[Warning, ...]]:
    chain, links = found.chain, found.links
    doses, chosen = _wanted_doses(found.index, chain, options.doses)
    if not options.with_dose:
        return None, ()
    if options.doses == (NO_DOSE,):
        return None, (WarningCode.NO_DOSE(reason="the dose is left out, as asked for; the prediction ignores dose"),)
    if not doses:
        return None, (WarningCode.NO_DOSE(reason="no RTDOSE belongs to this plan; the prediction ignores dose"),)
    frames = frames_of(chain.images[0])
    moves: dict[Path, Matrix] = {}
    for entry in doses:
        if not chosen:
            check_twin(found.index, entry)
        if not frames or not frames_of(entry) or frames & frames_of(entry):
            continue
        matrix = map_into(links, entry, chain.images[0])
        if matrix is None:
            raise StudyError(
                entry.path,
                "lies in another frame of reference (0020,0052) than the planning MR",
                "Export dose and MR from the same plan, or the registration (REG) between them",
            )
        moves[entry.path] = matrix
    add_up = len(doses) > 1 and chosen
    dose, warnings = read_plan_dose(tuple(e.path for e in doses), plan, options.dose_fractions, moves, add_up)
    if moves:
        warnings = (*warnings, WarningCode.MOVED_DOSE())
    if chosen and len(chain.doses) != len(doses):
        used = ", ".join(e.path.name for e in doses)
        warnings = (*warnings, WarningCode.DOSE_CHOSEN(count=max(len(chain.doses), len(doses)), used=used))
    if plan is not None and plan.ion and dose.unit == GY:
        warnings = (*warnings, WarningCode.ION_PRESCRIPTION())
    return dose, warnings


def _wanted_doses(index: Index, chain: Chain, wanted: tuple[str, ...]) -> tuple[tuple[Entry, ...], bool]:
    """The doses of the chain, or those whose files the user names."""
    if not wanted or wanted == (NO_DOSE,):
        return chain.doses, False
    found = []
    for text in wanted:
        hits = [e for e in index.doses if is_named(e, text)]
        if len(hits) != 1:
            listed = ", ".join(e.path.name for e in index.doses) or "none"
            what = f"has {len(hits) or 'no'} RTDOSE '{text}'; there are {listed}"
            raise StudyError(index.folder, what, "Correct --dose (file name, or none)")
        found += hits
    return tuple(found), True


def _read_plan(chain: Chain) -> tuple[Plan | None, tuple[Warning, ...]]:
    if chain.plan is None:
        return None, ()
    try:
        return read_plan(chain.plan.path)
    except StudyError as error:
        # The plan serves for its prescription only: a damaged one must not keep dose and targets from view.
        return None, (WarningCode.UNREADABLE_PLAN(file=chain.plan.path.name, reason=error.what),)


def _check_prescription(chain: Chain, plan: Plan | None, lesions: tuple[Lesion, ...]) -> None:
    """Ask where the prescription of a lesion is absent, or where several are stated."""
    where = chain.plan.path if chain.plan else chain.structures.path
    if plan is not None:
        own = plan.prescription.by_roi if plan.prescription is not None else {}
        for lesion in lesions:
            stated = plan.unclear.get(lesion.structure.number)
            if stated is None and lesion.structure.number not in own:
                stated = plan.unclear.get(None)
            if stated is not None:
                values = " and ".join(f"{gy:g}" for gy in stated)
                what = f"states several prescriptions for {lesion.structure.name} ({values} Gy, 300A,0026)"
                raise StudyError(where, what, f"Give --prescription GY, or --prescription '{lesion.structure.name}=GY'")
    if plan is None or plan.prescription is None:
        raise StudyError(
            where,
            "states no prescription (TargetPrescriptionDose 300A,0026), so the dose cannot be related to it",
            "Give --prescription GY or --isodose PERCENT",
        )


def _unprescribed(plan: Plan | None, lesions: tuple[Lesion, ...]) -> list[Warning]:
    """Name the lesions that a plan with doses per ROI leaves out: they count with the dose of the others."""
    if plan is None or plan.prescription is None or not plan.prescription.by_roi:
        return []
    prescription = plan.prescription
    left = [x.structure.name for x in lesions if x.structure.number not in prescription.by_roi]
    if not left:
        return []
    reason = "stated for no ROI" if prescription.for_all else "the highest of the others"
    said = WarningCode.NO_PRESCRIPTION_OF_ITS_OWN(names=", ".join(left), dose=prescription.dose_gy, reason=reason)
    return [said]


def with_prescription(
    plan: Plan | None, dose: Dose | None, lesions: tuple[Lesion, ...], options: ReadOptions
) -> Plan | None:
    """The plan with what the user prescribes instead.

    Raises
    ------
    StudyError : a dose or isodose out of range, or a target that does not exist.
    """
    named = options.prescriptions_gy
    for name, value, top in (
        ("--prescription", options.prescription_gy, 200.0), ("--isodose", options.isodose_percent, 100.0),
        *(("--prescription", gy, 200.0) for gy in named.values()),
    ):  # fmt: skip
        if value is not None and not 0 < value <= top:
            raise StudyError(name, f"is {value}, expected more than 0 and at most {top:g}", "Correct the value")
    numbers = {lesion.structure.name: lesion.structure.number for lesion in lesions}
    if unknown := [name for name in named if name not in numbers]:
        raise StudyError("--prescription", f"names {unknown}; the targets are {sorted(numbers)}", "Correct the name")
    total = options.prescription_gy
    if total is None and options.isodose_percent is not None and dose is not None:
        total = float(sitk.GetArrayViewFromImage(dose.image).max()) * options.isodose_percent / 100
    by_roi = {numbers[name]: gy for name, gy in named.items()}
    plan = plan or Plan("", None)
    if total is not None:
        given = Prescription(total, options.isodose_percent, plan.fractions, by_roi, source="user")
        return replace(plan, prescription=given, unclear={})
    if not by_roi:
        return plan if plan.label or plan.prescription or plan.unclear or plan.fractions else None
    before = plan.prescription
    unclear = {roi: doses for roi, doses in plan.unclear.items() if roi not in by_roi}
    if before is None:
        given = Prescription(max(by_roi.values()), None, plan.fractions, by_roi, source="user", for_all=False)
        return replace(plan, prescription=given, unclear=unclear)
    given = replace(before, by_roi={**before.by_roi, **by_roi}, source="RTPLAN and user")
    return replace(plan, prescription=given, unclear=unclear)


def _gap_warnings(mr: Series, lesions: tuple[Lesion, ...]) -> list[Warning]:
    """Name the lesions that reach into slices which were interpolated."""
    touched = []
    for lesion in lesions:
        along = np.concatenate(lesion.structure.contours) @ mr.normal
        if any(along.min() < stop and along.max() > start for start, stop in mr.gaps_mm):
            touched.append(lesion.structure.name)
    if not touched:
        return []
    return [WarningCode.GAP_IN_LESION(names=", ".join(touched))]


def _unnamed(study: Study, scrub: Scrubber) -> Study:
    """The study without the patient's name, number or UIDs in any text that leaves the loader."""
    structures: dict[int, Structure] = {}
    for s in study.structures:
        name = scrub(s.name)
        repeats = len([o for o in structures.values() if re.fullmatch(rf"{re.escape(name)}(#\d+)?", o.name)])
        structures[s.number] = replace(s, name=f"{name}#{repeats + 1}" if repeats and name != s.name else name)
    warnings = [replace(w, text=scrub(w.text)) for w in study.warnings]
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
        follow_ups=tuple(replace(f, description=scrub(f.description)) for f in study.follow_ups),
        warnings=tuple(warnings),
    )
