"""A cohort on disk: one manifest row per lesion, the same for phantoms and patients.

Columns: ``patient_group_id`` (rows of one person share it; every split is by it), ``course``, ``study`` (DICOM
folder, relative to the manifest), ``lesion`` (ROI name), ``days_to_follow_up``, ``volume_ratio`` (follow-up /
planning volume), ``label`` (1 non-response, 0 response, empty unknown), ``label_source``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from RTResponseCAMLib.errors import CohortError

MANIFEST = "manifest.csv"
COLUMNS = (
    "patient_group_id",
    "course",
    "study",
    "lesion",
    "days_to_follow_up",
    "volume_ratio",
    "label",
    "label_source",
)


@dataclass(frozen=True)
class CohortRow:
    """One lesion of the manifest; ``label`` is None when it is unknown."""

    patient_group: str
    study: Path
    lesion: str
    label: int | None
    label_source: str


def read_cohort(folder: Path) -> tuple[CohortRow, ...]:
    """Read and check ``folder/manifest.csv``.

    Raises
    ------
    CohortError : manifest missing, a column missing, a label that is not 0, 1 or empty, or a study folder
        that does not exist.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise CohortError(path, "there is no manifest", f"Write a {MANIFEST} with the columns {', '.join(COLUMNS)}")
    with path.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
        if missing:
            raise CohortError(path, f"lacks the column(s) {', '.join(missing)}", "Add them; empty cells are allowed")
        rows = [_row(folder, path, number, row) for number, row in enumerate(reader, start=2)]
    if not rows:
        raise CohortError(path, "holds no lesion", "Add one row per lesion")
    return tuple(rows)


def _row(folder: Path, path: Path, number: int, row: dict[str, str]) -> CohortRow:
    label = (row["label"] or "").strip()
    if label not in ("0", "1", ""):
        raise CohortError(
            path,
            f"line {number}: column label is '{label}', expected 0 (response), 1 (non-response) or empty",
            "Correct the cell",
        )
    study = folder / row["study"]
    if not study.is_dir():
        raise CohortError(path, f"line {number}: there is no study folder '{row['study']}'", "Correct column study")
    return CohortRow(row["patient_group_id"], study, row["lesion"], int(label) if label else None, row["label_source"])
