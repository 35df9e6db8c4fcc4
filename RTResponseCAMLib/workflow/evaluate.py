"""Evaluation of models on a cohort; resumable, because every task writes its own file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from RTResponseCAMLib import __version__
from RTResponseCAMLib.cohort.identity import refuse_shared_scans, shared_people
from RTResponseCAMLib.cohort.manifest import CohortRow, read_cohort
from RTResponseCAMLib.errors import CohortError, ExistsError
from RTResponseCAMLib.evaluation.engine import end_workers
from RTResponseCAMLib.evaluation.protocol import Protocol, row_keys, what_changed
from RTResponseCAMLib.evaluation.results import CohortResult, CohortSummary, Comparison, FeatureCount
from RTResponseCAMLib.evaluation.run import (
    Cohort,
    Tables,
    Task,
    check_evaluable,
    check_labels,
    evaluated,
    not_runnable,
    outer_folds,
    run_tasks,
    sample_all,
)
from RTResponseCAMLib.evaluation.store import read_cases, read_json, read_task, whole, whole_file, write_json
from RTResponseCAMLib.evaluation.summary import summarize
from RTResponseCAMLib.models.card import SCHEMA_VERSION
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.samples.cohort import SAMPLING_VERSION, CohortLesion
from RTResponseCAMLib.samples.feature_table import read_feature_table
from RTResponseCAMLib.samples.radiomics import version_found
from RTResponseCAMLib.tables import write_table
from RTResponseCAMLib.workflow.output import RESEARCH_ONLY

RUN = "run.json"
JsonRow = dict[str, Any]


def evaluate(
    cohort: Path,
    out: Path,
    *,
    protocol: Protocol,
    external: Path | None = None,
    tables: Mapping[str, Path] | None = None,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Comparison:
    """Compare models on a cohort; an interrupted comparison is resumed.

    Parameters
    ----------
    external : cohort of other patients; every model is also fitted on all of ``cohort`` and evaluated on them.
    tables : feature tables of ``protocol.tables`` by name; with a table, rows of the manifest need no images.

    Raises
    ------
    CohortError : see `read_cohort` and `read_feature_table`; one class only, too few patients, one scan under two
        patient groups, patients of ``external`` in ``cohort``, or no model that can run.
    OutputError : ``out`` exists and is not a comparison, or was started with other data or other settings.
    """
    protocol.check()
    if workers < 1:
        raise CohortError("--workers", f"is {workers}", "Give 1 or more")
    feature_tables = {name: read_feature_table(path) for name, path in (tables or {}).items()}
    rows = read_cohort(cohort, images=not feature_tables)
    check_labels(rows, protocol, path=cohort)
    external_rows = () if external is None else read_cohort(external, images=not feature_tables)
    shared_groups = {r.patient_group for r in rows} & {r.patient_group for r in external_rows}
    if external is not None and shared_groups:
        problem = f"contains {len(shared_groups)} patient group(s) that {cohort.name} also contains"
        raise CohortError(external, problem, "Use different group names for different people")
    if external is not None:
        check_evaluable(external_rows, protocol, path=external)
    row_tables = _brought(feature_tables, rows, cohort)
    external_tables = _brought(feature_tables, external_rows, external or cohort)
    _begin(out, (rows, external_rows), (row_tables, external_tables), protocol, overwrite)
    run = uuid4().hex
    main = Cohort(rows, out / "lesions", row_tables, run)
    left_out = sample_all(main, protocol, workers=workers, progress=subprogress(progress, 0.0, 0.25))
    lesions = read_cases(main.folder, rows, label_of=protocol.label_of)
    check_labels([lesion.row for lesion in lesions], protocol, path=cohort, left_out=left_out)
    refuse_shared_scans((lesion.source for lesion in lesions), cohort)
    external_lesions: tuple[CohortLesion, ...] = ()
    external_cohort = None
    if external is not None:
        external_cohort = Cohort(external_rows, out / "external", external_tables, run)
        left_out += sample_all(external_cohort, protocol, workers=workers, progress=subprogress(progress, 0.25, 0.4))
        external_lesions = tuple(read_cases(external_cohort.folder, external_rows, label_of=protocol.label_of))
    reasons = not_runnable(lesions, protocol)
    if external is not None:
        try:
            check_evaluable([lesion.row for lesion in external_lesions], protocol, path=external, left_out=left_out)
            refuse_shared_scans((lesion.source for lesion in (*lesions, *external_lesions)), external)
        except CohortError as error:  # the comparison on the first cohort continues
            reasons["external cohort"], external_cohort, external_lesions = error.what, None, ()
    tasks = _tasks(out, lesions, protocol, reasons, external_cohort is not None)
    if not tasks:
        causes = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise CohortError(cohort, f"lacks required inputs of every model ({causes})", "Add the missing inputs")
    run_tasks(
        tasks,
        main,
        external=external_cohort,
        protocol=protocol,
        workers=workers,
        progress=subprogress(progress, 0.4, 0.9),
    )
    if workers > 1:
        end_workers()
    progress(0.9, "intervals")
    comparison = _comparison(out, lesions, external_lesions, protocol, tasks, reasons, left_out)
    progress(0.95, "report")
    _write(out, comparison, lesions, tasks, protocol)
    progress(1.0, "written")
    return comparison


def _brought(
    feature_tables: Mapping[str, Mapping[tuple[str, str, str], Any]], rows: Sequence[CohortRow], where: Path
) -> tuple[Tables, ...]:
    """Return the features of each row from the feature tables; None where a table lacks the row.

    Raises
    ------
    CohortError : a table contains none of the rows.
    """
    if not feature_tables or not rows:
        return ()
    row_tables = [
        {name: table.get((r.patient_group, r.course, r.lesion)) for name, table in feature_tables.items()} for r in rows
    ]
    for name in feature_tables:
        if all(tables[name] is None for tables in row_tables):
            example = ", ".join(next(iter(feature_tables[name]), ()))
            problem = f"contains no lesion of the table '{name}'; the first lesion of the table is ({example}), "
            problem += f"that of the cohort is ({rows[0].patient_group}, {rows[0].course}, {rows[0].lesion})"
            raise CohortError(where, problem, "Use the same patient_group_id, course and lesion in both")
    return tuple(row_tables)


def _begin(
    out: Path,
    rows: tuple[Sequence[CohortRow], Sequence[CohortRow]],
    brought: tuple[Sequence[Tables], Sequence[Tables]],
    protocol: Protocol,
    overwrite: bool,
) -> None:
    """Start a new run, or check that the existing run can be resumed."""
    current_run = {
        "program": f"RTResponseCAM {__version__}, samples {SAMPLING_VERSION}, model schema {SCHEMA_VERSION}",
        "libraries": _libraries(),
        "protocol": protocol.as_json(),
        "rows": row_keys(rows[0], brought[0]),
        "external_rows": row_keys(rows[1], brought[1]),
        "command": _command(protocol, bool(rows[1])),
    }
    if os.path.lexists(out):
        is_comparison = (out / RUN).is_file()
        reason: str | None = "exists already and is not a comparison"
        if is_comparison:
            with whole(out / RUN):
                reason = what_changed(dict(read_json(out / RUN).items()), current_run)
        if reason is None and not overwrite:
            return
        if not overwrite:
            problem = f"{reason}; it is not resumed" if is_comparison else "exists already and is not a comparison"
            raise ExistsError(out, problem, "Choose another --out, or give --overwrite to start again")
        if not is_comparison:
            raise ExistsError(
                out, "exists already and is not a comparison", "Choose another --out, or remove it yourself"
            )
        shutil.rmtree(out)
    write_json(out / RUN, current_run)


def _libraries() -> dict[str, str]:
    """Return the versions of libraries that affect the results; a run cannot be resumed with other versions."""
    names = ("numpy", "scipy", "scikit-learn", "SimpleITK", "torch")
    versions = {name: version(name) for name in names}
    return {**versions, "pyradiomics": version_found()}


def _command(protocol: Protocol, external: bool) -> str:
    """Return the command line without paths, because a folder name may contain a person's name."""
    command = f"rtresponsecam evaluate COHORT --out DIR{' --external OTHERS' if external else ''}"
    command += f" --models {','.join(protocol.models)} --folds {protocol.folds} --repeats {protocol.repeats}"
    command += "".join(f" --features {name}=TABLE" for name in protocol.tables)
    command += "".join(f" --{name.replace('_', '-')} {value}" for name, value in protocol.shown_options.items())
    return f"{command} --indeterminate {protocol.indeterminate} --seed {protocol.seed}"


