"""From a folder to a `Study`: index, choose course and chain, read each object, ask for what is missing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.dicom.chain import (
    Chain,
    choose_chain,
    find_courses,
    frames_of,
    map_into,
    referenced_images,
    roi_frames,
)
from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.follow_ups import find_follow_ups
from RTResponseCAMLib.dicom.index import TAGS, Entry, Index, index_folder
from RTResponseCAMLib.dicom.mr import Series, read_series
from RTResponseCAMLib.dicom.privacy import Scrubber, pseudonym, unnamed_errors
from RTResponseCAMLib.dicom.registration import Links, map_between, read_links
from RTResponseCAMLib.dicom.rtdose import read_plan_dose
from RTResponseCAMLib.dicom.rtplan import read_plan
from RTResponseCAMLib.dicom.rtstruct import choose_lesions, read_structures
from RTResponseCAMLib.dicom.seg import read_segments
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.rigid import Matrix, moved_structure
from RTResponseCAMLib.progress import Progress, part, silent
from RTResponseCAMLib.study import Caution, Dose, FollowUp, Lesion, Plan, Prescription, Structure, Study

PLAUSIBLE_PEAK = (1.05, 4.0)


def load_study(
    folder: Path,
    prescription_gy: float | None = None,
    isodose_percent: float | None = None,
    series: str | None = None,
    rois: tuple[str, ...] = (),
    progress: Progress = silent,
    course: str | None = None,
    dose_fractions: int | None = None,
    with_dose: bool = True,
) -> Study:
    """Read a Gamma Knife study.

    Parameters
    ----------
    prescription_gy, isodose_percent : prescription for every target when the plan states none; an isodose
        alone is taken of the dose maximum. Stated by the user, they overrule the plan.
    series : part of the Series Description (or UID) of the planning MR, to overrule the choice.
    rois : names of the ROIs to take as lesions, to overrule the choice.
    course : name ("C2") or label of the course, where the folder holds several.
    dose_fractions : see `rtdose.read_plan_dose`.
    with_dose : False leaves the dose unread, where only lesions and follow-ups matter.

    Raises
    ------
    StudyError, GeometryError : see the readers; also when there is a dose but no prescription.
    """
    index = index_folder(folder, part(progress, 0.0, 0.3))
    scrub = Scrubber(index.headers())
    with unnamed_errors(scrub):
        study = _load(
            index, prescription_gy, isodose_percent, series, rois, progress, course, dose_fractions, with_dose
        )  # fmt: skip
        return _unnamed(study, scrub)


def read_follow_up(follow_up: FollowUp, progress: Progress = silent) -> Series:
    """Read a later MR series; it lies in its own frame of reference, nothing is registered.

    Raises
    ------
    StudyError, GeometryError : see `dicom.mr.read_series`.
    """
    entries = tuple(Entry(Path(file), read_header(Path(file), TAGS)) for file in follow_up.files)
    with unnamed_errors(Scrubber([entries[0].header])):
        return read_series(entries, progress=progress)


def read_follow_up_structures(file: Path) -> tuple[tuple[Structure, ...], tuple[Caution, ...], str]:
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
    return structures, tuple(Caution(c.code, scrub(c.text)) for c in reader[1]), entry.modality


def _load(
    index: Index,
    prescription_gy: float | None,
    isodose_percent: float | None,
    series: str | None,
    rois: tuple[str, ...],
    progress: Progress,
    course: str | None,
    dose_fractions: int | None,
    with_dose: bool,
) -> Study:
    links, link_cautions = read_links(index.registrations)
    courses = find_courses(index, links)
    chain = choose_chain(index, courses, series, course)
    structures, structure_cautions = _read_structures(chain, links)
    lesions, lesion_cautions = choose_lesions(chain.structures.path, structures, rois)
    mr = read_series(chain.images, referenced_images(chain.structures), part(progress, 0.3, 0.8))
    progress(0.8, "reading the dose")
    plan, plan_cautions = _read_plan(chain)
    dose, dose_cautions = _read_dose(chain, links, plan, dose_fractions) if with_dose else (None, ())
    plan = _with_users_prescription(plan, dose, prescription_gy, isodose_percent)
    if dose is not None and (plan is None or plan.prescription is None):
        raise StudyError(
            chain.plan.path if chain.plan else index.folder,
            "states no prescription (TargetPrescriptionDose), so the dose cannot be related to it",
            "Give --prescription GY or --isodose PERCENT",
        )
    first = chain.images[0]
    cautions = (
        *index.cautions, *link_cautions, *chain.cautions, *structure_cautions, *lesion_cautions, *mr.cautions,
        *dose_cautions, *plan_cautions, *_unprescribed(plan, lesions), *_gap_cautions(mr, lesions),
        *_plausibility(dose, plan),
    )  # fmt: skip
    progress(1.0, "study read")
    return Study(
        patient=pseudonym(first.text("PatientID"), "P-"),
        mr=mr.image,
        mr_description=first.text("SeriesDescription"),
        structures=structures,
        lesions=lesions,
        dose=dose,
        plan=plan,
        follow_ups=find_follow_ups(index, chain, links),
        cautions=cautions,
        sources={
            "mr_series": pseudonym(first.text("SeriesInstanceUID")),
            "rtstruct": pseudonym(chain.structures.uid),
            "rtplan": pseudonym(chain.plan.uid) if chain.plan else "",
            "rtdose": " ".join(dose.sources) if dose else "",
            "course": next(c.name for c in courses if any(k.structures is chain.structures for k in c.chains)),
        },
    )


def _read_structures(chain: Chain, links: Links) -> tuple[tuple[Structure, ...], tuple[Caution, ...]]:
    """Structures in the frame of the images; a ROI that lies in another frame, without a map, is left out."""
    if chain.structures.modality == "SEG":
        structures, cautions = read_segments(chain.structures)
    else:
        structures, cautions = read_structures(chain.structures.path)
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
        text = (
            f"lie in another frame of reference (3006,0024) than the MR, without a registration: {', '.join(foreign)}"
        )
        cautions = (*cautions, Caution("roi-in-other-frame", f"ROIs that are left out {text}"))
    if unlisted:
        text = f"a frame of reference (3006,0024) that nothing else has, and are taken as drawn: {', '.join(unlisted)}"
        cautions = (*cautions, Caution("roi-frame-unknown", f"ROIs name {text}"))
    return tuple(placed), cautions


def _read_dose(
    chain: Chain, links: Links, plan: Plan | None, dose_fractions: int | None
) -> tuple[Dose | None, tuple[Caution, ...]]:
    if not chain.doses:
        return None, (Caution("no-dose", "no RTDOSE belongs to this plan; the prediction ignores dose"),)
    frames = frames_of(chain.images[0])
    moves: dict[Path, Matrix] = {}
    for entry in chain.doses:
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
    planned = plan.fractions if plan is not None else None
    dose, cautions = read_plan_dose(tuple(entry.path for entry in chain.doses), planned, dose_fractions, moves)
    if moves:
        cautions = (*cautions, Caution("moved-dose", "the dose is moved by a DICOM registration (REG)"))
    return dose, cautions


def _read_plan(chain: Chain) -> tuple[Plan | None, tuple[Caution, ...]]:
    if chain.plan is None:
        return None, ()
    try:
        return read_plan(chain.plan.path)
    except StudyError as error:
        # The plan serves for its prescription only: a damaged one must not keep dose and targets from view.
        return None, (Caution("unreadable-plan", f"{chain.plan.path.name} {error.what}; it is left out"),)


def _unprescribed(plan: Plan | None, lesions: tuple[Lesion, ...]) -> list[Caution]:
    """Name the lesions that a plan with doses per ROI leaves out: they count with the dose of the others."""
    if plan is None or plan.prescription is None or not plan.prescription.by_roi:
        return []
    left = [x.structure.name for x in lesions if x.structure.number not in plan.prescription.by_roi]
    if not left:
        return []
    text = f"the plan prescribes nothing for {', '.join(left)}; {plan.prescription.dose_gy:g} Gy of the others is taken"
    return [Caution("no-prescription-of-its-own", text)]


def _with_users_prescription(
    plan: Plan | None, dose: Dose | None, prescription_gy: float | None, isodose_percent: float | None
) -> Plan | None:
    for name, value, top in (
        ("--prescription", prescription_gy, 200.0),
        ("--isodose", isodose_percent, 100.0),
    ):
        if value is not None and not 0 < value <= top:
            raise StudyError(name, f"is {value}, expected more than 0 and at most {top:g}", "Correct the value")
    if prescription_gy is None and isodose_percent is not None and dose is not None:
        peak = float(sitk.GetArrayViewFromImage(dose.image).max())
        prescription_gy = peak * isodose_percent / 100
    if prescription_gy is None:
        return plan
    fractions = plan.fractions if plan else None
    given = Prescription(prescription_gy, isodose_percent, fractions, {}, source="user")
    return Plan(plan.label if plan else "", given, fractions)


def _gap_cautions(mr: Series, lesions: tuple[Lesion, ...]) -> list[Caution]:
    """Name the lesions that reach into slices which were interpolated."""
    touched = []
    for lesion in lesions:
        along = np.concatenate(lesion.structure.contours) @ mr.normal
        if any(along.min() < stop and along.max() > start for start, stop in mr.gaps_mm):
            touched.append(lesion.structure.name)
    if not touched:
        return []
    text = f"slices of the MR are missing within {', '.join(touched)}; the evidence there is interpolated"
    return [Caution("gap-in-lesion", text)]


def _plausibility(dose: Dose | None, plan: Plan | None) -> list[Caution]:
    """A Gamma Knife's maximum is about twice its prescription: far from that, units or prescription are in doubt."""
    if dose is None or plan is None or plan.prescription is None:
        return []
    highest = max([plan.prescription.dose_gy, *plan.prescription.by_roi.values()])
    ratio = float(sitk.GetArrayViewFromImage(dose.image).max()) / highest
    if PLAUSIBLE_PEAK[0] <= ratio <= PLAUSIBLE_PEAK[1]:
        return []
    text = f"the dose maximum is {ratio:.2f} × the highest prescription, unlike Gamma Knife plans (about 2): check both"
    return [Caution("dose-implausible", text)]


