"""Bootstrap intervals of metrics: weighted forms of `metrics.point_metrics`, computed for all resamples at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from RTResponseCAMLib.evaluation.metrics import CLIP, MIN_LOGIT_SD, Estimate, patient_weights, point_metrics

REPEATS = 500
NEWTON_STEPS = 25
Array64 = npt.NDArray[np.float64]


def metric_intervals(
    labels: Sequence[int], probabilities: Array64, *, thresholds: Array64, patients: Sequence[str], seed: int = 0
) -> dict[str, Estimate]:
    """Metrics of `point_metrics` except the AUC, averaged over repeats, with 95 % patient-cluster percentile intervals.

    Parameters
    ----------
    probabilities : probabilities of non-response, ``(repeats, lesions)``.
    thresholds : class thresholds on them, ``(repeats, lesions)``.
    """
    y = np.asarray(labels, dtype=np.float64)
    names, patient_index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    weights = patient_weights(len(names), REPEATS, seed=seed)[:, patient_index]
    has_both_classes = ((weights * y).sum(axis=1) > 0) & ((weights * (1 - y)).sum(axis=1) > 0)
    weights = weights[has_both_classes]
    points: dict[str, list[float]] = {}
    resampled: dict[str, list[Array64]] = {}
    for p, threshold in zip(probabilities, thresholds, strict=True):
        point_values = point_metrics(labels, p.tolist(), threshold=threshold.tolist())
        for name, values in weighted_metrics(y, p, called=p >= threshold, weights=weights).items():
            points.setdefault(name, []).append(point_values[name])
            resampled.setdefault(name, []).append(values)
    result = {}
    for name, repeat_values in resampled.items():
        resample_means = np.mean(repeat_values, axis=0)
        resample_means = resample_means[np.isfinite(resample_means)]
        low, high = (
            np.percentile(resample_means, [2.5, 97.5]) if len(resample_means) > REPEATS / 2 else (np.nan, np.nan)
        )
        result[name] = Estimate(float(np.mean(points[name])), float(low), float(high))
    return result


def weighted_metrics(y: Array64, p: Array64, *, called: npt.NDArray[np.bool_], weights: Array64) -> dict[str, Array64]:
    """Metrics for each row of lesion weights ``(resamples, lesions)``; names as in `point_metrics`, without the AUC."""
    positives, negatives = weights @ y, weights @ (1 - y)
    true_positives, false_positives = weights @ (y * called), weights @ ((1 - y) * called)
    sensitivity, specificity = true_positives / positives, 1 - false_positives / negatives
    slope, intercept = weighted_calibration(y, p, weights=weights)
    return {
        "pr_auc": _average_precision(y, p, weights),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "f1": 2 * true_positives / np.maximum(true_positives + false_positives + positives, 1e-12),
        "brier": weights @ (p - y) ** 2 / weights.sum(axis=1),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
    }


def weighted_calibration(y: Array64, p: Array64, *, weights: Array64) -> tuple[Array64, Array64]:
    """Calibration slope, and intercept with the slope fixed at 1, for each row of weights.

    Newton's method; a weak ridge penalty keeps the result finite where the classes are separable. The slope is NaN
    where the logits are almost constant.
    """
    x = logit(np.clip(p, CLIP, 1 - CLIP))
    free_fit = np.zeros((len(weights), 2))
    free_fit[:, 1] = 1.0
    fixed_slope_fit = np.zeros(len(weights))
    for _ in range(NEWTON_STEPS):
        q = expit(free_fit[:, :1] + free_fit[:, 1:] * x)
        error, curvature = weights * (y - q), weights * q * (1 - q)
        gradient = np.stack([error.sum(axis=1), error @ x], axis=1) - 1e-6 * free_fit
        a, b, c = curvature.sum(axis=1) + 1e-6, curvature @ x, curvature @ x**2 + 1e-6
        step = np.stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], axis=1)
        free_fit += np.clip(step / np.maximum(a * c - b * b, 1e-9)[:, None], -1, 1)
        q = expit(fixed_slope_fit[:, None] + x)
        fixed_slope_fit += np.clip(
            (weights * (y - q)).sum(axis=1) / ((weights * q * (1 - q)).sum(axis=1) + 1e-9), -1, 1
        )
    mean_logit = (weights @ x) / weights.sum(axis=1)
    logit_sd = np.sqrt(np.maximum((weights @ x**2) / weights.sum(axis=1) - mean_logit**2, 0))
    return np.where(logit_sd < MIN_LOGIT_SD, np.nan, free_fit[:, 1]), fixed_slope_fit


def _average_precision(y: Array64, p: Array64, weights: Array64) -> Array64:
    """Average precision: mean precision at the non-responding lesions; lesions with equal probability form one step."""
    order = np.argsort(-p, kind="stable")
    tie_ends = np.r_[np.flatnonzero(np.diff(p[order])), len(p) - 1]
    sorted_weights = weights[:, order]
    hits = np.cumsum(sorted_weights * y[order], axis=1)[:, tie_ends]
    called = np.cumsum(sorted_weights, axis=1)[:, tie_ends]
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    new_hits = np.diff(np.concatenate([np.zeros((len(hits), 1)), hits], axis=1), axis=1)
    return np.asarray((precision * new_hits).sum(axis=1) / hits[:, -1])
