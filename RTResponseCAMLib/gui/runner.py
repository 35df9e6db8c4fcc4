"""Runs one long job in a worker thread: progress, result, cancellation."""

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
TURN_S = 0.017  # time of each tick for the worker; the rest is for the panel


class Runner:
    """Runs at most one job at a time; everything except the job itself runs on the main thread.

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
        """Start a job.

        Parameters
        ----------
        work : called with a progress function in the worker thread.
        done : called with the return value of ``work``.
        failed : called with an error message, or with "" after cancellation.
        asked : called with a `QuestionError`; without it such an error goes to ``failed``.
        """
        self._done, self._failed, self._asked = done, failed or _nothing, asked
        job_stored = threading.Event()

        def begin(progress: Progress) -> Any:
            job_stored.wait()  # the work may call `on_main_thread` at once, which needs ``_job``
            return work(progress)

        self._job = Job(begin)
        job_stored.set()
        self._show(0.0, "")
        self._timer.start()
        self._changed()

    def on_main_thread(self, call: Callable[[], None]) -> None:
        """Run a call on the main thread, where MRML and Qt may be used. For calls from within the work.

        Raises
        ------
        Cancelled : the job was canceled or stopped.
        """
        if self._job is None:
            raise Cancelled
        self._job.on_main_thread(call)

    def report_here(self, fraction: float, text: str = "") -> None:
        """Show the progress of a step on the main thread, and process events so that the panel is repainted."""
        self._show(fraction, text or _("showing the result"))
        let_events_happen()

    def cancel(self) -> None:
        """Request cancellation of the job; ``failed`` is then called with an empty message."""
        if self._job is not None:
            self._job.cancel()

    def stop(self) -> None:
        """Discard a running job: its result is not delivered."""
        self.cancel()
        self._job = None
        self._timer.stop()
        self._hide()

    def _tick(self) -> None:
        job = self._job
        if job is None:
            return
        job.serve()
        if self._job is not job:  # the call may have processed events that stopped the job
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
                self._failed(error.translated())
        except Exception as error:  # the user gets a message, the log the code locations
            # Log only code locations: a message may contain a path or a name, and logs are stored and shared.
            frames = traceback.extract_tb(error.__traceback__)
            locations = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
            logging.error("RTResponseCAM: unexpected %s at %s", type(error).__name__, locations)
            self._failed(_("Unexpected error ({error}). See the application log for details.").format(error=error))
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
