"""Which objects belong together: RTDOSE → RTPLAN → RTSTRUCT or SEG → MR; of several courses and chains, which is used.

GammaPlan exports one plan once per MR series; only the chain that ends at the contrast-enhanced T1 is what
the classifier has learned to read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from RTResponseCAMLib.dicom.index import Entry, Index, date_of
from RTResponseCAMLib.dicom.privacy import pseudonym
from RTResponseCAMLib.dicom.registration import Links, map_between
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.rigid import Matrix
from RTResponseCAMLib.study import Caution

# What says of a series that it was taken without contrast agent.
NATIVE = re.compile(
    r"\bpre[\s_-]*(contrast|gad|gd|ce|c\b)|\b(w/?o|without|no|non|ohne)[\s_.-]*(contrast|gad|gd|ce\b|c\b|km\b)|\bnativ"
    r"|\bnon[\s_-]*enhanced|\bunenhanced",
    re.IGNORECASE,
)
CONTRAST = re.compile(r"\+\s?c\b|c\+|\bgad|\bgd\b|post|contrast|t1c|t1ce|\bce\b|\bkm\b")
NO_AGENT = ("", "no", "none", "n", "n/a", "na", "0", "without")


@dataclass(frozen=True)
class Chain:
    """The objects of one treatment that are used together.

    Attributes
    ----------
    images : files of the planning series.
    structures : RTSTRUCT or SEG.
    to_images : rigid map of the structures' points into the images' frame, None when both lie in the same.
    """

    images: tuple[Entry, ...]
    structures: Entry
    plan: Entry | None
    doses: tuple[Entry, ...]
    t1c_score: int
    to_images: Matrix | None = None
    cautions: tuple[Caution, ...] = field(default=())


@dataclass(frozen=True)
class Course:
    """One treatment of one patient: the same plan, exported once per MR series.

    Attributes
    ----------
    name : "C1", "C2", … by date.
    label : label of the plan or structure set.
    patient : pseudonym.
    date : date of the plan, None when unknown.
    chains : best first.
    """

    name: str
    label: str
    patient: str
    date: np.datetime64 | None
    chains: tuple[Chain, ...]


def find_courses(index: Index, links: Links) -> tuple[Course, ...]:
    """Follow the references of every structure set, and sort what they lead to into courses, earliest first."""
    groups: dict[tuple[bool, str, str, str], list[Chain]] = {}
    chains = [chain for structures in index.structures for chain in _chains_of(index, structures, links)]
    treated = [c for c in chains if c.plan is not None or c.doses]
    for chain in chains:
        # Contours without plan or dose on a planning series are a second set of its course, no course of their own.
        host = chain
        if chain not in treated:
            host = next((c for c in treated if c.images is chain.images), chain)
            if host is chain and any(_follows(chain, c) for c in treated):
                continue  # drawn on a follow-up
        named = host.plan or host.structures
        label = named.text("RTPlanLabel") or host.structures.text("StructureSetLabel") or "unnamed"
        date = _plan_date(host)
        key = (date is not None, str(date), label, host.structures.text("PatientID"))
        groups.setdefault(key, []).append(chain)
    courses = []
    for number, key in enumerate(sorted(groups), start=1):
        members = tuple(sorted(groups[key], key=_rank, reverse=True))
        courses.append(Course(f"C{number}", key[2], pseudonym(key[3], "P-"), _plan_date(members[0]), members))
    return tuple(courses)


def choose_chain(
    index: Index, courses: tuple[Course, ...], series: str | None = None, course: str | None = None
) -> Chain:
    """Choose the course, and of its chains the one that ends at the T1c series.

    Parameters
    ----------
    courses : see `find_courses`.
    series : text that the Series Description must contain, or a Series Instance UID, to overrule the choice.
    course : name ("C2") or label of the course; without it the latest with a dose is taken, with a caution.

    Raises
    ------
    StudyError : no image series, no RTSTRUCT or SEG, only CT, nothing in the frame of reference of an image
        series, several patients, or a series or course that does not exist.
    """
    if not index.series:
        raise StudyError(index.folder, "holds no MR series", "Export the planning MR (contrast-enhanced T1) as well")
    if not index.structures:
        raise StudyError(index.folder, "holds no RTSTRUCT", "Export the structure set with the targets as well")
    if not courses:
        raise _no_chain(index, None)
    chosen = _choose_course(index, courses, course)
    chains = list(chosen.chains)
    if series is not None:
        chains = [c for c in chains if series == c.images[0].text("SeriesInstanceUID") or _described(c, series)]
    if not chains:
        raise _no_chain(index, series)
    best = chains[0]
    cautions = list(best.cautions)
    if best.images[0].modality != "MR":
        raise StudyError(
            best.structures.path,
            f"is drawn on a {best.images[0].modality} series; the classifier reads contrast-enhanced T1 MR",
            "Export the plan on its MR series",
        )
    if best.t1c_score < 3:
        name = best.images[0].text("SeriesDescription") or "without description"
        text = f"the planning series '{name}' cannot be recognised as a contrast-enhanced T1"
        cautions.append(Caution("not-t1c", text))
    rivals = {c.images[0].text("SeriesInstanceUID") for c in chains if c.t1c_score == best.t1c_score}
    if len(rivals) > 1:
        text = f"{len(rivals)} series could be the planning T1c; taken: '{best.images[0].text('SeriesDescription')}'"
        cautions.append(Caution("several-t1c", text + " (choose another with --series)"))
    cautions += _rival_plans(index, chains, best)
    if course is None and len(courses) > 1:
        others = ", ".join(f"{c.name} '{c.label}'" for c in courses if c is not chosen)
        text = f"the folder holds {len(courses)} courses; {chosen.name} '{chosen.label}' is used, not {others}"
        cautions.append(Caution("several-courses", text + " (choose with --course)"))
    return replace(best, cautions=tuple(cautions))


def t1c_score(entry: Entry) -> int:
    """How much a series looks like a contrast-enhanced T1: 3 and more is enough, negative speaks against it."""
    name = entry.text("SeriesDescription").lower()
    agent = entry.text("ContrastBolusAgent").lower() not in NO_AGENT
    named = bool(CONTRAST.search(name))
    # "T1 pre" is native; "T1 +C pre" was taken before treatment.
    if NATIVE.search(name) or (re.search(r"\bpre$", name) and not agent and not named):
        return -6
    score = 3 * agent
    score += 2 * bool(re.search(r"t1|mprage|mp-rage|bravo|spgr|vibe|tfe", name))
    score += 2 * named
    score -= 4 * bool(re.search(r"t2|flair|dwi|adc|ciss|fiesta|swi|perf|localizer|scout", name))
    return score - 6 * (entry.modality != "MR")


def referenced(entry: Entry, keyword: str) -> tuple[str, ...]:
    """SOP Instance UIDs that a sequence of references names."""
    return tuple(str(item.get("ReferencedSOPInstanceUID", "")) for item in _items(entry.header, keyword))


def referenced_series(structures: Entry) -> tuple[str, ...]:
    """Series Instance UIDs on which a structure set or segmentation was drawn."""
    named = tuple(
        str(series.get("SeriesInstanceUID", ""))
        for frame in _items(structures.header, "ReferencedFrameOfReferenceSequence")
        for study in _items(frame, "RTReferencedStudySequence")
        for series in _items(study, "RTReferencedSeriesSequence")
    )
    direct = _items(structures.header, "ReferencedSeriesSequence")
    return named + tuple(str(series.get("SeriesInstanceUID", "")) for series in direct)


def referenced_images(structures: Entry) -> frozenset[str]:
    """SOP Instance UIDs of the images on which a structure set was drawn, as far as it lists them."""
    return frozenset(
        str(image.get("ReferencedSOPInstanceUID", ""))
        for frame in _items(structures.header, "ReferencedFrameOfReferenceSequence")
        for study in _items(frame, "RTReferencedStudySequence")
        for series in _items(study, "RTReferencedSeriesSequence")
        for image in _items(series, "ContourImageSequence")
    )


def frames_of(entry: Entry) -> set[str]:
    """Frames of reference that an object lies in."""
    items = _items(entry.header, "ReferencedFrameOfReferenceSequence")
    frames = {str(item.get("FrameOfReferenceUID", "")) for item in items}
    return (frames | {entry.text("FrameOfReferenceUID")}) - {""}


def roi_frames(structures: Entry) -> dict[str, str]:
    """Frame of reference that each ROI of a structure set names for itself (3006,0024), by ROI Number as text."""
    items = _items(structures.header, "StructureSetROISequence")
    return {str(item.get("ROINumber")): str(item.get("ReferencedFrameOfReferenceUID", "") or "") for item in items}


def map_into(links: Links, entry: Entry, images: Entry) -> Matrix | None:
    """Rigid map of an object's points into the frame of an image series by registration objects, if there is one."""
    for start in sorted(frames_of(entry)):
        for stop in sorted(frames_of(images)):
            found = map_between(links, start, stop)
            if found is not None:
                return found
    return None