def _tasks(
    out: Path, lesions: Sequence[CohortLesion], protocol: Protocol, reasons: Mapping[str, str], external: bool
) -> list[Task]:
    # Models that read image patches come first, because they take longest.
    entries = [entry for entry in protocol.entries() if entry.name not in reasons]
    names = [entry.name for entry in sorted(entries, key=lambda entry: not entry.requires.patch)]
    tasks = [
        Task(name, fold, out / "folds" / fold.name / f"{name}.json")
        for name in names
        for fold in outer_folds(lesions, protocol)
    ]
    return tasks + [Task(name, None, out / "external_folds" / f"{name}.json") for name in names if external]


def _comparison(
    out: Path,
    lesions: Sequence[CohortLesion],
    unseen: Sequence[CohortLesion],
    protocol: Protocol,
    tasks: Sequence[Task],
    reasons: Mapping[str, str],
    left_out: Sequence[str],
) -> Comparison:
    run = read_json(out / RUN)
    results: dict[str, list[Any]] = {}
    external_results: dict[str, list[Any]] = {}
    for task in tasks:
        target = results if task.fold is not None else external_results
        target.setdefault(task.model, []).append(read_task(task.out))
    positions = evaluated(lesions, protocol)
    requirements = [entry.requires for entry in protocol.entries() if entry.name not in reasons]
    used_features = {f for n in requirements for f in n.families} | (
        {"dose"} if any(n.dose for n in requirements) else set()
    )
    volumes = np.asarray([lesions[i].sample.volume_cc for i in positions])
    known_volumes = volumes[np.isfinite(volumes)]
    summary = CohortSummary(
        rows=len(run["rows"]),
        sampled=len(lesions),
        evaluated=len(positions),
        indeterminate=sum(lesion.row.certainty == "indeterminate" for lesion in lesions),
        without_label=sum(lesion.row.label is None for lesion in lesions),
        left_out=tuple(left_out),
        warnings=tuple(shared_people(x.source for x in (*lesions, *unseen))),
        remarks=_counted(
            [f"{name}: {why}" for x in lesions for name, why in x.sample.missing.items() if name in used_features]
        ),
        follow_up_days=_days([lesions[i].row.days_to_follow_up for i in positions]),
        label_sources=_counted([lesions[i].row.label_source for i in positions]),
        volume_cc=tuple(np.round(np.percentile(known_volumes, [0, 25, 50, 75, 100]), 3).tolist())
        if len(known_volumes)
        else None,
    )
    return Comparison(
        notice=RESEARCH_ONLY,
        program=run["program"],
        command=run["command"],
        libraries=run["libraries"],
        protocol=run["protocol"],
        cohort=summary,
        not_run=dict(reasons),
        internal=summarize(lesions, positions, results=results, protocol=protocol),
        external=summarize(unseen, evaluated(unseen, protocol), results=external_results, protocol=protocol)
        if external_results
        else None,
        features=_selected(results),
    )


