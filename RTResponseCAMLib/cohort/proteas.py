"""Importer of PROTEAS-brain-mets (Zenodo 17253793, CC BY): linac radiosurgery with dose and segmented follow-ups.

``P01/BraTS/baseline|fu1…/t1c.nii.gz``, ``P01/P01_RTP.nii.gz`` (Gy, NaN outside the grid), masks with 1 necrosis,
2 enhancing, 3 edema in ``tumor_segmentation`` or ``tumor segmentation``, days from ``DICOM/T1C_<date>``.
P04a and P04b are two courses of one person. A visit without a mask may be a complete response, or it may not be
annotated: its label stays unknown.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.cohort.case import read_dose
from RTResponseCAMLib.cohort.labels import LaterMask, islands_of, label_rows, nearest_three_months
from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.cohort.sheets import by_header, number_in, read_sheet, text_in
from RTResponseCAMLib.errors import CohortError, RTResponseError
from RTResponseCAMLib.imaging.labels import read_volume
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.progress import Progress, no_progress

FOLDER = re.compile(r"P(\d+)([a-z]?)$", re.IGNORECASE)
MASK_FOLDERS = ("tumor_segmentation", "tumor segmentation")
TUMOR = (1, 2)
HOT_SPOT = (0.98, 1.7)  # allowed dose maximum / prescription; 1.12 to 1.30 in the published plans


def import_proteas(source: Path, progress: Progress = no_progress) -> tuple[list[CohortRow], list[str]]:
    """Rows of every patient folder below ``source``, and remarks.

    Raises
    ------
    CohortError : no patient folder.
    """
    folders = sorted(
        p for p in source.rglob("P*") if p.is_dir() and FOLDER.fullmatch(p.name) and (p / "BraTS").is_dir()
    )
    if not folders:
        raise CohortError(source, "holds no PROTEAS patient folder (P01/BraTS/…)", "Unzip the data set there")
    doses, remarks = _prescriptions(source)
    rows: list[CohortRow] = []
    for folder_index, folder in enumerate(folders, start=1):
        progress((folder_index - 1) / len(folders), f"patient folder {folder_index} of {len(folders)}")
        try:
            new_rows, notes = _import_one(folder, doses)
        except RTResponseError as error:
            new_rows, notes = [], [f"{folder.name}: left out: {error.what}"]
        rows += new_rows
        remarks += notes
    return rows, remarks


def _import_one(folder: Path, doses: dict[str, tuple[float | None, int | None]]) -> tuple[list[CohortRow], list[str]]:
    name = folder.name
    name_match = FOLDER.fullmatch(name)
    assert name_match is not None
    group = f"PROTEAS-P{int(name_match.group(1)):02d}"
    course = str(ord(name_match.group(2).lower()) - ord("a") + 1) if name_match.group(2) else "1"
    masks = _masks(folder)
    mr = folder / "BraTS" / "baseline" / "t1c.nii.gz"
    if "baseline" not in masks or not mr.is_file():
        missing = "tumor mask" if mr.is_file() else "t1c"
        return [], [f"{name}: no baseline {missing}; left out"]
    mask = read_volume(masks["baseline"])
    islands = islands_of(mask, TUMOR)
    dose = folder / f"{name}_RTP.nii.gz"
    rx, fractions, remarks = _prescription(name, dose, doses)
    rows = [
        CohortRow(
            patient_group=group, course=course, lesion=f"{name} lesion {s.number}", mr=mr, mask=masks["baseline"],
            mask_values=TUMOR, region=s.number, dose=dose if dose.is_file() else None, rx_gy=rx, fractions=fractions,
            volume_cc=contour_volume_cc(s), label_source="unknown: no follow-up mask within days 60 to 120",
        )
        for s in islands
    ]  # fmt: skip
    days, notes = _days(folder)
    remarks += notes
    later = [LaterMask(k, p, days.get(k)) for k, p in sorted(masks.items()) if k != "baseline"]
    visit = nearest_three_months(later)
    if visit is None or not rows:
        return rows, remarks
    rows, notes = label_rows(rows, islands, mask=mask, later=visit, find=lambda later: islands_of(later, TUMOR))
    return rows, remarks + [f"{name}: {text}" for text in notes]


def _masks(folder: Path) -> dict[str, Path]:
    masks = {}
    for spelling in MASK_FOLDERS:
        for path in sorted((folder / spelling).glob("*.nii*")) if (folder / spelling).is_dir() else ():
            match = re.search(r"_tumor_mask_(baseline|fu\d+)\.nii", path.name, re.IGNORECASE)
            if match:
                masks[match.group(1).lower()] = path
    return masks


def _days(folder: Path) -> tuple[dict[str, int], list[str]]:
    """Day of each time point, from the dates of the DICOM folders; empty unless there is one date per time point."""
    dates = set()
    for path in (folder / "DICOM").iterdir() if (folder / "DICOM").is_dir() else ():
        match = re.match(r"T[1I]C[_ ](\d{4})[-_]?(\d{2})[-_]?(\d{2})", path.name, re.IGNORECASE)
        if match:
            try:
                dates.add(np.datetime64("-".join(match.groups())))
            except ValueError:
                continue
    time_points = sorted(
        (p.name.lower() for p in (folder / "BraTS").iterdir() if re.fullmatch(r"baseline|fu\d+", p.name.lower())),
        key=lambda n: 0 if n == "baseline" else int(n[2:]),
    )
    ordered = sorted(dates)
    if not time_points or len(time_points) != len(ordered) or time_points[0] != "baseline":
        return {}, [
            f"{folder.name}: {len(ordered)} dated T1C folders for {len(time_points)} time points; days stay unknown"
        ]
    return {p: int((d - ordered[0]).astype(int)) for p, d in zip(time_points, ordered, strict=True)}, []


def _prescriptions(source: Path) -> tuple[dict[str, tuple[float | None, int | None]], list[str]]:
    books = sorted(source.rglob("PROTEAS-Clinical*.xlsx"))
    if not books:
        return {}, ["no PROTEAS-Clinical_and_demographic_data.xlsx: prescriptions stay unknown"]
    needed = ("Patient ID (Zenodo)", "Rx dose at tumor margins", "Fractions")
    lines = by_header(books[0], read_sheet(books[0], "PROTEAS"), needed=needed)
    prescriptions = {}
    for line in lines:
        fractions = number_in(line[needed[2]])
        prescriptions[text_in(line[needed[0]]).casefold()] = (
            number_in(line[needed[1]]),
            int(fractions) if fractions is not None else None,
        )
    return prescriptions, []


def _prescription(
    name: str, dose: Path, doses: dict[str, tuple[float | None, int | None]]
) -> tuple[float | None, int | None, list[str]]:
    """Total prescribed dose in Gy: the value of the sheet, or its product with the fractions, which fits the dose."""
    key, remarks = name.casefold(), []
    if key not in doses:
        similar_names = [k for k in doses if k.rstrip("abc") == key.rstrip("abc")]
        if not similar_names:
            return None, None, [f"{name}: not in the clinical sheet; prescription unknown"] if doses else []
        key = similar_names[0]
        remarks.append(f"{name}: the clinical sheet has '{similar_names[0]}'; its prescription is used")
    rx, fractions = doses[key]
    if rx is None or rx <= 0:
        return None, fractions, [*remarks, f"{name}: no prescription in the clinical sheet"]
    if not dose.is_file():
        return rx, fractions, remarks
    peak = float(sitk.GetArrayFromImage(read_dose(dose).image).max())
    for total in (rx, rx * (fractions or 1)):
        if HOT_SPOT[0] <= peak / total <= HOT_SPOT[1]:
            return total, fractions, remarks
    remarks.append(f"{name}: dose maximum {peak:.1f} Gy fits neither {rx:g} Gy nor {fractions} × {rx:g} Gy; left empty")
    return None, fractions, remarks
