"""CSV tables: the one writer of all tables, which prevents spreadsheet formulas, and the inverse for reading."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Characters that spreadsheets interpret as the start of a formula [OWASP, CSV injection], full-width forms included.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write_table(path: Path, columns: Sequence[str], *, rows: Iterable[Mapping[str, Any] | Sequence[Any]]) -> None:
    """Write a CSV table; None becomes an empty cell.

    Parameters
    ----------
    columns : column names, written in the first line.
    rows : values by column name (missing values become empty cells), or in the order of the columns.

    Raises
    ------
    OSError : the file cannot be written.
    ValueError : a row has unknown columns, or its number of values differs from the number of columns.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([safe_cell(name) for name in columns])
        for row in rows:
            if isinstance(row, Mapping):
                if unknown := [name for name in row if name not in columns]:
                    raise ValueError(f"{path.name} has no columns {unknown}")
                row = [row.get(name) for name in columns]
            elif len(row) != len(columns):
                raise ValueError(f"{path.name}: a row of {len(row)} values for {len(columns)} columns")
            writer.writerow(["" if value is None else safe_cell(value) for value in row])


def safe_cell(value: Any) -> Any:
    """The value, or its text with a leading apostrophe where a spreadsheet would interpret it as a formula."""
    if not isinstance(value, str) or not value.startswith(FORMULA_STARTS) or _is_number(value):
        return value
    return f"'{value}"


def plain_cell(text: str) -> str:
    """The text of a cell without the leading apostrophe that `safe_cell` adds."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA_STARTS) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
