"""Cell-level points: a table that becomes markups, and what the map says at them."""

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
        """Forget what was said of another scene's points."""
        self._ui.pointsLabel.text = ""

    def refresh(self, state: State) -> None:
        """Enable the button when a table is chosen and a study is there."""
        chosen, study = bool(self._ui.pointsPathLineEdit.currentPath), bool(state.rows)
        self._ui.pointsButton.enabled = chosen and study
        hint = _("Show cell-level points as markups, and compare them with the map.")
        if not study:
            hint = _("Load a study first.")
        elif not chosen:
            hint = _("Choose a table of points.")
        self._ui.pointsButton.toolTip = hint
        if self._logic.result is not self._result:  # what was said was said of another map
            self._result = self._logic.result
            self._ui.pointsLabel.text = ""

    def _on_show(self, _checked: bool = False) -> None:
        try:
            _lists, words = self._logic.show_points(Path(self._ui.pointsPathLineEdit.currentPath))
            self._ui.pointsLabel.text = "\n".join(words) or _("Shown. Predict, and show them again, to compare.")
        except RTResponseError as error:
            self._ui.pointsLabel.text = str(error)
