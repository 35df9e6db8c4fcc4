"""Manifest of a cohort: one CSV row per patient, course and lesion, for phantoms, clinics and public data sets.

A row is a DICOM study (``study`` and the ROI's name), or image files (``mr`` and ``mask``). No column holds a date.
`COLUMN_TEXTS` explains the columns.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.tables import plain_cell, write_table

MANIFEST = "manifest.csv"
# Column → meaning, in the order of the file; the reference page of the documentation is generated from it.
COLUMN_TEXTS = {
    "patient_group_id": "the same for all rows of one person; every split is by it; never a name or a record number",
    "course": 'treatment course of that person, "1", "2", …',
    "lesion": "ROI name in the study, or a name for the region of the mask",
    "study": "folder with the DICOM export, relative to the manifest",
    "mr": "contrast-enhanced T1 as an image file, relative to the manifest",
    "mask": "label map on the grid of mr, relative to the manifest",
    "mask_values": 'label values of the tumor, joined by "+" ("1+2"); empty: every value but 0',
    "region": "which connected component of these values, 1 is the largest; empty: all of them together",
    "dose": "dose volume, Gy, relative to the manifest",
    "rx_gy": "prescribed total dose, Gy",
    "fractions": "number of fractions",
    "days_to_follow_up": "days from treatment planning to the follow-up of the label",
    "volume_cc": "volume at planning, cm³",
    "volume_ratio": "follow-up / planning volume; 0 only where the follow-up was examined and the lesion vanished",
    "label": "1 non-response, 0 response, empty unknown",
    "certainty": '"certain", "indeterminate" (the interval of the change contains the threshold), or empty',
    "label_source": "origin of the label",
    "clinical_…": "further columns with this prefix: numbers known before treatment, for the clinical baseline",
}
CLINICAL = "clinical_"
COLUMNS = tuple(name for name in COLUMN_TEXTS if not name.startswith(CLINICAL))
NEEDED = ("patient_group_id", "course", "lesion", "label", "label_source")
MAX_PROBLEMS = 20


@dataclass(frozen=True)
class CohortRow:
    """One lesion of the manifest; paths are absolute, None where the cell is empty. For the columns see the module."""

    patient_group: str
    course: str
    lesion: str
    study: Path | None = None
    mr: Path | None = None
    mask: Path | None = None
    mask_values: tuple[int, ...] = ()
    region: int | None = None
    dose: Path | None = None
    rx_gy: float | None = None
    fractions: int | None = None
    days_to_follow_up: int | None = None
    volume_cc: float | None = None
    volume_ratio: float | None = None
    label: int | None = None
    certainty: str = ""
    label_source: str = ""
    clinical: tuple[tuple[str, float], ...] = ()

    @property
    def clinical_numbers(self) -> dict[str, float]:
        """Columns ``clinical_…`` by name; NaN where the cell is empty."""
        return dict(self.clinical)

    @property
    def certain_label(self) -> int | None:
        """Label; None where the interval of the change contains the threshold."""
        return None if self.certainty == "indeterminate" else self.label

    @property
    def images(self) -> tuple[Path, ...]:
        """Files or folder of the images."""
        return tuple(p for p in (self.study, self.mr, self.mask, self.dose) if p is not None)

    @property
    def case(self) -> tuple[Path | str, ...]:
        """Key of the case: rows with the same key are read together. A folder may hold several courses."""
        return (*self.images, self.course) if self.study is not None else self.images


def read_cohort(folder: Path, *, images: bool = True) -> tuple[CohortRow, ...]:
    """Read and check ``folder/manifest.csv``; the error lists every bad cell by line and column.

    Parameters
    ----------
    images : whether each row must name images; a comparison of feature tables needs none.

    Raises
    ------
    CohortError : manifest missing or not a CSV file, a column missing, a value that is not allowed, a file that does
        not exist, two rows for one lesion, or the same images under two patient groups.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise CohortError(path, "there is no manifest", f"Write a {MANIFEST} with the columns {', '.join(COLUMNS)}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            header = [(name or "").strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            lines = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise CohortError(path, f"is not a UTF-8 CSV file ({error})", "Save it as CSV UTF-8") from error
    missing = [c for c in NEEDED if c not in header]
    if missing or (images and not {"study", "mr"} & set(header)):
        missing = missing or ["study or mr"]
        raise CohortError(path, f"lacks the column(s) {', '.join(missing)}", "Add them; empty cells are allowed")
    if not lines:
        raise CohortError(path, "holds no lesion", "Add one row per lesion")
    problems: list[str] = []
    rows = [_row(folder, line_number, line, problems, images) for line_number, line in enumerate(lines, start=2)]
    _check_repeats(rows, problems)
    if problems:
        remainder = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise CohortError(path, "; ".join(problems[:MAX_PROBLEMS]) + remainder, "Correct the cells")
    return tuple(rows)


def write_manifest(folder: Path, rows: Iterable[CohortRow]) -> None:
    """Write ``folder/manifest.csv``, clinical columns last; paths become relative to it where that is possible."""
    rows = tuple(rows)
    clinical = list(dict.fromkeys(name for row in rows for name, _ in row.clinical))
    lines = []
    for row in rows:
        cells = (
            row.patient_group, row.course, row.lesion, _relative(row.study, folder), _relative(row.mr, folder),
            _relative(row.mask, folder), "+".join(str(v) for v in row.mask_values), _text(row.region),
            _relative(row.dose, folder), _text(row.rx_gy), _text(row.fractions), _text(row.days_to_follow_up),
            _text(row.volume_cc), _text(row.volume_ratio), _text(row.label), row.certainty, row.label_source,
        )  # fmt: skip
        clinical_cells = {name: "" if math.isnan(value) else repr(value) for name, value in row.clinical}
        lines.append(dict(zip(COLUMNS, cells, strict=True)) | clinical_cells)
    write_table(folder / MANIFEST, (*COLUMNS, *clinical), rows=lines)


def _relative(path: Path | None, folder: Path) -> str:
    if path is None:
        return ""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return path.resolve().as_posix()


def _text(value: float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _row(folder: Path, number: int, line: dict[str, str], problems: list[str], images: bool) -> CohortRow:
    def cell(column: str) -> str:
        return plain_cell((line.get(column) or "").strip())

    def bad(column: str, expected: str) -> None:
        problems.append(f"line {number}: column {column} is '{cell(column)}', expected {expected}")

    def place(column: str, directory: bool) -> Path | None:
        if not cell(column):
            return None
        path = folder / cell(column)
        if not (path.is_dir() if directory else path.is_file()):
            kind = "study folder" if directory else "file"
            problems.append(f"line {number}: column {column}: there is no {kind} '{cell(column)}'")
        return path

    def figure(column: str, low: float, high: float, expected: str) -> float | None:
        try:
            value = float(cell(column)) if cell(column) else None
        except ValueError:
            value = math.nan
        if value is not None and not low <= value <= high:
            bad(column, expected)
            return None
        return value

    def amount(column: str) -> float:
        value = figure(column, -1e9, 1e9, "a number (write categories as 0 and 1, a column each)")
        return math.nan if value is None else value

    def whole(column: str, low: int, high: int, expected: str) -> int | None:
        value = figure(column, low, high, expected)
        if value is not None and value != int(value):
            bad(column, expected)
            return None
        return None if value is None else int(value)

    for column in ("patient_group_id", "lesion"):
        if not cell(column):
            bad(column, "a value")
    if cell("label") not in ("0", "1", ""):
        bad("label", "0 (response), 1 (non-response) or empty")
    if cell("certainty") not in ("certain", "indeterminate", ""):
        bad("certainty", "certain, indeterminate or empty")
    values = cell("mask_values").split("+") if cell("mask_values") else []
    if not all(v.isascii() and v.isdigit() for v in values):
        bad("mask_values", "label numbers joined by +")
        values = []
    row = CohortRow(
        patient_group=cell("patient_group_id"),
        course=cell("course") or "1",
        lesion=cell("lesion"),
        study=place("study", True),
        mr=place("mr", False),
        mask=place("mask", False),
        mask_values=tuple(int(v) for v in values),
        region=whole("region", 1, 500, "the number of an island, from 1"),
        dose=place("dose", False),
        rx_gy=figure("rx_gy", 0.1, 200, "a dose of 0.1 to 200 Gy"),
        fractions=whole("fractions", 1, 100, "a number from 1 to 100"),
        days_to_follow_up=whole("days_to_follow_up", 0, 20_000, "days from 0"),
        volume_cc=figure("volume_cc", 0, 2000, "cm³ from 0"),
        volume_ratio=figure("volume_ratio", 0, 1000, "a ratio from 0"),
        label=int(cell("label")) if cell("label") in ("0", "1") else None,
        certainty=cell("certainty"),
        label_source=cell("label_source"),
        clinical=tuple((name, amount(name)) for name in line if (name or "").startswith(CLINICAL)),
    )
    if row.study is None and row.mr is None and not images:
        return row
    if (row.study is None) == (row.mr is None):
        problems.append(f"line {number}: give either column study (DICOM) or columns mr and mask")
    elif row.mr is not None and row.mask is None:
        problems.append(f"line {number}: column mask is empty, but mr needs one")
    return row


def _check_repeats(rows: list[CohortRow], problems: list[str]) -> None:
    first_lines: dict[tuple[object, ...], int] = {}
    group_of: dict[tuple[Path, ...], tuple[str, int]] = {}
    for line_number, row in enumerate(rows, start=2):
        key = (row.patient_group, row.course, row.lesion, row.case)
        if key in first_lines:
            problems.append(f"line {line_number}: repeats lesion '{row.lesion}' of line {first_lines[key]}")
        first_lines[key] = line_number
        if not row.images:
            continue
        group, first_line = group_of.setdefault(row.images, (row.patient_group, line_number))
        if group != row.patient_group:
            problems.append(
                f"line {line_number}: column patient_group_id is '{row.patient_group}', but line {first_line} has the "
                f"same images under '{group}'"
            )
