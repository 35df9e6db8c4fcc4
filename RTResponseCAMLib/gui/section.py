"""What all sections of the panel share: a place in the panel, and the moments at which they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State
    from RTResponseCAMLib.workflow.session import Session


class Section:
    """One collapsible part of the panel; ``panel`` is the module's widget."""

    def __init__(self, panel: Any) -> None:
        self._panel, self._ui = panel, panel.ui

    @property
    def busy(self) -> bool:
        """Whether the section has a long job running."""
        return False

    @property
    def _parameters(self) -> Any:
        return self._panel.parameters

    @property
    def _logic(self) -> Any:
        return self._panel.logic

    @property
    def _work(self) -> Session:
        """The work in this scene: display, subregions, predictions. Numerical libraries are imported for it."""
        session: Session = self._panel.logic.session
        return session

    def connect_parameters(self) -> None:
        """Take up another parameter node."""

    def refresh(self, state: State) -> None:
        """Show a new state of inputs and results."""

    def stop(self) -> None:
        """Let go of jobs and of nodes: the scene goes away, or the panel."""
