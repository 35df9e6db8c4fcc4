"""From a folder to a `Study`: index, choose course and chain, read each object, ask for what is missing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.dicom.chain import Chain, choose_chain, frames_of, map_into, referenced_images
from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.follow_ups import find_follow_ups
from RTResponseCAMLib.dicom.index import TAGS, Entry, index_folder
from RTResponseCAMLib.dicom.mr import Series, read_series
from RTResponseCAMLib.dicom.privacy import Scrubber, pseudonym
from RTResponseCAMLib.dicom.registration import Links, read_links
from RTResponseCAMLib.dicom.rtdose import read_plan_dose
from RTResponseCAMLib.dicom.rtplan import read_plan
from RTResponseCAMLib.dicom.rtstruct import choose_lesions, read_structures
from RTResponseCAMLib.dicom.seg import read_segments
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.rigid import moved_image, moved_structure
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
    links, link_cautions = read_links(index.registrations)
    chain, courses = choose_chain(index, links, series, course)
    structures, structure_cautions = _read_structures(chain)
    lesions, lesion_cautions = choose_lesions(chain.structures.path, structures, rois)
    mr = read_series(chain.images, referenced_images(chain.structures), part(progress, 0.3, 0.8))
    progress(0.8, "reading the dose")
    plan, plan_cautions = _read_plan(chain)
    dose, dose_cautions = _read_dose(chain, links, plan, dose_fractions) if with_dose else (None, ())
    plan = _with_users_prescription(plan, dose, prescription_gy, isodose_percent)
    if dose is not None and (plan is None or plan.prescription is None):
        raise StudyError(
            chain.plan.path if chain.plan else folder,
            "states no prescription (TargetPrescriptionDose), so the dose cannot be related to it",
            "Give --prescription GY or --isodose PERCENT",
        )
    first = chain.images[0]
    cautions = (
        *index.cautions, *link_cautions, *chain.cautions, *structure_cautions, *lesion_cautions, *mr.cautions,
        *dose_cautions, *plan_cautions, *_gap_cautions(mr, lesions), *_plausibility(dose, plan),
    )  # fmt: skip
    progress(1.0, "study read")
    study = Study(
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
    return _unnamed(study, Scrubber(entry.header for entry in (first, chain.structures)))


def read_follow_up(follow_up: FollowUp, progress: Progress = silent) -> Series:
    """Read a later MR series; it lies in its own frame of reference, nothing is registered.

    Raises
    ------
    StudyError, GeometryError : see `dicom.mr.read_series`.
    """
    entries = tuple(Entry(Path(file), read_header(Path(file), TAGS)) for file in follow_up.files)
    return read_series(entries, progress=progress)


def read_follow_up_structures(file: Path) -> tuple[tuple[Structure, ...], tuple[Caution, ...], str]:
    """Read what was drawn on a follow-up, and its modality (RTSTRUCT or SEG); freed of the patient's names.

    Raises
    ------
    StudyError : see `read_structures` and `read_segments`.
    """
    entry = Entry(file, read_header(file, TAGS))
    reader = read_segments(entry) if entry.modality == "SEG" else read_structures(file)
    scrub = Scrubber([entry.header])
    structures = tuple(replace(s, name=scrub(s.name)) for s in reader[0])
    return structures, tuple(Caution(c.code, scrub(c.text)) for c in reader[1]), entry.modality


def _read_structures(chain: Chain) -> tuple[tuple[Structure, ...], tuple[Caution, ...]]:
    if chain.structures.modality == "SEG":
        structures, cautions = read_segments(chain.structures)
    else:
        structures, cautions = read_structures(chain.structures.path)
    if chain.to_images is not None:
        structures = tuple(moved_structure(chain.to_images, s) for s in structures)
    return structures, cautions


def _read_dose(
    chain: Chain, links: Links, plan: Plan | None, dose_fractions: int | None
) -> tuple[Dose | None, tuple[Caution, ...]]:
    if not chain.doses:
        return None, (Caution("no-dose", "no RTDOSE belongs to this plan; the prediction ignores dose"),)
    frames = frames_of(chain.images[0])
    own = [entry for entry in chain.doses if not frames or not frames_of(entry) or frames & frames_of(entry)]
    planned = plan.prescription.fractions if plan and plan.prescription else None
    if plan is not None and plan.fractions is not None:
        planned = plan.fractions
    if len(own) == len(chain.doses):
        return read_plan_dose(tuple(entry.path for entry in chain.doses), planned, dose_fractions)
    other = next(entry for entry in chain.doses if entry not in own)
    matrix = map_into(links, other, chain.images[0])
    if own or matrix is None:
        raise StudyError(
            other.path,
            "lies in another frame of reference (0020,0052) than the planning MR",
            "Export dose and MR from the same plan, or the registration (REG) between them",
        )
    dose, cautions = read_plan_dose(tuple(entry.path for entry in chain.doses), planned, dose_fractions)
    moved = Caution("moved-dose", "the dose is moved by a DICOM registration (REG)")
    return Dose(moved_image(matrix, dose.image), dose.sources), (*cautions, moved)


def _read_plan(chain: Chain) -> tuple[Plan | None, tuple[Caution, ...]]:
    if chain.plan is None:
        return None, ()
    try:
        return read_plan(chain.plan.path), ()
    except StudyError as error:
        # The plan serves for its prescription only: a damaged one must not keep dose and targets from view.
        return None, (Caution("unreadable-plan", f"{chain.plan.path.name} {error.what}; it is left out"),)


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
    stated = plan.prescription if plan else None
    fractions = stated.fractions if stated else None
    given = Prescription(prescription_gy, isodose_percent, fractions, {}, source="user")
    return Plan(plan.label if plan else "", given, plan.fractions if plan else None)


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
