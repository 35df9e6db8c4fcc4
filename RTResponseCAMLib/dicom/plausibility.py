"""Whether dose and prescription can belong together: what radiosurgery cannot be is an error, not a footnote."""

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

# Dose maximum over the highest prescription. A prescription isodose of 20 to 100 % is all that radiosurgery knows; from
# 25 to 95 % there is no warning.
POSSIBLE_PEAK, USUAL_PEAK = (1.0, 5.0), (1.05, 4.0)
REACHED = 0.5  # of its prescription, which a treated lesion receives somewhere
WITHOUT_DOSE = (((NO_DOSE,), "leave the dose out"),)
INWARD = np.asarray([0.0, 0.4, 0.75])  # from a contour's middle towards its points


def check_dose(
    dose: Dose | None, plan: Plan | None, *, lesions: tuple[Lesion, ...], where: Path | str
) -> list[Warning]:
    """Compare a dose with its prescription, and with where the lesions lie.

    Raises
    ------
    StudyError : the dose maximum is below the prescription or over five times it, or no lesion receives half of its
        prescription anywhere.
    """
    if dose is None or plan is None or plan.prescription is None:
        return []
    prescription = plan.prescription
    prescribed = [prescription.dose_for(lesion.structure) for lesion in lesions] or [prescription.dose_gy]
    peak = float(sitk.GetArrayViewFromImage(dose.image).max())
    ratio = peak / max(prescribed)
    if not POSSIBLE_PEAK[0] * 0.995 <= ratio <= POSSIBLE_PEAK[1]:
        low, high = POSSIBLE_PEAK
        what = (
            f"holds a dose maximum of {peak:.2f} {dose.unit} for a prescription of {max(prescribed):g} {dose.unit} "
            f"({prescription.source}): {ratio:.2f} times it, and radiosurgery has {low:g} to {high:g}"
        )
        fix = "Check DoseGridScaling (3004,000E), whether the dose is that of a fraction, and the prescription"
        fix = f"{fix}; --prescription GY overrules the plan, --dose none leaves the dose out"
        raise QuestionError(where, what, fix, option="doses", choices=WITHOUT_DOSE)
    warnings = []
    if not USUAL_PEAK[0] <= ratio <= USUAL_PEAK[1]:
        warnings.append(WarningCode.DOSE_IMPLAUSIBLE(ratio=ratio))
    shares = [_highest(dose, x.structure) / gy for x, gy in zip(lesions, prescribed, strict=True)]
    if shares and max(shares) < REACHED:
        what = (
            f"gives no lesion half of its prescription anywhere (at most {100 * max(shares):.0f} %), although its "
            f"maximum is {peak:.1f} {dose.unit}: dose and lesions do not lie at the same place"
        )
        fix = "Check ImagePositionPatient (0020,0032), ImageOrientationPatient (0020,0037) and GridFrameOffsetVector"
        fix = f"{fix} (3004,000C) of the dose, or leave it out with --dose none"
        raise QuestionError(where, what, fix, option="doses", choices=WITHOUT_DOSE)
    cold = [(x.structure.name, share) for x, share in zip(lesions, shares, strict=True) if share < REACHED]
    if cold:
        names, most = ", ".join(name for name, _ in cold), 100 * max(share for _, share in cold)
        warnings.append(WarningCode.LESION_NOT_COVERED(names=names, share=most))
    return warnings


def _highest(dose: Dose, structure: Structure) -> float:
    """Highest dose at points within the contours of a lesion, Gy."""
    index = Grid.of(dose.image).to_index(_probes(structure)).T[::-1]
    values = map_coordinates(sitk.GetArrayViewFromImage(dose.image), index, order=1, mode="constant", cval=0.0)
    return float(values.max(initial=0.0))


def _probes(structure: Structure) -> Array64:
    """Points within each contour, LPS, mm: its middle, and on the way to its corners."""
    found = []
    for contour in structure.contours:
        middle = contour.mean(axis=0)
        found.append((middle + INWARD[:, None, None] * (contour - middle)).reshape(-1, 3))
    return np.concatenate(found) if found else np.zeros((0, 3))
