"""A comparison of the approaches, task by task: measure the lesions, then fit and predict for every arm and fold.

Each task leaves one file; a task whose file is there is not done again. Tasks run in processes of their own, one thread
each. A process that loses its parent ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from RTResponseCAMLib.cohort.case import cases_of
from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.errors import CohortError, RTResponseError
from RTResponseCAMLib.evaluation.lesions import MeasuredLesion, measure_case
from RTResponseCAMLib.evaluation.protocol import ARMS, Arm, Protocol
from RTResponseCAMLib.evaluation.splits import Fold, patient_folds
from RTResponseCAMLib.evaluation.store import read_cases, read_json, write_arrays, write_case, write_json
from RTResponseCAMLib.progress import Progress, silent

if TYPE_CHECKING:
    from RTResponseCAMLib.network.preparation import PreparedLesion

MISSING_LIMIT = 0.5  # an arm whose features lack for more than this share of the lesions is not run
BEAT_S = 0.5
INNER_LEAST = 2  # patients of each class that inner folds need
JUDGED_LEAST = 4  # lesions


@dataclass(frozen=True)
class Cohort:
    """Rows of a manifest, and where their measures lie."""

    rows: tuple[CohortRow, ...]
    folder: Path


@dataclass(frozen=True)
class Task:
    """One arm on one fold, or on everyone for the external cohort (``fold`` None)."""

    arm: Arm
    fold: Fold | None
    out: Path


def measure_all(
    cohort: Cohort, protocol: Protocol, radiomics: bool, workers: int, progress: Progress = silent
) -> tuple[str, ...]:
    """Measure every case that is not measured yet; returns why cases are left out."""
    cases = cases_of(cohort.rows)
    treated = Counter((row.patient_group, row.course) for row in cohort.rows)
    place = {id(row): n for n, row in enumerate(cohort.rows)}
    jobs = []
    for number, rows in enumerate(cases):
        positions = [place[id(row)] for row in rows]
        # A case that was left out stays out: folds were drawn without it.
        if not any((cohort.folder / f"{number:05d}{end}").is_file() for end in (".json", ".problem.json")):
            counts = [treated[row.patient_group, row.course] for row in rows]
            jobs.append((cohort.folder, number, rows, positions, counts, protocol, radiomics))
    _run(_measure, jobs, workers, progress, "measuring lesions")
    problems = []
    for number in range(len(cases)):
        path = cohort.folder / f"{number:05d}.problem.json"
        if path.is_file():
            problems.append(str(read_json(path)))
    return tuple(problems)


def _measure(
    folder: Path,
    number: int,
    rows: Sequence[CohortRow],
    positions: list[int],
    counts: list[int],
    protocol: Protocol,
    radiomics: bool,
) -> None:
    settings = protocol.settings if radiomics else None
    try:
        lesions = measure_case(rows, counts, protocol.architecture.spacing_mm, settings, "delta" in protocol.arms)
    except RTResponseError as error:
        # The name of a patient may stand in a path: the line of the manifest says enough.
        lines = ", ".join(str(p + 2) for p in positions)
        write_json(folder / f"{number:05d}.problem.json", f"manifest line(s) {lines} left out: {error.what}")
        return
    write_case(folder, number, lesions, positions)


def judged(lesions: Sequence[MeasuredLesion], protocol: Protocol) -> list[int]:
    """Positions of the lesions that are learnt from and judged."""
    return [i for i, lesion in enumerate(lesions) if protocol.label_of(lesion.row) is not None]


def runnable(lesions: Sequence[MeasuredLesion], protocol: Protocol, radiomics: str | None) -> dict[str, str]:
    """Why arms cannot run on these lesions: name → reason."""
    reasons = {}
    use = judged(lesions, protocol)
    for arm in (a for a in ARMS if a.name in protocol.arms):
        families = arm.families
        if radiomics and {"radiomics", "dosiomics", "delta"} & set(families):
            reasons[arm.name] = radiomics
            continue
        lacking = [i for i in use if not all(f in lesions[i].features for f in families)]
        if arm.dose:
            lacking = [i for i in use if not lesions[i].patch.has_dose]
        if len(lacking) > MISSING_LIMIT * len(use):
            remarks = (r for i in lacking for r in lesions[i].remarks if r.split(":")[0] in families)
            why = next(remarks, "no dose" if arm.dose else "not measured")
            reasons[arm.name] = f"{len(lacking)} of {len(use)} lesions lack what it needs ({why})"
    return reasons


def outer_folds(lesions: Sequence[MeasuredLesion], protocol: Protocol) -> tuple[Fold, ...]:
    """Folds over the judged lesions; ``train`` and ``test`` are positions among all lesions."""
    use = np.asarray(judged(lesions, protocol), dtype=np.intp)
    labels = [int(protocol.label_of(lesions[i].row) or 0) for i in use]
    patients = [lesions[i].row.patient_group for i in use]
    folds = patient_folds(labels, patients, protocol.folds, protocol.repeats, protocol.seed)
    return tuple(replace(f, train=use[f.train], test=use[f.test]) for f in folds)


def run_tasks(
    tasks: Iterable[Task],
    cohort: Cohort,
    external: Cohort | None,
    protocol: Protocol,
    workers: int,
    progress: Progress = silent,
) -> None:
    """Do every task whose file is missing."""
    jobs = [(task, cohort, external, protocol) for task in tasks if not task.out.is_file()]
    _run(_do, jobs, workers, progress, "fitting")


_LOADED: dict[Path, list[MeasuredLesion]] = {}


def _loaded(cohort: Cohort) -> list[MeasuredLesion]:
    if cohort.folder not in _LOADED:
        _LOADED[cohort.folder] = read_cases(cohort.folder, cohort.rows)
    return _LOADED[cohort.folder]


_PREPARED: dict[Path, list[PreparedLesion]] = {}


def _prepared(cohort: Cohort, protocol: Protocol) -> list[PreparedLesion]:
    from RTResponseCAMLib.network.preparation import Example, prepare

    if cohort.folder not in _PREPARED:
        lesions = _loaded(cohort)
        examples = [Example(x.patch, protocol.label_of(x.row), x.row.patient_group) for x in lesions]
        _PREPARED[cohort.folder] = prepare(examples, protocol.architecture, protocol.schedule.views)
    return _PREPARED[cohort.folder]


def _do(task: Task, cohort: Cohort, external: Cohort | None, protocol: Protocol) -> None:
    from RTResponseCAMLib.evaluation.tasks import predict_by_features, predict_by_network

    began = time.perf_counter()
    lesions = _loaded(cohort)
    use = judged(lesions, protocol)
    if task.fold is not None:
        train, others, test = task.fold.train.tolist(), lesions, task.fold.test.tolist()
    else:
        assert external is not None
        others = _loaded(external)
        train, test = use, judged(others, protocol)
    what = task.arm, lesions, train, others, test, protocol, task.fold
    found, maps = (
        predict_by_features(*what) if task.arm.families else predict_by_network(*what, _prepared(cohort, protocol))
    )
    if maps:
        write_arrays(task.out.with_suffix(".npz"), maps)
    write_json(task.out, {"test": test, **found, "seconds": round(time.perf_counter() - began, 2)})


def _run(
    work: Callable[..., None], jobs: Sequence[tuple[Any, ...]], workers: int, progress: Progress, text: str
) -> None:
    """Run jobs in processes; the first error ends them all, what is written stays."""
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _begin_worker, (os.getpid(),))
    futures: set[Future[None]] = set()
    try:
        futures = {pool.submit(work, *job) for job in jobs}
        left = futures
        while left:
            done, left = wait(left, BEAT_S, FIRST_COMPLETED)
            for future in done:
                future.result()
            progress(1 - len(left) / len(jobs), f"{text}, {len(jobs) - len(left)} of {len(jobs)}")
    except BaseException:
        for process in list(getattr(pool, "_processes", {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(parent: int) -> None:
    """One thread; Ctrl-C is the parent's; end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import SimpleITK as sitk
    import torch

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def check_labels(rows: Sequence[CohortRow], protocol: Protocol, path: Path, left_out: Sequence[str] = ()) -> None:
    """Refuse a cohort that cannot be compared on.

    Raises
    ------
    CohortError : one class only, fewer patients of the rarer class than folds, or so few that no inner folds are left.
    """
    use = _labelled(rows, protocol, path, left_out)
    labels = np.asarray([int(protocol.label_of(row) or 0) for row in use])
    patients = np.asarray([row.patient_group for row in use])
    try:
        folds = patient_folds(labels.tolist(), patients.tolist(), protocol.folds, protocol.repeats, protocol.seed)
    except CohortError as error:
        raise CohortError(path, error.what + _and_left_out(left_out), error.fix) from error
    for fold in folds:
        fewest = min(len(set(patients[fold.train][labels[fold.train] == label].tolist())) for label in (0, 1))
        if fewest < INNER_LEAST:
            what = f"leaves {fewest} patient(s) of the rarer class to learn from in fold {fold.name}"
            raise CohortError(path, what + _and_left_out(left_out), "Add patients, or ask for more folds")


