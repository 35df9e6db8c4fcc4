"""Biopsy / cell-density points: shows a table of points as markups and compares them with the evidence map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.gui.section import Section

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State


class PointsSection(Section):
    """The last rows of the Subregion section."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        import ctk

        self._result: Any = None
        path = self._ui.pointsPathLineEdit
        path.filters = ctk.ctkPathLineEdit.Files
        path.nameFilters = ("Tables (*.csv)",)
        path.connect("currentPathChanged(QString)", lambda _path: panel.refreshSoon())
        self._ui.pointsButton.connect("clicked(bool)", self._on_show)

    def stop(self) -> None:
        """Clear the text about the points of another scene."""
        self._ui.pointsLabel.text = ""

    def refresh(self, state: State) -> None:
        """Enable the button when a table is chosen and a study is loaded."""
        has_table, has_study = bool(self._ui.pointsPathLineEdit.currentPath), bool(state.rows)
        self._ui.pointsButton.enabled = has_table and has_study
        hint = _("Show biopsy / cell-density points as markups and compare them with the evidence map.")
        if not has_study:
            hint = _("Load a study first.")
        elif not has_table:
            hint = _("Choose a table of points.")
        self._ui.pointsButton.toolTip = hint
        if self._logic.result is not self._result:  # the text describes another evidence map
            self._result = self._logic.result
            self._ui.pointsLabel.text = ""

    def _on_show(self, _checked: bool = False) -> None:
        try:
            _lists, summary = self._logic.show_points(Path(self._ui.pointsPathLineEdit.currentPath))
            self._ui.pointsLabel.text = "\n".join(summary) or _(
                "The points are shown. To compare them with the evidence map, predict and show them again."
            )
        except RTResponseError as error:
            self._ui.pointsLabel.text = error.translated()
