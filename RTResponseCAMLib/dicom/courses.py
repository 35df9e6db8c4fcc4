"""Courses of treatment: reference graphs grouped by plan date, label and patient, and the choice of the one used.

GammaPlan exports one plan once per MR series. The model was trained on contrast-enhanced T1 (T1c), so only the
reference graph that ends at the T1c series is used.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from RTResponseCAMLib.dicom.dates import image_date, object_date
from RTResponseCAMLib.dicom.identity import compare, person_key
from RTResponseCAMLib.dicom.index import Entry, Index
from RTResponseCAMLib.dicom.plans import (
    PLAN_NAME,
    approval,
    check_choice,
    check_twin,
    contoured_at,
    is_named,
    plan_name,
)
from RTResponseCAMLib.dicom.privacy import pseudonym
from RTResponseCAMLib.dicom.reference_graph import ReferenceGraph, reference_graphs_of, why_unlinked
from RTResponseCAMLib.dicom.references import referenced
from RTResponseCAMLib.dicom.registration import Links
from RTResponseCAMLib.dicom.series_kind import T1C, series_kind
from RTResponseCAMLib.errors import QuestionError, StudyError
from RTResponseCAMLib.warnings import Warning, WarningCode


@dataclass(frozen=True)
class Course:
    """One treatment of one patient: the same plan, exported once per MR series.

    Attributes
    ----------
    name : "C1", "C2", … by date.
    label : label of the plan or structure set.
    patient : pseudonym.
    date : date of the plan, None when unknown.
    graphs : reference graphs, best first.
    """

    name: str
    label: str
    patient: str
    date: np.datetime64 | None
    graphs: tuple[ReferenceGraph, ...]


def find_courses(
    index: Index, links: Links, *, plan: str | None = None, structures: str | None = None
) -> tuple[Course, ...]:
    """Return the courses of a folder, earliest first: the reference graphs of all structure sets, grouped.

    Parameters
    ----------
    plan, structures : label or file name of the plan and of the structure set to use, where there are several.

    Raises
    ------
    StudyError : no object has the given name.
    """
    _check_wanted(index, plan, structures)
    persons: list[Entry] = []
    groups: dict[tuple[bool, str, str, int], list[ReferenceGraph]] = {}
    sets = [s for s in index.structures if structures is None or is_named(s, structures)]
    graphs = [graph for entry in sets for graph in reference_graphs_of(index, entry, links=links, wanted_plan=plan)]
    if plan is not None:
        graphs = [c for c in graphs if c.plan is not None]
    treated = [c for c in graphs if c.plan is not None or c.doses]
    for graph in graphs:
        # Contours without plan or dose on a planning series are a second set of its course, not a separate course.
        host = graph
        if graph not in treated:
            same_series = [c for c in graphs if c.images is graph.images]
            host = max(
                [c for c in same_series if c in treated] or same_series,
                key=lambda c: (_rank(c), contoured_at(c.structures)),
            )
            if host not in treated and any(_follows(graph, c) for c in treated):
                continue  # contoured on a follow-up
        labeled_entry = host.plan or host.structures
        label = labeled_entry.text("RTPlanLabel") or host.structures.text("StructureSetLabel") or "unnamed"
        date = _plan_date(host)
        key = (date is not None, str(date), label, _person(persons, host.structures))
        groups.setdefault(key, []).append(graph)
    courses = []
    for course_number, key in enumerate(sorted(groups), start=1):
        members = tuple(sorted(groups[key], key=_rank, reverse=True))
        patient = pseudonym(person_key(persons[key[3]]), "P-")
        courses.append(Course(f"C{course_number}", key[2], patient, _plan_date(members[0]), members))
    return tuple(courses)


def choose_reference_graph(
    index: Index,
    courses: tuple[Course, ...],
    *,
    links: Links,
    series: str | None = None,
    course: str | None = None,
    registration_warnings: Sequence[Warning] = (),
) -> ReferenceGraph:
    """Choose the course, and return its reference graph that ends at the T1c series.

    Parameters
    ----------
    courses : see `find_courses`.
    series : part of the Series Description, or the Series Instance UID, of the planning series; it overrides the
        automatic choice.
    course : name ("C2") or label of the course; without it, the latest course with a dose is used, with a warning.
    registration_warnings : warnings of `read_links`, which state why a registration in the folder is not used.

    Raises
    ------
    StudyError : no image series, no RTSTRUCT or SEG, only CT, no structure set that belongs to an image series, several
        patients, a series or course that does not exist, or several objects of which no rule selects one.
    """
    if not index.series:
        raise StudyError(index.folder, "holds no MR series", "Export the planning MR (contrast-enhanced T1) as well")
    if not index.structures:
        raise StudyError(index.folder, "holds no RTSTRUCT", "Export the structure set with the targets as well")
    if not courses:
        raise why_unlinked(index, index.structures[0], links=links, registration_warnings=registration_warnings)
    chosen = _choose_course(index, courses, course)
    graphs = list(chosen.graphs)
    if series is not None:
        graphs = [c for c in graphs if series == c.images[0].text("SeriesInstanceUID") or _described(c, series)]
    if not graphs:
        names = sorted({files[0].text("SeriesDescription") for files in index.series.values()})
        raise StudyError(index.folder, f"no planning series matches '{series}'; there are {names}", "Correct --series")
    best, warnings = _best_structures(index, graphs)
    check_twin(index, best.structures)
    check_choice(index, best.choice)
    if best.plan is not None:
        check_twin(index, best.plan)
    warnings = [*best.warnings, *best.choice.warnings, *warnings]
    if approval(best.structures) < 0:
        warnings.append(WarningCode.STRUCTURES_REJECTED(file=best.structures.path.name))
    if best.plan is None:
        warnings += _unlinked_plans(index, best)
    if best.images[0].modality != "MR":
        raise StudyError(
            best.structures.path,
            f"is contoured on a {best.images[0].modality} series; the classifier reads contrast-enhanced T1 MR",
            "Export the plan on its MR series",
        )
    if best.t1c_score < T1C:
        name = best.images[0].text("SeriesDescription") or "without description"
        kind = series_kind(best.images[0])
        kind_reason = f" (it is {kind.computed})" if kind.computed else f" ({kind.why})" if kind.why else ""
        problem = f"the planning series '{name}' cannot be recognized as a contrast-enhanced T1{kind_reason}"
        warnings.append(WarningCode.NOT_T1C(what=problem))
    rivals = {c.images[0].text("SeriesInstanceUID") for c in graphs if c.t1c_score == best.t1c_score}
    if len(rivals) > 1:
        warnings.append(WarningCode.SEVERAL_T1C(count=len(rivals), used=best.images[0].text("SeriesDescription")))
    if course is None and len(courses) > 1:
        others = ", ".join(f"{c.name} '{c.label}'" for c in courses if c is not chosen)
        used = f"{chosen.name} '{chosen.label}'"
        warnings.append(WarningCode.SEVERAL_COURSES(count=len(courses), used=used, others=others))
    return replace(best, warnings=tuple(warnings))


def _unlinked_plans(index: Index, graph: ReferenceGraph) -> list[Warning]:
    """Return warnings, for structures without a plan, on the patient's plans that reference no set in the folder."""
    present_uids = {s.uid for s in index.structures}
    reason = "it references no structure set in the folder (300C,0060), and has another frame of reference or none"
    return [
        WarningCode.NOT_LINKED(file=plan.path.name, reason=reason)
        for plan in index.plans
        if not present_uids & set(referenced(plan, "ReferencedStructureSetSequence"))
        and not compare(plan, graph.structures).other
        and plan not in graph.choice.rivals
    ]


