"""Response conventions: named thresholds that assign a category to a change; the user can change every threshold.

The volume threshold of −20 % is an early-response label, not a RANO category: it corresponds to −7 % in diameter, which
is "stable" in RANO-BM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.response.volume import Change

RESPONSE, NON_RESPONSE, PROGRESSION, STABLE, COMPLETE = (
    "response", "non-response", "progression", "stable", "complete response",
)  # fmt: skip
INDETERMINATE, UNKNOWN, NOT_MEASURABLE = "indeterminate", "unknown", "not measurable"


@dataclass(frozen=True)
class Convention:
    """Thresholds that assign a category to a change.

    Attributes
    ----------
    name : key in `CONVENTIONS`, or that name with the changed thresholds.
    measure : "volume" or "diameter".
    response : relative change from baseline below which the category is response (−0.2: more than 20 % smaller).
    progression : relative change above which the category is progression; None when there is no such category.
    progression_from : reference of growth: "baseline" or "nadir" (the smallest value before the visit).
    min_growth_mm : absolute growth of the diameter that progression also requires, mm.
    measurable_mm, perpendicular_mm, slices : smallest longest diameter (mm), smallest perpendicular diameter (mm) and
        smallest number of slices of a measurable lesion.
    source : source of the thresholds.
    """

    name: str
    measure: str
    response: float
    progression: float | None = None
    progression_from: str = "baseline"
    min_growth_mm: float = 0.0
    measurable_mm: float = 0.0
    perpendicular_mm: float = 0.0
    slices: int = 0
    source: str = ""


CONVENTIONS = {
    "volume-20": Convention("volume-20", "volume", -0.20, source="arXiv 2506.17536: shrinks by more than 20 %"),
    "volume-65": Convention(
        "volume-65", "volume", -0.65, 0.20, "nadir", source="Oft et al. 2021, Front Oncol 10:590980: 65 % and 20 %"
    ),
    "rano-bm": Convention(
        "rano-bm", "diameter", -0.30, 0.20, "nadir", 5.0, 10.0, 5.0, 2,
        source="Lin et al. 2015, doi 10.1016/S1470-2045(15)70057-4; 5 mm: absolute growth of one lesion",
    ),
}  # fmt: skip


def with_thresholds(convention: Convention, response: float | None, *, progression: float | None) -> Convention:
    """The convention with thresholds set by the user, in percent; its name and source state the change.

    Raises
    ------
    CohortError : a response threshold outside −100…0 %, a progression threshold not above 0 %.
    """
    if response is None and progression is None:
        return convention
    if (response is not None and not -100 < response < 0) or (progression is not None and not 0 < progression <= 1000):
        problem = f"are {response} % and {progression} %, expected below 0 % and above 0 %"
        raise CohortError("thresholds", problem, "Correct --response-below or --progression-above")
    below = convention.response if response is None else response / 100
    above = convention.progression if progression is None else progression / 100
    limits = f"{100 * below:+g} %" + ("" if above is None else f", {100 * above:+g} %")
    name, source = f"{convention.name} changed to {limits}", f"thresholds of the user, after {convention.name}"
    return replace(convention, name=name, response=below, progression=above, source=source)


def classify(
    convention: Convention, change: Change | None, *, growth: Change | None, growth_mm: Change | None = None
) -> str:
    """Category of a change.

    Parameters
    ----------
    change : relative to baseline; None when unknown (an unknown change is not zero).
    growth : relative to the reference in ``progression_from``; used only when the convention has progression.
    growth_mm : absolute growth of the diameter from the same reference, mm, with its interval; None for volumes.
    """
    if change is None or change.value != change.value:
        return UNKNOWN
    if change.value <= -1.0 and convention.progression is not None:
        return COMPLETE
    progression_limit = convention.progression
    if progression_limit is not None and growth is not None:
        low_mm, high_mm = (growth_mm.low, growth_mm.high) if growth_mm is not None else (math.inf, math.inf)
        if growth.low > progression_limit and low_mm >= convention.min_growth_mm:
            return PROGRESSION
        if growth.high > progression_limit and high_mm >= convention.min_growth_mm:
            return INDETERMINATE
    if change.high < convention.response:
        return RESPONSE
    if change.low < convention.response:
        return INDETERMINATE
    return NON_RESPONSE if progression_limit is None else STABLE