def _counted(texts: Sequence[str]) -> dict[str, int]:
    return {text: texts.count(text) for text in sorted(set(texts))}


def _selected(results: Mapping[str, list[Any]]) -> dict[str, tuple[FeatureCount, ...]]:
    """Return the features that the folds selected most often, at most 10 per model."""
    features = {}
    for model, folds in results.items():
        chosen = [name for p in folds for name in p["chosen"].get("selected", ())]
        ranked = sorted(set(chosen), key=lambda n: (-chosen.count(n), n))[:10]
        if ranked:
            features[model] = tuple(FeatureCount(name, chosen.count(name), len(folds)) for name in ranked)
    return features


def _write(
    out: Path, comparison: Comparison, lesions: Sequence[CohortLesion], tasks: Sequence[Task], protocol: Protocol
) -> None:
    from RTResponseCAMLib.report.checklists import filled_checklists
    from RTResponseCAMLib.report.comparison import write_comparison

    write_json(out / "result.json", comparison.as_json())
    _write_csv(out / "approaches.csv", _approach_rows(comparison))
    _write_csv(out / "differences.csv", [vars(d) for d in comparison.internal.differences])
    _write_csv(out / "predictions.csv", _prediction_rows(lesions, tasks, protocol))
    checklists = filled_checklists(comparison)
    for name, items in checklists.items():
        _write_csv(out / f"{name}.csv", items)
    gallery = _gallery(lesions, tasks, protocol)
    with whole_file(out / "report.html") as partial:
        write_comparison(comparison, checklists, gallery=gallery, path=partial)


