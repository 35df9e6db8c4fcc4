"""Read RTPLAN and RT Ion Plan: label, prescription per target, fractions, beams. Shots are not read.

A plan may state several target doses for one ROI (or several without a ROI). One of them is used only in these cases:
equal doses count as one; if the larger dose is the smaller dose times the number of fractions, the larger is the total
and the smaller is the dose per fraction. A dose of a volume takes precedence over the dose of a point. In all other
cases the prescription is unclear and the user has to choose.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.index import ION_PLAN
from RTResponseCAMLib.dicom.validation import damaged, numbers, whole_number
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.study import Plan, Prescription
from RTResponseCAMLib.warnings import Warning, WarningCode

SAME_DOSE = 0.01  # relative tolerance for equal doses, and for n times the dose per fraction
POINTS = ("POINT", "COORDINATES")


@dataclass(frozen=True)
class _Target:
    """One target dose.

    Attributes
    ----------
    roi : Referenced ROI Number; None when the dose names no ROI.
    dose_gy : Target Prescription Dose, Gy.
    point : it is the dose of a point, not of a volume.
    isodose : prescription isodose in percent; None when not stated.
    """

    roi: int | None
    dose_gy: float
    point: bool
    isodose: float | None


def read_plan(path: Path) -> tuple[Plan, tuple[Warning, ...]]:
    """Read a plan; its prescription is None when it states no target dose, or only unclear ones.

    ``Plan.unclear`` contains the doses of targets with several doses of which it is unclear which one is prescribed.

    Raises
    ------
    StudyError : the file cannot be parsed, or a stated dose is not a positive number.
    """
    with damaged(path, "a plan"):
        return _read(path, read_header(path))


def _read(path: Path, data: Dataset) -> tuple[Plan, tuple[Warning, ...]]:
    targets = _targets(path, data)
    fractions, warnings = _fractions(path, data)
    by_roi: defaultdict[int | None, list[_Target]] = defaultdict(list)
    for target in targets:
        by_roi[target.roi].append(target)
    doses: dict[int | None, float] = {}
    unclear: dict[int | None, tuple[float, ...]] = {}
    for roi, roi_targets in by_roi.items():
        counted = [item for item in roi_targets if not item.point] or roi_targets
        values = sorted({item.dose_gy for item in counted}, reverse=True)
        used, reason = _which(values, fractions)
        if used is None:
            unclear[roi] = tuple(values)
            continue
        doses[roi] = used
        if reason:
            warnings.append(
                WarningCode.SEVERAL_PRESCRIPTIONS(target=_target(roi), values=_listed(values), used=used, reason=reason)
            )
    isodoses = {item.isodose for item in targets}
    distinct_isodoses = sorted(isodose for isodose in isodoses if isodose is not None)
    if len(distinct_isodoses) > 1 and by_roi.keys() == {None}:
        warnings.append(WarningCode.ISODOSES_DIFFER(values=", ".join(f"{isodose:g}" for isodose in distinct_isodoses)))
    prescription = None
    if doses:
        prescription = Prescription(
            dose_gy=doses[None] if None in doses else max(doses.values()),
            isodose_percent=isodoses.pop() if len(isodoses) == 1 else None,
            fractions=fractions,
            by_roi={roi_number: dose for roi_number, dose in doses.items() if roi_number is not None},
            for_all=None in doses,
        )
    plan = Plan(
        label=str(data.get("RTPlanLabel", "") or ""),
        prescription=prescription,
        fractions=fractions,
        unclear=unclear,
        status=str(data.get("ApprovalStatus", "") or "").upper(),
        ion=str(data.get("SOPClassUID", "")) == ION_PLAN,
        beams=_beams(data),
    )
    return plan, tuple(warnings)


def unclear_prescriptions(plan: Plan) -> tuple[Warning, ...]:
    """Warnings for targets with several doses of which it is unclear which one is prescribed."""
    return tuple(
        WarningCode.PRESCRIPTION_UNCLEAR(target=_target(roi), values=_listed(values))
        for roi, values in plan.unclear.items()
    )


def _target(roi: int | None) -> str:
    return "targets without a ROI number" if roi is None else f"ROI {roi}"


def _targets(path: Path, data: Dataset) -> list[_Target]:
    targets = []
    for reference in data.get("DoseReferenceSequence") or ():
        kind = str(reference.get("DoseReferenceType", "") or "TARGET").upper()
        if kind != "TARGET" or reference.get("TargetPrescriptionDose") in (None, ""):
            continue
        dose = float(numbers(path, reference, keyword="TargetPrescriptionDose", count=1)[0])
        if dose == 0:
            continue  # some programs write 0 when nothing is prescribed
        if not 0 < dose <= 200:
            problem = f"TargetPrescriptionDose (300A,0026) is {dose}, expected a positive dose in Gy, at most 200"
            raise StudyError(path, problem, "Correct the plan, or give --prescription")
        roi_number = reference.get("ReferencedROINumber")
        percent_match = re.search(r"(\d+(?:\.\d+)?)\s*%", str(reference.get("DoseReferenceDescription", "")))
        point = str(reference.get("DoseReferenceStructureType", "")).upper() in POINTS
        roi = None if roi_number in (None, "") else int(roi_number)
        targets.append(_Target(roi, dose, point, float(percent_match.group(1)) if percent_match else None))
    return targets


def _which(values: Sequence[float], fractions: int | None) -> tuple[float | None, str]:
    """Total dose of one target (None: unclear) and the reason for this choice.

    Parameters
    ----------
    values : doses stated for the target, Gy, descending.
    """
    largest = values[0]
    smaller = [v for v in values[1:] if abs(v / largest - 1) > SAME_DOSE]
    if not smaller:
        return largest, "" if len(values) == 1 else "they differ only by rounding"
    if fractions is not None and fractions > 1 and all(abs(v * fractions / largest - 1) <= SAME_DOSE for v in smaller):
        return largest, f"the smaller is the dose of each of {fractions} fractions"
    return None, ""


def _fractions(path: Path, data: Dataset) -> tuple[int | None, list[Warning]]:
    """Number of fractions; None with a warning when the fraction groups differ."""
    counts = {
        whole_number(path, group, keyword="NumberOfFractionsPlanned", low=1, high=100)
        for group in data.get("FractionGroupSequence") or ()
        if group.get("NumberOfFractionsPlanned") not in (None, "")
    }
    if len(counts) > 1:
        listed = " and ".join(str(n) for n in sorted(counts))
        return None, [WarningCode.FRACTIONS_DIFFER(values=listed)]
    return (counts.pop() if counts else None), []


def _beams(data: Dataset) -> frozenset[int]:
    """Numbers of the beams that the fraction groups reference; empty for brachytherapy setups."""
    return frozenset(
        int(beam.ReferencedBeamNumber)
        for group in data.get("FractionGroupSequence") or ()
        for beam in group.get("ReferencedBeamSequence") or ()
        if beam.get("ReferencedBeamNumber") not in (None, "")
    )


def _listed(values: Sequence[float]) -> str:
    texts = [f"{value:g}" for value in sorted(values, reverse=True)]
    return " and ".join(texts) if len(texts) < 3 else f"{', '.join(texts[:-1])} and {texts[-1]}"
