"""User options for reading a study: they supply data that its files lack, or override them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

NO_DOSE = "none"


@dataclass(frozen=True)
class ReadOptions:
    """User options for reading a study: they supply data that its files lack, or override them.

    Attributes
    ----------
    prescription_gy, isodose_percent : prescription for every target, Gy and percent; an isodose without a dose is a
        percentage of the dose maximum.
    prescriptions_gy : prescription of single targets, Gy, by ROI name.
    series : part of the Series Description (or UID) of the planning MR.
    rois : names of the ROIs to use as lesions.
    course : name ("C2") or label of the course.
    course_if_several : the same, but ignored where the folder holds a single course.
    plan, structures : label or file name of the plan and the structure set.
    doses : file names of the RTDOSE to use, several are summed; ("none",) leaves the dose out.
    dose_fractions : see `rtdose.read_plan_dose`.
    visits : parts of Series Descriptions (or UIDs) of series that are follow-ups whatever their kind.
    with_dose : False skips the dose, where only lesions and follow-ups are needed.
    """

    prescription_gy: float | None = None
    isodose_percent: float | None = None
    prescriptions_gy: Mapping[str, float] = field(default_factory=dict)
    series: str | None = None
    rois: tuple[str, ...] = ()
    course: str | None = None
    course_if_several: str | None = None
    plan: str | None = None
    structures: str | None = None
    doses: tuple[str, ...] = ()
    dose_fractions: int | None = None
    visits: tuple[str, ...] = ()
    with_dose: bool = True

    def answered(self, option: str, answer: Any) -> ReadOptions:
        """Return the options with the answer to a `QuestionError`; a target's prescription is added to earlier ones."""
        if option == "prescriptions_gy":
            name, dose = answer
            return replace(self, prescriptions_gy={**self.prescriptions_gy, name: dose})
        return replace(self, **{option: answer})


AS_FOUND = ReadOptions()  # no user options
