"""A job in a worker thread: its answer, its error, its cancelling, and calls back to the owner's thread."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from RTResponseCAMLib import background
from RTResponseCAMLib.background import Job
from RTResponseCAMLib.progress import Cancelled


def finish(job: Job) -> None:
    until = time.monotonic() + 10
    while not job.wait(0.01):
        job.serve()
        assert time.monotonic() < until


def test_the_answer_and_the_progress_arrive():
    def work(progress):
        progress(0.5, "half")
        return 42

    job = Job(work)
    finish(job)
    assert job.answer() == 42
    assert (job.fraction, job.text) == (0.5, "half")


def test_an_error_is_raised_where_the_answer_is_asked_for():
    def work(progress):
        raise ValueError("no")

    job = Job(work)
    finish(job)
    with pytest.raises(ValueError, match="no"):
        job.answer()


def test_cancelling_stops_the_work_at_its_next_report():
    reached = threading.Event()

    def work(progress):
        reached.set()
        while True:
            progress(0.1)
            time.sleep(0.001)

    job = Job(work)
    assert reached.wait(5)
    job.cancel()
    finish(job)
    with pytest.raises(Cancelled):
        job.answer()


def test_work_that_ends_although_it_was_cancelled_gives_no_answer():
    go = threading.Event()
    job = Job(lambda progress: go.wait(5))
    job.cancel()
    go.set()
    finish(job)
    with pytest.raises(Cancelled):
        job.answer()


def test_calls_are_made_in_the_owners_thread():
    names, box = [], []

    def work(progress):
        box[0].on_main_thread(lambda: names.append(threading.current_thread().name))
        return threading.current_thread().name

    ready = threading.Event()
    job = Job(lambda progress: (ready.wait(5), work(progress))[1])
    box.append(job)
    ready.set()
    finish(job)
    assert names == [threading.current_thread().name]
    assert job.answer() != names[0]


def test_an_error_in_the_owners_thread_comes_back_to_the_work():
    box = []

    def fail():
        raise OSError("disk full")

    ready = threading.Event()
    job = Job(lambda progress: (ready.wait(5), box[0].on_main_thread(fail))[1])
    box.append(job)
    ready.set()
    finish(job)
    with pytest.raises(OSError, match="disk full"):
        job.answer()


def test_a_cancelled_work_does_not_wait_for_an_owner_that_is_gone():
    box, ready = [], threading.Event()
    job = Job(lambda progress: (ready.wait(5), box[0].on_main_thread(lambda: None))[1])
    box.append(job)
    job.cancel()
    ready.set()
    assert job.wait(5)


def test_a_report_lets_the_owners_thread_run(monkeypatch):
    """Given away for an instant only, Python's lock would be taken back before the owner is awake."""
    slept = []
    monkeypatch.setattr(background.time, "sleep", slept.append)
    job = Job(lambda progress: [progress(n / 3) for n in range(3)])
    assert job.wait(5)
    assert len(slept) == 3
    assert min(slept) > 0


def test_collections_during_a_job_leave_the_rest_alone():
    before = gc.get_freeze_count()
    job = Job(lambda progress: gc.get_freeze_count())
    finish(job)
    assert job.answer() > 10_000
    assert gc.get_freeze_count() == before == 0


def test_what_the_application_froze_stays_frozen():
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        finish(Job(lambda progress: None))
        assert gc.get_freeze_count() == frozen
    finally:
        gc.unfreeze()
