"""Lesions section: the table, navigation between lesions, and the full text of the warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from RTResponseCAMLib.gui.lesion_table import LesionTable, marked_warnings
from RTResponseCAMLib.gui.section import Section

if TYPE_CHECKING:
    from RTResponseCAMLib.state import Row, State


class LesionSection(Section):
    """Shows the lesions and centers all views on the selected one."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._table = LesionTable(self._ui.lesionTable, self.select)
        self._rows: dict[str, Row] = {}
        self._stale: dict[str, tuple[str, ...]] = {}
        self._selected = ""
        self._link = self._ui.readAResultLabel.text
        self._ui.previousLesionButton.connect("clicked(bool)", lambda _checked=False: self.move(-1))
        self._ui.nextLesionButton.connect("clicked(bool)", lambda _checked=False: self.move(1))

    def select(self, lesion: str) -> None:
        """Select a lesion and center the views on it."""
        if self._parameters is None:
            return
        already_selected = lesion == self._selected
        self._parameters.selectedLesion = lesion  # a changed selection calls `follow_selection`
        if already_selected:
            self._logic.center(self._parameters)

    def move(self, step: int) -> None:
        """Select the next (1) or previous (-1) lesion."""
        if self._parameters is not None and self._table.ids:
            self.select(self._table.neighbor(self._parameters.selectedLesion, step))

    def connect_parameters(self) -> None:
        """Restore the selected lesion that is stored in the scene."""
        self._selected = self._parameters.selectedLesion

    def follow_selection(self) -> None:
        """Center the views after the selection was changed elsewhere."""
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
        thresholds = sorted(
            {row.class_threshold for row in state.rows if row.label and row.class_threshold is not None}
        )
        rule = _("Class: response from p(response) {threshold}.").format(
            threshold=", ".join(f"{threshold:.2f}" for threshold in thresholds)
        )
        self._ui.readAResultLabel.text = f"{rule} {self._link}" if thresholds else self._link
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
