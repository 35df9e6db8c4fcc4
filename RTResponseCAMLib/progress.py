"""One protocol for progress and cancelling: call ``progress(fraction, text)``; it may raise `Cancelled`."""

from __future__ import annotations

from typing import Protocol


class Cancelled(Exception):  # noqa: N818 - an event, not an error
    """The user asked to stop; whoever catches it leaves nothing half-written."""


class Progress(Protocol):
    """Receives the finished fraction (0…1) and what is being done."""

    def __call__(self, fraction: float, text: str = "") -> None:
        """Report; may raise `Cancelled`."""


def no_progress(fraction: float, text: str = "") -> None:
    """Report nothing, never cancel."""


def subprogress(progress: Progress, start: float, stop: float) -> Progress:
    """Give the share ``start``…``stop`` of a larger job to a smaller one."""

    def report(fraction: float, text: str = "") -> None:
        progress(start + (stop - start) * fraction, text)

    return report
