"""When views are drawn: as ctkVTKAbstractView, which the application's views are.

The first request starts a timer of 1/60 s. A request that comes later than that, while events have not been looked at,
draws at once, in the middle of a change: unless views are paused, which puts one drawing off to the end.
"""

from __future__ import annotations

from typing import Any

import vtk


class Requests:
    """Counts what one view is asked to draw; nothing is drawn."""

    def __init__(self, drawings: Drawings, name: str) -> None:
        self._drawings, self._name, self._asked = drawings, name, False

    def set_abstract_view(self, view: Any) -> None:
        pass

    def did_render(self) -> None:
        pass

    def schedule_render(self, *_: Any) -> None:
        if self._drawings.paused:
            self._asked = True
        else:
            self._drawings.count[self._name] = self._drawings.count.get(self._name, 0) + 1

    def resume(self) -> None:
        """What was asked for meanwhile is asked for once."""
        if self._asked:
            self._asked = False
            self.schedule_render()


class Drawings:
    """All views of the application.

    Attributes
    ----------
    count : by view, requests since `watch`.
    """

    def __init__(self) -> None:
        self.paused, self.count = 0, {}
        self._requests: dict[str, Requests] = {}

    def watch(self, views: dict[str, Any]) -> None:
        """Count from now on, for real views."""
        self.count.clear()
        for name, view in views.items():
            if name in self._requests:
                continue
            self._requests[name] = requests = Requests(self, name)
            view.set_scheduled_render(requests)
            view.set_render_blocked(False)
            # The application's views follow the picture of their slice logic, too.
            view._logic.AddObserver(vtk.vtkCommand.ModifiedEvent, requests.schedule_render)
        self.count.clear()

    def pause(self) -> int:
        self.paused += 1
        return self.paused

    def resume(self) -> int:
        assert self.paused, "Cannot resume rendering, pause render count is already 0!"
        self.paused -= 1
        if not self.paused:
            for requests in self._requests.values():
                requests.resume()
        return self.paused
