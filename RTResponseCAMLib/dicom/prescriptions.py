"""Prescription of each lesion: from the plan, from the user, or a question to the user."""

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
    """Raise a question to the user where the prescription of a lesion is absent, or where several are stated.

    Parameters
    ----------
    unread : why the plan cannot be read; it is stated as the reason of the missing prescription.
    unit : dose unit, see `study.Dose`.

    Raises
    ------
    QuestionError : it names the lesion, the stated doses, and the option that answers the question.
    """
    where = graph.plan.path if graph.plan else graph.structures.path
    if plan is not None:
        by_roi = plan.prescription.by_roi if plan.prescription is not None else {}
        for lesion in lesions:
            stated = plan.unclear.get(lesion.structure.number)
            if stated is None and lesion.structure.number not in by_roi:
                stated = plan.unclear.get(None)
            if stated is not None:
                values = " and ".join(f"{gy:g}" for gy in stated)
                problem = f"states several prescriptions for {lesion.structure.name} ({values} {unit}, 300A,0026)"
                fix = f"Give --prescription GY, or --prescription '{lesion.structure.name}=GY'"
                choices = [((lesion.structure.name, gy), f"{lesion.structure.name}: {gy:g} {unit}") for gy in stated]
                raise QuestionError(where, problem, fix, option="prescriptions_gy", choices=choices)
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
    """Return a warning for lesions without a dose in a plan with doses per ROI; the dose of the others is used."""
    if plan is None or plan.prescription is None or not plan.prescription.by_roi:
        return []
    prescription = plan.prescription
    missing = [x.structure.name for x in lesions if x.structure.number not in prescription.by_roi]
    if not missing:
        return []
    reason = "stated without an ROI" if prescription.for_all else "the highest of the others"
    values = {"names": ", ".join(missing), "dose": prescription.dose_gy, "unit": unit, "reason": reason}
    return [WarningCode.NO_PRESCRIPTION_OF_ITS_OWN(**values)]


def with_prescription(
    plan: Plan | None, dose: Dose | None, *, lesions: tuple[Lesion, ...], options: ReadOptions
) -> Plan | None:
    """Return the plan with the prescriptions of the user, which replace its own.

    Raises
    ------
    StudyError : a dose or isodose out of range, or a target that does not exist.
    """
    by_name = options.prescriptions_gy
    for name, value, maximum in (
        ("--prescription", options.prescription_gy, 200.0), ("--isodose", options.isodose_percent, 100.0),
        *(("--prescription", gy, 200.0) for gy in by_name.values()),
    ):  # fmt: skip
        if value is not None and not 0 < value <= maximum:
            raise StudyError(name, f"is {value}, expected more than 0 and at most {maximum:g}", "Correct the value")
    roi_numbers = {lesion.structure.name: lesion.structure.number for lesion in lesions}
    if unknown := [name for name in by_name if name not in roi_numbers]:
        raise StudyError(
            "--prescription",
            f"names {', '.join(unknown)}; the targets are {', '.join(sorted(roi_numbers))}",
            "Correct the name",
        )
    total_gy = options.prescription_gy
    if total_gy is None and options.isodose_percent is not None and dose is not None:
        total_gy = float(sitk.GetArrayViewFromImage(dose.image).max()) * options.isodose_percent / 100
    by_roi = {roi_numbers[name]: gy for name, gy in by_name.items()}
    if total_gy is None and not by_roi:
        return plan
    plan = plan or Plan("", None)
    if total_gy is not None:
        prescription = Prescription(total_gy, options.isodose_percent, plan.fractions, by_roi, source="user")
        return replace(plan, prescription=prescription, unclear={})
    stated = plan.prescription
    unclear = {roi: doses for roi, doses in plan.unclear.items() if roi not in by_roi}
    if stated is None:
        prescription = Prescription(max(by_roi.values()), None, plan.fractions, by_roi, source="user", for_all=False)
        return replace(plan, prescription=prescription, unclear=unclear)
    prescription = replace(stated, by_roi={**stated.by_roi, **by_roi}, source="RTPLAN and user")
    return replace(plan, prescription=prescription, unclear=unclear)
