"""One long call in a worker thread, watched from the thread that owns the user interface.

Only pure work goes there (files, arrays, torch): MRML and Qt belong to the main thread. Python gives the worker
time only while the main thread waits, which is what `Job.wait` is for.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from RTResponseCAMLib.progress import Cancelled, Progress

Answer = TypeVar("Answer")
GIVE_WAY_S = 0.0005


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
        self._asked, self._served = threading.Event(), threading.Event()
        self._request: Callable[[], None] = _nothing
        self._reply: BaseException | None = None
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

    def on_main_thread(self, call: Callable[[], None]) -> None:
        """From within the work: let the owner make a call (in `serve`), and wait for its end.

        Raises what the call raises.
        """
        self._request, self._reply = call, None
        self._asked.set()
        while not self._served.wait(0.1):
            if self._cancelled.is_set():
                raise Cancelled
        self._served.clear()
        if self._reply is not None:
            raise self._reply

    def serve(self) -> None:
        """Make the call that the work has asked for, if any; the owner's side of `on_main_thread`."""
        if not self._asked.is_set():
            return
        self._asked.clear()
        try:
            if self._cancelled.is_set():
                raise Cancelled
            self._request()
        except BaseException as error:  # it is raised again in the work
            self._reply = error
        self._served.set()

    def _run(self) -> None:
        try:
            with short_collections():
                self._answer = self._work(self._report)
        except BaseException as error:  # it is raised again in the owner's thread
            self._error = error
        finally:
            self._finished.set()

    def _report(self, fraction: float, text: str = "") -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self.fraction, self.text = fraction, text or self.text
        time.sleep(GIVE_WAY_S)  # Python's lock, given away for an instant, is taken back before another thread is awake


@contextmanager
def short_collections() -> Iterator[None]:
    """Let garbage collections look at what is made from now on only: all else would stop every thread for 0.2 s."""
    if gc.get_freeze_count():  # by another job, or by the application: it decides when that ends
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _nothing() -> None:
    pass
