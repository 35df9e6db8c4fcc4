"""One long call in a worker thread, watched from the thread that owns the user interface.

Only pure work goes there (files, arrays, torch): MRML and Qt belong to the main thread. Python gives the worker
time only while the main thread waits, which is what `Job.wait` is for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from RTResponseCAMLib.progress import Cancelled, Progress

Answer = TypeVar("Answer")


class Job(Generic[Answer]):
    """A call of ``work(progress)``; the caller polls it, reads ``fraction`` and ``text``, and may cancel.

    Attributes
    ----------
    fraction, text : what the work reported last.
    """

    def __init__(self, work: Callable[[Progress], Answer]) -> None:
        self.fraction, self.text = 0.0, ""
        self._work = work
        self._cancelled = threading.Event()
        self._finished = threading.Event()
        self._answer: Answer | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="RTResponseCAM", daemon=True).start()

    def cancel(self) -> None:
        """Ask the work to stop at its next report."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether stopping was asked for."""
        return self._cancelled.is_set()

    def wait(self, seconds: float) -> bool:
        """Give the worker time; tell whether it has finished."""
        return self._finished.wait(seconds)

    def answer(self) -> Answer:
        """Return what the finished work returned, or raise what it raised (`Cancelled` after `cancel`)."""
        if self._cancelled.is_set() and self._error is None:
            raise Cancelled
        if self._error is not None:
            raise self._error
        return self._answer  # type: ignore[return-value]

    def _run(self) -> None:
        try:
            self._answer = self._work(self._report)
        except BaseException as error:  # it is raised again in the owner's thread
            self._error = error
        finally:
            self._finished.set()

    def _report(self, fraction: float, text: str = "") -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self.fraction, self.text = fraction, text or self.text
