"""Reader of spreadsheets of public data sets: cells by header, independent of blanks and letter case."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from RTResponseCAMLib.errors import CohortError

MAX_ROWS, MAX_COLUMNS = 20_000, 500
MAX_UNPACKED_BYTES = 200_000_000


def read_sheet(path: Path, sheet: str | None = None) -> list[list[Any]]:
    """All rows of a sheet, as values; trailing empty rows are dropped.

    Raises
    ------
    CohortError : openpyxl is missing, the file is not a workbook, the sheet is absent, or it is implausibly large.
    """
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise CohortError(path, "needs the package openpyxl to be read", "Install it: pip install openpyxl") from error
    try:
        _check_size(path)
        book = load_workbook(path, read_only=True, data_only=True)
        try:
            rows = _rows(path, book, sheet)
        finally:
            book.close()
    except CohortError:
        raise
    except Exception as error:  # a damaged archive or XML raises errors of any type
        raise CohortError(path, f"is not a workbook ({type(error).__name__})", "Download it again") from error
    while rows and not any(_filled(cell) for cell in rows[-1]):
        rows.pop()
    return rows


def _rows(path: Path, book: Any, sheet: str | None) -> list[list[Any]]:
    names = {name.strip().casefold(): name for name in book.sheetnames}
    if sheet is not None and sheet.casefold() not in names:
        raise CohortError(path, f"has no sheet '{sheet}'; it has {book.sheetnames}", "Download it again")
    worksheet = book[names[sheet.casefold()]] if sheet is not None else book[book.sheetnames[0]]
    return [list(row) for row in worksheet.iter_rows(max_row=MAX_ROWS, max_col=MAX_COLUMNS, values_only=True)]


def _check_size(path: Path) -> None:
    """Check the unpacked size: a workbook is an archive, and a small one may unpack to gigabytes (zip bomb)."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MAX_UNPACKED_BYTES:
        raise CohortError(path, f"unpacks to {size / 1e6:.0f} MB, more than a table can be", "Check the file")


def by_header(path: Path, rows: list[list[Any]], *, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows below the first as dictionaries by header; headers are stripped of blanks and matched without case.

    Raises
    ------
    CohortError : a needed column is absent.
    """
    if not rows:
        raise CohortError(path, "is empty", "Download it again")
    headers = [re.sub(r"\s+", " ", str(cell or "")).strip() for cell in rows[0]]
    column_of = {header.casefold(): column for column, header in enumerate(headers) if header}
    missing = [name for name in needed if name.casefold() not in column_of]
    if missing:
        raise CohortError(path, f"lacks the column(s) {missing}; it has {[h for h in headers if h]}", "Check the file")
    lines = []
    for row in rows[1:]:
        if any(_filled(cell) for cell in row):
            lines.append({header: _at(row, column) for column, header in enumerate(headers) if header})
    aliases = {headers[column_of[name.casefold()]]: name for name in needed}
    return [{aliases.get(key, key): value for key, value in line.items()} for line in lines]


def number_in(cell: Any) -> float | None:
    """First number in a cell ("20 Gy " → 20); None when there is none."""
    if isinstance(cell, bool) or cell is None:
        return None
    if isinstance(cell, (int, float)):
        return float(cell) if cell == cell else None
    match = re.search(r"-?\d+(?:[.,]\d+)?", str(cell))
    return float(match.group().replace(",", ".")) if match else None


def text_in(cell: Any) -> str:
    """Text of a cell without outer blanks; whole numbers without ".0"."""
    if isinstance(cell, float) and cell == int(cell):
        return str(int(cell))
    return "" if cell is None else str(cell).strip()


def _filled(cell: Any) -> bool:
    return cell is not None and str(cell).strip() not in ("", "n/a")


def _at(row: list[Any], number: int) -> Any:
    return row[number] if number < len(row) else None
