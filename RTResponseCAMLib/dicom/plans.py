"""Which plan and which doses belong to a structure set, and which of several plans counts.

Rules, in this order: plans for verification or machine tests and REJECTED plans are left out while another is there;
APPROVED goes before the rest; a plan with a dose goes before one without. Plans that are still several are a question
to the user (``--plan``), never a choice by order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from RTResponseCAMLib.dicom.dates import object_date
from RTResponseCAMLib.dicom.identity import compare
from RTResponseCAMLib.dicom.index import Entry, Index
from RTResponseCAMLib.dicom.references import frames_of, present, referenced
from RTResponseCAMLib.errors import QuestionError, StudyError
from RTResponseCAMLib.warnings import Warning, WarningCode

NO_TREATMENT = {"VERIFICATION", "MACHINE_QA", "RESEARCH", "SERVICE"}
PLAN_NAME = "RT Plan Label or file name"


@dataclass(frozen=True)
class PlanChoice:
    """The plan of a structure set.

    Attributes
    ----------
    plan : None when there is none, or none that may be used.
    doses : its RTDOSE objects.
    rivals : plans between which no rule decides; the plan is the first of them until the user says which.
    refused : why a plan that is there is not used, "" otherwise.
    warnings : what was decided, and how.
    """

    plan: Entry | None
    doses: tuple[Entry, ...]
    rivals: tuple[Entry, ...] = ()
    refused: str = ""
    warnings: tuple[Warning, ...] = ()


def choose_plan(index: Index, structures: Entry, *, wanted: str | None = None) -> PlanChoice:
    """Find the plan of a structure set and its doses.

    Parameters
    ----------
    wanted : label or file name of the plan, to overrule the rules.
    """
    plans, warnings = _plans_of(index, structures)
    if wanted is not None:
        plans = [p for p in plans if is_named(p, wanted)]
    pairs = [(p, doses_of(index, structures, plan=p)) for p in plans]
    if not pairs:
        return PlanChoice(None, () if wanted is not None else doses_of(index, structures, plan=None))
    kept = pairs
    for reason, usable in (
        ("its intent is no treatment (300A,000A)", lambda p, _: p.text("PlanIntent").upper() not in NO_TREATMENT),
        ("it is REJECTED (300E,0002)", lambda p, _: approval(p) >= 0),
        ("another is APPROVED (300E,0002)", lambda p, _: approval(p) > 0),
        ("another has a dose", lambda _, doses: bool(doses)),
    ):
        better = [pair for pair in kept if usable(*pair)]
        if better and wanted is None:
            left = [p for p, _ in kept if all(p is not q for q, _ in better)]
            warnings += [WarningCode.PLAN_LEFT_OUT(plan=plan_name(p), reason=reason) for p in left]
            kept = better
    plan, doses = kept[0]
    status = plan.text("ApprovalStatus").upper()
    intent = plan.text("PlanIntent").upper()
    refused = ""
    if status == "REJECTED" or intent in NO_TREATMENT:
        tag = "(300E,0002)" if status == "REJECTED" else "(300A,000A)"
        if wanted is None:
            refused = f"is {status if status == 'REJECTED' else intent} {tag}, and there is no other plan"
        else:
            warnings.append(WarningCode.PLAN_NOT_APPROVED(plan=plan_name(plan), status=status or intent))
    rivals = tuple(p for p, _ in kept) if len(kept) > 1 else ()
    return PlanChoice(plan, doses, rivals, refused, tuple(warnings))


def check_choice(index: Index, choice: PlanChoice) -> None:
    """Ask where no rule decided.

    Raises
    ------
    StudyError : several plans are left, the only one is rejected, or another object has the plan's UID.
    """
    plan = choice.plan
    if plan is None:
        return
    if choice.rivals:
        listed = ", ".join(plan_name(p) for p in choice.rivals)
        what = f"holds {len(choice.rivals)} plans of the same structures, and nothing says which was treated: {listed}"
        choices = [(p.path.name, plan_name(p)) for p in choice.rivals]
        raise QuestionError(index.folder, what, f"Choose with --plan ({PLAN_NAME})", option="plan", choices=choices)
    if choice.refused:
        fix = "Export the treated plan, or take this one all the same with --plan"
        choices = [(plan.path.name, plan_name(plan))]
        raise QuestionError(plan.path, choice.refused, fix, option="plan", choices=choices)


def check_twin(index: Index, entry: Entry) -> None:
    """Ask where two objects with other content have one SOP Instance UID.

    Raises
    ------
    StudyError : there is such a twin.
    """
    twin = index.twin_of(entry)
    if twin is not None:
        what = f"has the SOP Instance UID (0008,0018) of {twin.path.name}, but another content"
        raise StudyError(entry.path, what, "Remove the one that was not used, or export both anew")


def doses_of(index: Index, structures: Entry, *, plan: Entry | None) -> tuple[Entry, ...]:
    """Doses of the plan; by the structure set only those that name no plan of the folder: it may have several."""
    plans, found = present(index.plans), []
    for dose in index.doses:
        if compare(dose, structures).other:
            continue
        named = plans & set(referenced(dose, "ReferencedRTPlanSequence"))
        by_set = not named and structures.uid in referenced(dose, "ReferencedStructureSetSequence")
        if by_set or (plan is not None and plan.uid in named):
            found.append(dose)
    return tuple(found)


def doses_by_frame(index: Index, structures: Entry) -> tuple[Entry, ...]:
    """Doses that name nothing here, in the frame of reference of the structures."""
    here = present((*index.plans, *index.structures))
    frames = frames_of(structures)
    return tuple(
        dose
        for dose in index.doses
        if not here
        & {*referenced(dose, "ReferencedRTPlanSequence"), *referenced(dose, "ReferencedStructureSetSequence")}
        and frames & frames_of(dose)
        and not compare(dose, structures).other
    )


def approval(entry: Entry) -> int:
    """Rank by Approval Status (300E,0002): 1 for APPROVED, -1 for REJECTED, 0 for the rest."""
    return {"APPROVED": 1, "REJECTED": -1}.get(entry.text("ApprovalStatus").upper(), 0)


def contoured_at(structures: Entry) -> str:
    """Date and time of a structure set or segmentation as text that sorts; "" where the date is unknown."""
    day = object_date(structures, ("StructureSetDate", "ContentDate", "SeriesDate")).day
    time = structures.text("StructureSetTime" if structures.modality == "RTSTRUCT" else "ContentTime")
    return "" if day is None else f"{day} {time}"


def is_named(entry: Entry, wanted: str) -> bool:
    """Whether a user's text names an object: its label or its file."""
    names = (entry.text("RTPlanLabel"), entry.text("StructureSetLabel"), entry.path.name, str(entry.path))
    return wanted.strip().casefold() in {name.casefold() for name in names if name}


def plan_name(plan: Entry) -> str:
    """Label, file and status of a plan."""
    status = plan.text("ApprovalStatus").lower() or "no status"
    return f"'{plan.text('RTPlanLabel') or 'unnamed'}' ({plan.path.name}, {status})"


def _plans_of(index: Index, structures: Entry) -> tuple[list[Entry], list[Warning]]:
    """Plans of a structure set; else those of its frame whose own structure set is absent: it was exported again."""
    own = [p for p in index.plans if structures.uid in referenced(p, "ReferencedStructureSetSequence")]
    own = [p for p in own if not compare(p, structures).other]
    if own:
        return own, []
    here = present(index.structures)
    frames = frames_of(structures)
    lone: Sequence[Entry] = [
        p
        for p in index.plans
        if not here & set(referenced(p, "ReferencedStructureSetSequence"))
        and frames & frames_of(p)
        and not compare(p, structures).other
    ]
    return list(lone), [WarningCode.PLAN_BY_FRAME()] if lone else []
