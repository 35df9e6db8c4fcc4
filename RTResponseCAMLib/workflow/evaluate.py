"""Cohort in, comparison of the models out; resumable, because every task leaves its file."""

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
    """Compare models on a cohort, or go on with a comparison that was interrupted.

    Parameters
    ----------
    external : a cohort of other patients; every model is also fitted on all of ``cohort`` and evaluated on it.
    tables : feature tables of ``protocol.tables`` by name; with one, rows of the manifest need no images.

    Raises
    ------
    CohortError : see `read_cohort` and `read_feature_table`; one class only, too few patients, one scan under two
        patient groups, patients of ``external`` in ``cohort``; nothing to compare.
    OutputError : ``out`` exists and is no comparison, or one that was begun on other data or with other settings.
    """
    protocol.check()
    if workers < 1:
        raise CohortError("--workers", f"is {workers}", "Give 1 or more")
    known = {name: read_feature_table(path) for name, path in (tables or {}).items()}
    rows = read_cohort(cohort, images=not known)
    check_labels(rows, protocol, path=cohort)
    others = () if external is None else read_cohort(external, images=not known)
    shared = {r.patient_group for r in rows} & {r.patient_group for r in others}
    if external is not None and shared:
        what = f"holds {len(shared)} patient group(s) that {cohort.name} holds too"
        raise CohortError(external, what, "Give the groups of different people different names")
    if external is not None:
        check_evaluable(others, protocol, path=external)
    brought = _brought(known, rows, cohort)
    brought_outside = _brought(known, others, external or cohort)
    _begin(out, (rows, others), (brought, brought_outside), protocol, overwrite)
    run = uuid4().hex
    main = Cohort(rows, out / "lesions", brought, run)
    left_out = sample_all(main, protocol, workers=workers, progress=subprogress(progress, 0.0, 0.25))
    lesions = read_cases(main.folder, rows, label_of=protocol.label_of)
    check_labels([lesion.row for lesion in lesions], protocol, path=cohort, left_out=left_out)
    refuse_shared_scans((lesion.source for lesion in lesions), cohort)
    unseen: tuple[CohortLesion, ...] = ()
    second = None
    if external is not None:
        second = Cohort(others, out / "external", brought_outside, run)
        left_out += sample_all(second, protocol, workers=workers, progress=subprogress(progress, 0.25, 0.4))
        unseen = tuple(read_cases(second.folder, others, label_of=protocol.label_of))
    reasons = not_runnable(lesions, protocol)
    if external is not None:
        try:
            check_evaluable([lesion.row for lesion in unseen], protocol, path=external, left_out=left_out)
            refuse_shared_scans((lesion.source for lesion in (*lesions, *unseen)), external)
        except CohortError as error:  # what was sampled of the first cohort is not lost for it
            reasons["external cohort"], second, unseen = error.what, None, ()
    tasks = _tasks(out, lesions, protocol, reasons, second is not None)
    if not tasks:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise CohortError(cohort, f"gives no model what it needs ({why})", "Supply what lacks")
    run_tasks(
        tasks, main, external=second, protocol=protocol, workers=workers, progress=subprogress(progress, 0.4, 0.9)
    )
    if workers > 1:
        end_workers()
    progress(0.9, "intervals")
    comparison = _comparison(out, lesions, unseen, protocol, tasks, reasons, left_out)
    progress(0.95, "report")
    _write(out, comparison, lesions, tasks, protocol)
    progress(1.0, "written")
    return comparison


def _brought(
    known: Mapping[str, Mapping[tuple[str, str, str], Any]], rows: Sequence[CohortRow], where: Path
) -> tuple[Tables, ...]:
    """What feature tables say of each row.

    Raises
    ------
    CohortError : a table that says nothing of any row.
    """
    if not known or not rows:
        return ()
    found = [{name: table.get((r.patient_group, r.course, r.lesion)) for name, table in known.items()} for r in rows]
    for name in known:
        if all(tables[name] is None for tables in found):
            example = ", ".join(next(iter(known[name]), ()))
            what = f"holds no lesion of the table '{name}', whose first is ({example}); its own first is "
            what += f"({rows[0].patient_group}, {rows[0].course}, {rows[0].lesion})"
            raise CohortError(where, what, "Give both the same patient_group_id, course and lesion")
    return tuple(found)


