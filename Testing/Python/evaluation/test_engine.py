"""Jobs on several workers: each is done once, an error or a cancel ends them, and no worker outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from RTResponseCAMLib.errors import CohortError, QuestionError
from RTResponseCAMLib.evaluation.engine import end_workers, run_jobs
from RTResponseCAMLib.progress import Cancelled, no_progress


def note(folder: Path, name: str, seconds: float = 0.0) -> None:
    """Write who does the job, then work on it."""
    (folder / name).write_text(str(os.getpid()))
    time.sleep(seconds)
    (folder / f"{name}.done").touch()


def fail(folder: Path, name: str) -> None:
    raise CohortError(folder, "cannot be fitted", "Nothing")


@pytest.fixture(autouse=True)
def no_idle_workers():
    yield
    end_workers()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once_and_progress_comes_to_its_end(tmp_path, workers):
    heard = []
    jobs = [(tmp_path, f"job{n}") for n in range(5)]
    run_jobs(note, jobs, workers=workers, progress=lambda f, text="": heard.append((f, text)), text="noting")
    assert sorted(p.name for p in tmp_path.glob("*.done")) == [f"job{n}.done" for n in range(5)]
    assert [f for f, _ in heard] == sorted(f for f, _ in heard)
    assert heard[-1] == (1.0, "noting, 5 of 5")
    pids = {p.read_text() for p in tmp_path.glob("job?")}
    assert (str(os.getpid()) in pids) is (workers == 1)


def test_no_jobs_are_no_work():
    run_jobs(fail, [], workers=2, progress=no_progress, text="")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_that_of_the_job(tmp_path, workers):
    jobs = [(tmp_path, "a"), (tmp_path, "b"), (tmp_path, "c")]
    with pytest.raises(CohortError, match="cannot be fitted"):
        run_jobs(fail, jobs, workers=workers, progress=no_progress, text="failing")


def ask(folder: Path, name: str) -> None:
    raise QuestionError(folder, "disagree", "Choose", option="plan", choices=[("A", "plan A")])


@pytest.mark.slow
def test_a_question_comes_back_with_its_choices(tmp_path):
    with pytest.raises(QuestionError, match="disagree") as caught:
        run_jobs(ask, [(tmp_path, "a"), (tmp_path, "b")], workers=2, progress=no_progress, text="")
    assert (caught.value.option, caught.value.choices) == ("plan", (("A", "plan A"),))
    assert caught.value.where == str(tmp_path)


@pytest.mark.slow
def test_a_cancel_ends_the_workers_and_what_was_done_stays(tmp_path):
    def stop(fraction, text=""):
        if fraction > 0:
            raise Cancelled

    jobs = [(tmp_path, "quick"), *((tmp_path, f"slow{n}", 30.0) for n in range(3))]
    began = time.monotonic()
    with pytest.raises(Cancelled):
        run_jobs(note, jobs, workers=2, progress=stop, text="noting")
    assert time.monotonic() - began < 25
    assert (tmp_path / "quick.done").is_file()
    assert not list(tmp_path.glob("slow*.done"))


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_engine import note
from RTResponseCAMLib.evaluation.engine import run_jobs
from RTResponseCAMLib.progress import no_progress
jobs = [(Path({str(tmp_path)!r}), f"job{{n}}", 60.0) for n in range(2)]
run_jobs(note, jobs, workers=2, progress=no_progress, text="")
"""
    parent = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("job?"))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    workers = [int(p.read_text()) for p in tmp_path.glob("job?")]
    assert len(workers) == 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 15
    while any(alive(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.2)
    assert not any(alive(pid) for pid in workers)
