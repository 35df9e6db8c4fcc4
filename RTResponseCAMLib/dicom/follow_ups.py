"""Follow-up scans of a plan: day zero, the series that are visits, and the structures contoured on them.

Day zero is RT Plan Date. Without a plan, it is Structure Set Date where that is within `NEAR_DAYS` after the planning
MR, else the date of the planning MR. A plan cannot be older than its images, or more than `NEAR_DAYS` younger; in these
cases the date of the images is day zero.
Each day has one visit: the scan on which lesions were contoured, else the original T1c with the most files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from RTResponseCAMLib.dicom.dates import ObjectDate, all_alike, days_between, image_date, object_date
from RTResponseCAMLib.dicom.identity import Comparison, Verdict, compare
from RTResponseCAMLib.dicom.index import Entry, Index
from RTResponseCAMLib.dicom.plans import approval, contoured_at
from RTResponseCAMLib.dicom.reference_graph import ReferenceGraph
from RTResponseCAMLib.dicom.references import frames_of, map_into, referenced_series
from RTResponseCAMLib.dicom.registration import Links
from RTResponseCAMLib.dicom.series_kind import Contrast, SeriesKind, series_kind
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.study import FollowUp
from RTResponseCAMLib.warnings import Warning, WarningCode

NEAR_DAYS = 60


@dataclass(frozen=True)
class DayZero:
    """Day from which days count.

    Attributes
    ----------
    day : None when unknown.
    source : title of the attribute that states the day, and its object.
    warnings : warnings about the dates.
    """

    day: np.datetime64 | None
    source: str
    warnings: tuple[Warning, ...] = ()


@dataclass(frozen=True)
class _Scan:
    """A later series: its kind, its days after day zero (None: unknown), and the structure sets contoured on it."""

    uid: str
    files: tuple[Entry, ...]
    kind: SeriesKind
    days: int | None
    date: ObjectDate
    drawn: tuple[Entry, ...]

    @property
    def name(self) -> str:
        return self.files[0].text("SeriesDescription") or "without description"

    def is_named(self, text: str) -> bool:
        """Whether a user's text is part of the Series Description, or the Series Instance UID."""
        return text == self.uid or text.casefold() in self.name.casefold()

    @property
    def when(self) -> str:
        return "" if self.days is None else f" of day {self.days}"