def _begin(
    out: Path,
    rows: tuple[Sequence[CohortRow], Sequence[CohortRow]],
    brought: tuple[Sequence[Tables], Sequence[Tables]],
    protocol: Protocol,
    overwrite: bool,
) -> None:
    """Open a new run, or check that the old one may go on."""
    now = {
        "program": f"RTResponseCAM {__version__}, samples {SAMPLING_VERSION}, model schema {SCHEMA_VERSION}",
        "libraries": _libraries(),
        "protocol": protocol.as_json(),
        "rows": row_keys(rows[0], brought[0]),
        "external_rows": row_keys(rows[1], brought[1]),
        "command": _command(protocol, bool(rows[1])),
    }
    if os.path.lexists(out):
        found = (out / RUN).is_file()
        reason: str | None = "exists already and is no comparison"
        if found:
            with whole(out / RUN):
                reason = what_changed(dict(read_json(out / RUN).items()), now)
        if reason is None and not overwrite:
            return
        if not overwrite:
            what = f"{reason}; it is not resumed" if found else "exists already and is no comparison"
            raise ExistsError(out, what, "Choose another --out, or give --overwrite to begin anew")
        if not found:
            raise ExistsError(out, "exists already and is no comparison", "Choose another --out, or remove it yourself")
        shutil.rmtree(out)
    write_json(out / RUN, now)


def _libraries() -> dict[str, str]:
    """Versions that figures depend on; a run does not go on with others."""
    names = ("numpy", "scipy", "scikit-learn", "SimpleITK", "torch")
    found = {name: version(name) for name in names}
    return {**found, "pyradiomics": version_found()}


def _command(protocol: Protocol, external: bool) -> str:
    """The command line without its paths: a folder's name may be a person's."""
    words = f"rtresponsecam evaluate COHORT --out DIR{' --external OTHERS' if external else ''}"
    words += f" --models {','.join(protocol.models)} --folds {protocol.folds} --repeats {protocol.repeats}"
    words += "".join(f" --features {name}=TABLE" for name in protocol.tables)
    words += "".join(f" --{name.replace('_', '-')} {value}" for name, value in protocol.options.items())
    return f"{words} --indeterminate {protocol.indeterminate} --seed {protocol.seed}"


def _tasks(
    out: Path, lesions: Sequence[CohortLesion], protocol: Protocol, reasons: Mapping[str, str], external: bool
) -> list[Task]:
    # Models of images come first: they take longest.
    ran = [entry for entry in protocol.entries() if entry.name not in reasons]
    names = [entry.name for entry in sorted(ran, key=lambda entry: not entry.requires.patch)]
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
    outside: dict[str, list[Any]] = {}
    for task in tasks:
        where = results if task.fold is not None else outside
        where.setdefault(task.model, []).append(read_task(task.out))
    use = evaluated(lesions, protocol)
    needs = [entry.requires for entry in protocol.entries() if entry.name not in reasons]
    read = {f for n in needs for f in n.families} | ({"dose"} if any(n.dose for n in needs) else set())
    volumes = np.asarray([lesions[i].sample.volume_cc for i in use])
    known = volumes[np.isfinite(volumes)]
    summary = CohortSummary(
        rows=len(run["rows"]),
        sampled=len(lesions),
        evaluated=len(use),
        indeterminate=sum(lesion.row.certainty == "indeterminate" for lesion in lesions),
        without_label=sum(lesion.row.label is None for lesion in lesions),
        left_out=tuple(left_out),
        warnings=tuple(shared_people(x.source for x in (*lesions, *unseen))),
        remarks=_counted([f"{name}: {why}" for x in lesions for name, why in x.sample.missing.items() if name in read]),
        follow_up_days=_days([lesions[i].row.days_to_follow_up for i in use]),
        label_sources=_counted([lesions[i].row.label_source for i in use]),
        volume_cc=tuple(np.round(np.percentile(known, [0, 25, 50, 75, 100]), 3).tolist()) if len(known) else None,
    )
    return Comparison(
        notice=RESEARCH_ONLY,
        program=run["program"],
        command=run["command"],
        libraries=run["libraries"],
        protocol=run["protocol"],
        cohort=summary,
        not_run=dict(reasons),
        internal=summarize(lesions, use, results=results, protocol=protocol),
        external=summarize(unseen, evaluated(unseen, protocol), results=outside, protocol=protocol)
        if outside
        else None,
        features=_selected(results),
    )


