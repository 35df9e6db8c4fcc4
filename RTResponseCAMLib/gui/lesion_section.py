"""Lesions: the table, the jump to a lesion, its warnings in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from RTResponseCAMLib.gui.lesion_table import LesionTable, marked_warnings
from RTResponseCAMLib.gui.section import Section

if TYPE_CHECKING:
    from RTResponseCAMLib.state import Row, State


class LesionSection(Section):
    """Shows lesions; the selected one is in the middle of all views."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._table = LesionTable(self._ui.lesionTable, self.select)
        self._rows: dict[str, Row] = {}
        self._stale: dict[str, tuple[str, ...]] = {}
        self._selected = ""
        self._ui.previousLesionButton.connect("clicked(bool)", lambda _checked=False: self.move(-1))
        self._ui.nextLesionButton.connect("clicked(bool)", lambda _checked=False: self.move(1))

    def select(self, lesion: str) -> None:
        """Choose a lesion and center the views on it."""
        if self._parameters is None:
            return
        again = lesion == self._selected
        self._parameters.selectedLesion = lesion  # a change is followed below
        if again:
            self._logic.center(self._parameters)

    def move(self, step: int) -> None:
        """Go to the next (1) or previous (-1) lesion."""
        if self._parameters is not None and self._table.ids:
            self.select(self._table.neighbor(self._parameters.selectedLesion, step))

    def connect_parameters(self) -> None:
        """Show the lesion that the scene remembers."""
        self._selected = self._parameters.selectedLesion

    def follow_selection(self) -> None:
        """Center the views when the selection was changed elsewhere."""
        lesion = self._parameters.selectedLesion
        if lesion != self._selected:
            self._selected = lesion
            self._table.select(lesion)
            self._logic.center(self._parameters)
            self._show_message()

    def refresh(self, state: State) -> None:
        """Fill the table."""
        self._rows = {row.id: row for row in state.rows}
        self._stale = dict(state.stale)
        self._table.show(state.rows, frozenset(self._stale), selected=self._parameters.selectedLesion)
        for button in (self._ui.previousLesionButton, self._ui.nextLesionButton):
            button.enabled = len(self._rows) > 1
        self._show_message()

    def _show_message(self) -> None:
        row = self._rows.get(self._parameters.selectedLesion)
        lines = [] if row is None else marked_warnings(row)
        if row is not None and row.id in self._stale:
            changed = ", ".join(self._stale[row.id])
            lines.insert(0, _("Out of date: {changed} changed since the prediction.").format(changed=changed))
        self._ui.lesionMessageLabel.text = "\n".join(f"{row.id}: {line}" for line in lines) if row else ""
        self._ui.lesionMessageLabel.setVisible(bool(lines))
