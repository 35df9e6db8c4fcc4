"""Later scans beside a plan: from which day days count, which series are visits, what was contoured on them.

Day zero is RT Plan Date; without a plan, Structure Set Date where it lies within `NEAR_DAYS` after the planning MR;
else the date of the planning MR. A plan is never older than its images, nor more than `NEAR_DAYS` younger: then the
images' date counts.
A day has one visit: the scan on which lesions were contoured, else the original T1c with the most files.
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
    """The day from which days count; ``day`` None when unknown."""

    day: np.datetime64 | None
    source: str
    warnings: tuple[Warning, ...] = ()


@dataclass(frozen=True)
class _Scan:
    """A later series: its kind, its days after day zero (None: unknown), and what was contoured on it."""

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
        """Whether a user's text names it: part of its description, or its UID."""
        return text == self.uid or text.casefold() in self.name.casefold()

    @property
    def when(self) -> str:
        return "" if self.days is None else f" of day {self.days}"


def find_follow_ups(
    index: Index, graph: ReferenceGraph, *, links: Links, wanted: Sequence[str] = ()
) -> tuple[tuple[FollowUp, ...], DayZero, tuple[Warning, ...]]:
    """Visits of the same patient after day zero, earliest first (unknown days last); day zero; warnings.

    Parameters
    ----------
    wanted : texts of Series Descriptions, or Series Instance UIDs, that are visits whatever their kind.

    Raises
    ------
    StudyError : nothing matches a wanted text.
    """
    planning = graph.images[0]
    series = [files[0] for files in index.series.values()]
    studies = {first.text("StudyInstanceUID") for first in series if series_kind(first).is_t1c}
    alike = len(studies) > 1 and all_alike((*series, *index.plans, *index.structures))
    zero = DayZero(None, "") if alike else day_zero(graph)
    warnings = list(zero.warnings)
    if alike:
        warnings.append(WarningCode.DATES_ALIKE(count=len(studies)))
    scans: list[_Scan] = []
    for uid, files in index.series.items():
        first = files[0]
        if files is graph.images or first.modality != "MR" or (alike and _same_session(first, planning)):
            continue
        kind = series_kind(first)
        date = ObjectDate(None) if alike else image_date(first)
        days = None if date.day is None or zero.day is None else days_between(zero.day, date.day)
        if days is not None and days <= 0:
            # Dates on both sides of day zero leave the day open; of the planning session they are typing errors.
            if not any(days + n > 0 for _, n in date.differing) or _same_session(first, planning):
                continue
            dates = " and ".join([date.source, *(f"{title} ({n:+d} days)" for title, n in date.differing)])
            date, days = ObjectDate(None, "", (f"{dates}: they lie before and after day zero",)), None
        scan = _Scan(uid, files, kind, days, date, tuple(_contoured_on_scan(index, uid)))
        if not any(scan.is_named(text) for text in wanted) and not _is_visit(scan, warnings):
            continue
        person = compare(first, planning)
        if person.other:
            warnings.append(WarningCode.OTHER_PATIENT(what=f"'{scan.name}'{scan.when}", reason=person.reason))
            continue
        warnings += _identity_warnings(scan, person)
        warnings += _problems(f"'{scan.name}'", scan.date)
        scans.append(scan)
    for text in wanted:
        if not any(scan.is_named(text) for scan in scans):
            what = f"has no later MR series '{text}'"
            raise StudyError(index.folder, what, "Correct --visit; rtresponsecam inspect lists the series")
    found: list[tuple[tuple[bool, int], FollowUp]] = []
    for scan in _one_per_day(scans, wanted, warnings):
        first = scan.files[0]
        matrix = map_into(links, first, images=planning)
        same = bool(frames_of(first) & frames_of(planning))
        rows = tuple(tuple(float(c) for c in row) for row in matrix) if matrix is not None and not same else None
        drawn, question = _ranked(scan.drawn)
        visit = FollowUp(
            first.text("SeriesDescription"), scan.days, tuple(str(e.path) for e in scan.files),
            tuple(str(e.path) for e in drawn), same, rows, scan.date.source if scan.days is not None else "",
            drawn[0].path.name if drawn else "", question,
        )  # fmt: skip
        found.append(((scan.days is None, scan.days or 0), visit))
    return tuple(visit for _, visit in sorted(found, key=lambda item: item[0])), zero, tuple(warnings)