def find_follow_ups(
    index: Index, graph: ReferenceGraph, *, links: Links, wanted: Sequence[str] = ()
) -> tuple[tuple[FollowUp, ...], DayZero, tuple[Warning, ...]]:
    """Return the visits of the patient after day zero, earliest first (unknown days last); day zero; warnings.

    Parameters
    ----------
    wanted : parts of Series Descriptions, or Series Instance UIDs, of series that are visits whatever their kind.

    Raises
    ------
    StudyError : no later MR series matches a wanted text.
    """
    planning = graph.images[0]
    series = [files[0] for files in index.series.values()]
    studies = {first_file.text("StudyInstanceUID") for first_file in series if series_kind(first_file).is_t1c}
    same_dates = len(studies) > 1 and all_alike((*series, *index.plans, *index.structures))
    zero = DayZero(None, "") if same_dates else day_zero(graph)
    warnings = list(zero.warnings)
    if same_dates:
        warnings.append(WarningCode.DATES_ALIKE(count=len(studies)))
    scans: list[_Scan] = []
    for uid, files in index.series.items():
        first_file = files[0]
        if files is graph.images or first_file.modality != "MR" or (same_dates and _same_session(first_file, planning)):
            continue
        kind = series_kind(first_file)
        date = ObjectDate(None) if same_dates else image_date(first_file)
        days = None if date.day is None or zero.day is None else days_between(zero.day, date.day)
        if days is not None and days <= 0:
            # Dates before and after day zero leave the day unknown; in the planning session they are typing errors.
            if not any(days + n > 0 for _, n in date.differing) or _same_session(first_file, planning):
                continue
            dates = " and ".join([date.source, *(f"{title} ({n:+d} days)" for title, n in date.differing)])
            date, days = ObjectDate(None, "", (f"{dates}: they lie before and after day zero",)), None
        scan = _Scan(uid, files, kind, days, date, tuple(_contoured_on_scan(index, uid)))
        if not any(scan.is_named(text) for text in wanted) and not _is_visit(scan, warnings):
            continue
        person = compare(first_file, planning)
        if person.other:
            warnings.append(WarningCode.OTHER_PATIENT(what=f"'{scan.name}'{scan.when}", reason=person.reason))
            continue
        warnings += _identity_warnings(scan, person)
        warnings += _problems(f"'{scan.name}'", scan.date)
        scans.append(scan)
    for text in wanted:
        if not any(scan.is_named(text) for scan in scans):
            problem = f"has no later MR series '{text}'"
            raise StudyError(index.folder, problem, "Correct --visit; rtresponsecam inspect lists the series")
    visits: list[tuple[tuple[bool, int], FollowUp]] = []
    for scan in _one_per_day(scans, wanted, warnings):
        first_file = scan.files[0]
        matrix = map_into(links, first_file, images=planning)
        same_frame = bool(frames_of(first_file) & frames_of(planning))
        rows = tuple(tuple(float(c) for c in row) for row in matrix) if matrix is not None and not same_frame else None
        structure_sets, rivals = _ranked(scan.drawn)
        visit = FollowUp(
            first_file.text("SeriesDescription"), scan.days, tuple(str(e.path) for e in scan.files),
            tuple(str(e.path) for e in structure_sets), same_frame, rows,
            scan.date.source if scan.days is not None else "", structure_sets[0].path.name if structure_sets else "",
            rivals,
        )  # fmt: skip
        visits.append(((scan.days is None, scan.days or 0), visit))
    return tuple(visit for _, visit in sorted(visits, key=lambda item: item[0])), zero, tuple(warnings)


def day_zero(graph: ReferenceGraph) -> DayZero:
    """Return day zero of a study, with its source."""
    scan = image_date(graph.images[0])
    warnings = _problems("the planning MR", scan)
    plan = ObjectDate(None)
    if graph.plan is not None:
        plan = object_date(graph.plan, ("RTPlanDate",))
        warnings += _problems("the plan", plan)
    if plan.day is None:
        contoured = object_date(graph.structures, ("StructureSetDate",))
        is_near = (
            contoured.day is not None
            and scan.day is not None
            and 0 <= days_between(scan.day, contoured.day) <= NEAR_DAYS
        )
        plan = contoured if is_near else plan
    if plan.day is None or scan.day is None:
        used = plan if plan.day is not None else scan
        source = f"{used.source} of the {'plan' if used is plan else 'planning MR'}" if used.source else ""
        return DayZero(used.day, source, tuple(warnings))
    days_apart = days_between(scan.day, plan.day)
    if days_apart < -1:
        warnings.append(WarningCode.PLAN_BEFORE_MR(source=plan.source, days=-days_apart))
        return DayZero(scan.day, f"{scan.source} of the planning MR", tuple(warnings))
    if days_apart > NEAR_DAYS:
        warnings.append(WarningCode.PLAN_LONG_AFTER_MR(source=plan.source, days=days_apart))
        return DayZero(scan.day, f"{scan.source} of the planning MR", tuple(warnings))
    if days_apart > 1:
        warnings.append(WarningCode.MR_BEFORE_PLAN(days=days_apart, source=plan.source))
    return DayZero(plan.day, f"{plan.source} of the plan", tuple(warnings))


