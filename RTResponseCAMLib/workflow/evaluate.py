"""Cohort in, comparison of the approaches out; resumable, because every task leaves its file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from RTResponseCAMLib import __version__
from RTResponseCAMLib.cohort.identity import refuse_shared_scans, shared_people
from RTResponseCAMLib.cohort.manifest import CohortRow, read_cohort
from RTResponseCAMLib.errors import CohortError, OutputError
from RTResponseCAMLib.evaluation.lesions import MEASURES, MeasuredLesion
from RTResponseCAMLib.evaluation.protocol import ARMS, Protocol, row_keys, what_changed
from RTResponseCAMLib.evaluation.run import (
    Cohort,
    Task,
    check_judgeable,
    check_labels,
    judged,
    measure_all,
    outer_folds,
    run_tasks,
    runnable,
)
from RTResponseCAMLib.evaluation.store import read_cases, read_json, whole_file, write_json
from RTResponseCAMLib.evaluation.summary import summarise
from RTResponseCAMLib.features.radiomics import version_found, why_unavailable
from RTResponseCAMLib.network.card import SCHEMA_VERSION
from RTResponseCAMLib.progress import Progress, part, silent
from RTResponseCAMLib.tables import write_table
from RTResponseCAMLib.workflow.output import RESEARCH_ONLY

RUN = "run.json"


def evaluate(
    cohort: Path,
    out: Path,
    protocol: Protocol,
    external: Path | None = None,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Compare the approaches on a cohort, or go on with a comparison that was interrupted; returns what was found.

    Parameters
    ----------
    external : a cohort of other patients; every approach is also fitted on all of ``cohort`` and judged on it.

    Raises
    ------
    CohortError : see `read_cohort`; one class only, too few patients, one scan under two patient groups, patients of
        ``external`` in ``cohort``.
    OutputError : ``out`` exists and is no comparison, or one that was begun on other data or with other settings.
    """
    rows = read_cohort(cohort)
    check_labels(rows, protocol, cohort)
    others = () if external is None else read_cohort(external)
    shared = {r.patient_group for r in rows} & {r.patient_group for r in others}
    if external is not None and shared:
        what = f"holds {len(shared)} patient group(s) that {cohort.name} holds too"
        raise CohortError(external, what, "Give the groups of different people different names")
    if external is not None:
        check_judgeable(others, protocol, external)
    missing = why_unavailable()
    _begin(out, rows, others, protocol, overwrite)
    main = Cohort(rows, out / "lesions")
    left_out = measure_all(main, protocol, missing is None, workers, part(progress, 0.0, 0.25))
    lesions = read_cases(main.folder, rows)
    check_labels([lesion.row for lesion in lesions], protocol, cohort, left_out)
    refuse_shared_scans((lesion.source for lesion in lesions), cohort)
    unseen: tuple[MeasuredLesion, ...] = ()
    second = None
    if external is not None:
        second = Cohort(others, out / "external")
        left_out += measure_all(second, protocol, missing is None, workers, part(progress, 0.25, 0.4))
        unseen = tuple(read_cases(second.folder, others))
    reasons = runnable(lesions, protocol, missing)
    if external is not None:
        try:
            check_judgeable([lesion.row for lesion in unseen], protocol, external, left_out)
            refuse_shared_scans((lesion.source for lesion in (*lesions, *unseen)), external)
        except CohortError as error:  # what was measured of the first cohort is not lost for it
            reasons["external cohort"], second, unseen = error.what, None, ()
    tasks = _tasks(out, lesions, protocol, reasons, second is not None)
    run_tasks(tasks, main, second, protocol, workers, part(progress, 0.4, 0.9))
    progress(0.9, "intervals")
    content = _content(out, lesions, unseen, protocol, tasks, reasons, left_out)
    progress(0.95, "report")
    _write(out, content, lesions, tasks, protocol)
    progress(1.0, "written")
    return content