def day_zero(graph: ReferenceGraph) -> DayZero:
    """The day from which a study's days count, and where it comes from."""
    scan = image_date(graph.images[0])
    warnings = _problems("the planning MR", scan)
    plan = ObjectDate(None)
    if graph.plan is not None:
        plan = object_date(graph.plan, ("RTPlanDate",))
        warnings += _problems("the plan", plan)
    if plan.day is None:
        drawn = object_date(graph.structures, ("StructureSetDate",))
        near = drawn.day is not None and scan.day is not None and 0 <= days_between(scan.day, drawn.day) <= NEAR_DAYS
        plan = drawn if near else plan
    if plan.day is None or scan.day is None:
        known = plan if plan.day is not None else scan
        source = f"{known.source} of the {'plan' if known is plan else 'planning MR'}" if known.source else ""
        return DayZero(known.day, source, tuple(warnings))
    apart = days_between(scan.day, plan.day)
    if apart < -1:
        warnings.append(WarningCode.PLAN_BEFORE_MR(source=plan.source, days=-apart))
        return DayZero(scan.day, f"{scan.source} of the planning MR", tuple(warnings))
    if apart > NEAR_DAYS:
        warnings.append(WarningCode.PLAN_LONG_AFTER_MR(source=plan.source, days=apart))
        return DayZero(scan.day, f"{scan.source} of the planning MR", tuple(warnings))
    if apart > 1:
        warnings.append(WarningCode.MR_BEFORE_PLAN(days=apart, source=plan.source))
    return DayZero(plan.day, f"{plan.source} of the plan", tuple(warnings))


def _is_visit(scan: _Scan, warnings: list[Warning]) -> bool:
    """Whether a series is a follow-up T1c; a computed one and an unsure one are named."""
    if scan.kind.computed and (scan.kind.contrast is not Contrast.NO) and scan.kind.t1 is not False:
        warnings.append(WarningCode.SERIES_DERIVED(name=scan.name, day=scan.when, reason=f"it is {scan.kind.computed}"))
        return False
    if scan.kind.uncertainty:
        warnings.append(WarningCode.SERIES_UNSURE(name=scan.name, day=scan.when, reason=scan.kind.uncertainty))
    return scan.kind.is_t1c


def _one_per_day(scans: Sequence[_Scan], wanted: Sequence[str], warnings: list[Warning]) -> list[_Scan]:
    """The visit of each day (of each study, where the day is unknown)."""
    days: defaultdict[object, list[_Scan]] = defaultdict(list)
    for scan in scans:
        days[scan.files[0].text("StudyInstanceUID") or scan.uid if scan.days is None else scan.days].append(scan)
    chosen = []
    for same in days.values():

        def rank(scan: _Scan) -> tuple[bool, bool, bool, int, int]:
            asked = any(scan.is_named(text) for text in wanted)
            return asked, bool(scan.drawn), not scan.kind.reformatted, scan.kind.score, len(scan.files)

        best = max(same, key=rank)
        chosen.append(best)
        if len(same) > 1:
            others = ", ".join(f"'{s.name}' ({len(s.files)} files)" for s in same if s is not best)
            day = "a day that is not known" if best.days is None else f"day {best.days}"
            warnings.append(WarningCode.SERIES_OF_VISIT(day=day, used=best.name, others=others))
    return chosen


def _identity_warnings(scan: _Scan, person: Comparison) -> list[Warning]:
    what = f"'{scan.name}'{scan.when}"
    if person.verdict is Verdict.SAME_IN_PART:
        differs, agrees = " and ".join(person.differs), " and ".join(person.agrees)
        return [WarningCode.IDENTITY_DIFFERS(what=what, differs=differs, agrees=agrees)]
    if person.verdict is Verdict.OPEN:
        return [WarningCode.IDENTITY_UNVERIFIED(what=what, reason="no ID, name or birth date to compare")]
    return []


def _problems(what: str, date: ObjectDate) -> list[Warning]:
    """What is wrong with an object's dates."""
    found = []
    if date.day is None:
        for problem in date.problems[:1]:
            title, _, reason = problem.partition(": ")
            found.append(WarningCode.DATE_UNKNOWN(what=f"{title} of {what}", reason=reason))
    if date.differing:
        dates = " and ".join([date.source, *(f"{title} ({days:+d} days)" for title, days in date.differing)])
        found.append(WarningCode.DATES_DIFFER(what=what, dates=dates, used=date.source))
    return found


def _same_session(one: Entry, other: Entry) -> bool:
    """Of one study or one frame of reference: scanned together, whatever the dates say."""
    study = one.text("StudyInstanceUID")
    return bool(study and study == other.text("StudyInstanceUID")) or bool(frames_of(one) & frames_of(other))


def _contoured_on_scan(index: Index, series_uid: str) -> list[Entry]:
    """Structure sets first, then segmentations, that name the series."""
    return [entry for entry in index.structures if series_uid in referenced_series(entry, index)]


def _ranked(drawn: Sequence[Entry]) -> tuple[list[Entry], str]:
    """Best first: RTSTRUCT before SEG, approved before not, then the latest; and a question where two rank alike."""

    def rank(entry: Entry) -> tuple[bool, int, str]:
        return entry.modality == "RTSTRUCT", approval(entry), contoured_at(entry)

    ordered = sorted(drawn, key=rank, reverse=True)
    alike = [entry.path.name for entry in ordered if rank(entry) == rank(ordered[0])]
    return ordered, ", ".join(alike) if len(alike) > 1 else ""
