"""Progress bar on stderr."""

from __future__ import annotations

import sys

from RTResponseCAMLib.progress import Cancelled, Progress


class Bar:
    """A progress bar that appears with the first report; hidden when quiet, or where stderr is not a terminal.

    ``stopped`` stores an interrupt, because an exception raised during the import of a C extension is lost.
    ``finished`` is set when the results are complete, and only their text is still to be printed.
    """

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self.stopped = self.finished = False
        columns = TextColumn("{task.description:<34.34}"), TaskProgressColumn(), BarColumn(30), TimeElapsedColumn()
        no_progress = quiet or not sys.stderr.isatty()
        self._bar = RichProgress(*columns, console=Console(stderr=True), disable=no_progress, transient=False)
        self._task = self._bar.add_task("", total=1.0)

    def __call__(self, fraction: float, text: str = "") -> None:
        """Report progress; the bar never moves back."""
        if self.stopped:
            raise Cancelled
        self._bar.start()
        done = max(min(fraction, 1.0), self._bar.tasks[self._task].completed)
        self._bar.update(self._task, completed=done, description=text or self._bar.tasks[self._task].description)

    def close(self) -> None:
        """Stop the bar before other output."""
        self._bar.stop()


def close(progress: Progress) -> None:
    """Stop the bar of a command before its output: its results are complete."""
    if isinstance(progress, Bar):
        progress.close()
        progress.finished = True