def _begin(
    out: Path,
    rows: Sequence[CohortRow],
    others: Sequence[CohortRow],
    protocol: Protocol,
    overwrite: bool,
) -> None:
    """Open a new run, or check that the old one may go on."""
    now = {
        "program": f"RTResponseCAM {__version__}, measures {MEASURES}, model schema {SCHEMA_VERSION}",
        "libraries": _libraries(),
        "protocol": protocol.as_json(),
        "rows": row_keys(rows),
        "external_rows": row_keys(others),
        "command": _command(protocol, bool(others)),
    }
    if os.path.lexists(out):
        found = (out / RUN).is_file()
        reason = what_changed(read_json(out / RUN), now) if found else "exists already and is no comparison"
        if reason is None and not overwrite:
            return
        if not overwrite:
            what = f"{reason}; it is not resumed" if found else "exists already and is no comparison"
            raise OutputError(out, what, "Choose another --out, or give --overwrite to begin anew")
        if not found:
            raise OutputError(out, "exists already and is no comparison", "Choose another --out, or remove it yourself")
        shutil.rmtree(out)
    write_json(out / RUN, now)


def _libraries() -> dict[str, str]:
    """Versions that figures depend on; a run does not go on with others."""
    names = ("numpy", "scipy", "scikit-learn", "SimpleITK", "torch")
    found = {name: version(name) for name in names}
    return {**found, "pyradiomics": version_found()}


def _command(protocol: Protocol, external: bool) -> str:
    """The command line without its paths: a folder's name may be a person's."""
    steps = protocol.schedule.steps
    words = f"rtresponsecam evaluate COHORT --out DIR{' --external OTHERS' if external else ''}"
    words += f" --arms {','.join(protocol.arms)} --folds {protocol.folds} --repeats {protocol.repeats}"
    return f"{words} --steps {steps} --indeterminate {protocol.indeterminate} --seed {protocol.seed}"


def _tasks(
    out: Path, lesions: Sequence[MeasuredLesion], protocol: Protocol, reasons: dict[str, str], external: bool
) -> list[Task]:
    # The network's folds come first: they take longest.
    arms = sorted(
        (a for a in ARMS if a.name in protocol.arms and a.name not in reasons), key=lambda a: bool(a.families)
    )
    tasks = [
        Task(arm, fold, out / "folds" / fold.name / f"{arm.name}.json")
        for arm in arms
        for fold in outer_folds(lesions, protocol)
    ]
    return tasks + [Task(arm, None, out / "external_folds" / f"{arm.name}.json") for arm in arms if external]


def _content(
    out: Path,
    lesions: Sequence[MeasuredLesion],
    unseen: Sequence[MeasuredLesion],
    protocol: Protocol,
    tasks: Sequence[Task],
    reasons: dict[str, str],
    left_out: Sequence[str],
) -> dict[str, Any]:
    run = read_json(out / RUN)
    results: dict[str, list[Any]] = {}
    outside: dict[str, list[Any]] = {}
    for task in tasks:
        where = results if task.fold is not None else outside
        where.setdefault(task.arm.name, []).append(read_json(task.out))
    use = judged(lesions, protocol)
    found = summarise(lesions, use, results, protocol)
    ran = [arm for arm in ARMS if arm.name in protocol.arms and arm.name not in reasons]
    spoken_of = {name for arm in ran for name in (*arm.families, arm.name)}
    indeterminate = sum(lesion.row.certainty == "indeterminate" for lesion in lesions)
    return {
        "schema_version": 1,
        "notice": RESEARCH_ONLY,
        "program": run["program"],
        "command": run["command"],
        "libraries": run["libraries"],
        "protocol": run["protocol"],
        "cohort": {
            "rows": len(run["rows"]),
            "measured": len(lesions),
            "judged": len(use),
            "indeterminate": indeterminate,
            "without_label": sum(lesion.row.label is None for lesion in lesions),
            "left_out": list(left_out),
            "cautions": shared_people(x.source for x in (*lesions, *unseen)),
            "remarks": _counted([r for x in lesions for r in x.remarks if r.split(":")[0] in spoken_of]),
            "follow_up_days": _days([lesions[i].row.days_to_follow_up for i in use]),
            "label_sources": _counted([lesions[i].row.label_source for i in use]),
            "volume_cc": np.round(np.percentile([lesions[i].volume_cc for i in use], [0, 25, 50, 75, 100]), 3).tolist(),
        },
        "not_run": reasons,
        "internal": found,
        "external": summarise(unseen, judged(unseen, protocol), outside, protocol) if outside else None,
        "features": _selected(results),
    }


def _counted(texts: Sequence[str]) -> dict[str, int]:
    return {text: texts.count(text) for text in sorted(set(texts))}


def _selected(results: dict[str, list[Any]]) -> dict[str, list[tuple[str, int, int]]]:
    """Features that most folds chose: name, folds, of how many."""
    found = {}
    for arm, parts in results.items():
        chosen = [name for p in parts for name in p["chosen"].get("selected", ())]
        ranked = sorted(set(chosen), key=lambda n: (-chosen.count(n), n))[:10]
        if ranked:
            found[arm] = [(name, chosen.count(name), len(parts)) for name in ranked]
    return found