def _check_wanted(index: Index, plan: str | None, structures: str | None) -> None:
    for wanted, option, entries in ((plan, "--plan", index.plans), (structures, "--structures", index.structures)):
        if wanted is None or any(is_named(e, wanted) for e in entries):
            continue
        listed = ", ".join(plan_name(e) if option == "--plan" else e.path.name for e in entries) or "none"
        raise StudyError(index.folder, f"has no '{wanted}' ({PLAN_NAME}); there are {listed}", f"Correct {option}")


def _person(persons: list[Entry], entry: Entry) -> int:
    """Return the index in ``persons`` of the patient of an object; a new patient is appended."""
    for person_index, person in enumerate(persons):
        if not compare(person, entry).other:
            return person_index
    persons.append(entry)
    return len(persons) - 1


def _rank(graph: ReferenceGraph) -> tuple[int, bool, bool, bool, int, int]:
    structures = graph.structures
    return (
        graph.t1c_score, structures.modality == "RTSTRUCT", graph.plan is not None, len(graph.doses) > 0,
        approval(structures), len(graph.images),
    )  # fmt: skip


def _best_structures(index: Index, graphs: Sequence[ReferenceGraph]) -> tuple[ReferenceGraph, list[Warning]]:
    """Return the best reference graph and warnings; of structure sets with the same rank, the latest is used.

    Raises
    ------
    QuestionError : several structure sets of the same rank and series share the latest date.
    """
    best = graphs[0]
    check_twin(index, best.structures)
    others = [c for c in graphs if c.images is best.images and c.structures is not best.structures]
    same_rank = [c for c in others if _rank(c) == _rank(best)]
    reason = "RTSTRUCT before SEG, with plan and dose before without, approved before not"
    if same_rank:
        by_time = sorted([best, *same_rank], key=lambda c: contoured_at(c.structures), reverse=True)
        if contoured_at(by_time[0].structures) == contoured_at(by_time[1].structures):
            listed = ", ".join(c.structures.path.name for c in by_time)
            problem = f"holds {len(by_time)} structure sets of the planning MR, and no rule selects one: {listed}"
            fix = "Choose with --structures (label or file name)"
            choices = [(c.structures.path.name, c.structures.path.name) for c in by_time]
            raise QuestionError(index.folder, problem, fix, option="structures", choices=choices)
        best, reason = by_time[0], "the latest (3006,0008)"
    other_rtstructs = [c for c in others if c.structures.modality == "RTSTRUCT"]
    if not other_rtstructs and not same_rank:
        return best, []
    used = ", ".join(e.path.name for e in (best.structures, best.plan) if e is not None)
    plans = len({c.plan.uid for c in (best, *others) if c.plan is not None})
    count = len(other_rtstructs or same_rank) + 1
    return best, [WarningCode.SEVERAL_STRUCTURE_SETS_OF_PLAN(sets=count, plans=plans, used=used, reason=reason)]