def check_judgeable(rows: Sequence[CohortRow], protocol: Protocol, path: Path, left_out: Sequence[str] = ()) -> None:
    """Refuse a cohort on which nothing can be judged.

    Raises
    ------
    CohortError : fewer than four lesions with a certain label, or one class only.
    """
    labels = {protocol.label_of(row) for row in _labelled(rows, protocol, path, left_out)}
    count = sum(protocol.label_of(row) is not None for row in rows)
    if count < JUDGED_LEAST or labels != {0, 1}:
        what = f"has {count} lesion(s) with a certain label, of class(es) {sorted(x for x in labels if x is not None)}"
        fix = f"Needed are {JUDGED_LEAST} and both classes"
        raise CohortError(path, what + _and_left_out(left_out), fix)


def _labelled(rows: Sequence[CohortRow], protocol: Protocol, path: Path, left_out: Sequence[str]) -> list[CohortRow]:
    use = [row for row in rows if protocol.label_of(row) is not None]
    if not use:
        what = "holds no lesion with a certain label" + _and_left_out(left_out)
        raise CohortError(path, what, "Correct what was left out" if left_out else "Fill column label")
    return use


def _and_left_out(left_out: Sequence[str]) -> str:
    return f"; {len(left_out)} case(s) could not be measured, the first: {left_out[0]}" if left_out else ""
