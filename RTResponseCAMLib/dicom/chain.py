"""Which objects belong together: RTDOSE → RTPLAN → RTSTRUCT or SEG → MR; of several courses and chains, which is used.

GammaPlan exports one plan once per MR series; only the chain that ends at the contrast-enhanced T1 is what
the classifier has learned to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from RTResponseCAMLib.dicom.dates import object_date
from RTResponseCAMLib.dicom.files import NotDicom
from RTResponseCAMLib.dicom.identity import Verdict, compare, person_key
from RTResponseCAMLib.dicom.index import Entry, Index
from RTResponseCAMLib.dicom.plans import (
    PLAN_NAME,
    PlanChoice,
    check_choice,
    check_twin,
    choose_plan,
    doses_by_frame,
    is_named,
    plan_name,
)
from RTResponseCAMLib.dicom.privacy import pseudonym
from RTResponseCAMLib.dicom.references import (
    contour_images,
    frames_of,
    map_into,
    referenced_images,
    referenced_series,
)
from RTResponseCAMLib.dicom.registration import Links
from RTResponseCAMLib.dicom.series_kind import series_kind, t1c_score
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.rigid import Matrix
from RTResponseCAMLib.warnings import Warning, WarningCode


@dataclass(frozen=True)
class Chain:
    """The objects of one treatment that are used together.

    Attributes
    ----------
    images : files of the planning series.
    structures : RTSTRUCT or SEG.
    choice : the plan and the doses, and how they were chosen; ``plan`` and ``doses`` are what is used.
    to_images : rigid map of the structures' points into the images' frame, None when both lie in the same.
    """

    images: tuple[Entry, ...]
    structures: Entry
    choice: PlanChoice
    doses: tuple[Entry, ...]
    t1c_score: int
    to_images: Matrix | None = None
    warnings: tuple[Warning, ...] = field(default=())

    @property
    def plan(self) -> Entry | None:
        """RTPLAN, None without one."""
        return self.choice.plan


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


def find_courses(
    index: Index, links: Links, plan: str | None = None, structures: str | None = None
) -> tuple[Course, ...]:
    """Follow the references of every structure set, and sort what they lead to into courses, earliest first.

    Parameters
    ----------
    plan, structures : label or file name of the plan and the structure set to use, where there are several.

    Raises
    ------
    StudyError : nothing has the name that was given.
    """
    _check_wanted(index, plan, structures)
    persons: list[Entry] = []
    groups: dict[tuple[bool, str, str, int], list[Chain]] = {}
    sets = [s for s in index.structures if structures is None or is_named(s, structures)]
    chains = [chain for one in sets for chain in _chains_of(index, one, links, plan)]
    if plan is not None:
        chains = [c for c in chains if c.plan is not None]
    treated = [c for c in chains if c.plan is not None or c.doses]
    for chain in chains:
        # Contours without plan or dose on a planning series are a second set of its course, no course of their own.
        host = chain
        if chain not in treated:
            same = [c for c in chains if c.images is chain.images]
            host = max([c for c in same if c in treated] or same, key=lambda c: (_rank(c), _time(c.structures)))
            if host is chain and any(_follows(chain, c) for c in treated):
                continue  # contoured on a follow-up
        named = host.plan or host.structures
        label = named.text("RTPlanLabel") or host.structures.text("StructureSetLabel") or "unnamed"
        date = _plan_date(host)
        key = (date is not None, str(date), label, _person(persons, host.structures))
        groups.setdefault(key, []).append(chain)
    courses = []
    for number, key in enumerate(sorted(groups), start=1):
        members = tuple(sorted(groups[key], key=_rank, reverse=True))
        patient = pseudonym(person_key(persons[key[3]]), "P-")
        courses.append(Course(f"C{number}", key[2], patient, _plan_date(members[0]), members))
    return tuple(courses)


def choose_chain(
    index: Index, courses: tuple[Course, ...], links: Links, series: str | None = None, course: str | None = None
) -> Chain:
    """Choose the course, and of its chains the one that ends at the T1c series.

    Parameters
    ----------
    courses : see `find_courses`.
    series : text that the Series Description must contain, or a Series Instance UID, to overrule the choice.
    course : name ("C2") or label of the course; without it the latest with a dose is taken, with a warning.

    Raises
    ------
    StudyError : no image series, no RTSTRUCT or SEG, only CT, nothing that belongs to an image series, several
        patients, a series or course that does not exist, or several objects between which no rule decides.
    """
    if not index.series:
        raise StudyError(index.folder, "holds no MR series", "Export the planning MR (contrast-enhanced T1) as well")
    if not index.structures:
        raise StudyError(index.folder, "holds no RTSTRUCT", "Export the structure set with the targets as well")
    if not courses:
        raise _unlinked(index, index.structures[0], links)
    chosen = _choose_course(index, courses, course)
    chains = list(chosen.chains)
    if series is not None:
        chains = [c for c in chains if series == c.images[0].text("SeriesInstanceUID") or _described(c, series)]
    if not chains:
        names = sorted({files[0].text("SeriesDescription") for files in index.series.values()})
        raise StudyError(index.folder, f"no planning series matches '{series}'; there are {names}", "Correct --series")
    best, warnings = _best_structures(index, chains)
    check_twin(index, best.structures)
    check_choice(index, best.choice)
    if best.plan is not None:
        check_twin(index, best.plan)
    warnings = [*best.warnings, *best.choice.warnings, *warnings]
    if best.images[0].modality != "MR":
        raise StudyError(
            best.structures.path,
            f"is contoured on a {best.images[0].modality} series; the classifier reads contrast-enhanced T1 MR",
            "Export the plan on its MR series",
        )
    if best.t1c_score < 3:
        name = best.images[0].text("SeriesDescription") or "without description"
        kind = series_kind(best.images[0])
        why = f" (it is {kind.computed})" if kind.computed else f" ({kind.why})" if kind.why else ""
        what = f"the planning series '{name}' cannot be recognised as a contrast-enhanced T1{why}"
        warnings.append(WarningCode.NOT_T1C(what=what))
    rivals = {c.images[0].text("SeriesInstanceUID") for c in chains if c.t1c_score == best.t1c_score}
    if len(rivals) > 1:
        warnings.append(WarningCode.SEVERAL_T1C(count=len(rivals), used=best.images[0].text("SeriesDescription")))
    if course is None and len(courses) > 1:
        others = ", ".join(f"{c.name} '{c.label}'" for c in courses if c is not chosen)
        used = f"{chosen.name} '{chosen.label}'"
        warnings.append(WarningCode.SEVERAL_COURSES(count=len(courses), used=used, others=others))
    return replace(best, warnings=tuple(warnings))


def _check_wanted(index: Index, plan: str | None, structures: str | None) -> None:
    for wanted, option, entries in ((plan, "--plan", index.plans), (structures, "--structures", index.structures)):
        if wanted is None or any(is_named(e, wanted) for e in entries):
            continue
        listed = ", ".join(plan_name(e) if option == "--plan" else e.path.name for e in entries) or "none"
        raise StudyError(index.folder, f"has no '{wanted}' ({PLAN_NAME}); there are {listed}", f"Correct {option}")


def _person(persons: list[Entry], entry: Entry) -> int:
    """Number of the person that an object is of, among those met so far."""
    for number, known in enumerate(persons):
        if not compare(known, entry).other:
            return number
    persons.append(entry)
    return len(persons) - 1


def _rank(chain: Chain) -> tuple[int, bool, bool, bool, bool, int]:
    structures = chain.structures
    approved = structures.text("ApprovalStatus").upper()
    return (
        chain.t1c_score, structures.modality == "RTSTRUCT", chain.plan is not None, len(chain.doses) > 0,
        approved == "APPROVED", len(chain.images),
    )  # fmt: skip


def _best_structures(index: Index, chains: Sequence[Chain]) -> tuple[Chain, list[Warning]]:
    """The best chain; of structure sets on its series that rank alike the latest, which must be a single one."""
    best = chains[0]
    others = [c for c in chains if c.images is best.images and c.structures is not best.structures]
    alike = [c for c in others if _rank(c) == _rank(best)]
    reason = "RTSTRUCT before SEG, with plan and dose before without, approved before not"
    for other in alike:
        if other.structures.uid == best.structures.uid:
            check_twin(index, best.structures)
    if alike:
        by_time = sorted([best, *alike], key=lambda c: _time(c.structures), reverse=True)
        if _time(by_time[0].structures) == _time(by_time[1].structures):
            listed = ", ".join(c.structures.path.name for c in by_time)
            what = f"holds {len(by_time)} structure sets of the planning MR, and nothing says which counts: {listed}"
            raise StudyError(index.folder, what, "Choose with --structures (label or file name)")
        best, reason = by_time[0], "the latest (3006,0008)"
    drawn = [c for c in others if c.structures.modality == "RTSTRUCT"]
    if not drawn and not alike:
        return best, []
    used = ", ".join(e.path.name for e in (best.structures, best.plan) if e is not None)
    plans = len({c.plan.uid for c in (best, *others) if c.plan is not None})
    count = len(drawn or alike) + 1
    return best, [WarningCode.SEVERAL_STRUCTURE_SETS_OF_PLAN(sets=count, plans=plans, used=used, reason=reason)]


def _time(structures: Entry) -> str:
    """Date and time of a structure set as text that sorts."""
    day = object_date(structures, ("StructureSetDate", "ContentDate")).day
    return "" if day is None else f"{day} {structures.text('StructureSetTime')}"


def _plan_date(chain: Chain) -> np.datetime64 | None:
    for entry, keyword in ((chain.plan, "RTPlanDate"), (chain.structures, "StructureSetDate")):
        day = object_date(entry, (keyword,)).day if entry is not None else None
        if day is not None:
            return day
    return object_date(chain.images[0]).day


def _follows(chain: Chain, treated: Chain) -> bool:
    """Whether a structure set was contoured on a later scan of a patient who had been treated by then."""
    own, theirs = (object_date(c.images[0]).day for c in (chain, treated))
    later = own is not None and theirs is not None and bool(own > theirs)
    return later and not compare(chain.structures, treated.structures).other


def _choose_course(index: Index, courses: tuple[Course, ...], wanted: str | None) -> Course:
    listed = ", ".join(f"{c.name} '{c.label}' of {c.patient}" for c in courses)
    if wanted is not None:
        found = [c for c in courses if wanted.lower() in (c.name.lower(), c.label.lower())]
        if len(found) != 1:
            raise StudyError(index.folder, f"has no single course '{wanted}'; there are {listed}", "Correct --course")
        return found[0]
    first = courses[0].chains[0].structures
    differing = [c for other in courses[1:] if (c := compare(first, other.chains[0].structures)).other]
    if differing:
        what = f"holds plans of several patients, by {differing[0].reason}: {listed}"
        raise StudyError(index.folder, what, "Give the folder of one patient, or choose with --course")
    with_dose = [course for course in courses if course.chains[0].doses]
    planned = [course for course in courses if course.chains[0].plan is not None]
    pool = with_dose or planned or list(courses)
    planning = [course for course in pool if course.chains[0].images[0].modality == "MR"] or pool
    # Without plan and dose, later structure sets are rather contoured on follow-ups.
    chosen = planning[-1] if with_dose or planned else planning[0]
    same_day = [course for course in planning if course.date == chosen.date and course is not chosen]
    if same_day:
        when = "of unknown date" if chosen.date is None else "of the same date"
        what = f"holds courses {when}, and nothing says which was treated: {listed}"
        raise StudyError(index.folder, what, "Choose with --course")
    return chosen


def _chains_of(index: Index, structures: Entry, links: Links, wanted_plan: str | None) -> list[Chain]:
    own = {uid: files for uid, files in index.series.items() if not compare(files[0], structures).other}
    named, warnings = _contoured_on(index, structures, links, own)
    choice = choose_plan(index, structures, wanted_plan)
    doses = choice.doses
    if not doses:
        doses = doses_by_frame(index, structures)
        warnings += [WarningCode.DOSE_BY_FRAME()] if doses else []
    chains = []
    for uid in named:
        files = own[uid]
        said, matrix = list(warnings), None
        frames, theirs = frames_of(structures), frames_of(files[0])
        if frames and theirs and not frames & theirs:
            matrix = map_into(links, structures, files[0])
            if matrix is None:
                continue
            said.append(WarningCode.MOVED_STRUCTURES())
        objects = (("structure set", structures), ("plan", choice.plan), *(("dose", d) for d in doses))
        said += _identity_warnings(files[0], objects)
        chains.append(Chain(files, structures, choice, doses, t1c_score(files[0]), matrix, tuple(said)))
    return chains


def _identity_warnings(images: Entry, objects: Sequence[tuple[str, Entry | None]]) -> list[Warning]:
    """Name the objects whose person agrees with the images' only in part."""
    parts: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for name, entry in objects:
        found = compare(images, entry) if entry is not None else None
        if found is not None and found.verdict is Verdict.SAME_IN_PART:
            parts.setdefault((found.differs, found.agrees), []).append(name)
    return [
        WarningCode.IDENTITY_DIFFERS(what=", ".join(dict.fromkeys(names)), differs=" and ".join(differs),
                                     agrees=" and ".join(agrees))
        for (differs, agrees), names in parts.items()
    ]  # fmt: skip


