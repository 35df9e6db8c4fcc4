"""Feature tables that users supply: CSV, one row per lesion, keyed by patient, course and lesion."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.samples.sample import Features
from RTResponseCAMLib.tables import plain_cell

KEYS = ("patient_group_id", "course", "lesion")
MAX_PROBLEMS = 20
LIMITS = (1e-30, 1e30)  # of absolute values; beyond them the variance overflows or underflows
Key = tuple[str, str, str]


def read_feature_table(path: Path) -> dict[Key, Features]:
    """Features of each lesion by ``(patient_group_id, course, lesion)``; NaN where a cell is empty.

    The column ``course`` may be absent: every lesion then belongs to course "1", as in the manifest. Columns whose name
    begins with ``diagnostics`` are ignored, because pyradiomics writes text there.

    Raises
    ------
    CohortError : not a CSV file, a key column missing, no feature, two rows for one lesion, or a cell that is not a
        number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            names = [(name or "").strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            lines = list(reader)
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise CohortError(path, problem, "Give the file of the table") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CohortError(path, f"is not a readable UTF-8 CSV file ({error})", "Save it as CSV UTF-8") from error
    lacking = [name for name in ("patient_group_id", "lesion") if name not in names]
    feature_names = [n for n in names if n and n not in KEYS and not n.startswith("diagnostics")]
    delimiter = next((mark for mark in (";", "\t") if len(names) == 1 and mark in names[0]), None)
    if delimiter is not None:
        problem = f"is delimited by {'semicolons' if delimiter == ';' else 'tabs'}, expected commas"
        raise CohortError(path, problem, "Save it with commas, and decimal points")
    if lacking or not feature_names:
        problem = f"lacks the column(s) {', '.join(lacking)}" if lacking else "holds no column of features"
        raise CohortError(path, problem, f"Give the columns {', '.join(KEYS)}, and one for each feature")
    repeated = sorted({n for n in names if n and names.count(n) > 1})
    if repeated:
        raise CohortError(path, f"names column(s) {', '.join(repeated)} twice", "Give each column its own name")
    problems: list[str] = []
    features_by_lesion: dict[Key, Features] = {}
    for line_number, line in enumerate(lines, start=2):
        cell_count = sum(line.get(name) is not None for name in names) + len(line.get(None) or ())
        if cell_count != len(names):
            problems.append(f"line {line_number}: has {cell_count} cells for {len(names)} columns (decimal commas?)")
            continue
        cells = {name: plain_cell((line.get(name) or "").strip()) for name in names if name}
        key = cells["patient_group_id"], cells.get("course") or "1", cells["lesion"]
        if key in features_by_lesion:
            place = f"lesion '{key[2]}' of patient '{key[0]}', course {key[1]}"
            problems.append(f"line {line_number}: repeats {place}")
        values = {}
        for name in feature_names:
            try:
                values[name] = float(cells[name]) if cells[name] else math.nan
            except ValueError:
                problems.append(f"line {line_number}: column {name} is '{cells[name]}', expected a number")
                continue
            magnitude = abs(values[name])
            if not math.isnan(magnitude) and magnitude and not LIMITS[0] <= magnitude <= LIMITS[1]:
                text = f"expected 0 or a size of {LIMITS[0]:g} to {LIMITS[1]:g}"
                problems.append(f"line {line_number}: column {name} is '{cells[name]}', {text}")
        features_by_lesion[key] = values
    if problems:
        remainder = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise CohortError(path, "; ".join(problems[:MAX_PROBLEMS]) + remainder, "Correct or remove these lines")
    return features_by_lesion
