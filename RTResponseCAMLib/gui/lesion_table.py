"""Table of the lesions: numbers, class, warnings. Selecting a row selects the lesion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

if TYPE_CHECKING:
    from RTResponseCAMLib.state import Row

COLUMNS = 8
MARKS = {"serious": "‼", "warning": "⚠", "note": "ℹ"}


class LesionTable:
    """Shows rows in a QTableWidget.

    Parameters
    ----------
    table : the QTableWidget.
    selected : called with the lesion's id when the user moves to another row.
    """

    def __init__(self, table: Any, selected: Callable[[str], None]) -> None:
        self._table, self._selected = table, selected
        self._rows: tuple[Row, ...] = ()
        self._stale: frozenset[str] = frozenset()
        self._items: list[Any] = []  # Qt's table does not keep Python's items alive
        table.setColumnCount(COLUMNS)
        table.setHorizontalHeaderLabels(_titles("Gy"))
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.connect("currentCellChanged(int,int,int,int)", self._on_current_cell_changed)

    @property
    def ids(self) -> list[str]:
        """Lesion ids in the order of the rows."""
        return [row.id for row in self._rows]

    def show(self, rows: Sequence[Row], stale: frozenset[str], *, selected: str) -> None:
        """Fill the table; the results of the lesions in ``stale`` are out of date."""
        if (tuple(rows), stale) != (self._rows, self._stale):
            self._rows, self._stale = tuple(rows), stale
            blocked = self._table.blockSignals(True)
            self._items = []
            self._table.setHorizontalHeaderLabels(_titles(next((r.dose_unit for r in rows if r.mean_gy), "Gy")))
            self._table.setRowCount(len(rows))
            for row_index, row in enumerate(rows):
                self._fill(row_index, row, row.id in stale)
            self._table.blockSignals(blocked)
        self.select(selected)

    def select(self, lesion: str) -> None:
        """Select a lesion's row without emitting a signal."""
        if lesion in self.ids and self._table.currentRow() != self.ids.index(lesion):
            blocked = self._table.blockSignals(True)
            self._table.setCurrentCell(self.ids.index(lesion), 0)
            self._table.blockSignals(blocked)

    def neighbor(self, lesion: str, step: int) -> str:
        """Id of the next or previous lesion, cyclic at both ends; "" without lesions."""
        ids = self.ids
        if not ids:
            return ""
        return ids[(ids.index(lesion) + step) % len(ids)] if lesion in ids else ids[0]

    def _fill(self, number: int, row: Row, stale: bool) -> None:
        hint = _("An input has changed since the prediction.") if stale else "\n".join(marked_warnings(row))
        for column, text in enumerate(_cells(row)):
            item = qt.QTableWidgetItem(text)
            item.setToolTip("\n".join(filter(None, [_contributions(row) if column == 5 else "", hint])))
            if 0 < column < 6:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            if stale and column in (5, 6):
                font = item.font()
                font.setStrikeOut(True)
                item.setFont(font)
            self._items.append(item)
            self._table.setItem(number, column, item)

    def _on_current_cell_changed(self, row: int, _column: int, _old_row: int, _old_column: int) -> None:
        if 0 <= row < len(self._rows):
            self._selected(self._rows[row].id)


def marked_warnings(row: Row) -> list[str]:
    """A lesion's warnings, each with the mark of its severity."""
    return [f"{mark} {text}" for mark, text in zip(marks(row), row.warnings, strict=True)]


def marks(row: Row) -> list[str]:
    """Mark of each warning by severity; warnings without a stored severity (earlier versions) get the warning mark."""
    severity_marks = [MARKS.get(severity, MARKS["warning"]) for severity in row.severities]
    return severity_marks + [MARKS["warning"]] * (len(row.warnings) - len(severity_marks))


def _titles(unit: str) -> list[str]:
    """Column titles; the titles of the dose columns include the unit."""
    return [
        _("Lesion"),
        _("cm³"),
        f"{_('Mean')} {unit}",
        f"D98 {unit}",
        _("Cover."),
        _("p(response)"),
        _("Class"),
        MARKS["warning"],
    ]


def _cells(row: Row) -> list[str]:
    from RTResponseCAMLib.study import text_of_p

    response = ""
    if row.p_response is not None and row.p_low is not None and row.p_high is not None:
        response = text_of_p(row.p_response, row.p_low, high=row.p_high)
    return [
        f"{row.id} {row.name}",
        f"{row.volume_cc:.2f}" if row.volume_cc >= 0.1 else f"{row.volume_cc:.3f}",
        _number(row.mean_gy),
        _number(row.d98_gy),
        "–" if row.coverage is None else f"{100 * row.coverage:.0f} %",
        response or "–",
        _label(row.label),
        f"{marks(row)[0]} {len(row.warnings)}" if row.warnings else "",
    ]


def _contributions(row: Row) -> str:
    """What each member of an ensemble adds; "" for other models."""
    parts = ", ".join(f"{added:+.2f} {title}" for title, added in row.contributions.items())
    return f"{_('Logit of non-response:')} {parts}" if parts else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _label(label: str) -> str:
    names = {"response": _("response"), "non-response": _("non-response"), "indeterminate": _("indeterminate")}
    return names.get(label, "–")
