"""RTPLAN as far as it is needed: label, prescription per target, number of fractions. No beams, no shots."""

from __future__ import annotations

import re
from pathlib import Path

from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.values import damaged, numbers, whole_number
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.study import Caution, Plan, Prescription


def read_plan(path: Path) -> tuple[Plan, tuple[Caution, ...]]:
    """Read a plan; its prescription is None when no target dose is stated, or doses that no one can tell apart.

    Raises
    ------
    StudyError : the file cannot be parsed, or a stated dose is not a positive number.
    """
    with damaged(path, "a plan"):
        return _read(path, read_header(path))


def _read(path: Path, data: Dataset) -> tuple[Plan, tuple[Caution, ...]]:
    doses: dict[int | None, float] = {}
    unnamed: set[float] = set()
    isodoses = set()
    for item in data.get("DoseReferenceSequence") or ():
        if str(item.get("DoseReferenceType", "TARGET")) != "TARGET" or item.get("TargetPrescriptionDose") is None:
            continue
        dose = float(numbers(path, item, "TargetPrescriptionDose", 1)[0])
        if not 0 < dose <= 200:
            what = f"TargetPrescriptionDose (300A,0026) is {dose}, expected a positive dose in Gy, at most 200"
            raise StudyError(path, what, "Correct the plan, or give --prescription")
        number = item.get("ReferencedROINumber")
        doses[None if number is None else int(number)] = dose
        if number is None:
            unnamed.add(dose)
        stated = re.search(r"(\d+(?:\.\d+)?)\s*%", str(item.get("DoseReferenceDescription", "")))
        isodoses.add(float(stated.group(1)) if stated else None)
    prescription, fractions = None, _fractions(path, data)
    label = str(data.get("RTPlanLabel", "") or "")
    if len(unnamed) > 1:
        listed = ", ".join(f"{dose:g}" for dose in sorted(unnamed))
        text = f"the plan prescribes {listed} Gy without saying for which ROI (3006,0084); none of them is taken"
        return Plan(label, None, fractions), (Caution("prescriptions-without-roi", text),)
    if doses:
        prescription = Prescription(
            dose_gy=doses.get(None, max(doses.values())),
            isodose_percent=isodoses.pop() if len(isodoses) == 1 else None,
            fractions=fractions,
            by_roi={number: dose for number, dose in doses.items() if number is not None},
        )
    return Plan(label, prescription, fractions), ()


def _fractions(path: Path, data: Dataset) -> int | None:
    for group in data.get("FractionGroupSequence") or ():
        if group.get("NumberOfFractionsPlanned") not in (None, ""):
            return whole_number(path, group, "NumberOfFractionsPlanned", 1, 100)
    return None
