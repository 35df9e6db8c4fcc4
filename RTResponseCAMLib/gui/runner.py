"""Runs one long job beside the event loop: its progress, its answer, its cancelling."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from RTResponseCAMLib.background import Job
from RTResponseCAMLib.errors import QuestionError, RTResponseError
from RTResponseCAMLib.gui.events import let_events_happen
from RTResponseCAMLib.progress import Cancelled, Progress

TICK_MS = 20
TURN_S = 0.017  # of each tick the worker has the interpreter; the rest is the panel's


class Runner:
    """At most one job at a time; everything but the job itself happens on the main thread.

    Parameters
    ----------
    bar : QProgressBar, shown while a job runs.
    changed : called when a job starts or ends.
    """

    def __init__(self, bar: Any, changed: Callable[[], None]) -> None:
        self._bar, self._changed = bar, changed
        self._job: Job[Any] | None = None
        self._done: Callable[[Any], None] = _nothing
        self._failed: Callable[[str], None] = _nothing
        self._asked: Callable[[QuestionError], None] | None = None
        self._shown: tuple[int, str] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.connect("timeout()", self._tick)

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._job is not None

    def start(
        self,
        work: Callable[[Progress], Any],
        done: Callable[[Any], None],
        *,
        failed: Callable[[str], None] | None = None,
        asked: Callable[[QuestionError], None] | None = None,
    ) -> None:
        """Start ``work(progress)``; later ``done(answer)`` is called, ``failed(sentence)``, or ``asked(question)``."""
        self._done, self._failed, self._asked = done, failed or _nothing, asked
        known = threading.Event()

        def begin(progress: Progress) -> Any:
            known.wait()  # the work may ask for the main thread at once
            return work(progress)

        self._job = Job(begin)
        known.set()
        self._show(0.0, "")
        self._timer.start()
        self._changed()

    def on_main_thread(self, call: Callable[[], None]) -> None:
        """From within the work: make a call on the main thread, where MRML and Qt live."""
        if self._job is None:
            raise Cancelled
        self._job.on_main_thread(call)

    def report_here(self, fraction: float, text: str = "") -> None:
        """Progress of what must happen on the main thread; the application draws itself in between."""
        self._show(fraction, text or _("showing the result"))
        let_events_happen()

    def cancel(self) -> None:
        """Ask the job to stop; its end is announced as a failure with an empty sentence."""
        if self._job is not None:
            self._job.cancel()

    def stop(self) -> None:
        """Forget a running job: nothing of it is handed over any more."""
        self.cancel()
        self._job = None
        self._timer.stop()
        self._hide()

    def _tick(self) -> None:
        job = self._job
        if job is None:
            return
        job.serve()
        if self._job is not job:  # events were looked at meanwhile
            return
        if not job.wait(TURN_S):
            self._show(job.fraction, _("stopping…") if job.cancelled else job.text)
            return
        self._timer.stop()
        try:
            answer = job.answer()
            self._show(1.0, _("showing the result"))
            self._done(answer)
        except Cancelled:
            self._failed("")
        except RTResponseError as error:
            if isinstance(error, QuestionError) and self._asked is not None:
                self._asked(error)
            else:
                self._failed(str(error))
        except Exception as error:  # the user gets a sentence, the log the rest
            # Places only: a message may hold a path or a name, and logs are kept and passed on.
            frames = traceback.extract_tb(error.__traceback__)
            places = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
            logging.error("RTResponseCAM: unexpected %s at %s", type(error).__name__, places)
            self._failed(_("Unexpected error ({error}). The application log has the details.").format(error=error))
        finally:
            if self._job is job:
                self._job = None
                self._hide()
                self._changed()

    def _show(self, fraction: float, text: str) -> None:
        shown, self._shown = self._shown, (round(100 * fraction), text)
        if self._bar is not None and shown != self._shown:
            self._bar.setVisible(True)
            self._bar.setRange(0, 100)
            self._bar.setValue(round(100 * fraction))
            self._bar.setFormat(f"{text} (%p%)" if text else "%p%")

    def _hide(self) -> None:
        self._shown = None
        if self._bar is not None:
            self._bar.setVisible(False)


def _nothing(_answer: Any) -> None:
    pass
