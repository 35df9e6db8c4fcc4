"""RTPLAN and RT Ion Plan as far as they are needed: label, prescription per target, fractions, beams. No shots.

Of several target doses for one ROI (or of several that name none), one counts only where the plan says which:
equal ones are one; where one is another times the number of fractions, the larger is the total and the smaller that
of a fraction. A dose of a volume goes before one of a point. Everything else is a question to the user.
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

SAME_DOSE = 0.01  # relative: two statements of one dose, or of n equal fractions
POINTS = ("POINT", "COORDINATES")


@dataclass(frozen=True)
class _Target:
    """One target dose: Gy, for which ROI (None: a site), whether it is that of a point, its isodose in percent."""

    roi: int | None
    dose_gy: float
    point: bool
    isodose: float | None


def read_plan(path: Path) -> tuple[Plan, tuple[Warning, ...]]:
    """Read a plan; its prescription is None when no target dose is stated, or none that counts.

    ``Plan.unclear`` holds the doses of targets for which the plan states several and not which counts.

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
    for roi, stated in by_roi.items():
        counted = [t for t in stated if not t.point] or stated
        values = sorted({t.dose_gy for t in counted}, reverse=True)
        used, reason = _which(values, fractions)
        if used is None:
            unclear[roi] = tuple(values)
            continue
        doses[roi] = used
        if reason:
            warnings.append(
                WarningCode.SEVERAL_PRESCRIPTIONS(target=_target(roi), values=_listed(values), used=used, reason=reason)
            )
    isodoses = {t.isodose for t in targets}
    several = sorted(i for i in isodoses if i is not None)
    if len(several) > 1 and by_roi.keys() == {None}:
        warnings.append(WarningCode.ISODOSES_DIFFER(values=", ".join(f"{i:g}" for i in several)))
    prescription = None
    if doses:
        prescription = Prescription(
            dose_gy=doses[None] if None in doses else max(doses.values()),
            isodose_percent=isodoses.pop() if len(isodoses) == 1 else None,
            fractions=fractions,
            by_roi={number: dose for number, dose in doses.items() if number is not None},
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
    """Name the targets for which a plan states several doses, and not which counts."""
    return tuple(
        WarningCode.PRESCRIPTION_UNCLEAR(target=_target(roi), values=_listed(values))
        for roi, values in plan.unclear.items()
    )


def _target(roi: int | None) -> str:
    return "targets that it does not name" if roi is None else f"ROI {roi}"


def _targets(path: Path, data: Dataset) -> list[_Target]:
    found = []
    for item in data.get("DoseReferenceSequence") or ():
        kind = str(item.get("DoseReferenceType", "") or "TARGET").upper()
        if kind != "TARGET" or item.get("TargetPrescriptionDose") in (None, ""):
            continue
        dose = float(numbers(path, item, keyword="TargetPrescriptionDose", count=1)[0])
        if dose == 0:
            continue  # what writers put where nothing is prescribed
        if not 0 < dose <= 200:
            what = f"TargetPrescriptionDose (300A,0026) is {dose}, expected a positive dose in Gy, at most 200"
            raise StudyError(path, what, "Correct the plan, or give --prescription")
        number = item.get("ReferencedROINumber")
        stated = re.search(r"(\d+(?:\.\d+)?)\s*%", str(item.get("DoseReferenceDescription", "")))
        point = str(item.get("DoseReferenceStructureType", "")).upper() in POINTS
        roi = None if number in (None, "") else int(number)
        found.append(_Target(roi, dose, point, float(stated.group(1)) if stated else None))
    return found


def _which(values: Sequence[float], fractions: int | None) -> tuple[float | None, str]:
    """Which of several doses of one target is the total (None: unclear), and why; descending, Gy."""
    largest = values[0]
    rest = [v for v in values[1:] if abs(v / largest - 1) > SAME_DOSE]
    if not rest:
        return largest, "" if len(values) == 1 else "they are the same but for rounding"
    if fractions is not None and fractions > 1 and all(abs(v * fractions / largest - 1) <= SAME_DOSE for v in rest):
        return largest, f"the smaller is the dose of one of {fractions} fractions"
    return None, ""


def _fractions(path: Path, data: Dataset) -> tuple[int | None, list[Warning]]:
    """Number of fractions; unknown where groups differ."""
    stated = {
        whole_number(path, group, keyword="NumberOfFractionsPlanned", low=1, high=100)
        for group in data.get("FractionGroupSequence") or ()
        if group.get("NumberOfFractionsPlanned") not in (None, "")
    }
    if len(stated) > 1:
        listed = " and ".join(str(n) for n in sorted(stated))
        return None, [WarningCode.FRACTIONS_DIFFER(values=listed)]
    return (stated.pop() if stated else None), []


def _beams(data: Dataset) -> frozenset[int]:
    """Numbers of the beams (brachy setups have none) that the fraction groups use."""
    return frozenset(
        int(beam.ReferencedBeamNumber)
        for group in data.get("FractionGroupSequence") or ()
        for beam in group.get("ReferencedBeamSequence") or ()
        if beam.get("ReferencedBeamNumber") not in (None, "")
    )


def _listed(values: Sequence[float]) -> str:
    texts = [f"{value:g}" for value in sorted(values, reverse=True)]
    return " and ".join(texts) if len(texts) < 3 else f"{', '.join(texts[:-1])} and {texts[-1]}"
