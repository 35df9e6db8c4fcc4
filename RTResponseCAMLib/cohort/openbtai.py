"""Importer of OpenBTAI / MOLAB (Figshare, CC0): metastases segmented over years; no dose volume.

``<patient>/<patient>/NIFTI/<patient>_<time>_img.nii`` and ``_msk.nii``; label = 10 × lesion + segment, segment 1
enhancing, 2 necrosis, so a lesion keeps its number over time and needs no matching. Times are dates shifted to 1901
and later; they give the days since the first MR. The clinical workbook (columns by position, data from row 16) gives
the day of radiosurgery of each lesion, on the same scale.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.cohort.labels import labeled_row
from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.cohort.sheets import number_in, read_sheet
from RTResponseCAMLib.errors import CohortError, RTResponseError
from RTResponseCAMLib.imaging.labels import label_structure, read_volume
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.response.trajectory import nearest_in_window
from RTResponseCAMLib.response.volume import Volume, volume_interval

FILE = re.compile(r"(\d+)_(\d{8})_(img|msk)\.nii(\.gz)?$", re.IGNORECASE)
BASELINE_DAYS = (-60, 7)
PATIENT, LESION, DOSE, FRACTIONS, BEGIN = 0, 4, 31, 32, 33  # columns A, E, AF, AG, AH of the clinical sheet


@dataclass(frozen=True)
class Scan:
    """One time point: files, and the day since the first MR (which is day 1)."""

    day: int
    image: Path
    mask: Path


@dataclass(frozen=True)
class Radiosurgery:
    """First radiosurgery of one lesion: day since the first MR, total dose in Gy, fractions."""

    day: int | None
    rx_gy: float | None
    fractions: int | None


def import_openbtai(source: Path, progress: Progress = no_progress) -> tuple[list[CohortRow], list[str]]:
    """One row per lesion: labeled where a scan lies before and one about three months after its radiosurgery.

    Raises
    ------
    CohortError : no image with a mask.
    """
    scans = _scans(source)
    if not scans:
        raise CohortError(source, "holds no <patient>_<date>_img.nii with its _msk.nii", "Give the NIFTI folders")
    treated, remarks = _treatments(source)
    remarks.append(
        "days count from the first image of each patient here; they are wrong if the first MR of the study is missing"
    )
    rows: list[CohortRow] = []
    for patient_index, (patient, patient_scans) in enumerate(sorted(scans.items()), start=1):
        progress((patient_index - 1) / len(scans), f"patient {patient_index} of {len(scans)}")
        try:
            rows += _patient(patient, patient_scans, treated)
        except RTResponseError as error:
            remarks.append(f"{patient:06d}: left out: {error.what}")
    return rows, remarks


def _scans(source: Path) -> dict[int, list[Scan]]:
    files: defaultdict[tuple[int, str], dict[str, Path]] = defaultdict(dict)
    for path in sorted(source.rglob("*.nii*")):
        match = FILE.fullmatch(path.name)
        if match:
            files[(int(match.group(1)), match.group(2))][match.group(3).lower()] = path
    scans: defaultdict[int, list[Scan]] = defaultdict(list)
    first: dict[int, int] = {}
    for (patient, date), pair in files.items():
        day = serial_day(date)
        if day is None:
            continue
        first[patient] = min(day, first.get(patient, day))  # also a scan without a segmentation
        if len(pair) == 2:
            scans[patient].append(Scan(day, pair["img"], pair["msk"]))
    for patient, patient_scans in scans.items():
        patient_scans[:] = [Scan(scan.day - first[patient] + 1, scan.image, scan.mask) for scan in patient_scans]
        patient_scans.sort(key=lambda scan: scan.day)
    return dict(scans)


def serial_day(date: str) -> int | None:
    """Day number of a shifted date as spreadsheets count (1 is 1 January 1900, with their 29 February 1900)."""
    try:
        day = int((np.datetime64(f"{date[:4]}-{date[4:6]}-{date[6:]}") - np.datetime64("1899-12-30")).astype(int))
    except ValueError:
        return None
    return day - 1 if day < 61 else day


def _treatments(source: Path) -> tuple[dict[tuple[int, int], Radiosurgery], list[str]]:
    books = sorted(source.rglob("OpenBTAI_METS_ClinicalData*.xlsx"))
    if not books:
        return {}, ["no OpenBTAI_METS_ClinicalData workbook: labels stay unknown"]
    treatments: dict[tuple[int, int], Radiosurgery] = {}
    for row in read_sheet(books[0])[15:]:
        cells = [row[n] if n < len(row) else None for n in range(BEGIN + 1)]
        patient, lesion = number_in(cells[PATIENT]), number_in(cells[LESION])
        if patient is None or lesion is None:
            continue
        begin, dose, fraction_count = (number_in(cells[n]) for n in (BEGIN, DOSE, FRACTIONS))
        total = dose * fraction_count if dose is not None and fraction_count is not None else None
        day = int(begin) if begin is not None else None
        key = (int(patient), int(lesion))
        earlier = treatments.get(key)
        if earlier is None or (day is not None and (earlier.day is None or day < earlier.day)):
            treatments[key] = Radiosurgery(day, total, int(fraction_count) if fraction_count is not None else None)
    return treatments, []


def _patient(patient: int, scans: list[Scan], treated: dict[tuple[int, int], Radiosurgery]) -> list[CohortRow]:
    masks = {scan.day: read_volume(scan.mask) for scan in scans}
    lesions = sorted(
        {int(v) // 10 for m in masks.values() for v in np.unique(sitk.GetArrayViewFromImage(m)) if v >= 10}
    )
    rows = []
    for lesion in lesions:
        values = (10 * lesion + 1, 10 * lesion + 2)
        srs = treated.get((patient, lesion), Radiosurgery(None, None, None))
        present = [s for s in scans if np.isin(sitk.GetArrayViewFromImage(masks[s.day]), values).any()]
        begin = srs.day
        before = [s for s in present if begin is not None and BASELINE_DAYS[0] <= s.day - begin <= BASELINE_DAYS[1]]
        baseline = before[-1] if before else present[0]
        volume = _volume(masks[baseline.day], values)
        row = CohortRow(
            patient_group=f"OpenBTAI-{patient:06d}", course="1", lesion=f"{patient:06d} lesion {lesion}",
            mr=baseline.image, mask=baseline.mask, mask_values=values, rx_gy=srs.rx_gy, fractions=srs.fractions,
            volume_cc=volume.cc, label_source="unknown: no scan before and about three months after radiosurgery",
        )  # fmt: skip
        # A lesion without a label at a later scan may be gone or not annotated: only scans that show it count.
        after = [s for s in present if begin is not None and s.day > begin]
        visit_index = nearest_in_window([s.day - begin for s in after]) if begin is not None and before else None
        if begin is not None and visit_index is not None:
            visit = after[visit_index]
            later_volume = _volume(masks[visit.day], values)
            row = labeled_row(
                row, volume, after=later_volume, days=visit.day - begin, source="volume, segmentation of the data set"
            )
        rows.append(row)
    return rows


def _volume(mask: sitk.Image, values: tuple[int, ...]) -> Volume:
    return volume_interval(label_structure(mask, values))
