"""Views side by side: MR with isodoses, MR with evidence and follow-up in a row, and back to where one was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer

from RTResponseCAMLib.gui.events import drawn_once, let_events_happen

if TYPE_CHECKING:
    from RTResponseCAMLib.workflow.display import Display


class SideBySide:
    """The row of views, and what it came from."""

    def __init__(self) -> None:
        # While the views are side by side: the lesion, and where the views looked before.
        self._before: tuple[str, Any] | None = None

    def forget(self) -> None:
        """Forget where the views looked: the scene is another one."""
        self._before = None

    def is_on(self) -> bool:
        """Whether the side-by-side layout is on."""
        from RTResponseCAMLib.scene.views import is_side_by_side

        return is_side_by_side(slicer.mrmlScene)

    def show(self, parameters: Any, display: Display) -> Any:
        """Put the views in a row; returns the layout that was there."""
        from RTResponseCAMLib.scene.views import show_side_by_side, store_views

        if self._before is None:
            self._before = _shown_lesion(parameters), store_views(slicer.mrmlScene)
        before = show_side_by_side(slicer.mrmlScene, parameters.followUpVolume is not None)
        let_events_happen()  # Qt gives new views their size: only then can they be turned to a lesion
        with drawn_once():
            display.renew_legend(parameters)
            display.apply(parameters)
            display.center(parameters)
        return before

    def leave_for(self, layout: Any, parameters: Any, *, display: Display) -> None:
        """Go back to a layout (the four-up layout when None), and to where its views looked."""
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if node is not None:
            node.SetViewArrangement(node.SlicerLayoutFourUpView if layout is None else layout)
        self._leave(parameters, display)

    def follow(self, parameters: Any, display: Display) -> None:
        """Keep up with the layout: a row that another module has left, or that needs a view for a follow-up.

        Not while views are paused: those that are new would not know of it.
        """
        if self._before is None:
            return
        from RTResponseCAMLib.scene.views import lacks_a_view

        if not self.is_on():
            self._leave(parameters, display)
        elif lacks_a_view(slicer.mrmlScene, parameters.followUpVolume is not None):
            self.show(parameters, display)

    def _leave(self, parameters: Any, display: Display) -> None:
        """Show everything as before the views were side by side; a lesion that was chosen there stays in view."""
        from RTResponseCAMLib.scene.views import restore_views

        lesion, seen = self._before or ("", [])
        self._before = None  # before events happen: one of them could be a refresh, which would leave the row again
        let_events_happen()
        with drawn_once():
            display.apply(parameters)
            if seen and lesion == _shown_lesion(parameters):
                restore_views(slicer.mrmlScene, seen)
            else:
                display.center(parameters)


def _shown_lesion(parameters: Any) -> str:
    """The lesion in the views, of which study."""
    segmentation = parameters.segmentation
    return "" if segmentation is None else f"{segmentation.GetID()} {parameters.selectedLesion}"
