"""Keyboard shortcuts that work with any keyboard focus while the panel is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer


class Shortcuts:
    """Alt+Down and Alt+Up select the next and the previous lesion."""

    def __init__(self, parent: Any, move: Callable[[int], None]) -> None:
        self._parent, self._move = parent, move
        self._added: list[Any] = []

    def __len__(self) -> int:
        return len(self._added)

    def add(self) -> None:
        """Install the shortcuts."""
        self.remove()
        for keys, step in (("Alt+Down", 1), ("Alt+Up", -1)):
            shortcut = qt.QShortcut(slicer.util.mainWindow() or self._parent)
            shortcut.setKey(qt.QKeySequence(keys))
            shortcut.connect("activated()", lambda step=step: self._move(step))
            self._added.append(shortcut)

    def remove(self) -> None:
        """Remove the shortcuts."""
        for shortcut in self._added:
            shortcut.disconnect("activated()")
            shortcut.setParent(None)
        self._added = []