def _write(
    out: Path, content: dict[str, Any], lesions: Sequence[MeasuredLesion], tasks: Sequence[Task], protocol: Protocol
) -> None:
    from RTResponseCAMLib.report.checklists import filled_checklists
    from RTResponseCAMLib.report.comparison import write_comparison

    write_json(out / "result.json", content)
    _write_csv(out / "arms.csv", _arm_rows(content))
    _write_csv(out / "differences.csv", content["internal"]["differences"])
    _write_csv(out / "predictions.csv", _prediction_rows(lesions, tasks, protocol))
    checklists = filled_checklists(content)
    for name, items in checklists.items():
        _write_csv(out / f"{name}.csv", items)
    gallery = _gallery(lesions, tasks, protocol)
    with whole_file(out / "report.html") as partial:
        write_comparison(content, checklists, gallery, partial)


def _days(days: Sequence[int | None]) -> str:
    """Least and most days to the follow-up that labels speak of."""
    known = [day for day in days if day is not None]
    if not known:
        return "days not stated"
    lacking = f", not stated for {len(days) - len(known)} lesion(s)" if len(known) < len(days) else ""
    return f"{min(known)} to {max(known)} days{lacking}"


def _arm_rows(content: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for cohort in ("internal", "external"):
        for name, arm in (content[cohort] or {"arms": {}})["arms"].items():
            row: dict[str, Any] = {"cohort": cohort, "arm": name}
            for metric, estimate in arm["metrics"].items():
                row |= {metric: estimate["value"], f"{metric}_low": estimate["low"], f"{metric}_high": estimate["high"]}
            p = {name: arm[name] for name in ("permutation_p", "permutation_p_holm")}
            rows.append({**row, **p, "seconds": arm["seconds"]})
    return rows


def _prediction_rows(
    lesions: Sequence[MeasuredLesion], tasks: Sequence[Task], protocol: Protocol
) -> list[dict[str, Any]]:
    rows = []
    for task in (t for t in tasks if t.fold is not None):
        found = read_json(task.out)
        for place, position in enumerate(found["test"]):
            row = lesions[position].row
            rows.append(
                {
                    "patient_group_id": row.patient_group,
                    "course": row.course,
                    "lesion": row.lesion,
                    "label": protocol.label_of(row),
                    "arm": task.arm.name,
                    "fold": task.fold.name if task.fold else "",
                    "p_non_response": round(found["p"][place], 5),
                    "threshold": round(found["threshold"], 5),
                }
            )
    return rows


def _gallery(lesions: Sequence[MeasuredLesion], tasks: Sequence[Task], protocol: Protocol) -> list[dict[str, Any]]:
    """Held-out maps of the first repeat, those farthest from the cut of either class, called rightly and wrongly."""
    found = []
    for task in tasks:
        if task.arm.name != "network" or task.fold is None or task.fold.repeat:
            continue
        content = read_json(task.out)
        with np.load(task.out.with_suffix(".npz"), allow_pickle=False) as maps:
            for place, position in enumerate(content["test"]):
                lesion = lesions[position]
                found.append(
                    {
                        "lesion": f"{lesion.row.patient_group} {lesion.row.lesion}",
                        "label": int(protocol.label_of(lesion.row) or 0),
                        "p": content["p"][place],
                        "cut": content["threshold"],
                        "right": (content["p"][place] >= content["threshold"]) == bool(protocol.label_of(lesion.row)),
                        "volume_cc": lesion.volume_cc,
                        "mr": lesion.patch.mr,
                        "occupancy": lesion.patch.occupancy,
                        "map": maps[f"map{position}"].astype(np.float32),
                    }
                )
    kinds = [(1, True), (1, False), (0, True), (0, False)]  # label, called rightly
    shown = []
    for label, right in kinds:
        some = [f for f in found if f["label"] == label and f["right"] == right]
        shown += sorted(some, key=lambda f: -abs(f["p"] - f["cut"]))[:3]
    return shown


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with whole_file(path) as partial:
        names = list(dict.fromkeys(name for row in rows for name in row))
        write_table(partial, names, [{k: _cell(v) for k, v in row.items()} for row in rows])


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value) if isinstance(value, (list, dict)) else value
