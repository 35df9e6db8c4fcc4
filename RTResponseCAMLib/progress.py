"""One protocol for progress and cancellation: call ``progress(fraction, text)``; it may raise `Cancelled`."""

from __future__ import annotations

from typing import Protocol


class Cancelled(Exception):  # noqa: N818 - an event, not an error
    """The user cancelled; code that handles this error must not leave partly written files."""


class Progress(Protocol):
    """Receives the finished fraction (0…1) and a text on the current step."""

    def __call__(self, fraction: float, text: str = "") -> None:
        """Report progress; may raise `Cancelled`."""


def no_progress(fraction: float, text: str = "") -> None:
    """Report nothing and never cancel."""


def subprogress(progress: Progress, start: float, stop: float) -> Progress:
    """Progress of a subtask: maps its 0…1 to ``start``…``stop`` of the whole task."""

    def report(fraction: float, text: str = "") -> None:
        progress(start + (stop - start) * fraction, text)

    return report
