"""Samples of the lesions of a manifest, case by case, with scans between plan and follow-up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from RTResponseCAMLib.cohort.case import read_case
from RTResponseCAMLib.cohort.identity import Source, source_of
from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.dicom.load import read_follow_up
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.registration import register_follow_up
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.imaging.rigid import moved_image
from RTResponseCAMLib.samples.build import EarlierScan, Identity, SampleSettings, sample_study
from RTResponseCAMLib.samples.sample import Features, LesionSample
from RTResponseCAMLib.study import Study

SAMPLING_VERSION = 3  # increase it when the sampling changes: older comparisons cannot be resumed then
EARLIER_DAYS = 20  # only a scan at least this long before the label's visit may be used for prediction


@dataclass(frozen=True)
class CohortLesion:
    """A row of the manifest and its sample; ``source`` identifies its scan and its person."""

    row: CohortRow
    sample: LesionSample
    source: Source


def certain_label(row: CohortRow) -> int | None:
    """Label of a row; None where its change may lie on either side of the threshold."""
    return row.certain_label


def sample_case(
    rows: Sequence[CohortRow],
    counts: Sequence[int],
    *,
    settings: SampleSettings,
    label_of: Callable[[CohortRow], int | None] = certain_label,
) -> list[CohortLesion]:
    """Read one case and sample its lesions, in the order of the rows.

    Parameters
    ----------
    counts : number of lesions of the course of each row.

    Raises
    ------
    StudyError, GeometryError, CohortError : the case cannot be read, or a lesion lies outside the MR.
    """
    study = read_case(rows)
    source = source_of(study, rows[0].patient_group)
    structures = {lesion.structure.name: lesion.structure for lesion in study.lesions}
    identities = [
        Identity(row.patient_group, row.course, row.lesion, label_of(row), count, row.fractions, row.clinical_numbers)
        for row, count in zip(rows, counts, strict=True)
    ]
    earlier = _earlier_scan(study, rows) if "delta" in settings.families else None
    samples = sample_study(
        study, [structures[row.lesion] for row in rows], settings=settings, identities=identities, earlier=earlier
    )
    return [CohortLesion(row, sample, source) for row, sample in zip(rows, samples, strict=True)]


def sample_row(row: CohortRow, count: int, *, label: int | None) -> CohortLesion:
    """Sample of a lesion without images, from the columns of the manifest.

    Parameters
    ----------
    count : number of lesions of the course of the row.
    """
    has_volume = row.volume_cc is not None
    features: dict[str, Features] = {
        "clinical": {
            "clinical_rx_gy": row.rx_gy if row.rx_gy is not None else math.nan,
            "clinical_fractions": float(row.fractions) if row.fractions else math.nan,
            "clinical_lesions": float(count),
            **row.clinical_numbers,
        }
    }
    if row.volume_cc is not None:
        features["volume"] = {"volume_log_cc": math.log(max(row.volume_cc, 1e-6))}
    sample = LesionSample(
        None,
        row.volume_cc if row.volume_cc is not None else math.nan,
        features,
        None,
        row.patient_group,
        row.course,
        row.lesion,
        label,
        missing={"images": "none in the manifest"} | ({} if has_volume else {"volume": "column volume_cc is empty"}),
    )
    return CohortLesion(row, sample, Source(row.patient_group, "", ""))


def with_tables(lesion: CohortLesion, tables: Mapping[str, Features | None]) -> CohortLesion:
    """Lesion with the feature families of the user's tables added, by name; None: the table has no row for it."""
    features = {name: values for name, values in tables.items() if values is not None}
    missing = {name: "the table has no row for it" for name, values in tables.items() if values is None}
    sample = lesion.sample
    changed = replace(sample, features={**sample.features, **features}, missing={**sample.missing, **missing})
    return replace(lesion, sample=changed)


def _earlier_scan(study: Study, rows: Sequence[CohortRow]) -> EarlierScan:
    """Last scan well before the label's visit, resampled to the plan; or the reason why there is none.

    The visit from which the label comes must never be used, because its image shows the outcome.
    """
    days = [row.days_to_follow_up for row in rows if row.label is not None]
    known_days = [day for day in days if day is not None]
    if not known_days or len(known_days) < len(days):
        return "the day of a label's visit is unknown"
    latest_day = min(known_days) - EARLIER_DAYS
    earlier = [f for f in study.follow_ups if f.days_after_plan is not None and 0 <= f.days_after_plan <= latest_day]
    if not earlier:
        return f"no scan between the plan and {EARLIER_DAYS} days before the label's visit"
    chosen = earlier[-1]
    try:
        image = read_follow_up(chosen).image
        registration = register_follow_up(study, chosen, image=image)
    except RTResponseError as error:
        return f"the scan of day {chosen.days_after_plan} cannot be used: {error.what}"
    return moved_image(registration.to_plan, image), head_intensity(image)
