"""Tables on standard output: as wide as the terminal, or 120 characters where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

PLAIN_WIDTH = 120


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int = 1) -> None:
    """Print rows under their columns; columns from ``numbers_from`` on are right-aligned.

    Cells are printed literally: Rich markup in them is not interpreted.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if index >= numbers_from else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, file=sys.stdout).print(table)


def number(value: float | None, places: int = 2) -> str:
    """Formatted number, or a dash for None."""
    return "–" if value is None else f"{value:.{places}f}"
