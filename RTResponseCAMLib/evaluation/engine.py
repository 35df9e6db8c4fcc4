"""Parallel jobs on this machine by joblib (loky): one thread per job; with one worker, jobs run in this process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from RTResponseCAMLib.progress import Progress


def run_jobs(
    work: Callable[..., None], jobs: Sequence[tuple[Any, ...]], *, workers: int, progress: Progress, text: str
) -> None:
    """Run ``work(*job)`` for each job; the first error stops all jobs, and files already written stay.

    Parameters
    ----------
    workers : number of processes; 1 runs the jobs in this process.
    text : description of the work for the progress display.
    """

    def report(done: int) -> None:
        progress(done / len(jobs), f"{text}, {done} of {len(jobs)}")

    if min(workers, len(jobs)) <= 1:
        with one_thread():
            for done, job in enumerate(jobs):
                report(done)
                work(*job)
        if jobs:
            report(len(jobs))
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=min(workers, len(jobs)), backend="loky", return_as="generator_unordered", batch_size=1)
    finished = pool(delayed(_in_worker)(work, job, os.getpid()) for job in jobs)
    try:
        for done, _ in enumerate(finished, start=1):
            report(done)
    finally:
        finished.close()  # stops the workers after an error or a cancellation


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit numerical libraries to one thread, so that results do not depend on the number of cores."""
    import SimpleITK as sitk
    from threadpoolctl import threadpool_limits

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    restore = _limit_torch()
    try:
        with threadpool_limits(1):
            yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
        restore()


def _limit_torch() -> Callable[[], None]:
    try:
        import torch
    except ImportError:  # torch is optional
        return lambda: None
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    return lambda: torch.set_num_threads(before)


_STATE = {"ready": False}


def _in_worker(work: Callable[..., None], job: tuple[Any, ...], parent: int) -> None:
    if not _STATE["ready"]:
        _STATE["ready"] = True
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the parent process handles Ctrl-C
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with one_thread():
        work(*job)


def _end_with(parent: int) -> None:
    """End this process when its parent process has ended."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def end_workers() -> None:
    """Shut down idle workers and free their memory."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)
