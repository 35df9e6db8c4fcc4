"""Parallel work in processes of one thread each: the results do not depend on the number of cores."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def parallel_map(work: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int) -> Generator[Result, None, None]:
    """Results of ``work`` in the order of the jobs; with one worker, the jobs run in this process.

    Close the iterator (`contextlib.closing`) where it may not be exhausted: that cancels the jobs that have not begun.
    """
    if workers <= 1:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(workers, initializer=_one_thread) as pool:
        try:
            yield from pool.map(work, jobs)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    """Limit a worker to one thread, and leave the handling of Ctrl-C to its parent process."""
    import SimpleITK as sitk
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    threadpool_limits(1)