def _counted(texts: Sequence[str]) -> dict[str, int]:
    return {text: texts.count(text) for text in sorted(set(texts))}


def _selected(results: Mapping[str, list[Any]]) -> dict[str, tuple[FeatureCount, ...]]:
    """Features that most folds chose."""
    found = {}
    for model, parts in results.items():
        chosen = [name for p in parts for name in p["chosen"].get("selected", ())]
        ranked = sorted(set(chosen), key=lambda n: (-chosen.count(n), n))[:10]
        if ranked:
            found[model] = tuple(FeatureCount(name, chosen.count(name), len(parts)) for name in ranked)
    return found


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
    """Least and most days to the follow-up that labels speak of."""
    known = [day for day in days if day is not None]
    if not known:
        return "days not stated"
    lacking = f", not stated for {len(days) - len(known)} lesion(s)" if len(known) < len(days) else ""
    return f"{min(known)} to {max(known)} days{lacking}"


def _approach_rows(comparison: Comparison) -> list[dict[str, Any]]:
    rows = []
    cohorts: tuple[tuple[str, CohortResult | None], ...] = (
        ("internal", comparison.internal),
        ("external", comparison.external),
    )
    for cohort, found in cohorts:
        for name, approach in (found.approaches if found else {}).items():
            row: dict[str, Any] = {"cohort": cohort, "approach": name}
            for metric, figure in approach.metrics.items():
                row |= {metric: figure.value, f"{metric}_low": figure.low, f"{metric}_high": figure.high}
            p = {key: getattr(approach, key) for key in ("permutation_p", "permutation_p_holm", "seconds")}
            rows.append({**row, **p})
    return rows


def _prediction_rows(
    lesions: Sequence[CohortLesion], tasks: Sequence[Task], protocol: Protocol
) -> list[dict[str, Any]]:
    rows = []
    for task in (t for t in tasks if t.fold is not None):
        found = read_task(task.out)
        for place, position in enumerate(found["test"]):
            row = lesions[position].row
            rows.append(
                {
                    "patient_group_id": row.patient_group,
                    "course": row.course,
                    "lesion": row.lesion,
                    "label": protocol.label_of(row),
                    "approach": task.model,
                    "fold": task.fold.name if task.fold else "",
                    "p_non_response": round(found["p"][place], 5),
                    "threshold": round(found["threshold"], 5),
                }
            )
    return rows


def _gallery(lesions: Sequence[CohortLesion], tasks: Sequence[Task], protocol: Protocol) -> list[dict[str, Any]]:
    """Held-out maps of the first model that gives some, in the first repeat.

    Those farthest from the class threshold of either class, called rightly and wrongly.
    """
    found = []
    explaining = [
        entry.name for entry in protocol.entries() if entry.explains and entry.name in {t.model for t in tasks}
    ]
    for task in tasks:
        if task.model not in explaining[:1] or task.fold is None or task.fold.repeat:
            continue
        content = read_task(task.out)
        with np.load(task.out.with_suffix(".npz"), allow_pickle=False) as maps:
            for place, position in enumerate(content["test"]):
                lesion = lesions[position]
                patch = lesion.sample.patch
                if patch is None or f"map{position}" not in maps:
                    continue
                found.append(
                    {
                        "lesion": f"{lesion.row.patient_group} {lesion.row.lesion}",
                        "label": int(protocol.label_of(lesion.row) or 0),
                        "p": content["p"][place],
                        "threshold": content["threshold"],
                        "right": (content["p"][place] >= content["threshold"]) == bool(protocol.label_of(lesion.row)),
                        "volume_cc": lesion.sample.volume_cc,
                        "mr": patch.mr,
                        "fraction": patch.fraction,
                        "map": maps[f"map{position}"].astype(np.float32),
                    }
                )
    kinds = [(1, True), (1, False), (0, True), (0, False)]  # label, called rightly
    shown = []
    for label, right in kinds:
        some = [f for f in found if f["label"] == label and f["right"] == right]
        shown += sorted(some, key=lambda f: -abs(f["p"] - f["threshold"]))[:3]
    return shown


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with whole_file(path) as partial:
        names = list(dict.fromkeys(name for row in rows for name in row))
        write_table(partial, names, rows=[{k: _cell(v) for k, v in row.items()} for row in rows])


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value) if isinstance(value, (list, dict)) else value
