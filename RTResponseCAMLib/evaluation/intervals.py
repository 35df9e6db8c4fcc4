"""Every metric over resampled patients at once: weighted forms of what `metrics.point_metrics` gives for one sample."""

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
    """Metrics of `point_metrics` but the AUC, meaned over repeats, with patient-cluster percentile intervals (95 %).

    Parameters
    ----------
    probabilities, thresholds : of non-response, ``(repeats, lesions)``.
    """
    y = np.asarray(labels, dtype=np.float64)
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    weights = patient_weights(len(names), REPEATS, seed=seed)[:, owner]
    both = ((weights * y).sum(axis=1) > 0) & ((weights * (1 - y)).sum(axis=1) > 0)
    weights = weights[both]
    points: dict[str, list[float]] = {}
    draws: dict[str, list[Array64]] = {}
    for p, cut in zip(probabilities, thresholds, strict=True):
        found = point_metrics(labels, p.tolist(), threshold=cut.tolist())
        for name, values in weighted_metrics(y, p, called=p >= cut, weights=weights).items():
            points.setdefault(name, []).append(found[name])
            draws.setdefault(name, []).append(values)
    result = {}
    for name, drawn in draws.items():
        means = np.mean(drawn, axis=0)
        means = means[np.isfinite(means)]
        low, high = np.percentile(means, [2.5, 97.5]) if len(means) > REPEATS / 2 else (np.nan, np.nan)
        result[name] = Estimate(float(np.mean(points[name])), float(low), float(high))
    return result


def weighted_metrics(y: Array64, p: Array64, *, called: npt.NDArray[np.bool_], weights: Array64) -> dict[str, Array64]:
    """Metrics for each row of lesion weights ``(resamples, lesions)``; names as in `point_metrics`, without AUC."""
    bad, good = weights @ y, weights @ (1 - y)
    hit, false = weights @ (y * called), weights @ ((1 - y) * called)
    sensitivity, specificity = hit / bad, 1 - false / good
    slope, intercept = weighted_calibration(y, p, weights=weights)
    return {
        "pr_auc": _average_precision(y, p, weights),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "f1": 2 * hit / np.maximum(hit + false + bad, 1e-12),
        "brier": weights @ (p - y) ** 2 / weights.sum(axis=1),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
    }


def weighted_calibration(y: Array64, p: Array64, *, weights: Array64) -> tuple[Array64, Array64]:
    """Slope, and intercept with the slope held at 1, for each row of weights.

    By Newton's method; a faint ridge keeps it finite where the classes part.
    """
    x = logit(np.clip(p, CLIP, 1 - CLIP))
    free = np.zeros((len(weights), 2))
    free[:, 1] = 1.0
    held = np.zeros(len(weights))
    for _ in range(NEWTON_STEPS):
        q = expit(free[:, :1] + free[:, 1:] * x)
        error, bend = weights * (y - q), weights * q * (1 - q)
        gradient = np.stack([error.sum(axis=1), error @ x], axis=1) - 1e-6 * free
        a, b, c = bend.sum(axis=1) + 1e-6, bend @ x, bend @ x**2 + 1e-6
        step = np.stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], axis=1)
        free += np.clip(step / np.maximum(a * c - b * b, 1e-9)[:, None], -1, 1)
        q = expit(held[:, None] + x)
        held += np.clip((weights * (y - q)).sum(axis=1) / ((weights * q * (1 - q)).sum(axis=1) + 1e-9), -1, 1)
    mean = (weights @ x) / weights.sum(axis=1)
    logit_sd = np.sqrt(np.maximum((weights @ x**2) / weights.sum(axis=1) - mean**2, 0))
    return np.where(logit_sd < MIN_LOGIT_SD, np.nan, free[:, 1]), held


def _average_precision(y: Array64, p: Array64, weights: Array64) -> Array64:
    """Mean precision at the non-responding lesions from the highest probability down; ties are taken together."""
    order = np.argsort(-p, kind="stable")
    ends = np.r_[np.flatnonzero(np.diff(p[order])), len(p) - 1]
    sorted_ = weights[:, order]
    hits = np.cumsum(sorted_ * y[order], axis=1)[:, ends]
    called = np.cumsum(sorted_, axis=1)[:, ends]
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    gained = np.diff(np.concatenate([np.zeros((len(hits), 1)), hits], axis=1), axis=1)
    return np.asarray((precision * gained).sum(axis=1) / hits[:, -1])
