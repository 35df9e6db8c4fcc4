"""Run one long call in a worker thread, while the main thread owns the user interface and monitors the call.

Only pure work runs in the worker (files, arrays, torch): MRML and Qt belong to the main thread. The worker runs
only while the main thread waits and releases Python's lock (GIL), which `Job.wait` does.
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
    """A call of ``work(progress)``; the caller polls it, reads ``fraction`` and ``text``, and may cancel it.

    Attributes
    ----------
    fraction, text : last reported progress, 0…1, and its text.
    """

    def __init__(self, work: Callable[[Progress], Answer]) -> None:
        self.fraction, self.text = 0.0, ""
        self._cancelled = threading.Event()
        self._answer: Future[Answer] = Future()
        self._requests: SimpleQueue[tuple[Future[None], Callable[[], None]]] = SimpleQueue()
        # A daemon thread, no executor: the application must be able to close while a long call runs.
        threading.Thread(target=self._run, args=(work,), name="RTResponseCAM", daemon=True).start()

    def cancel(self) -> None:
        """Stop the work at its next progress report."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def wait(self, seconds: float) -> bool:
        """Let the worker run for up to ``seconds``; return whether it has finished."""
        return bool(wait([self._answer], seconds).done)

    def answer(self) -> Answer:
        """Return what the finished work returned, or raise what it raised (`Cancelled` after `cancel`)."""
        if self._cancelled.is_set() and self._answer.exception() is None:
            raise Cancelled
        return self._answer.result()

    def on_main_thread(self, call: Callable[[], None]) -> None:
        """Request a call on the main thread (see `serve`) and wait until it ends; for use within the work.

        Raises what the call raises, or `Cancelled` after `cancel`.
        """
        completion: Future[None] = Future()
        self._requests.put((completion, call))
        while not wait([completion], 0.1).done:
            if self._cancelled.is_set():
                raise Cancelled
        completion.result()

    def serve(self) -> None:
        """Run the call that the work requested by `on_main_thread`, if any; for use on the main thread."""
        try:
            completion, call = self._requests.get_nowait()
        except Empty:
            return
        _settle(completion, self._unless_cancelled, call)

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
        time.sleep(GIVE_WAY_S)  # a sleep of 0 s takes Python's lock back before another thread wakes up


@contextmanager
def short_collections() -> Iterator[None]:
    """Restrict garbage collection to new objects; a collection of all objects would stop every thread for 0.2 s."""
    if gc.get_freeze_count():  # frozen by another job or by the application, which also unfreezes
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _settle(future: Future[Any], call: Callable[..., Any], *arguments: Any) -> None:
    """Set a future to what a call returns or raises; reading the future raises the error again."""
    try:
        answer = call(*arguments)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(answer)