def _contoured_on(
    index: Index, structures: Entry, links: Links, own: dict[str, tuple[Entry, ...]]
) -> tuple[list[str], list[Warning]]:
    """Series that a structure set belongs to: by reference, by its images, by its contours' images, by its frame."""
    stated = referenced_series(structures, index)
    named = [uid for uid in stated if uid in own]
    if named:
        return named, []
    listed = [uid for uid in index.series_of_images(referenced_images(structures)) if uid in own]
    if listed:
        return listed[:1], [WarningCode.SERIES_BY_IMAGES(source="that of the images it lists (3006,0016)")]
    if not stated and structures.modality == "RTSTRUCT":
        try:
            listed = [uid for uid in index.series_of_images(contour_images(structures)) if uid in own]
        except (NotDicom, StudyError, OSError):
            listed = []
        if listed:
            return listed[:1], [WarningCode.SERIES_BY_IMAGES(source="that of its contours' images (3006,0016)")]
    frames = frames_of(structures)
    named = [uid for uid, files in own.items() if frames & frames_of(files[0])]
    if named and stated:
        return named, [WarningCode.SERIES_BY_FRAME()]
    if named:
        return named, [WarningCode.SERIES_BY_IMAGES(source="that of its frame of reference (3006,0024)")]
    return [uid for uid, files in own.items() if map_into(links, structures, files[0]) is not None], []


