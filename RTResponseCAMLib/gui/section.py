"""Base class of the panel's sections: access to the panel, and the methods that the panel calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State
    from RTResponseCAMLib.workflow.session import Session


class Section:
    """One collapsible section of the panel; ``panel`` is the module's widget."""

    def __init__(self, panel: Any) -> None:
        self._panel, self._ui = panel, panel.ui

    @property
    def busy(self) -> bool:
        """Whether the section runs a long job."""
        return False

    @property
    def _parameters(self) -> Any:
        return self._panel.parameters

    @property
    def _logic(self) -> Any:
        return self._panel.logic

    @property
    def _work(self) -> Session:
        """The session of this scene: display, subregions, predictions. First use imports numerical libraries."""
        session: Session = self._panel.logic.session
        return session

    def connect_parameters(self) -> None:
        """Connect to another parameter node."""

    def refresh(self, state: State) -> None:
        """Show a new state of inputs and results."""

    def stop(self) -> None:
        """Stop jobs and release nodes: the scene or the panel is closed."""