def _plan_date(graph: ReferenceGraph) -> np.datetime64 | None:
    for entry, keyword in ((graph.plan, "RTPlanDate"), (graph.structures, "StructureSetDate")):
        day = object_date(entry, (keyword,)).day if entry is not None else None
        if day is not None:
            return day
    return image_date(graph.images[0]).day


def _follows(graph: ReferenceGraph, treated: ReferenceGraph) -> bool:
    """Whether a structure set was contoured on a later scan of the same, already treated patient."""
    own_day, treated_day = (image_date(c.images[0]).day for c in (graph, treated))
    later = own_day is not None and treated_day is not None and bool(own_day > treated_day)
    return later and not compare(graph.structures, treated.structures).other


def _choose_course(index: Index, courses: tuple[Course, ...], wanted: str | None) -> Course:
    listed = ", ".join(text for _, text in _named(courses))
    if wanted is not None:
        matches = [c for c in courses if wanted.lower() in (c.name.lower(), c.label.lower())]
        if len(matches) != 1:
            raise StudyError(index.folder, f"has no single course '{wanted}'; there are {listed}", "Correct --course")
        return matches[0]
    persons = [course.graphs[0].structures for course in courses]
    differences = [c for pair in itertools.combinations(persons, 2) if (c := compare(*pair)).other]
    if differences:
        problem = f"holds plans of several patients, by {differences[0].reason}: {listed}"
        fix = "Give the folder of one patient, or choose with --course"
        raise QuestionError(index.folder, problem, fix, option="course", choices=_named(courses))
    with_dose = [course for course in courses if course.graphs[0].doses]
    planned = [course for course in courses if course.graphs[0].plan is not None]
    preferred = with_dose or planned or list(courses)
    mr_courses = [course for course in preferred if course.graphs[0].images[0].modality == "MR"] or preferred
    # Without plan and dose, later structure sets are probably contoured on follow-ups.
    chosen = mr_courses[-1] if with_dose or planned else mr_courses[0]
    same_day = [course for course in mr_courses if course.date == chosen.date and course is not chosen]
    if same_day:
        date_text = "of unknown date" if chosen.date is None else "of the same date"
        problem = f"holds courses {date_text}, and no rule selects the treated one: {listed}"
        raise QuestionError(index.folder, problem, "Choose with --course", option="course", choices=_named(mr_courses))
    return chosen


def _named(courses: Sequence[Course]) -> list[tuple[str, str]]:
    return [(c.name, f"{c.name} '{c.label}' of {c.patient}") for c in courses]


def _described(graph: ReferenceGraph, text: str) -> bool:
    return text.lower() in graph.images[0].text("SeriesDescription").lower()
