"""Everything that any approach may know of a lesion, measured once: its patch, and its features by family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.cohort.case import read_case
from RTResponseCAMLib.cohort.identity import Source, source_of
from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.dicom.load import read_follow_up
from RTResponseCAMLib.dosimetry.lesion import lesion_dose
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.features import radiomics
from RTResponseCAMLib.features.gradient import gradient_features
from RTResponseCAMLib.imaging.patch import Patch, sample_patch
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.imaging.registration import register_follow_up
from RTResponseCAMLib.imaging.resample import HeadIntensity, head_intensity
from RTResponseCAMLib.imaging.rigid import moved_image
from RTResponseCAMLib.study import DoseMetrics, Structure, Study

MEASURES = 2  # counts up when what is measured of a lesion, or how, changes: a comparison is not resumed then
EARLIER_DAYS = 20  # a scan this long before the label's visit may be used to foretell it
Features = Mapping[str, float]
NO_DOSE = (
    "network-dose: no dose or prescription, or a dose grid that does not reach; it reads the prescribed dose everywhere"
)


@dataclass(frozen=True)
class MeasuredLesion:
    """One row of the manifest, measured.

    Attributes
    ----------
    features : family → name → value; a family that could not be measured is absent.
    remarks : why a family is absent.
    source : its scan and its person, by which one person under two groups is found.
    """

    row: CohortRow
    patch: Patch
    volume_cc: float
    features: Mapping[str, Features]
    remarks: tuple[str, ...]
    source: Source


def measure_case(
    rows: Sequence[CohortRow],
    counts: Sequence[int],
    spacing_mm: float,
    settings: Mapping[str, Any] | None,
    delta: bool = False,
) -> list[MeasuredLesion]:
    """Read one case and measure its lesions, in the order of the rows.

    Parameters
    ----------
    counts : lesions of the row's course, for each row.
    settings : of pyradiomics; None leaves radiomics, dosiomics and delta features out.
    delta : also compare with a scan between plan and follow-up, where there is one.

    Raises
    ------
    StudyError, GeometryError, CohortError : the case cannot be read, or a lesion lies outside the MR.
    """
    study = read_case(rows)
    head, source = head_intensity(study.mr), source_of(study, rows[0].patient_group)
    structures = {lesion.structure.name: lesion.structure for lesion in study.lesions}
    later = _earlier_scan(study, rows) if delta and settings is not None else None
    return [
        _measured(study, head, structures[row.lesion], row, count, spacing_mm, settings, later, source)
        for row, count in zip(rows, counts, strict=True)
    ]


def _measured(
    study: Study,
    head: HeadIntensity,
    structure: Structure,
    row: CohortRow,
    count: int,
    spacing_mm: float,
    settings: Mapping[str, Any] | None,
    later: tuple[sitk.Image, HeadIntensity] | str | None,
    source: Source,
) -> MeasuredLesion:
    prescription = study.plan.prescription if study.plan else None
    gray = prescription.dose_for(structure) if prescription else None
    metrics = lesion_dose(study, structure)
    patch = sample_patch(study.mr, head, structure, study.dose if metrics else None, gray, spacing_mm)
    volume = contour_volume_cc(structure)
    fractions = row.fractions or (prescription.fractions if prescription else None)
    found: dict[str, Features] = {
        "volume": {"volume_log_cc": float(np.log(max(volume, 1e-6)))},
        "clinical": {
            "clinical_rx_gy": gray if gray is not None else np.nan,
            "clinical_fractions": float(fractions) if fractions else np.nan,
            "clinical_lesions": float(count),
            **row.clinical_numbers,
        },
        "gradient": gradient_features(study.mr, structure, head.median),
    }
    remarks: list[str] = []
    if settings is not None:
        for family in ("radiomics", "dosiomics", "delta"):
            try:
                values = _radiomics(family, study, head, structure, metrics, settings, found, later)
            except RTResponseError as error:
                remarks.append(f"{family}: {error.what}")
                continue
            if values:
                found[family] = values
    if metrics is None:
        remarks.append(NO_DOSE)
    return MeasuredLesion(row, patch, volume, found, tuple(remarks), source)


def _radiomics(
    family: str,
    study: Study,
    head: HeadIntensity,
    structure: Structure,
    metrics: DoseMetrics | None,
    settings: Mapping[str, Any],
    found: Mapping[str, Features],
    later: tuple[sitk.Image, HeadIntensity] | str | None,
) -> Features:
    if family == "radiomics":
        return radiomics.mr_features(study.mr, head, structure, settings)
    if family == "dosiomics":
        if study.dose is None or metrics is None:
            raise RTResponseError("", "no dose or prescription, or a dose grid that does not reach", "Give both")
        plain = {f"dose_{name}": float(getattr(metrics, name)) for name in ("mean_gy", "d98_gy", "d50_gy", "d2_gy")}
        more = {
            "dose_coverage": metrics.coverage,
            "dose_mean_of_prescription": metrics.mean_gy / metrics.prescription_gy,
        }
        return {**plain, **more, **radiomics.dose_features(study.dose, structure, settings)}
    if later is None:
        return {}
    if isinstance(later, str):
        raise RTResponseError("", later, "Add a scan during treatment")
    if "radiomics" not in found:
        raise RTResponseError("", "no radiomics of the planning MR", "See radiomics")
    original = {**settings, "mr": {**settings["mr"], "imageType": {"Original": {}}}}
    return radiomics.change(found["radiomics"], radiomics.mr_features(later[0], later[1], structure, original))


def _earlier_scan(study: Study, rows: Sequence[CohortRow]) -> tuple[sitk.Image, HeadIntensity] | str:
    """The last scan well before the label's visit, moved onto the plan; or why there is none.

    The visit that the label speaks of must never be used: its image shows the answer.
    """
    days = [row.days_to_follow_up for row in rows if row.label is not None]
    known = [day for day in days if day is not None]
    if not known or len(known) < len(days):
        return "the day of a label's visit is unknown"
    last = min(known) - EARLIER_DAYS
    earlier = [f for f in study.follow_ups if f.days_after_plan is not None and 0 <= f.days_after_plan <= last]
    if not earlier:
        return f"no scan between the plan and {EARLIER_DAYS} days before the label's visit"
    chosen = earlier[-1]
    try:
        image = read_follow_up(chosen).image
        found = register_follow_up(study, chosen, image)
    except RTResponseError as error:
        return f"the scan of day {chosen.days_after_plan} cannot be used: {error.what}"
    return moved_image(found.to_plan, image), head_intensity(image)
