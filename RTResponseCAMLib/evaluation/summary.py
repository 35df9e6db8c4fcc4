"""What a finished run found: a table of arms with intervals, their differences, curves and strata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from RTResponseCAMLib.evaluation.intervals import metric_intervals
from RTResponseCAMLib.evaluation.lesions import MeasuredLesion
from RTResponseCAMLib.evaluation.metrics import (
    Estimate,
    auc_difference,
    auc_interval,
    by_stratum,
    holm,
    net_benefit,
    permutation_p,
)
from RTResponseCAMLib.evaluation.protocol import ARMS, Protocol

STRATA_CC = ((0.0, 0.5), (0.5, 2.0), (2.0, np.inf))
DECISION_THRESHOLDS = tuple(np.round(np.arange(0.05, 0.96, 0.05), 2).tolist())
CALIBRATION_BINS = 5
Array64 = npt.NDArray[np.float64]


def gather(
    results: Mapping[str, Sequence[Mapping[str, Any]]], use: Sequence[int]
) -> dict[str, tuple[Array64, Array64, npt.NDArray[np.intp]]]:
    """Probabilities, thresholds and fold numbers per arm, ``(repeats, lesions)``; results in the order of the folds.

    Raises
    ------
    ValueError : a repeat does not test every lesion once.
    """
    column = {position: n for n, position in enumerate(use)}
    found = {}
    for arm, parts in results.items():
        rows: list[tuple[Array64, Array64, npt.NDArray[np.intp]]] = []
        for number, part in enumerate(parts):
            at = [column[i] for i in part["test"]]
            if not rows or not np.isnan(rows[-1][0]).any():
                empty = np.full(len(use), np.nan)
                rows.append((empty, empty.copy(), np.zeros(len(use), dtype=np.intp)))
            p, cut, fold = rows[-1]
            if not np.isnan(p[at]).all():
                raise ValueError(f"lesions of fold {number} were tested before")
            p[at], cut[at], fold[at] = part["p"], part["threshold"], number
        stacked = [np.stack(list(column_)) for column_ in zip(*rows, strict=True)]
        if np.isnan(stacked[0]).any():
            raise ValueError("a repeat lacks lesions")
        found[arm] = (stacked[0], stacked[1], stacked[2].astype(np.intp))
    return found


def summarise(
    lesions: Sequence[MeasuredLesion],
    use: Sequence[int],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    protocol: Protocol,
) -> dict[str, Any]:
    """Table, differences, strata and curves of arms that were tested on the same lesions."""
    labels = [int(protocol.label_of(lesions[i].row) or 0) for i in use]
    patients = [lesions[i].row.patient_group for i in use]
    volumes = np.asarray([lesions[i].volume_cc for i in use])
    strata = {_stratum(a, b): (volumes >= a) & (volumes < b) for a, b in STRATA_CC}
    arms: dict[str, Any] = {}
    gathered = gather(results, use)
    for arm in (a for a in ARMS if a.name in gathered):
        p, cut, folds = gathered[arm.name]
        auc = auc_interval(labels, p, patients, folds)
        arms[arm.name] = {
            "title": arm.title,
            "families": list(arm.families),
            "dose": arm.dose,
            "metrics": {
                "auc": _plain(auc),
                **{k: _plain(v) for k, v in metric_intervals(labels, p, cut, patients).items()},
            },
            "permutation_p": permutation_p(labels, p, patients, folds),
            "strata": {
                name: {**_plain(v), "lesions": int(strata[name].sum()), "non_response": _bad(labels, strata[name])}
                for name, v in by_stratum(labels, p, patients, strata, folds).items()
            },
            "curves": curves(np.tile(labels, len(p)), p.ravel()),
            "seconds": float(sum(part["seconds"] for part in results[arm.name])),
        }
    adjusted = holm([arm["permutation_p"] for arm in arms.values()])
    for arm_, p_ in zip(arms.values(), adjusted, strict=True):
        arm_["permutation_p_holm"] = p_
    differences = [
        {"one": a, "other": b, **_plain(auc_difference(labels, gathered[a][0], gathered[b][0], patients, folds_))}
        for n, a in enumerate(arms)
        for b in list(arms)[n + 1 :]
        for folds_ in [gathered[a][2]]
    ]
    return {
        "lesions": len(labels),
        "non_response": sum(labels),
        "patients": len(set(patients)),
        "arms": arms,
        "differences": differences,
    }


def curves(labels: npt.NDArray[np.integer], p: Array64) -> dict[str, Any]:
    """ROC, precision-recall, calibration and decision curves of pooled predictions."""
    false, true, _ = roc_curve(labels, p)
    precision, recall, _ = precision_recall_curve(labels, p)
    order = np.argsort(p, kind="stable")
    bins = [b for b in np.array_split(order, CALIBRATION_BINS) if len(b)]
    benefit = net_benefit(labels.tolist(), p.tolist(), DECISION_THRESHOLDS)
    share = float(labels.mean())
    return {
        "roc": [false.tolist(), true.tolist()],
        "pr": [recall.tolist(), precision.tolist()],
        "calibration": [[float(p[b].mean()) for b in bins], [float(labels[b].mean()) for b in bins]],
        "decision": [list(DECISION_THRESHOLDS), benefit.tolist()],
        "treat_all": [share - (1 - share) * t / (1 - t) for t in DECISION_THRESHOLDS],
    }


def _stratum(low: float, high: float) -> str:
    return f"from {low:g} cm³" if np.isinf(high) else f"{low:g} to {high:g} cm³" if low else f"below {high:g} cm³"


def _bad(labels: Sequence[int], chosen: npt.NDArray[np.bool_]) -> int:
    return int(np.asarray(labels)[chosen].sum())


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {k: float(v) if np.isfinite(v) else None for k, v in asdict(estimate).items()}
