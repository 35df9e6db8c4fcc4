"""Heatmap section: display of the evidence and the dose, and the side-by-side layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from RTResponseCAMLib.gui.section import Section

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State


class DisplaySection(Section):
    """Applies the display settings to the views when one of them changes."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._shown: tuple[Any, ...] = ()
        self._layout_before: int | None = None
        self._ui.resetHeatmapButton.connect("clicked(bool)", self._on_reset)
        self._ui.sideBySideButton.connect("toggled(bool)", self._on_side_by_side)

    def connect_parameters(self) -> None:
        """Store the current settings as already applied: entering the module must not change the views."""
        self.remember()

    def remember(self) -> None:
        """Store the current settings as already applied."""
        self._shown = self._settings()

    def apply(self, force: bool = False) -> None:
        """Update the views for the current settings, with the smallest change that is needed.

        Parameters
        ----------
        force : update although the settings have not changed.
        """
        before, now = self._shown, self._settings()
        if now == before and not force:
            return
        self._shown = now
        if not force and before and now[1:] == before[1:]:
            self._work.display.apply_opacity(self._parameters)
        elif self._parameters.mrVolume is not None or self._parameters.camVolume is not None:
            self._work.display.apply(self._parameters)

    def refresh(self, state: State) -> None:
        """Set the state of the side-by-side button from the layout, which may have changed elsewhere."""
        if not self._logic.started:
            return
        button = self._ui.sideBySideButton
        blocked = button.blockSignals(True)
        button.checked = self._logic.row.is_on()
        button.blockSignals(blocked)

    def _settings(self) -> tuple[Any, ...]:
        p = self._parameters
        if p is None:
            return ()
        nodes = (p.mrVolume, p.doseVolume, p.camVolume, p.followUpVolume)
        lesion = p.selectedLesion if p.scale.value == "lesion" else ""
        ids = tuple(node.GetID() if node is not None else "" for node in nodes)
        choices = (p.threshold, p.shown, p.colors, p.scale, lesion, p.doseDisplay, p.graded, p.legend)
        return (p.opacity, *choices, p.prescriptionGy, p.isodosePercent, *ids)

    def _on_reset(self, _checked: bool = False) -> None:
        if self._parameters is not None:
            self._logic.reset_heatmap(self._parameters)

    def _on_side_by_side(self, checked: bool) -> None:
        if self._parameters is None:
            return
        if checked:
            self._layout_before = self._logic.row.show(self._parameters, self._work.display)
        else:
            self._logic.row.leave_for(self._layout_before, self._parameters, display=self._work.display)