def _unnamed(study: Study, scrub: Scrubber) -> Study:
    """The study without the patient's name, number or UIDs in any text that leaves the loader."""
    structures: dict[int, Structure] = {}
    for s in study.structures:
        name = scrub(s.name)
        repeats = len([o for o in structures.values() if re.fullmatch(rf"{re.escape(name)}(#\d+)?", o.name)])
        structures[s.number] = replace(s, name=f"{name}#{repeats + 1}" if repeats and name != s.name else name)
    cautions = [Caution(c.code, scrub(c.text)) for c in study.cautions]
    hidden = [s.number for s in study.structures if structures[s.number].name != s.name]
    if hidden:
        text = f"the names of {len(hidden)} ROI(s) held the patient's name or number, which is not shown"
        cautions.append(Caution("hidden-name", text))
    plan = study.plan
    return replace(
        study,
        mr_description=scrub(study.mr_description),
        structures=tuple(structures[s.number] for s in study.structures),
        lesions=tuple(Lesion(lesion.id, structures[lesion.structure.number]) for lesion in study.lesions),
        plan=replace(plan, label=scrub(plan.label)) if plan is not None else None,
        follow_ups=tuple(replace(f, description=scrub(f.description)) for f in study.follow_ups),
        cautions=tuple(cautions),
    )
