"""Rendering and event processing while a change is made on the main thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import qt
import slicer


@contextmanager
def drawn_once() -> Iterator[None]:
    """Block rendering during a change, then render the views once.

    Without the block, views render in the middle of a change that takes longer than 1/60 s.
    """
    if slicer.app.layoutManager() is None:  # without a main window there are no views
        yield
        return
    with slicer.util.RenderBlocker():
        yield


def let_events_happen(fraction: float = 0.0, text: str = "") -> None:
    """Process application events between two steps on the main thread; mouse and key events stay in the queue.

    The parameters are those of `Progress`; they are not used.
    """
    slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)