def _is_visit(scan: _Scan, warnings: list[Warning]) -> bool:
    """Whether a series is a follow-up T1c; adds a warning for a computed or an unsure series."""
    if scan.kind.computed and (scan.kind.contrast is not Contrast.NO) and scan.kind.t1 is not False:
        warnings.append(WarningCode.SERIES_DERIVED(name=scan.name, day=scan.when, reason=f"it is {scan.kind.computed}"))
        return False
    if scan.kind.uncertainty:
        warnings.append(WarningCode.SERIES_UNSURE(name=scan.name, day=scan.when, reason=scan.kind.uncertainty))
    return scan.kind.is_t1c


def _one_per_day(scans: Sequence[_Scan], wanted: Sequence[str], warnings: list[Warning]) -> list[_Scan]:
    """Return the visit of each day (of each study, where the day is unknown)."""
    days: defaultdict[object, list[_Scan]] = defaultdict(list)
    for scan in scans:
        days[scan.files[0].text("StudyInstanceUID") or scan.uid if scan.days is None else scan.days].append(scan)
    chosen = []
    for candidates in days.values():

        def rank(scan: _Scan) -> tuple[bool, bool, bool, int, int]:
            is_wanted = any(scan.is_named(text) for text in wanted)
            return is_wanted, bool(scan.drawn), not scan.kind.reformatted, scan.kind.score, len(scan.files)

        best = max(candidates, key=rank)
        chosen.append(best)
        if len(candidates) > 1:
            others = ", ".join(f"'{s.name}' ({len(s.files)} files)" for s in candidates if s is not best)
            day = "an unknown day" if best.days is None else f"day {best.days}"
            warnings.append(WarningCode.SERIES_OF_VISIT(day=day, used=best.name, others=others))
    return chosen


def _identity_warnings(scan: _Scan, person: Comparison) -> list[Warning]:
    label = f"'{scan.name}'{scan.when}"
    if person.verdict is Verdict.SAME_IN_PART:
        differs, agrees = " and ".join(person.differs), " and ".join(person.agrees)
        return [WarningCode.IDENTITY_DIFFERS(what=label, differs=differs, agrees=agrees)]
    if person.verdict is Verdict.OPEN:
        return [WarningCode.IDENTITY_UNVERIFIED(what=label, reason="no ID, name or birth date to compare")]
    return []


def _problems(what: str, date: ObjectDate) -> list[Warning]:
    """Return warnings about the dates of an object."""
    warnings = []
    if date.day is None:
        for problem in date.problems[:1]:
            title, _, reason = problem.partition(": ")
            warnings.append(WarningCode.DATE_UNKNOWN(what=f"{title} of {what}", reason=reason))
    if date.differing:
        dates = " and ".join([date.source, *(f"{title} ({days:+d} days)" for title, days in date.differing)])
        warnings.append(WarningCode.DATES_DIFFER(what=what, dates=dates, used=date.source))
    return warnings


def _same_session(first: Entry, second: Entry) -> bool:
    """Whether two series share a study or a frame of reference: they are of one session, whatever their dates."""
    study_uid = first.text("StudyInstanceUID")
    return bool(study_uid and study_uid == second.text("StudyInstanceUID")) or bool(
        frames_of(first) & frames_of(second)
    )


def _contoured_on_scan(index: Index, series_uid: str) -> list[Entry]:
    """Return the objects that reference the series: structure sets first, then segmentations."""
    return [entry for entry in index.structures if series_uid in referenced_series(entry, index)]


def _ranked(drawn: Sequence[Entry]) -> tuple[list[Entry], str]:
    """Return the objects best first, and the file names of those that share the first rank ("" for a single one).

    RTSTRUCT ranks before SEG, approved before not approved, then the latest first.
    """

    def rank(entry: Entry) -> tuple[bool, int, str]:
        return entry.modality == "RTSTRUCT", approval(entry), contoured_at(entry)

    ordered = sorted(drawn, key=rank, reverse=True)
    same_rank = [entry.path.name for entry in ordered if rank(entry) == rank(ordered[0])]
    return ordered, ", ".join(same_rank) if len(same_rank) > 1 else ""
