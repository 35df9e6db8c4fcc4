"""One long call in a worker thread, watched from the thread that owns the user interface.

Only pure work goes there (files, arrays, torch): MRML and Qt belong to the main thread. Python gives the worker
time only while the main thread waits, which is what `Job.wait` is for.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

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
        self._cancelled = threading.Event()
        self._answer: Future[Answer] = Future()
        self._requests: SimpleQueue[tuple[Future[None], Callable[[], None]]] = SimpleQueue()
        # A daemon of its own, no executor: the application must be able to close while a long call runs.
        threading.Thread(target=self._run, args=(work,), name="RTResponseCAM", daemon=True).start()

    def cancel(self) -> None:
        """Ask the work to stop at its next report."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether stopping was asked for."""
        return self._cancelled.is_set()

    def wait(self, seconds: float) -> bool:
        """Give the worker time; tell whether it has finished."""
        return bool(wait([self._answer], seconds).done)

    def answer(self) -> Answer:
        """Return what the finished work returned, or raise what it raised (`Cancelled` after `cancel`)."""
        if self._cancelled.is_set() and self._answer.exception() is None:
            raise Cancelled
        return self._answer.result()

    def on_main_thread(self, call: Callable[[], None]) -> None:
        """From within the work: let the owner make a call (in `serve`), and wait for its end.

        Raises what the call raises.
        """
        made: Future[None] = Future()
        self._requests.put((made, call))
        while not wait([made], 0.1).done:
            if self._cancelled.is_set():
                raise Cancelled
        made.result()

    def serve(self) -> None:
        """Make the call that the work has asked for, if any; the owner's side of `on_main_thread`."""
        try:
            made, call = self._requests.get_nowait()
        except Empty:
            return
        _settle(made, self._unless_cancelled, call)

    def _unless_cancelled(self, call: Callable[[], None]) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        call()

    def _run(self, work: Callable[[Progress], Answer]) -> None:
        with short_collections():
            _settle(self._answer, work, self._report)

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


def _settle(future: Future[Any], call: Callable[..., Any], *arguments: Any) -> None:
    """Give a future what a call returns, or raises: it is raised again where the answer is asked for."""
    try:
        answer = call(*arguments)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(answer)
