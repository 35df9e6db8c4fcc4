"""Side-by-side layout (MR with isodoses, MR with evidence, follow-up), and the return to the previous views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer

from RTResponseCAMLib.gui.events import drawn_once, let_events_happen

if TYPE_CHECKING:
    from RTResponseCAMLib.workflow.display import Display


class SideBySide:
    """The row of side-by-side views, and the state of the views before it."""

    def __init__(self) -> None:
        # While the side-by-side layout is on: the lesion and the state of the slice views before.
        self._before: tuple[str, Any] | None = None

    def forget(self) -> None:
        """Discard the stored state of the views: the scene has changed."""
        self._before = None

    def is_on(self) -> bool:
        """Whether the side-by-side layout is on."""
        from RTResponseCAMLib.scene.views import is_side_by_side

        return is_side_by_side(slicer.mrmlScene)

    def show(self, parameters: Any, display: Display) -> Any:
        """Switch to the side-by-side layout; returns the previous layout."""
        from RTResponseCAMLib.scene.views import show_side_by_side, store_views

        if self._before is None:
            self._before = _shown_lesion(parameters), store_views(slicer.mrmlScene)
        previous_layout = show_side_by_side(slicer.mrmlScene, parameters.followUpVolume is not None)
        let_events_happen()  # Qt sizes the new views; centering on a lesion needs the size
        with drawn_once():
            display.renew_legend(parameters)
            display.apply(parameters)
            display.center(parameters)
        return previous_layout

    def leave_for(self, layout: Any, parameters: Any, *, display: Display) -> None:
        """Switch to a layout (the four-up layout when None) and restore the state of its views."""
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if node is not None:
            node.SetViewArrangement(node.SlicerLayoutFourUpView if layout is None else layout)
        self._leave(parameters, display)

    def follow(self, parameters: Any, display: Display) -> None:
        """Update after a change: another module left the side-by-side layout, or a follow-up was added or removed.

        Do not call it while rendering is blocked: the block does not include views that are created meanwhile.
        """
        if self._before is None:
            return
        from RTResponseCAMLib.scene.views import lacks_a_view

        if not self.is_on():
            self._leave(parameters, display)
        elif lacks_a_view(slicer.mrmlScene, parameters.followUpVolume is not None):
            self.show(parameters, display)

    def _leave(self, parameters: Any, display: Display) -> None:
        """Restore the display before the side-by-side layout; a lesion selected meanwhile stays in view."""
        from RTResponseCAMLib.scene.views import restore_views

        lesion, stored_views = self._before or ("", [])
        self._before = None  # before events are processed: a refresh would call this method again
        let_events_happen()
        with drawn_once():
            display.apply(parameters)
            if stored_views and lesion == _shown_lesion(parameters):
                restore_views(slicer.mrmlScene, stored_views)
            else:
                display.center(parameters)


def _shown_lesion(parameters: Any) -> str:
    """Segmentation id and lesion id of the lesion in the views; "" without a segmentation."""
    segmentation = parameters.segmentation
    return "" if segmentation is None else f"{segmentation.GetID()} {parameters.selectedLesion}"
