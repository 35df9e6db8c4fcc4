"""Run a comparison of models in tasks: sample the lesions, then fit and predict for every model and fold.

Each task writes one file; a task whose file exists is not repeated.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from RTResponseCAMLib.cam.volume import shown_evidence
from RTResponseCAMLib.cohort.case import cases_of
from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.errors import CohortError, RTResponseError
from RTResponseCAMLib.evaluation.engine import run_jobs
from RTResponseCAMLib.evaluation.protocol import Protocol
from RTResponseCAMLib.evaluation.store import read_cases, read_json, write_arrays, write_case, write_json
from RTResponseCAMLib.models.calibration import Calibrated
from RTResponseCAMLib.models.folds import Fold, patient_folds
from RTResponseCAMLib.models.registry import ModelEntry
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.samples.build import why_unavailable
from RTResponseCAMLib.samples.cohort import CohortLesion, sample_case, sample_row, with_tables
from RTResponseCAMLib.samples.sample import Features

INNER_LEAST = 2  # patients of each class that the inner folds need
EVALUATED_LEAST = 4  # smallest number of lesions for an evaluation
Tables = Mapping[str, Features | None]  # features of one row by table name; None: the table has no row for it


@dataclass(frozen=True)
class Cohort:
    """Rows of a manifest, and the folder of their samples.

    ``tables`` holds the features of each row from feature tables; ``run`` distinguishes runs in the same folder.
    """

    rows: tuple[CohortRow, ...]
    folder: Path
    tables: tuple[Tables, ...] = ()
    run: str = ""

    def tables_of(self, position: int) -> Tables:
        """Features of the row at ``position`` from feature tables."""
        return self.tables[position] if self.tables else {}


@dataclass(frozen=True)
class Task:
    """One model on one fold, or (``fold`` None) fitted on all lesions and tested on the external cohort."""

    model: str
    fold: Fold | None
    out: Path


def sample_all(
    cohort: Cohort, protocol: Protocol, *, workers: int, progress: Progress = no_progress
) -> tuple[str, ...]:
    """Sample every case that is not sampled yet; return the reasons why cases are left out."""
    cases = cases_of(cohort.rows)
    treated = Counter((row.patient_group, row.course) for row in cohort.rows)
    row_position = {id(row): n for n, row in enumerate(cohort.rows)}
    jobs = []
    for case_index, rows in enumerate(cases):
        positions = [row_position[id(row)] for row in rows]
        # A case that was left out stays out, because the folds were made without it.
        if not any((cohort.folder / f"{case_index:05d}{suffix}").is_file() for suffix in (".json", ".problem.json")):
            counts = [treated[row.patient_group, row.course] for row in rows]
            tables = [cohort.tables_of(position) for position in positions]
            jobs.append((cohort.folder, case_index, rows, positions, counts, tables, protocol))
    run_jobs(_sample, jobs, workers=workers, progress=progress, text="sampling lesions")
    problems = []
    for case_index in range(len(cases)):
        path = cohort.folder / f"{case_index:05d}.problem.json"
        if path.is_file():
            problems.append(str(read_json(path)))
    return tuple(problems)


def _sample(
    folder: Path,
    number: int,
    rows: Sequence[CohortRow],
    positions: list[int],
    counts: list[int],
    tables: Sequence[Tables],
    protocol: Protocol,
) -> None:
    try:
        if rows[0].images:
            lesions = sample_case(rows, counts, settings=protocol.sampling(), label_of=protocol.label_of)
        else:
            lesions = [sample_row(row, n, label=protocol.label_of(row)) for row, n in zip(rows, counts, strict=True)]
    except RTResponseError as error:
        # A path may contain a patient's name, so the message gives the line of the manifest instead.
        lines = ", ".join(str(p + 2) for p in positions)
        write_json(folder / f"{number:05d}.problem.json", f"manifest line(s) {lines} left out: {error.what}")
        return
    lesions = [with_tables(lesion, table_features) for lesion, table_features in zip(lesions, tables, strict=True)]
    write_case(folder, number, lesions=lesions, positions=positions)


def evaluated(lesions: Sequence[CohortLesion], protocol: Protocol) -> list[int]:
    """Positions of the lesions with a usable label: those used for supervised training and evaluation."""
    return [i for i, lesion in enumerate(lesions) if protocol.label_of(lesion.row) is not None]


def not_runnable(lesions: Sequence[CohortLesion], protocol: Protocol) -> dict[str, str]:
    """Reasons why models cannot run on these lesions, by model name."""
    reasons = {}
    positions = evaluated(lesions, protocol)
    for entry in protocol.entries():
        unavailable = [reason for family in entry.requires.families if (reason := why_unavailable(family))]
        if unavailable:
            reasons[entry.name] = unavailable[0]
            continue
        lacking = entry.why_not_runnable([lesions[i].sample for i in positions])
        if lacking:
            reasons[entry.name] = lacking
    return reasons


def outer_folds(lesions: Sequence[CohortLesion], protocol: Protocol) -> tuple[Fold, ...]:
    """Outer folds over the evaluated lesions; ``train`` and ``test`` are positions among all lesions."""
    positions = np.asarray(evaluated(lesions, protocol), dtype=np.intp)
    labels = [int(protocol.label_of(lesions[i].row) or 0) for i in positions]
    patients = [lesions[i].row.patient_group for i in positions]
    folds = patient_folds(labels, patients, folds=protocol.folds, repeats=protocol.repeats, seed=protocol.seed)
    return tuple(replace(f, train=positions[f.train], test=positions[f.test]) for f in folds)


def run_tasks(
    tasks: Iterable[Task],
    cohort: Cohort,
    *,
    external: Cohort | None,
    protocol: Protocol,
    workers: int,
    progress: Progress = no_progress,
) -> None:
    """Run every task whose file is missing."""
    jobs = [(task, cohort, external, protocol) for task in tasks if not task.out.is_file()]
    run_jobs(_do, jobs, workers=workers, progress=progress, text="fitting")
    _LOADED.clear()


_LOADED: dict[tuple[Path, str], list[CohortLesion]] = {}


def _loaded(cohort: Cohort, protocol: Protocol) -> list[CohortLesion]:
    key = cohort.folder, cohort.run
    if key not in _LOADED:
        for stale_key in [loaded_key for loaded_key in _LOADED if loaded_key[1] != cohort.run]:
            del _LOADED[stale_key]  # lesions of an earlier run in this process
        _LOADED[key] = read_cases(cohort.folder, cohort.rows, label_of=protocol.label_of)
    return _LOADED[key]


def _do(task: Task, cohort: Cohort, external: Cohort | None, protocol: Protocol) -> None:
    start = time.perf_counter()
    lesions = _loaded(cohort, protocol)
    if task.fold is not None:
        train, others, test = task.fold.train.tolist(), lesions, task.fold.test.tolist()
    else:
        assert external is not None
        others = _loaded(external, protocol)
        train, test = evaluated(lesions, protocol), evaluated(others, protocol)
    entry = protocol.entry(task.model)
    predictions, maps = predict_fold(
        entry, lesions, train=train, others=others, test=test, protocol=protocol, fold=task.fold
    )
    if maps:
        write_arrays(task.out.with_suffix(".npz"), maps)
    write_json(task.out, {"test": test, **predictions, "seconds": round(time.perf_counter() - start, 2)})


def predict_fold(
    entry: ModelEntry,
    lesions: Sequence[CohortLesion],
    *,
    train: Sequence[int],
    others: Sequence[CohortLesion],
    test: Sequence[int],
    protocol: Protocol,
    fold: Fold | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Probabilities of non-response and evidence maps of ``others[test]``, from a model fitted on ``lesions[train]``.

    The fit also uses the unlabeled lesions of patients that are not tested, and no other data.
    """
    test_patients = {others[i].row.patient_group for i in test} if others is lesions else set()
    unlabeled = [
        lesion.sample
        for lesion in lesions
        if lesion.sample.label is None and lesion.row.patient_group not in test_patients
    ]
    model = Calibrated(entry.model(entry.known_options(protocol.options)))
    seed = protocol.seed + (0 if fold is None else 100 * fold.repeat + fold.number + 1)
    fitted = model.fit([*(lesions[i].sample for i in train), *unlabeled], seed=seed)
    samples = [others[i].sample for i in test]
    predictions = fitted.predict(samples)
    calibration = fitted.calibration
    fit_summary = {
        "slope": calibration.slope,
        "intercept": calibration.intercept,
        "unlabeled": len(unlabeled),
        **fitted.fitted.summary(),
    }
    predicted = {
        "p": [1 - p.p_response for p in predictions],
        "low": [_known(1 - p.high) for p in predictions],
        "high": [_known(1 - p.low) for p in predictions],
        "from_volume": [p.from_volume for p in predictions],
        "total": [p.total for p in predictions],
        "threshold": fitted.threshold,
        "chosen": fit_summary,
    }
    if fold is not None and fold.repeat > 0:
        return predicted, {}
    maps = {
        f"map{i}": shown_evidence(sample.patch, prediction).astype(np.float16)
        for i, sample, prediction in zip(test, samples, predictions, strict=True)
        if sample.patch is not None and prediction.map is not None
    }
    return predicted, maps


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def check_labels(rows: Sequence[CohortRow], protocol: Protocol, *, path: Path, left_out: Sequence[str] = ()) -> None:
    """Check that a cohort has enough patients of both classes for a comparison.

    Raises
    ------
    CohortError : one class only, fewer patients of the rarer class than folds, or too few patients for inner folds.
    """
    labeled_rows = _labeled(rows, protocol, path, left_out)
    labels = np.asarray([int(protocol.label_of(row) or 0) for row in labeled_rows])
    patients = np.asarray([row.patient_group for row in labeled_rows])
    try:
        folds = patient_folds(
            labels.tolist(), patients.tolist(), folds=protocol.folds, repeats=protocol.repeats, seed=protocol.seed
        )
    except CohortError as error:
        raise CohortError(path, error.what + _and_left_out(left_out), error.fix) from error
    for fold in folds:
        fewest = min(len(set(patients[fold.train][labels[fold.train] == label].tolist())) for label in (0, 1))
        if fewest < INNER_LEAST:
            problem = f"leaves {fewest} patient(s) of the rarer class to learn from in fold {fold.name}"
            raise CohortError(path, problem + _and_left_out(left_out), "Add patients, or use more folds")


