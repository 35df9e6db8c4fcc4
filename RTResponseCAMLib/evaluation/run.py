"""A comparison of models, task by task: sample the lesions, then fit and predict for every model and fold.

Each task leaves one file; a task whose file is there is not done again.
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

MISSING_LIMIT = 0.5  # a model whose inputs lack for more than this share of the lesions is not run
INNER_LEAST = 2  # patients of each class that inner folds need
EVALUATED_LEAST = 4  # lesions
Tables = Mapping[str, Features | None]  # of one row: features by the name of the table


@dataclass(frozen=True)
class Cohort:
    """Rows of a manifest, and where their samples lie.

    ``tables`` holds what feature tables say of each row; ``run`` tells one run from another of the same folder.
    """

    rows: tuple[CohortRow, ...]
    folder: Path
    tables: tuple[Tables, ...] = ()
    run: str = ""

    def tables_of(self, position: int) -> Tables:
        """What feature tables say of a row."""
        return self.tables[position] if self.tables else {}


@dataclass(frozen=True)
class Task:
    """One model on one fold, or on everyone for the external cohort (``fold`` None)."""

    model: str
    fold: Fold | None
    out: Path


def sample_all(
    cohort: Cohort, protocol: Protocol, *, workers: int, progress: Progress = no_progress
) -> tuple[str, ...]:
    """Sample every case that is not sampled yet; returns why cases are left out."""
    cases = cases_of(cohort.rows)
    treated = Counter((row.patient_group, row.course) for row in cohort.rows)
    place = {id(row): n for n, row in enumerate(cohort.rows)}
    jobs = []
    for number, rows in enumerate(cases):
        positions = [place[id(row)] for row in rows]
        # A case that was left out stays out: folds were drawn without it.
        if not any((cohort.folder / f"{number:05d}{end}").is_file() for end in (".json", ".problem.json")):
            counts = [treated[row.patient_group, row.course] for row in rows]
            tables = [cohort.tables_of(position) for position in positions]
            jobs.append((cohort.folder, number, rows, positions, counts, tables, protocol))
    run_jobs(_sample, jobs, workers=workers, progress=progress, text="sampling lesions")
    problems = []
    for number in range(len(cases)):
        path = cohort.folder / f"{number:05d}.problem.json"
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
        # The name of a patient may stand in a path: the line of the manifest says enough.
        lines = ", ".join(str(p + 2) for p in positions)
        write_json(folder / f"{number:05d}.problem.json", f"manifest line(s) {lines} left out: {error.what}")
        return
    lesions = [with_tables(lesion, brought) for lesion, brought in zip(lesions, tables, strict=True)]
    write_case(folder, number, lesions=lesions, positions=positions)


def evaluated(lesions: Sequence[CohortLesion], protocol: Protocol) -> list[int]:
    """Positions of the lesions that are learned from and evaluated."""
    return [i for i, lesion in enumerate(lesions) if protocol.label_of(lesion.row) is not None]


def not_runnable(lesions: Sequence[CohortLesion], protocol: Protocol) -> dict[str, str]:
    """Why models cannot run on these lesions: name → reason."""
    reasons = {}
    use = evaluated(lesions, protocol)
    for entry in protocol.entries():
        unavailable = [why for family in entry.requires.families if (why := why_unavailable(family))]
        if unavailable:
            reasons[entry.name] = unavailable[0]
            continue
        lacking = [(i, name) for i in use if (name := _lacks(entry, lesions[i]))]
        if len(lacking) > MISSING_LIMIT * len(use):
            remarks = (lesions[i].sample.missing[n] for i, n in lacking if n in lesions[i].sample.missing)
            why = next(remarks, "not measured")
            reasons[entry.name] = f"{len(lacking)} of {len(use)} lesions lack what it needs ({lacking[0][1]}: {why})"
    return reasons


def _lacks(entry: ModelEntry, lesion: CohortLesion) -> str:
    """The first input that a lesion lacks for a model; "" when it has all."""
    sample, needs = lesion.sample, entry.requires
    if needs.patch and sample.patch is None:
        return "images"
    if needs.dose and (sample.patch is None or not sample.patch.has_dose):
        return "dose"
    return next((family for family in needs.families if family not in sample.features), "")


def outer_folds(lesions: Sequence[CohortLesion], protocol: Protocol) -> tuple[Fold, ...]:
    """Folds over the evaluated lesions; ``train`` and ``test`` are positions among all lesions."""
    use = np.asarray(evaluated(lesions, protocol), dtype=np.intp)
    labels = [int(protocol.label_of(lesions[i].row) or 0) for i in use]
    patients = [lesions[i].row.patient_group for i in use]
    folds = patient_folds(labels, patients, folds=protocol.folds, repeats=protocol.repeats, seed=protocol.seed)
    return tuple(replace(f, train=use[f.train], test=use[f.test]) for f in folds)


def run_tasks(
    tasks: Iterable[Task],
    cohort: Cohort,
    *,
    external: Cohort | None,
    protocol: Protocol,
    workers: int,
    progress: Progress = no_progress,
) -> None:
    """Do every task whose file is missing."""
    jobs = [(task, cohort, external, protocol) for task in tasks if not task.out.is_file()]
    run_jobs(_do, jobs, workers=workers, progress=progress, text="fitting")
    _LOADED.clear()


_LOADED: dict[tuple[Path, str], list[CohortLesion]] = {}


def _loaded(cohort: Cohort, protocol: Protocol) -> list[CohortLesion]:
    key = cohort.folder, cohort.run
    if key not in _LOADED:
        for old in [known for known in _LOADED if known[1] != cohort.run]:
            del _LOADED[old]  # of an earlier run in this process
        _LOADED[key] = read_cases(cohort.folder, cohort.rows, label_of=protocol.label_of)
    return _LOADED[key]


def _do(task: Task, cohort: Cohort, external: Cohort | None, protocol: Protocol) -> None:
    began = time.perf_counter()
    lesions = _loaded(cohort, protocol)
    if task.fold is not None:
        train, others, test = task.fold.train.tolist(), lesions, task.fold.test.tolist()
    else:
        assert external is not None
        others = _loaded(external, protocol)
        train, test = evaluated(lesions, protocol), evaluated(others, protocol)
    entry = protocol.entry(task.model)
    entry = protocol.entry(task.model)
    found, maps = predict_fold(entry, lesions, train=train, others=others, test=test, protocol=protocol, fold=task.fold)
    if maps:
        write_arrays(task.out.with_suffix(".npz"), maps)
    write_json(task.out, {"test": test, **found, "seconds": round(time.perf_counter() - began, 2)})


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
    """Probabilities of non-response of ``others[test]``, and maps, by a model that saw ``lesions[train]``.

    It saw unlabeled lesions of patients that are not tested, too. Nothing else is looked at.
    """
    tested = {others[i].row.patient_group for i in test} if others is lesions else set()
    unlabeled = [
        lesion.sample for lesion in lesions if lesion.sample.label is None and lesion.row.patient_group not in tested
    ]
    model = Calibrated(entry.model(entry.known_options(protocol.options)))
    seed = protocol.seed + (0 if fold is None else 100 * fold.repeat + fold.number + 1)
    fitted = model.fit([*(lesions[i].sample for i in train), *unlabeled], seed=seed)
    samples = [others[i].sample for i in test]
    predictions = fitted.predict(samples)
    line = fitted.calibration
    chosen = {"slope": line.slope, "intercept": line.intercept, "unlabeled": len(unlabeled), **fitted.fitted.summary()}
    found = {
        "p": [1 - p.p_response for p in predictions],
        "low": [_known(1 - p.high) for p in predictions],
        "high": [_known(1 - p.low) for p in predictions],
        "from_volume": [p.from_volume for p in predictions],
        "total": [p.total for p in predictions],
        "threshold": fitted.threshold,
        "chosen": chosen,
    }
    if fold is not None and fold.repeat > 0:
        return found, {}
    maps = {
        f"map{i}": shown_evidence(sample.patch, prediction).astype(np.float16)
        for i, sample, prediction in zip(test, samples, predictions, strict=True)
        if sample.patch is not None and prediction.map is not None
    }
    return found, maps


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def check_labels(rows: Sequence[CohortRow], protocol: Protocol, *, path: Path, left_out: Sequence[str] = ()) -> None:
    """Refuse a cohort that cannot be compared on.

    Raises
    ------
    CohortError : one class only, fewer patients of the rarer class than folds, or so few that no inner folds are left.
    """
    use = _labeled(rows, protocol, path, left_out)
    labels = np.asarray([int(protocol.label_of(row) or 0) for row in use])
    patients = np.asarray([row.patient_group for row in use])
    try:
        folds = patient_folds(
            labels.tolist(), patients.tolist(), folds=protocol.folds, repeats=protocol.repeats, seed=protocol.seed
        )
    except CohortError as error:
        raise CohortError(path, error.what + _and_left_out(left_out), error.fix) from error
    for fold in folds:
        fewest = min(len(set(patients[fold.train][labels[fold.train] == label].tolist())) for label in (0, 1))
        if fewest < INNER_LEAST:
            what = f"leaves {fewest} patient(s) of the rarer class to learn from in fold {fold.name}"
            raise CohortError(path, what + _and_left_out(left_out), "Add patients, or ask for more folds")


def check_evaluable(rows: Sequence[CohortRow], protocol: Protocol, *, path: Path, left_out: Sequence[str] = ()) -> None:
    """Refuse a cohort on which nothing can be evaluated.

    Raises
    ------
    CohortError : fewer than four lesions with a certain label, or one class only.
    """
    labels = {protocol.label_of(row) for row in _labeled(rows, protocol, path, left_out)}
    count = sum(protocol.label_of(row) is not None for row in rows)
    if count < EVALUATED_LEAST or labels != {0, 1}:
        what = f"has {count} lesion(s) with a certain label, of class(es) {sorted(x for x in labels if x is not None)}"
        fix = f"Needed are {EVALUATED_LEAST} and both classes"
        raise CohortError(path, what + _and_left_out(left_out), fix)


def _labeled(rows: Sequence[CohortRow], protocol: Protocol, path: Path, left_out: Sequence[str]) -> list[CohortRow]:
    use = [row for row in rows if protocol.label_of(row) is not None]
    if not use:
        what = "holds no lesion with a certain label" + _and_left_out(left_out)
        raise CohortError(path, what, "Correct what was left out" if left_out else "Fill column label")
    return use


def _and_left_out(left_out: Sequence[str]) -> str:
    return f"; {len(left_out)} case(s) could not be sampled, the first: {left_out[0]}" if left_out else ""