def _days(days: Sequence[int | None]) -> str:
    """Return the range of days to the follow-up from which the labels come."""
    known_days = [day for day in days if day is not None]
    if not known_days:
        return "days not stated"
    missing = f", not stated for {len(days) - len(known_days)} lesion(s)" if len(known_days) < len(days) else ""
    return f"{min(known_days)} to {max(known_days)} days{missing}"


def _approach_rows(comparison: Comparison) -> list[dict[str, Any]]:
    rows = []
    cohorts: tuple[tuple[str, CohortResult | None], ...] = (
        ("internal", comparison.internal),
        ("external", comparison.external),
    )
    for cohort, result in cohorts:
        for name, approach in (result.approaches if result else {}).items():
            row: dict[str, Any] = {"cohort": cohort, "approach": name}
            for metric, figure in approach.metrics.items():
                row |= {metric: figure.value, f"{metric}_low": figure.low, f"{metric}_high": figure.high}
            p = {key: getattr(approach, key) for key in ("permutation_p", "permutation_p_holm", "seconds")}
            rows.append({**row, **p})
    return rows


def _prediction_rows(lesions: Sequence[CohortLesion], tasks: Sequence[Task], protocol: Protocol) -> list[JsonRow]:
    rows = []
    for task in (t for t in tasks if t.fold is not None):
        predictions = read_task(task.out)
        for test_index, position in enumerate(predictions["test"]):
            row = lesions[position].row
            rows.append(
                {
                    "patient_group_id": row.patient_group,
                    "course": row.course,
                    "lesion": row.lesion,
                    "label": protocol.label_of(row),
                    "approach": task.model,
                    "fold": task.fold.name if task.fold else "",
                    "p_non_response": round(predictions["p"][test_index], 5),
                    "threshold": round(predictions["threshold"], 5),
                }
            )
    return rows


def _gallery(lesions: Sequence[CohortLesion], tasks: Sequence[Task], protocol: Protocol) -> list[JsonRow]:
    """Return held-out evidence maps of the first model that gives them, in the first repeat.

    For each class, these are the three correctly and the three incorrectly classified lesions farthest from the class
    threshold.
    """
    candidates = []
    models = {task.model for task in tasks}
    explaining_models = [entry.name for entry in protocol.entries() if entry.explains and entry.name in models]
    for task in tasks:
        if task.model not in explaining_models[:1] or task.fold is None or task.fold.repeat:
            continue
        content = read_task(task.out)
        with np.load(task.out.with_suffix(".npz"), allow_pickle=False) as maps:
            for test_index, position in enumerate(content["test"]):
                lesion = lesions[position]
                patch, label = lesion.sample.patch, int(protocol.label_of(lesion.row) or 0)
                if patch is None or f"map{position}" not in maps:
                    continue
                candidates.append(
                    {
                        "lesion": f"{lesion.row.patient_group} {lesion.row.lesion}",
                        "label": label,
                        "p": content["p"][test_index],
                        "threshold": content["threshold"],
                        "right": (content["p"][test_index] >= content["threshold"]) == bool(label),
                        "volume_cc": lesion.sample.volume_cc,
                        "mr": patch.mr,
                        "fraction": patch.fraction,
                        "map": maps[f"map{position}"].astype(np.float32),
                    }
                )
    shown = []
    for label, right in ((1, True), (1, False), (0, True), (0, False)):  # label, correctly classified
        group = [f for f in candidates if f["label"] == label and f["right"] == right]
        shown += sorted(group, key=lambda f: -abs(f["p"] - f["threshold"]))[:3]
    return shown


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with whole_file(path) as partial:
        names = list(dict.fromkeys(name for row in rows for name in row))
        write_table(partial, names, rows=[{k: _cell(v) for k, v in row.items()} for row in rows])


def _cell(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return json.dumps(value)
    return f"{value:.6g}" if isinstance(value, float) else value
