"""Plausibility of dose and prescription: values that are impossible in radiosurgery raise an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import map_coordinates

from RTResponseCAMLib.dicom.options import NO_DOSE
from RTResponseCAMLib.errors import QuestionError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import Array64
from RTResponseCAMLib.study import Dose, Lesion, Plan, Structure
from RTResponseCAMLib.warnings import Warning, WarningCode

# Ratio of dose maximum to highest prescription. Radiosurgery uses prescription isodoses of 20 to 100 %; from 25 to 95 %
# there is no warning.
POSSIBLE_PEAK, USUAL_PEAK = (1.0, 5.0), (1.05, 4.0)
REACHED = 0.5  # fraction of its prescription that a treated lesion receives at some point
WITHOUT_DOSE = (((NO_DOSE,), "leave the dose out"),)
INWARD = np.asarray([0.0, 0.4, 0.75])  # fractions of the way from a contour's center to its points


def check_dose(
    dose: Dose | None, plan: Plan | None, *, lesions: tuple[Lesion, ...], where: Path | str
) -> list[Warning]:
    """Compare a dose with its prescription and with the positions of the lesions; return warnings.

    Raises
    ------
    StudyError : the dose maximum is below the prescription or above five times it, or no lesion receives half of its
        prescription at any point.
    """
    if dose is None or plan is None or plan.prescription is None:
        return []
    prescription = plan.prescription
    prescribed = [prescription.dose_for(lesion.structure) for lesion in lesions] or [prescription.dose_gy]
    peak = float(sitk.GetArrayViewFromImage(dose.image).max())
    ratio = peak / max(prescribed)
    if not POSSIBLE_PEAK[0] * 0.995 <= ratio <= POSSIBLE_PEAK[1]:
        low, high = POSSIBLE_PEAK
        problem = (
            f"holds a dose maximum of {peak:.2f} {dose.unit} for a prescription of {max(prescribed):g} {dose.unit} "
            f"({prescription.source}): the ratio is {ratio:.2f}, and radiosurgery uses {low:g} to {high:g}"
        )
        fix = "Check DoseGridScaling (3004,000E), whether the dose is that of a fraction, and the prescription"
        fix = f"{fix}; --prescription GY overrules the plan, --dose none leaves the dose out"
        raise QuestionError(where, problem, fix, option="doses", choices=WITHOUT_DOSE)
    warnings = []
    if not USUAL_PEAK[0] <= ratio <= USUAL_PEAK[1]:
        warnings.append(WarningCode.DOSE_IMPLAUSIBLE(ratio=ratio))
    relative_doses = [_highest(dose, x.structure) / gy for x, gy in zip(lesions, prescribed, strict=True)]
    if relative_doses and max(relative_doses) < REACHED:
        problem = (
            f"gives every lesion less than half of its prescription (at most {100 * max(relative_doses):.0f} %), "
            f"although its maximum is {peak:.1f} {dose.unit}: dose and lesions are not at the same position"
        )
        fix = "Check ImagePositionPatient (0020,0032), ImageOrientationPatient (0020,0037) and GridFrameOffsetVector"
        fix = f"{fix} (3004,000C) of the dose, or leave it out with --dose none"
        raise QuestionError(where, problem, fix, option="doses", choices=WITHOUT_DOSE)
    underdosed = [
        (x.structure.name, relative) for x, relative in zip(lesions, relative_doses, strict=True) if relative < REACHED
    ]
    if underdosed:
        names, highest = ", ".join(name for name, _ in underdosed), 100 * max(relative for _, relative in underdosed)
        warnings.append(WarningCode.LESION_NOT_COVERED(names=names, share=highest))
    return warnings


def _highest(dose: Dose, structure: Structure) -> float:
    """Return the highest dose at points within the contours of a lesion, Gy (linear interpolation)."""
    index = Grid.of(dose.image).to_index(_probes(structure)).T[::-1]
    values = map_coordinates(sitk.GetArrayViewFromImage(dose.image), index, order=1, mode="constant", cval=0.0)
    return float(values.max(initial=0.0))


def _probes(structure: Structure) -> Array64:
    """Return points within each contour, ``(n, 3)``, LPS, mm: its center, and between the center and its vertices."""
    points = []
    for contour in structure.contours:
        center = contour.mean(axis=0)
        points.append((center + INWARD[:, None, None] * (contour - center)).reshape(-1, 3))
    return np.concatenate(points) if points else np.zeros((0, 3))
