"""Named conventions that turn a change into a word; every threshold can be changed, and travels with the answer.

The −20 % of volume is an early-response label, not a RANO class: it is 7 % of diameter, "stable" in RANO-BM.
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
    """How a change is named.

    Attributes
    ----------
    measure : "volume" or "diameter".
    response : relative change to baseline below which it is a response (−0.2: more than 20 % smaller).
    progression : relative change above which it is progression, None when the convention has no such class.
    progression_from : what growth is measured against: "baseline" or "nadir" (the smallest before the visit).
    min_growth_mm : absolute growth of a diameter that progression needs as well.
    measurable_mm, perpendicular_mm, slices : smallest diameters and number of slices of a measurable lesion.
    source : where the thresholds come from.
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
    """The convention with thresholds of the user's own, in percent; its name and source then say so.

    Raises
    ------
    CohortError : a response threshold outside −100…0 %, a progression threshold not above 0 %.
    """
    if response is None and progression is None:
        return convention
    if (response is not None and not -100 < response < 0) or (progression is not None and not 0 < progression <= 1000):
        what = f"are {response} % and {progression} %, expected below 0 % and above 0 %"
        raise CohortError("thresholds", what, "Correct --response-below or --progression-above")
    below = convention.response if response is None else response / 100
    above = convention.progression if progression is None else progression / 100
    limits = f"{100 * below:+g} %" + ("" if above is None else f", {100 * above:+g} %")
    name, source = f"{convention.name} changed to {limits}", f"thresholds of the user, after {convention.name}"
    return replace(convention, name=name, response=below, progression=above, source=source)


def classify(
    convention: Convention, change: Change | None, *, growth: Change | None, growth_mm: Change | None = None
) -> str:
    """Name a change.

    Parameters
    ----------
    change : against baseline; None when it is unknown (never read as zero).
    growth : against the convention's ``progression_from``; only used when it names progression.
    growth_mm : absolute growth of the diameter against the same, mm, with its interval; None for volumes.
    """
    if change is None or change.value != change.value:
        return UNKNOWN
    if change.value <= -1.0 and convention.progression is not None:
        return COMPLETE
    grown = convention.progression
    if grown is not None and growth is not None:
        least, most = (growth_mm.low, growth_mm.high) if growth_mm is not None else (math.inf, math.inf)
        if growth.low > grown and least >= convention.min_growth_mm:
            return PROGRESSION
        if growth.high > grown and most >= convention.min_growth_mm:
            return INDETERMINATE
    if change.high < convention.response:
        return RESPONSE
    if change.low < convention.response:
        return INDETERMINATE
    return NON_RESPONSE if grown is None else STABLE
