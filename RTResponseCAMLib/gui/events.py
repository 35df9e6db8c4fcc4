"""When the application draws, and when it looks at events, while a change is made on the main thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import qt
import slicer


@contextmanager
def drawn_once() -> Iterator[None]:
    """Views are drawn once, at the end: a view draws in the middle of a change that takes longer than 1/60 s."""
    if slicer.app.layoutManager() is None:  # without a main window there are no views
        yield
        return
    with slicer.util.RenderBlocker():
        yield


def let_events_happen(fraction: float = 0.0, text: str = "") -> None:
    """Let the application work between two steps on the main thread; clicks and keys wait."""
    slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)