def _described(chain: Chain, text: str) -> bool:
    return text.lower() in chain.images[0].text("SeriesDescription").lower()


def _unlinked(index: Index, structures: Entry, links: Links) -> StudyError:
    """Why a structure set belongs to none of the image series: the cause that holds."""
    named, _ = _contoured_on(index, structures, links, index.series)
    for uid in named:
        found = compare(index.series[uid][0], structures)
        if found.other:
            return StudyError(
                structures.path,
                f"belongs to another patient than the images it was contoured on, by {found.reason}",
                "Export plan and MR of one patient, under the same identity",
            )
    frames = frames_of(structures)
    if not frames and not referenced_series(structures):
        return StudyError(
            structures.path,
            "names neither a frame of reference (3006,0010; 3006,0024) nor images (3006,0016), so no series is its own",
            "Export the structure set with its references",
        )
    bare = [files[0] for files in index.series.values() if not frames_of(files[0])]
    if frames and len(bare) == len(index.series):
        return StudyError(
            bare[0].path,
            "states no Frame of Reference UID (0020,0052), and is not the series that the structures name",
            "Export the MR with its frame of reference",
        )
    return StudyError(
        structures.path,
        "lies in another frame of reference (0020,0052) than every image series of the folder",
        "Export structure set and MR from the same plan, or the registration (REG) between them",
    )
