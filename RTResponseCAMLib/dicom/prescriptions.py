"""The prescription of each lesion: the plan's, the user's, or a question."""

from __future__ import annotations

from dataclasses import replace

import SimpleITK as sitk

from RTResponseCAMLib.dicom.options import NO_DOSE, ReadOptions
from RTResponseCAMLib.dicom.reference_graph import ReferenceGraph
from RTResponseCAMLib.errors import QuestionError, StudyError
from RTResponseCAMLib.study import GY, Dose, Lesion, Plan, Prescription
from RTResponseCAMLib.warnings import Warning, WarningCode


def check_prescription(
    graph: ReferenceGraph, plan: Plan | None, *, lesions: tuple[Lesion, ...], unread: str = "", unit: str = GY
) -> None:
    """Ask where the prescription of a lesion is absent, or where several are stated.

    Parameters
    ----------
    unread : why the plan cannot be read: then that is why there is no prescription.
    unit : of the dose, see `study.Dose`.

    Raises
    ------
    StudyError : names the lesion, the doses that are stated, and the option that answers.
    """
    where = graph.plan.path if graph.plan else graph.structures.path
    if plan is not None:
        own = plan.prescription.by_roi if plan.prescription is not None else {}
        for lesion in lesions:
            stated = plan.unclear.get(lesion.structure.number)
            if stated is None and lesion.structure.number not in own:
                stated = plan.unclear.get(None)
            if stated is not None:
                values = " and ".join(f"{gy:g}" for gy in stated)
                what = f"states several prescriptions for {lesion.structure.name} ({values} {unit}, 300A,0026)"
                fix = f"Give --prescription GY, or --prescription '{lesion.structure.name}=GY'"
                choices = [((lesion.structure.name, gy), f"{lesion.structure.name}: {gy:g} {unit}") for gy in stated]
                raise QuestionError(where, what, fix, option="prescriptions_gy", choices=choices)
    if plan is None or plan.prescription is None:
        absent = "states no prescription (TargetPrescriptionDose 300A,0026)"
        raise QuestionError(
            where,
            f"{unread or absent}; without a prescription the dose cannot be related to the plan",
            "Give --prescription GY or --isodose PERCENT",
            option="doses",
            choices=[((NO_DOSE,), "leave the dose out")],
        )


def unprescribed(plan: Plan | None, lesions: tuple[Lesion, ...], *, unit: str = GY) -> list[Warning]:
    """Name the lesions that a plan with doses per ROI leaves out: they count with the dose of the others."""
    if plan is None or plan.prescription is None or not plan.prescription.by_roi:
        return []
    prescription = plan.prescription
    left = [x.structure.name for x in lesions if x.structure.number not in prescription.by_roi]
    if not left:
        return []
    reason = "stated for no ROI" if prescription.for_all else "the highest of the others"
    values = {"names": ", ".join(left), "dose": prescription.dose_gy, "unit": unit, "reason": reason}
    return [WarningCode.NO_PRESCRIPTION_OF_ITS_OWN(**values)]


def with_prescription(
    plan: Plan | None, dose: Dose | None, *, lesions: tuple[Lesion, ...], options: ReadOptions
) -> Plan | None:
    """The plan with what the user prescribes instead.

    Raises
    ------
    StudyError : a dose or isodose out of range, or a target that does not exist.
    """
    named = options.prescriptions_gy
    for name, value, top in (
        ("--prescription", options.prescription_gy, 200.0), ("--isodose", options.isodose_percent, 100.0),
        *(("--prescription", gy, 200.0) for gy in named.values()),
    ):  # fmt: skip
        if value is not None and not 0 < value <= top:
            raise StudyError(name, f"is {value}, expected more than 0 and at most {top:g}", "Correct the value")
    numbers = {lesion.structure.name: lesion.structure.number for lesion in lesions}
    if unknown := [name for name in named if name not in numbers]:
        raise StudyError("--prescription", f"names {unknown}; the targets are {sorted(numbers)}", "Correct the name")
    total = options.prescription_gy
    if total is None and options.isodose_percent is not None and dose is not None:
        total = float(sitk.GetArrayViewFromImage(dose.image).max()) * options.isodose_percent / 100
    by_roi = {numbers[name]: gy for name, gy in named.items()}
    if total is None and not by_roi:
        return plan
    plan = plan or Plan("", None)
    if total is not None:
        given = Prescription(total, options.isodose_percent, plan.fractions, by_roi, source="user")
        return replace(plan, prescription=given, unclear={})
    before = plan.prescription
    unclear = {roi: doses for roi, doses in plan.unclear.items() if roi not in by_roi}
    if before is None:
        given = Prescription(max(by_roi.values()), None, plan.fractions, by_roi, source="user", for_all=False)
        return replace(plan, prescription=given, unclear=unclear)
    given = replace(before, by_roi={**before.by_roi, **by_roi}, source="RTPLAN and user")
    return replace(plan, prescription=given, unclear=unclear)
