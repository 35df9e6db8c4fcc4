"""The progress bar, as commands use it."""

from __future__ import annotations

from RTResponseCAMLib.progress import Progress


def close(progress: Progress) -> None:
    """End the bar before anything is printed."""
    close = getattr(progress, "close", None)
    if close is not None:
        close()
