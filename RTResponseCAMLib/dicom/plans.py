"""Plan and doses of a structure set, and the choice among several plans.

Rules, in this order: plans for verification or machine tests and REJECTED plans are left out where another plan exists;
APPROVED goes before the rest; a plan with a dose goes before one without. If several plans remain, the user must choose
(``--plan``); their order never decides.
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
    rivals : plans between which no rule decides; the plan is the first of them until the user chooses.
    refused : why the plan must not be used, "" otherwise.
    warnings : decisions and their reasons.
    """

    plan: Entry | None
    doses: tuple[Entry, ...]
    rivals: tuple[Entry, ...] = ()
    refused: str = ""
    warnings: tuple[Warning, ...] = ()


def choose_plan(index: Index, structures: Entry, *, wanted: str | None = None) -> PlanChoice:
    """Return the plan of a structure set and its doses.

    Parameters
    ----------
    wanted : label or file name of the plan; it overrides the rules.
    """
    plans, warnings = _plans_of(index, structures)
    if wanted is not None:
        plans = [p for p in plans if is_named(p, wanted)]
    pairs = [(p, doses_of(index, structures, plan=p)) for p in plans]
    if not pairs:
        return PlanChoice(None, () if wanted is not None else doses_of(index, structures, plan=None))
    candidates = pairs
    for reason, usable in (
        ("its intent is not treatment (300A,000A)", lambda p, _: p.text("PlanIntent").upper() not in NO_TREATMENT),
        ("it is REJECTED (300E,0002)", lambda p, _: approval(p) >= 0),
        ("another is APPROVED (300E,0002)", lambda p, _: approval(p) > 0),
        ("another has a dose", lambda _, doses: bool(doses)),
    ):
        better = [pair for pair in candidates if usable(*pair)]
        if better and wanted is None:
            excluded = [p for p, _ in candidates if all(p is not q for q, _ in better)]
            warnings += [WarningCode.PLAN_LEFT_OUT(plan=plan_name(p), reason=reason) for p in excluded]
            candidates = better
    plan, doses = candidates[0]
    status = plan.text("ApprovalStatus").upper()
    intent = plan.text("PlanIntent").upper()
    refused = ""
    if status == "REJECTED" or intent in NO_TREATMENT:
        tag = "(300E,0002)" if status == "REJECTED" else "(300A,000A)"
        if wanted is None:
            refused = f"is {status if status == 'REJECTED' else intent} {tag}, and there is no other plan"
        else:
            warnings.append(WarningCode.PLAN_NOT_APPROVED(plan=plan_name(plan), status=status or intent))
    rivals = tuple(p for p, _ in candidates) if len(candidates) > 1 else ()
    return PlanChoice(plan, doses, rivals, refused, tuple(warnings))


def check_choice(index: Index, choice: PlanChoice) -> None:
    """Raise a question to the user where no rule decides.

    Raises
    ------
    QuestionError : several plans remain, or the only plan is REJECTED or not for treatment.
    """
    plan = choice.plan
    if plan is None:
        return
    if choice.rivals:
        listed = ", ".join(plan_name(p) for p in choice.rivals)
        problem = (
            f"holds {len(choice.rivals)} plans of the same structures, and no rule selects the treated one: {listed}"
        )
        choices = [(p.path.name, plan_name(p)) for p in choice.rivals]
        raise QuestionError(index.folder, problem, f"Choose with --plan ({PLAN_NAME})", option="plan", choices=choices)
    if choice.refused:
        fix = "Export the treated plan, or select this plan with --plan"
        choices = [(plan.path.name, plan_name(plan))]
        raise QuestionError(plan.path, choice.refused, fix, option="plan", choices=choices)


def check_twin(index: Index, entry: Entry) -> None:
    """Raise an error where two objects with different content have one SOP Instance UID.

    Raises
    ------
    StudyError : such a twin exists.
    """
    twin = index.twin_of(entry)
    if twin is not None:
        problem = f"has the SOP Instance UID (0008,0018) of {twin.path.name}, but different content"
        raise StudyError(entry.path, problem, "Remove the one that was not used, or export both again")


def doses_of(index: Index, structures: Entry, *, plan: Entry | None) -> tuple[Entry, ...]:
    """Return the doses that reference the plan, or that reference the structure set and no plan of the folder.

    A structure set may have several plans: doses that reference another plan of the folder do not belong to it.
    """
    plan_uids, doses = present(index.plans), []
    for dose in index.doses:
        if compare(dose, structures).other:
            continue
        named_plans = plan_uids & set(referenced(dose, "ReferencedRTPlanSequence"))
        by_structures = not named_plans and structures.uid in referenced(dose, "ReferencedStructureSetSequence")
        if by_structures or (plan is not None and plan.uid in named_plans):
            doses.append(dose)
    return tuple(doses)


def doses_by_frame(index: Index, structures: Entry) -> tuple[Entry, ...]:
    """Return doses that reference no plan or structure set of the folder and lie in the frame of the structures."""
    present_uids = present((*index.plans, *index.structures))
    frames = frames_of(structures)
    return tuple(
        dose
        for dose in index.doses
        if not present_uids
        & {*referenced(dose, "ReferencedRTPlanSequence"), *referenced(dose, "ReferencedStructureSetSequence")}
        and frames & frames_of(dose)
        and not compare(dose, structures).other
    )


def approval(entry: Entry) -> int:
    """Return a rank by Approval Status (300E,0002): 1 for APPROVED, -1 for REJECTED, 0 for the rest."""
    return {"APPROVED": 1, "REJECTED": -1}.get(entry.text("ApprovalStatus").upper(), 0)


def contoured_at(structures: Entry) -> str:
    """Return date and time of a structure set or segmentation as sortable text; "" where the date is unknown."""
    day = object_date(structures, ("StructureSetDate", "ContentDate", "SeriesDate")).day
    time = structures.text("StructureSetTime" if structures.modality == "RTSTRUCT" else "ContentTime")
    return "" if day is None else f"{day} {time}"


def is_named(entry: Entry, wanted: str) -> bool:
    """Whether a user's text is the label or the file of an object."""
    names = (entry.text("RTPlanLabel"), entry.text("StructureSetLabel"), entry.path.name, str(entry.path))
    return wanted.strip().casefold() in {name.casefold() for name in names if name}


def plan_name(plan: Entry) -> str:
    """Return label, file and status of a plan as text."""
    status = plan.text("ApprovalStatus").lower() or "no status"
    return f"'{plan.text('RTPlanLabel') or 'unnamed'}' ({plan.path.name}, {status})"


def _plans_of(index: Index, structures: Entry) -> tuple[list[Entry], list[Warning]]:
    """Return the plans that reference a structure set, and warnings.

    Without such a plan: plans in its frame whose own structure set is absent, because the set was exported again.
    """
    linked = [p for p in index.plans if structures.uid in referenced(p, "ReferencedStructureSetSequence")]
    linked = [p for p in linked if not compare(p, structures).other]
    if linked:
        return linked, []
    present_uids = present(index.structures)
    frames = frames_of(structures)
    unlinked: Sequence[Entry] = [
        p
        for p in index.plans
        if not present_uids & set(referenced(p, "ReferencedStructureSetSequence"))
        and frames & frames_of(p)
        and not compare(p, structures).other
    ]
    return list(unlinked), [WarningCode.PLAN_BY_FRAME()] if unlinked else []
