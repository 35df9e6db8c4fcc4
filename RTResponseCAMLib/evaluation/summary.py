"""Results of a finished run: metrics of the approaches with intervals, their differences, curves and strata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from RTResponseCAMLib.evaluation.intervals import metric_intervals
from RTResponseCAMLib.evaluation.metrics import (
    auc_difference,
    auc_interval,
    by_stratum,
    holm,
    net_benefit,
    permutation_p,
)
from RTResponseCAMLib.evaluation.protocol import Protocol
from RTResponseCAMLib.evaluation.results import Approach, CohortResult, Curves, Difference, Figure, Stratum
from RTResponseCAMLib.samples.cohort import CohortLesion

STRATA_CC = ((0.0, 0.5), (0.5, 2.0), (2.0, np.inf))
DECISION_THRESHOLDS = tuple(np.round(np.arange(0.05, 0.96, 0.05), 2).tolist())
CALIBRATION_BINS = 5
Array64 = npt.NDArray[np.float64]


def collect_results(
    results: Mapping[str, Sequence[Mapping[str, Any]]], use: Sequence[int]
) -> dict[str, tuple[Array64, Array64, npt.NDArray[np.intp]]]:
    """Probabilities, class thresholds and fold indices per approach, each ``(repeats, lesions)``.

    Parameters
    ----------
    results : results of each approach, in the order of the folds.
    use : positions of the evaluated lesions.

    Raises
    ------
    ValueError : a repeat does not test every lesion once.
    """
    column = {position: n for n, position in enumerate(use)}
    collected = {}
    for name, fold_results in results.items():
        rows: list[tuple[Array64, Array64, npt.NDArray[np.intp]]] = []
        for fold_index, fold_result in enumerate(fold_results):
            columns = [column[i] for i in fold_result["test"]]
            if not rows or not np.isnan(rows[-1][0]).any():
                empty = np.full(len(use), np.nan)
                rows.append((empty, empty.copy(), np.zeros(len(use), dtype=np.intp)))
            p, threshold, fold = rows[-1]
            if not np.isnan(p[columns]).all():
                raise ValueError(f"lesions of fold {fold_index} were tested before")
            p[columns], threshold[columns], fold[columns] = fold_result["p"], fold_result["threshold"], fold_index
        stacked = [np.stack(list(arrays)) for arrays in zip(*rows, strict=True)]
        if np.isnan(stacked[0]).any():
            raise ValueError("a repeat does not test all lesions")
        collected[name] = (stacked[0], stacked[1], stacked[2].astype(np.intp))
    return collected


def summarize(
    lesions: Sequence[CohortLesion],
    use: Sequence[int],
    *,
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    protocol: Protocol,
) -> CohortResult:
    """Metrics, differences, strata and curves of approaches that were tested on the same lesions."""
    labels = [int(protocol.label_of(lesions[i].row) or 0) for i in use]
    patients = [lesions[i].row.patient_group for i in use]
    volumes = np.asarray([lesions[i].sample.volume_cc for i in use])
    strata = {_stratum(a, b): (volumes >= a) & (volumes < b) for a, b in STRATA_CC}
    predictions = collect_results(results, use)
    ran = [entry for entry in protocol.entries() if entry.name in predictions]
    p_values = [
        permutation_p(labels, predictions[e.name][0], patients=patients, folds=predictions[e.name][2]) for e in ran
    ]
    approaches: dict[str, Approach] = {}
    for entry, p_value, adjusted in zip(ran, p_values, holm(p_values), strict=True):
        p, thresholds, folds = predictions[entry.name]
        metrics = {
            "auc": auc_interval(labels, p, patients=patients, folds=folds),
            **metric_intervals(labels, p, thresholds=thresholds, patients=patients),
        }
        by_volume = by_stratum(labels, p, patients=patients, strata=strata, folds=folds)
        approaches[entry.name] = Approach(
            title=entry.title,
            color=entry.color,
            families=entry.requires.families,
            dose=entry.requires.dose,
            predictors=entry.predictors,
            description=entry.describe(entry.known_options(protocol.options)) if entry.describe else "",
            baseline=entry.baseline,
            reference=entry.reference,
            explains=entry.explains,
            metrics={name: Figure.of(estimate) for name, estimate in metrics.items()},
            permutation_p=p_value,
            permutation_p_holm=adjusted,
            strata={
                name: Stratum(
                    **vars(Figure.of(e)), lesions=int(strata[name].sum()), non_response=_bad(labels, strata[name])
                )
                for name, e in by_volume.items()
            },
            curves=curves(np.tile(labels, len(p)), p.ravel()),
            seconds=float(sum(result["seconds"] for result in results[entry.name])),
        )
    differences = tuple(
        Difference(**vars(Figure.of(difference)), one=a, other=b)
        for n, a in enumerate(approaches)
        for b in list(approaches)[n + 1 :]
        for difference in [
            auc_difference(
                labels, predictions[a][0], second=predictions[b][0], patients=patients, folds=predictions[a][2]
            )
        ]
    )
    return CohortResult(len(labels), sum(labels), len(set(patients)), approaches, differences)


def curves(labels: npt.NDArray[np.integer], p: Array64) -> Curves:
    """ROC, precision-recall, calibration and decision curves of pooled predictions."""
    false_positive_rate, true_positive_rate, _ = roc_curve(labels, p)
    precision, recall, _ = precision_recall_curve(labels, p)
    order = np.argsort(p, kind="stable")
    bins = [b for b in np.array_split(order, CALIBRATION_BINS) if len(b)]
    benefit = net_benefit(labels.tolist(), p.tolist(), thresholds=DECISION_THRESHOLDS)
    prevalence = float(labels.mean())
    return Curves(
        roc=(false_positive_rate.tolist(), true_positive_rate.tolist()),
        pr=(recall.tolist(), precision.tolist()),
        calibration=([float(p[b].mean()) for b in bins], [float(labels[b].mean()) for b in bins]),
        decision=(list(DECISION_THRESHOLDS), benefit.tolist()),
        treat_all=[prevalence - (1 - prevalence) * t / (1 - t) for t in DECISION_THRESHOLDS],
    )


def _stratum(low: float, high: float) -> str:
    return f"from {low:g} cm³" if np.isinf(high) else f"{low:g} to {high:g} cm³" if low else f"below {high:g} cm³"


def _bad(labels: Sequence[int], chosen: npt.NDArray[np.bool_]) -> int:
    return int(np.asarray(labels)[chosen].sum())
