"""Detects and reads dose volumes of a scene, independent of their source and name."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.dicom.free_text import folded
from RTResponseCAMLib.dicom.plausibility import check_dose
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.scene.lesions import is_evidence
from RTResponseCAMLib.scene.nodes import DOSE_UNIT, dose_unit, image_of, voxels_of
from RTResponseCAMLib.study import GY_RBE, Dose, Lesion, Plan, Study
from RTResponseCAMLib.translation import tr
from RTResponseCAMLib.warnings import Warning, WarningCode

DOSE_ATTRIBUTE = "DicomRtImport.DoseVolume"
DOSE_NAME = re.compile(r"(?:^|[^a-z])(?:rt ?dose|dose|dosis|dosi)(?![a-z])")
HIGHEST_GY, SMOOTH = 250.0, 0.02  # highest dose; limit of the second difference, relative to the maximum


def is_labeled_dose(node: Any) -> bool:
    """Whether a volume is labeled as a dose by its attributes, its unit or its name."""
    if node.GetAttribute(DOSE_ATTRIBUTE) == "1" or node.GetAttribute(DOSE_UNIT):
        return True
    return _unit(node) in ("GY", "CGY") or bool(DOSE_NAME.search(folded(node.GetName() or "")))


def dose_problem(node: Any, lowest: float) -> str:
    """Reason why a volume cannot be the dose, as a sentence; "" when it can.

    Parameters
    ----------
    lowest : lowest value of the volume.
    """
    if is_evidence(node):
        return tr("'{name}' is an evidence map, not a dose.").format(name=node.GetName())
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        return tr("'{name}' is a label map, not a dose.").format(name=node.GetName())
    if _unit(node) == "CGY":
        return tr("The dose '{name}' is in cGy: convert it to Gy.").format(name=node.GetName())
    if lowest < 0:
        text = tr("The dose '{name}' contains negative values: choose a dose volume in Gy.")
        return text.format(name=node.GetName())
    return ""


def _unit(node: Any) -> str:
    units = node.GetVoxelValueUnits()
    return "" if units is None else str(units.GetCodeValue() or "").upper()


def looks_like_dose(node: Any) -> bool:
    """Whether the voxels are like those of a dose: non-integer values up to 250 Gy that vary smoothly.

    Smoothness is the median absolute second difference along the x axis of the central coronal plane; measured images
    contain noise and exceed the limit.
    """
    values = voxels_of(node)
    if values.dtype.kind != "f" or values.ndim != 3 or min(values.shape) < 3:
        return False
    highest = float(values.max())
    if not 0 < highest <= HIGHEST_GY or float(values.min()) < 0:
        return False
    plane = values[:, values.shape[1] // 2]
    inner = plane[:, 1:-1]
    curvature = np.abs(plane[:, 2:] - 2 * inner + plane[:, :-2])[inner > 0.05 * highest]
    fractional = np.mean(np.abs(inner - np.rint(inner))[inner > 0.05 * highest] > 1e-3) if curvature.size else 0.0
    return curvature.size > 0 and fractional > 0.5 and float(np.median(curvature)) < SMOOTH * highest


def checked_dose(node: Any, dose: Dose | None, *, plan: Plan | None, lesions: tuple[Lesion, ...]) -> list[Warning]:
    """Warnings of `check_dose` for the dose of a volume node; none without a dose.

    Raises
    ------
    StudyError : an error of `check_dose`; its fix refers to the Study section.
    """
    if dose is None:
        return []
    try:
        return check_dose(dose, plan, lesions=lesions, where=f"dose '{node.GetName()}'")
    except StudyError as error:
        fix = "Check the dose volume and the prescription in the Study section, or choose no dose"
        raise StudyError(error.where, error.what, fix) from error


def read_dose(node: Any, study: Study | None) -> tuple[Dose | None, tuple[Warning, ...]]:
    """Dose of a volume node, and its warnings; the dose is None without a node.

    Raises
    ------
    StudyError : negative values.
    """
    if node is None:
        return None, (WarningCode.NO_DOSE(reason="no dose is chosen; the prediction ignores dose"),)
    image = image_of(node)
    if float(sitk.GetArrayViewFromImage(image).min()) < 0:
        raise StudyError(f"dose '{node.GetName()}'", "contains negative values", "Choose a dose volume in Gy")
    unit = dose_unit(node)
    rbe_warnings = (WarningCode.DOSE_RBE(),) if unit == GY_RBE else ()
    if node.GetAttribute(DOSE_ATTRIBUTE) != "1":
        return Dose(image, (), unit), (WarningCode.DOSE_UNITS(name=node.GetName(), unit=unit), *rbe_warnings)
    return Dose(image, study.dose.sources if study and study.dose else (), unit), rbe_warnings
