"""Importer of a plain folder of NIfTI, NRRD or MetaImage files, for data without an importer of their own.

``<patient>/`` or ``<patient>/<course>/`` with ``t1c.*``, ``mask.*`` (labels: one lesion each, or islands of one
label), optionally ``dose.*`` (Gy) and ``follow_up_<days>_mask.*`` on the grid of ``mask``. Optionally
``prescriptions.csv`` beside the patients: ``patient,course,rx_gy,fractions``. Names of folders become group names:
use pseudonyms.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.cohort.labels import LaterMask, islands_of, islands_of_each, label_rows, nearest_three_months
from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.errors import CohortError, RTResponseError
from RTResponseCAMLib.imaging.labels import SUFFIXES, label_structure, labels_touch, read_volume
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.progress import Progress, no_progress

FOLLOW_UP = re.compile(r"follow_up_(\d+)_mask$", re.IGNORECASE)


def import_plain(source: Path, progress: Progress = no_progress) -> tuple[list[CohortRow], list[str]]:
    """Rows of every lesion, and remarks.

    Raises
    ------
    CohortError : no folder with ``t1c`` and ``mask``; prescriptions that are not numbers.
    """
    folders = [p for p in sorted(source.rglob("*")) if p.is_dir() and {"t1c", "mask"} <= set(_volumes(p))]
    if not folders:
        raise CohortError(source, "holds no folder with t1c.* and mask.*", "See the layout in the documentation")
    prescriptions = _prescriptions(source)
    rows, remarks = [], []
    for folder_index, folder in enumerate(folders, start=1):
        progress((folder_index - 1) / len(folders), f"folder {folder_index} of {len(folders)}")
        names = folder.relative_to(source).parts
        patient, course = (names[0], names[1]) if len(names) > 1 else (names[0], "1")
        try:
            new_rows, notes = _import_one(folder, patient, course, prescriptions)
        except RTResponseError as error:
            new_rows, notes = [], [f"left out: {error.what}"]
        rows += new_rows
        remarks += [f"{'/'.join(names)}: {text}" for text in notes]
    return rows, remarks


def _import_one(
    folder: Path, patient: str, course: str, prescriptions: dict[tuple[str, str], tuple[float, int | None]]
) -> tuple[list[CohortRow], list[str]]:
    files = _volumes(folder)
    mask = read_volume(files["mask"])
    values = tuple(int(v) for v in np.unique(sitk.GetArrayViewFromImage(mask)) if v > 0)
    if not values:
        return [], ["the mask is empty; left out"]
    rx, fractions = prescriptions.get((patient, course), (None, None))
    visit = nearest_three_months(
        [
            LaterMask(name, path, int(match.group(1)))
            for name, path in sorted(files.items())
            if (match := FOLLOW_UP.fullmatch(name))
        ]
    )
    remarks = (
        ["labels touch one another: check that they are not parts of one lesion; each label is imported as a lesion"]
        if labels_touch(mask)
        else []
    )
    # One label is a mask of all lesions; of several labels, each is one lesion.
    per_label = len(values) > 1
    lesions = tuple(label_structure(mask, (v,)) for v in values) if per_label else islands_of(mask, values)
    rows = [
        CohortRow(
            patient_group=patient, course=course,
            lesion=f"{patient} label {values[n]}" if per_label else f"{patient} label {values[0]} region {s.number}",
            mr=files["t1c"], mask=files["mask"], mask_values=(values[n],) if per_label else values,
            region=None if per_label else s.number, dose=files.get("dose"), rx_gy=rx, fractions=fractions,
            volume_cc=contour_volume_cc(s), label_source="unknown: no follow-up mask within days 60 to 120",
        )
        for n, s in enumerate(lesions)
    ]  # fmt: skip
    if visit is not None and rows:
        rows, notes = label_rows(rows, lesions, mask=mask, later=visit, find=islands_of_each)
        remarks += notes
    return rows, remarks


def _volumes(folder: Path) -> dict[str, Path]:
    volumes = {}
    for path in sorted(folder.iterdir()):
        suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s)), None)
        if path.is_file() and suffix:
            volumes[path.name[: -len(suffix)].lower()] = path
    return volumes


def _prescriptions(source: Path) -> dict[tuple[str, str], tuple[float, int | None]]:
    path = source / "prescriptions.csv"
    if not path.is_file():
        return {}
    prescriptions = {}
    with path.open(newline="", encoding="utf-8-sig") as handle:
        for line_number, line in enumerate(csv.DictReader(handle), start=2):
            try:
                fractions = int(line["fractions"]) if (line.get("fractions") or "").strip() else None
                key = (line["patient"].strip(), (line.get("course") or "1").strip() or "1")
                prescriptions[key] = (float(line["rx_gy"]), fractions)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                problem = f"line {line_number}: expected columns patient, course, rx_gy (Gy), fractions with numbers"
                raise CohortError(path, problem, "Correct the line") from error
    return prescriptions
