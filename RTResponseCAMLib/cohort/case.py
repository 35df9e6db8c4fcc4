"""The rows of one case as a `Study`: from DICOM, or from image files and a label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.dicom.privacy import pseudonym
from RTResponseCAMLib.errors import CohortError, GeometryError
from RTResponseCAMLib.imaging.grid import Grid, same_grid
from RTResponseCAMLib.imaging.labels import label_structure, label_structures, read_mr, read_volume
from RTResponseCAMLib.study import Dose, Lesion, Plan, Prescription, Structure, Study
from RTResponseCAMLib.warnings import Warning, WarningCode

SAME_GRID_MM = 0.1
PLAUSIBLE_GY = (0.1, 300.0)


def cases_of(rows: Sequence[CohortRow]) -> list[list[CohortRow]]:
    """Group the rows that are read together, in the order of the manifest."""
    cases: dict[tuple[Path | str, ...], list[CohortRow]] = {}
    for row in rows:
        cases.setdefault(row.case, []).append(row)
    return list(cases.values())


def read_case(rows: Sequence[CohortRow]) -> Study:
    """Read the study of one case; ``lesions`` have the order and the names of the rows.

    Raises
    ------
    StudyError, GeometryError, CohortError : an error of the readers, a lesion or region that does not exist, or a mask
        on another grid than its MR.
    """
    return _from_dicom(rows) if rows[0].study is not None else _from_images(rows)


def _from_dicom(rows: Sequence[CohortRow]) -> Study:
    folder = rows[0].study
    assert folder is not None
    rx_gy = next((row.rx_gy for row in rows if row.rx_gy is not None), None)
    course = rows[0].course
    study = load_study(folder, rx_gy, course_if_several=f"C{course}" if course.isdigit() else course)
    structures = {lesion.structure.name: lesion for lesion in study.lesions}
    for row in rows:
        if row.lesion not in structures:
            problem = f"has no target '{row.lesion}'; it has {sorted(structures)}"
            raise CohortError(folder, problem, "Correct column lesion")
    by_roi = {structures[r.lesion].structure.number: r.rx_gy for r in rows if r.rx_gy is not None}
    if len(set(by_roi.values())) > 1 and study.plan is not None and study.plan.prescription is not None:
        prescription = replace(study.plan.prescription, by_roi=by_roi, source="manifest")
        study = replace(study, plan=replace(study.plan, prescription=prescription))
    return study


def _from_images(rows: Sequence[CohortRow]) -> Study:
    first = rows[0]
    assert first.mr is not None
    assert first.mask is not None
    mr, mask = read_mr(first.mr), read_volume(first.mask)
    if not same_grid(Grid.of(mr), Grid.of(mask), tolerance_mm=SAME_GRID_MM):
        raise GeometryError(first.mask, f"lies on another grid than {first.mr.name}", "Resample the mask")
    lesions = tuple(
        Lesion(f"L{roi_number}", _structure(row, mask, roi_number)) for roi_number, row in enumerate(rows, start=1)
    )
    dose, warnings = _dose(first)
    by_roi = {roi_number: row.rx_gy for roi_number, row in enumerate(rows, start=1) if row.rx_gy is not None}
    prescription = None
    if by_roi:
        prescription = Prescription(max(by_roi.values()), None, first.fractions, by_roi, source="manifest")
    elif dose is not None:
        warnings = (WarningCode.DOSE_UNUSED(),)
    return Study(
        patient=pseudonym(first.patient_group, "P-"),
        mr=mr,
        mr_description="",
        structures=tuple(lesion.structure for lesion in lesions),
        lesions=lesions,
        dose=dose if prescription is not None else None,
        plan=Plan("", prescription, first.fractions),
        follow_ups=(),
        warnings=warnings,
        sources={"mr_series": pseudonym(first.mr.name)},
    )


def _structure(row: CohortRow, mask: sitk.Image, number: int) -> Structure:
    values = row.mask_values or tuple(int(v) for v in np.unique(sitk.GetArrayViewFromImage(mask)) if v > 0)
    regions = (label_structure(mask, values),) if row.region is None else label_structures(mask, values)
    region = row.region or 1
    if len(regions) < region or not regions[region - 1].contours:
        problem = f"has {len(regions)} region(s) of the labels {'+'.join(map(str, values))}, not a region {region}"
        raise CohortError(row.mask or "", problem, "Correct columns mask_values and region")
    return Structure(number, row.lesion, "GTV", regions[region - 1].contours)


def _dose(row: CohortRow) -> tuple[Dose | None, tuple[Warning, ...]]:
    if row.dose is None:
        return None, (WarningCode.NO_DOSE(reason="the manifest names no dose"),)
    return read_dose(row.dose), ()


def read_dose(path: Path) -> Dose:
    """Dose volume in Gy; voxels outside the calculated grid (NaN, below zero) are 0.

    Raises
    ------
    StudyError : see `read_volume`.
    CohortError : the maximum is not a plausible dose in Gy.
    """
    image = sitk.Cast(read_volume(path), sitk.sitkFloat32)
    values = sitk.GetArrayFromImage(image)
    peak = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    if not PLAUSIBLE_GY[0] <= peak <= PLAUSIBLE_GY[1]:
        problem = f"has a maximum of {peak:g}; expected Gy, {PLAUSIBLE_GY[0]:g} to {PLAUSIBLE_GY[1]:g}"
        raise CohortError(path, problem, "Multiply by DoseGridScaling if it holds stored integers")
    dose_gy = np.where(np.isfinite(values) & (values > 0), values, 0.0).astype(np.float32)
    return Dose(Grid.of(image).image(dose_gy), (pseudonym(path.name),))
