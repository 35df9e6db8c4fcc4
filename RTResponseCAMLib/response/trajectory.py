"""A lesion over time: what each visit measured, how it changed, and the label of the visit nearest three months."""

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
    """What one follow-up says of one lesion.

    Attributes
    ----------
    name : "F1", "F2", …
    days : after the plan, None when unknown.
    status : "matched", "split", "merged", "vanished", "proposed" or "unknown".
    volume : None when unknown; a vanished lesion has an `absent_volume`.
    diameters : None when unknown or vanished.
    baseline : volume at the plan that it is compared with (of all lesions together that have merged).
    baseline_diameters : None for merged lesions.
    source : "RTSTRUCT", "SEG", "label map", "proposed" or "".
    merged_with : ids of lesions that share its region.
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
    """What a convention says of one visit; ``change`` is against baseline, None when unknown."""

    visit: str
    days: int | None
    category: str
    change: Change | None
    reason: str


def assess(trajectory: Trajectory, visit: Visit, convention: Convention) -> ResponseAssessment:
    """Name one visit's change by a convention; what was only proposed is never more than indeterminate."""
    found = _assess(trajectory, visit, convention)
    if found.category not in (UNKNOWN, NOT_MEASURABLE) and withhold_class(visit.warnings):
        reason = "; ".join(w.text for w in visit.warnings if w.code.withholds_class)
        return replace(found, category=INDETERMINATE, reason=reason)
    if visit.status == PROPOSED and found.category not in (UNKNOWN, NOT_MEASURABLE):
        # The interval speaks of a drawn boundary; on phantoms, a third of the certain words of proposals were wrong.
        return replace(found, category=INDETERMINATE, reason="proposed by the program, not confirmed by a person")
    return found


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
    # From nothing, any growth is growth: a reappearing lesion is measured against the smallest that can be seen.
    growth = change_interval(
        nadir if nadir.cc > 0 else Volume(nadir.high_cc, nadir.high_cc, nadir.high_cc), visit.volume
    )
    category = classify(convention, change, growth=growth)
    return ResponseAssessment(visit.name, visit.days, category, change, _reason(visit))


def nearest_in_window(
    days: Sequence[int | None], target_days: int = TARGET_DAYS, *, window_days: tuple[int, int] = WINDOW_DAYS
) -> int | None:
    """Position of the day nearest ``target_days`` within the window, the earlier of two; None when none lies there."""
    inside = [(abs(d - target_days), d, n) for n, d in enumerate(days) if d is not None]
    inside = [place for place in inside if window_days[0] <= place[1] <= window_days[1]]
    return min(inside)[2] if inside else None


def three_month_label(
    trajectory: Trajectory,
    convention: Convention = CONVENTIONS["volume-20"],
    *,
    target_days: int = TARGET_DAYS,
    window_days: tuple[int, int] = WINDOW_DAYS,
) -> ResponseAssessment:
    """Judge the visit nearest ``target_days`` within the window; "unknown" without one, never a guess.

    Visits that were drawn go before those that were only proposed, and these before unknown ones; what is passed over
    is named.
    """
    visits = trajectory.visits
    if nearest_in_window([v.days for v in visits], target_days, window_days=window_days) is None:
        reason = f"no visit between day {window_days[0]} and day {window_days[1]}"
        return ResponseAssessment("", None, UNKNOWN, None, reason)
    passed: list[str] = []
    for kind in ("contoured", PROPOSED, "unknown"):
        place = nearest_in_window(
            [v.days if _kind(v) == kind else None for v in visits], target_days, window_days=window_days
        )  # fmt: skip
        if place is not None:
            break
    assert place is not None
    chosen = visits[place]
    nearest = visits[nearest_in_window([v.days for v in visits], target_days, window_days=window_days) or 0]
    if nearest is not chosen:
        passed = [f"{nearest.name} (day {nearest.days}) is {_kind(nearest)} and passed over"]
    found = assess(trajectory, chosen, convention)
    return replace(found, reason="; ".join([found.reason, *passed]))


def _kind(visit: Visit) -> str:
    return "unknown" if visit.volume is None else PROPOSED if visit.status == PROPOSED else "contoured"


def _assess_diameter(trajectory: Trajectory, visit: Visit, convention: Convention) -> ResponseAssessment:
    before = visit.baseline_diameters
    if before is None:
        return ResponseAssessment(visit.name, visit.days, UNKNOWN, None, "merged lesions have no diameter of their own")
    small = before.longest_mm < convention.measurable_mm or before.perpendicular_mm < convention.perpendicular_mm
    if small or before.slices < convention.slices:
        reason = f"{before.longest_mm:.1f} × {before.perpendicular_mm:.1f} mm at baseline"
        return ResponseAssessment(visit.name, visit.days, NOT_MEASURABLE, None, reason)
    now = visit.diameters.longest_mm if visit.diameters else 0.0
    slack = DIAMETER_SHARE * trajectory.boundary_mm
    change = _diameter_change(before.longest_mm, now, slack)
    nadir = min(
        [before.longest_mm]
        + [v.diameters.longest_mm if v.diameters else 0.0 for v in _before(trajectory, visit) if v.volume]
    )
    growth = _diameter_change(max(nadir, slack, 1e-3), now, slack)
    reach = slack * 2**0.5
    grown_mm = Change(now - nadir, now - nadir - reach, now - nadir + reach)
    category = classify(convention, change, growth=growth, growth_mm=grown_mm)
    return ResponseAssessment(visit.name, visit.days, category, change, _reason(visit))


def _diameter_change(before: float, now: float, slack: float) -> Change:
    """Relative change; both ends of both diameters err independently by half the slack each."""
    if now <= 0:
        return Change(-1.0, -1.0, -1.0)
    half_width = now / before * ((slack / before) ** 2 + (slack / now) ** 2) ** 0.5
    value = now / before - 1
    return Change(value, value - half_width, value + half_width)


def _before(trajectory: Trajectory, visit: Visit) -> list[Visit]:
    """Earlier visits that may be the nadir: not what was only proposed, nor several lesions together."""
    place = next(n for n, v in enumerate(trajectory.visits) if v.name == visit.name)
    return [v for v in trajectory.visits[:place] if v.status not in (PROPOSED, "merged")]


def _reason(visit: Visit) -> str:
    with_whom = f" with {', '.join(visit.merged_with)}" if visit.merged_with else ""
    source = "" if visit.source in ("", visit.status) else f", from {visit.source}"
    return f"{visit.status}{with_whom}{source}"
