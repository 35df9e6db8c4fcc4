"""Trajectory of a lesion: measurements of each visit, their changes, and the label of the three-month visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from RTResponseCAMLib.response.conventions import (
    CONVENTIONS,
    INDETERMINATE,
    NOT_MEASURABLE,
    UNKNOWN,
    Convention,
    classify,
)
from RTResponseCAMLib.response.diameter import Diameters
from RTResponseCAMLib.response.volume import BOUNDARY_MM, Change, Volume, change_interval
from RTResponseCAMLib.warnings import Warning, withhold_class

TARGET_DAYS, WINDOW_DAYS = 90, (60, 120)
PROPOSED = "proposed"
DIAMETER_SHARE = 2.0  # a diameter has two ends


@dataclass(frozen=True)
class Visit:
    """Measurements of one lesion at one follow-up.

    Attributes
    ----------
    name : "F1", "F2", …
    days : days after the plan, None when unknown.
    status : "matched", "split", "merged", "vanished", "proposed" or "unknown".
    volume : None when unknown; a vanished lesion has an `absent_volume`.
    diameters : None when unknown or vanished.
    baseline : volume at the plan for comparison; for merged lesions, the sum of their volumes.
    baseline_diameters : diameters at the plan; None for merged lesions.
    source : "RTSTRUCT", "SEG", "label map", "proposed" or "".
    merged_with : ids of lesions that share its region.
    warnings : warnings for this visit.
    """

    name: str
    days: int | None
    status: str
    volume: Volume | None
    diameters: Diameters | None
    baseline: Volume
    baseline_diameters: Diameters | None
    source: str
    merged_with: tuple[str, ...] = ()
    warnings: tuple[Warning, ...] = ()


@dataclass(frozen=True)
class Trajectory:
    """One lesion of the plan and its visits, earliest first; ``boundary_mm`` as in `volume_interval`."""

    lesion: str
    roi: str
    baseline: Volume
    baseline_diameters: Diameters
    visits: tuple[Visit, ...]
    boundary_mm: float = BOUNDARY_MM


@dataclass(frozen=True)
class ResponseAssessment:
    """Category of one visit by a convention, with the reason; ``change`` is relative to baseline, None when unknown."""

    visit: str
    days: int | None
    category: str
    change: Change | None
    reason: str


def assess(trajectory: Trajectory, visit: Visit, *, convention: Convention) -> ResponseAssessment:
    """Category of one visit by a convention; a proposed contour or a withheld class gives at most indeterminate."""
    assessment = _assess(trajectory, visit, convention)
    if assessment.category not in (UNKNOWN, NOT_MEASURABLE) and withhold_class(visit.warnings):
        reason = "; ".join(w.text for w in visit.warnings if w.code.withholds_class)
        return replace(assessment, category=INDETERMINATE, reason=reason)
    if visit.status == PROPOSED and assessment.category not in (UNKNOWN, NOT_MEASURABLE):
        # The interval applies to a contoured boundary; on phantoms, a third of the definite categories of proposed
        # contours were wrong.
        return replace(assessment, category=INDETERMINATE, reason="proposed by the program, not confirmed by a person")
    return assessment


def _assess(trajectory: Trajectory, visit: Visit, convention: Convention) -> ResponseAssessment:
    if visit.volume is None:
        reason = "; ".join(c.text for c in visit.warnings) or "nothing was measured"
        return ResponseAssessment(visit.name, visit.days, UNKNOWN, None, reason)
    if convention.measure == "diameter":
        return _assess_diameter(trajectory, visit, convention)
    change = change_interval(visit.baseline, visit.volume)
    nadir = visit.baseline
    if convention.progression_from == "nadir" and not visit.merged_with:
        nadir = min((v.volume for v in _before(trajectory, visit) if v.volume), key=lambda v: v.cc, default=nadir)
        nadir = min((nadir, visit.baseline), key=lambda v: v.cc)
    # A nadir of zero gives no ratio: growth of a reappearing lesion is relative to the smallest visible volume.
    growth = change_interval(
        nadir if nadir.cc > 0 else Volume(nadir.high_cc, nadir.high_cc, nadir.high_cc), visit.volume
    )
    category = classify(convention, change, growth=growth)
    return ResponseAssessment(visit.name, visit.days, category, change, _reason(visit))


def nearest_in_window(
    days: Sequence[int | None], target_days: int = TARGET_DAYS, *, window_days: tuple[int, int] = WINDOW_DAYS
) -> int | None:
    """Index of the day nearest ``target_days`` in the window (the earlier at equal distance); None without one."""
    candidates = [(abs(day - target_days), day, index) for index, day in enumerate(days) if day is not None]
    candidates = [candidate for candidate in candidates if window_days[0] <= candidate[1] <= window_days[1]]
    return min(candidates)[2] if candidates else None


def three_month_label(
    trajectory: Trajectory,
    convention: Convention = CONVENTIONS["volume-20"],
    *,
    target_days: int = TARGET_DAYS,
    window_days: tuple[int, int] = WINDOW_DAYS,
) -> ResponseAssessment:
    """Category of the visit nearest ``target_days`` in the window; "unknown" when the window contains no visit.

    Contoured visits take precedence over visits with a proposed contour, and these over unknown ones. The reason names
    a nearer visit that is not used.

    Parameters
    ----------
    target_days : target day after the plan.
    window_days : first and last day after the plan, inclusive.
    """
    visits = trajectory.visits
    if nearest_in_window([v.days for v in visits], target_days, window_days=window_days) is None:
        reason = f"no visit between day {window_days[0]} and day {window_days[1]}"
        return ResponseAssessment("", None, UNKNOWN, None, reason)
    not_used: list[str] = []
    for kind in ("contoured", PROPOSED, "unknown"):
        index = nearest_in_window(
            [v.days if _kind(v) == kind else None for v in visits], target_days, window_days=window_days
        )  # fmt: skip
        if index is not None:
            break
    assert index is not None
    chosen = visits[index]
    nearest = visits[nearest_in_window([v.days for v in visits], target_days, window_days=window_days) or 0]
    if nearest is not chosen:
        not_used = [f"{nearest.name} (day {nearest.days}) is {_kind(nearest)} and not used"]
    assessment = assess(trajectory, chosen, convention=convention)
    return replace(assessment, reason="; ".join([assessment.reason, *not_used]))


def _kind(visit: Visit) -> str:
    return "unknown" if visit.volume is None else PROPOSED if visit.status == PROPOSED else "contoured"


def _assess_diameter(trajectory: Trajectory, visit: Visit, convention: Convention) -> ResponseAssessment:
    baseline = visit.baseline_diameters
    if baseline is None:
        return ResponseAssessment(visit.name, visit.days, UNKNOWN, None, "merged lesions have no diameter of their own")
    too_small = (
        baseline.longest_mm < convention.measurable_mm or baseline.perpendicular_mm < convention.perpendicular_mm
    )
    if too_small or baseline.slices < convention.slices:
        reason = f"{baseline.longest_mm:.1f} × {baseline.perpendicular_mm:.1f} mm at baseline"
        return ResponseAssessment(visit.name, visit.days, NOT_MEASURABLE, None, reason)
    current_mm = visit.diameters.longest_mm if visit.diameters else 0.0
    slack_mm = DIAMETER_SHARE * trajectory.boundary_mm
    change = _diameter_change(baseline.longest_mm, current_mm, slack_mm)
    nadir_mm = min(
        [baseline.longest_mm]
        + [v.diameters.longest_mm if v.diameters else 0.0 for v in _before(trajectory, visit) if v.volume]
    )
    growth = _diameter_change(max(nadir_mm, slack_mm, 1e-3), current_mm, slack_mm)
    half_width_mm = slack_mm * 2**0.5
    grown_mm = Change(
        current_mm - nadir_mm, current_mm - nadir_mm - half_width_mm, current_mm - nadir_mm + half_width_mm
    )
    category = classify(convention, change, growth=growth, growth_mm=grown_mm)
    return ResponseAssessment(visit.name, visit.days, category, change, _reason(visit))


def _diameter_change(before: float, now: float, slack: float) -> Change:
    """Relative change with its interval; each end of both diameters has an independent error of half the slack."""
    if now <= 0:
        return Change(-1.0, -1.0, -1.0)
    half_width = now / before * ((slack / before) ** 2 + (slack / now) ** 2) ** 0.5
    value = now / before - 1
    return Change(value, value - half_width, value + half_width)


def _before(trajectory: Trajectory, visit: Visit) -> list[Visit]:
    """Earlier visits that may be the nadir: neither proposed contours nor merged lesions."""
    position_index = next(n for n, v in enumerate(trajectory.visits) if v.name == visit.name)
    return [v for v in trajectory.visits[:position_index] if v.status not in (PROPOSED, "merged")]


def _reason(visit: Visit) -> str:
    merged_text = f" with {', '.join(visit.merged_with)}" if visit.merged_with else ""
    source_text = "" if visit.source in ("", visit.status) else f", from {visit.source}"
    return f"{visit.status}{merged_text}{source_text}"