def check_evaluable(rows: Sequence[CohortRow], protocol: Protocol, *, path: Path, left_out: Sequence[str] = ()) -> None:
    """Check that a cohort has enough labeled lesions for an evaluation.

    Raises
    ------
    CohortError : fewer than four lesions with a certain label, or one class only.
    """
    labels = {protocol.label_of(row) for row in _labeled(rows, protocol, path, left_out)}
    count = sum(protocol.label_of(row) is not None for row in rows)
    if count < EVALUATED_LEAST or labels != {0, 1}:
        problem = (
            f"has {count} lesion(s) with a certain label, of class(es) {sorted(x for x in labels if x is not None)}"
        )
        fix = f"Supply at least {EVALUATED_LEAST} labeled lesions of both classes"
        raise CohortError(path, problem + _and_left_out(left_out), fix)


def _labeled(rows: Sequence[CohortRow], protocol: Protocol, path: Path, left_out: Sequence[str]) -> list[CohortRow]:
    labeled_rows = [row for row in rows if protocol.label_of(row) is not None]
    if not labeled_rows:
        problem = "holds no lesion with a certain label" + _and_left_out(left_out)
        raise CohortError(path, problem, "Correct the cases that were left out" if left_out else "Fill column label")
    return labeled_rows


def _and_left_out(left_out: Sequence[str]) -> str:
    return f"; {len(left_out)} case(s) could not be sampled, the first: {left_out[0]}" if left_out else ""