def _items(data: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Items of a sequence; none where something else stands in its place."""
    value = data.get(keyword)
    return tuple(item for item in value if isinstance(item, Dataset)) if isinstance(value, Sequence) else ()


def _rank(chain: Chain) -> tuple[int, bool, bool, int]:
    return chain.t1c_score, chain.structures.modality == "RTSTRUCT", len(chain.doses) > 0, len(chain.images)


def _plan_date(chain: Chain) -> np.datetime64 | None:
    for entry, keyword in ((chain.plan, "RTPlanDate"), (chain.structures, "StructureSetDate")):
        day = date_of(entry, (keyword,)) if entry is not None else None
        if day is not None:
            return day
    return date_of(chain.images[0])


def _follows(chain: Chain, treated: Chain) -> bool:
    """Whether a structure set was drawn on a later scan of a patient who had been treated by then."""
    own, theirs = (date_of(c.images[0]) for c in (chain, treated))
    later = own is not None and theirs is not None and bool(own > theirs)
    return later and _same_patient(chain.structures, treated.structures)


def _choose_course(index: Index, courses: tuple[Course, ...], wanted: str | None) -> Course:
    listed = ", ".join(f"{c.name} '{c.label}' of {c.patient}" for c in courses)
    if wanted is not None:
        found = [c for c in courses if wanted.lower() in (c.name.lower(), c.label.lower())]
        if len(found) != 1:
            raise StudyError(index.folder, f"has no single course '{wanted}'; there are {listed}", "Correct --course")
        return found[0]
    if len({course.patient for course in courses}) > 1:
        what = f"holds plans of several patients: {listed}"
        raise StudyError(index.folder, what, "Give the folder of one patient, or choose with --course")
    with_dose = [course for course in courses if course.chains[0].doses]
    planned = [course for course in courses if course.chains[0].plan is not None]
    pool = with_dose or planned or list(courses)
    planning = [course for course in pool if course.chains[0].images[0].modality == "MR"] or pool
    # Without plan and dose, later structure sets are rather drawn on follow-ups.
    return planning[-1] if with_dose or planned else planning[0]


def _rival_plans(index: Index, chains: list[Chain], best: Chain) -> list[Caution]:
    others = [
        c
        for c in chains
        if c.images is best.images and c.structures is not best.structures and c.structures.modality == "RTSTRUCT"
    ]
    plans = _plans_of(index, best.structures)
    if not others and len(plans) <= 1:
        return []
    text = f"{len(others) + 1} structure set(s) and {len(plans)} plan(s) belong to the planning series; used: "
    names = [e.path.name for e in (best.structures, best.plan) if e is not None]
    return [Caution("several-plans", text + ", ".join(names) + " (keep one plan per folder)")]


def _chains_of(index: Index, structures: Entry, links: Links) -> list[Chain]:
    own = {uid: files for uid, files in index.series.items() if _same_patient(files[0], structures)}
    named = [uid for uid in dict.fromkeys(referenced_series(structures)) if uid in own]
    cautions: list[Caution] = []
    frames = frames_of(structures)
    if not named:
        named = [uid for uid, files in own.items() if frames & frames_of(files[0])]
        text = (
            "the series on which the structures were drawn is absent; a series of the same frame of reference is used"
        )
        if not named:
            named = [uid for uid, files in own.items() if map_into(links, structures, files[0]) is not None]
            text = "the structures were drawn in another frame of reference"
        cautions.append(Caution("series-by-frame", text))
    plan = _plan_of(index, structures)
    doses = _doses_of(index, structures, plan)
    if not doses:
        doses = tuple(d for d in index.doses if not _linked(index, d) and frames & frames_of(d))
        if doses:
            text = "the RTDOSE names no plan or structure set here; it is taken because its frame of reference fits"
            cautions.append(Caution("dose-by-frame", text))
    chains = []
    for uid in named:
        files = own[uid]
        said, matrix = list(cautions), None
        theirs = frames_of(files[0])
        if frames and theirs and not frames & theirs:
            matrix = map_into(links, structures, files[0])
            if matrix is None:
                continue
            said.append(Caution("moved-structures", "the structures are moved by a DICOM registration (REG)"))
        chains.append(Chain(files, structures, plan, doses, t1c_score(files[0]), matrix, tuple(said)))
    return chains


def _same_patient(one: Entry, other: Entry) -> bool:
    """Different record numbers are different patients; an absent number says nothing."""
    a, b = one.text("PatientID"), other.text("PatientID")
    return not a or not b or a == b


def _plan_of(index: Index, structures: Entry) -> Entry | None:
    plans = _plans_of(index, structures)
    return plans[0] if plans else None


def _plans_of(index: Index, structures: Entry) -> list[Entry]:
    return [p for p in index.plans if structures.uid in referenced(p, "ReferencedStructureSetSequence")]


def _doses_of(index: Index, structures: Entry, plan: Entry | None) -> tuple[Entry, ...]:
    """Doses of the plan; by the structure set only those that name no plan of the folder: it may have several."""
    plans, found = {p.uid for p in index.plans}, []
    for dose in index.doses:
        named = plans & set(referenced(dose, "ReferencedRTPlanSequence"))
        by_set = not named and structures.uid in referenced(dose, "ReferencedStructureSetSequence")
        if by_set or (plan is not None and plan.uid in named):
            found.append(dose)
    return tuple(found)


def _linked(index: Index, dose: Entry) -> bool:
    """Whether it names a plan or structure set that is here; what is absent ties it to nothing."""
    present = {entry.uid for entry in (*index.plans, *index.structures)}
    named = (*referenced(dose, "ReferencedRTPlanSequence"), *referenced(dose, "ReferencedStructureSetSequence"))
    return bool(present & set(named))


def _described(chain: Chain, text: str) -> bool:
    return text.lower() in chain.images[0].text("SeriesDescription").lower()


def _no_chain(index: Index, series: str | None) -> StudyError:
    path = index.structures[0].path
    if series is not None:
        names = sorted({files[0].text("SeriesDescription") for files in index.series.values()})
        return StudyError(index.folder, f"no planning series matches '{series}'; there are {names}", "Correct --series")
    return StudyError(
        path,
        "lies in another frame of reference (0020,0052) than every image series of the folder",
        "Export structure set and MR from the same plan, or the registration (REG) between them",
    )
