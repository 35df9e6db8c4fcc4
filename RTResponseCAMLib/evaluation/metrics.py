"""How good predictions are, with intervals that know that lesions of one patient are alike.

Class 1 is non-response, and scores are higher for it. Intervals and tests resample whole patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import average_precision_score, balanced_accuracy_score, brier_score_loss, f1_score, roc_auc_score

from RTResponseCAMLib.errors import CohortError

CLIP = 1e-4
REPEATS = 2000
Array64 = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN where the data cannot give it."""

    value: float
    low: float
    high: float


def point_metrics(labels: Sequence[int], probabilities: Sequence[float], threshold: float = 0.5) -> dict[str, float]:
    """Discrimination, classification at ``threshold``, and calibration of probabilities of non-response.

    ``calibration_slope`` and ``calibration_intercept`` are those of a logistic regression of the labels on the logit of
    the probabilities; the intercept with the slope held at 1 (calibration in the large) [Van Calster et al., BMC Med 17
    (2019) 230].

    Raises
    ------
    CohortError : one class only, fewer than four lesions, or values that are no probabilities.
    """
    y, p = _checked(labels, probabilities)
    called = (p >= threshold).astype(int)
    slope, intercept = calibration(y, p)
    return {
        "auc": float(roc_auc_score(y, p)),
        "pr_auc": float(average_precision_score(y, p)),
        "balanced_accuracy": float(balanced_accuracy_score(y, called)),
        "sensitivity": float(called[y == 1].mean()),
        "specificity": float(1 - called[y == 0].mean()),
        "f1": float(f1_score(y, called, zero_division=0)),
        "brier": float(brier_score_loss(y, p)),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
    }


def calibration(labels: Labels, probabilities: Array64) -> tuple[float, float]:
    """Slope, and intercept with the slope held at 1; 1 and 0 when probabilities mean what they say."""
    x = logit(np.clip(probabilities, CLIP, 1 - CLIP))

    def loss(beta: Array64, slope: float | None) -> float:
        z = beta[0] + (beta[1] if slope is None else slope) * x
        return float(np.logaddexp(0, z).sum() - labels @ z)

    free = minimize(loss, np.asarray([0.0, 1.0]), args=(None,), method="BFGS").x
    held = minimize(loss, np.asarray([0.0]), args=(1.0,), method="BFGS").x
    return float(free[1]), float(held[0])


def net_benefit(labels: Sequence[int], probabilities: Sequence[float], thresholds: Sequence[float]) -> Array64:
    """Net benefit of acting on non-response from each threshold on [Vickers & Elkin, Med Decis Making 2006;26:565]."""
    y, p = _checked(labels, probabilities)
    cut = np.asarray(thresholds, dtype=np.float64)[:, None]
    called = p[None] >= cut
    odds = cut[:, 0] / (1 - cut[:, 0])
    return np.asarray((called & (y == 1)).mean(axis=1) - (called & (y == 0)).mean(axis=1) * odds)


class PatientAuc:
    """AUC over resampled patients: pairs of patients are compared once, and weighted ever after.

    Entry (g, h) of the wins counts the pairs of a non-responding lesion of patient g and a responding one of patient h
    that are ranked rightly (ties: one half). A resample only changes how often each patient counts.
    """

    def __init__(self, labels: Sequence[int], scores: Sequence[float], patients: Sequence[str]) -> None:
        y, s = _checked(labels, scores, probabilities=False)
        self.names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        if len(owner) != len(y):
            raise CohortError("predictions", "have not one patient for each lesion", "Give a patient for each")
        self.bad, self.good = (np.bincount(owner[y == c], minlength=len(self.names)).astype(float) for c in (1, 0))
        beats = (s[y == 1][:, None] > s[y == 0][None]) + 0.5 * (s[y == 1][:, None] == s[y == 0][None])
        self.wins = np.zeros((len(self.names), len(self.names)))
        np.add.at(self.wins, (owner[y == 1][:, None], owner[y == 0][None]), beats)

    @property
    def value(self) -> float:
        """AUC of the lesions as they are."""
        return float(self.of(np.ones((1, len(self.names))))[0])

    def of(self, weights: Array64) -> Array64:
        """AUC for each row of patients' weights; NaN where a class has no weight."""
        pairs = (weights @ self.bad) * (weights @ self.good)
        wins = np.einsum("bg,gh,bh->b", weights, self.wins, weights, optimize=True)
        return np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def patient_weights(count: int, repeats: int = REPEATS, seed: int = 0) -> Array64:
    """How often each of ``count`` patients is drawn in each resample, with replacement ``(repeats, count)``."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=repeats).astype(np.float64)


def auc_interval(
    labels: Sequence[int], scores: Sequence[float], patients: Sequence[str], repeats: int = REPEATS, seed: int = 0
) -> Estimate:
    """AUC with a 95 % interval: the patient-cluster bootstrap's standard error on the logit scale.

    The logit keeps the interval within 0 … 1 and its coverage near 95 % for AUCs away from one half
    (``Testing/Benchmarks/interval_coverage.py``); percentiles of so few patients are too narrow.
    """
    auc = PatientAuc(labels, scores, patients)
    drawn = auc.of(patient_weights(len(auc.names), repeats, seed))
    return on_logit_scale(auc.value, drawn[np.isfinite(drawn)], len(auc.names))


def on_logit_scale(value: float, drawn: Array64, patients: int) -> Estimate:
    """Interval of a share from its bootstrap values; a resample of n patients is too alike by (n − 1) / n."""
    middle = logit(np.clip(value, CLIP, 1 - CLIP))
    spread = float(np.std(logit(np.clip(drawn, CLIP, 1 - CLIP)))) * (patients / max(patients - 1, 1)) ** 0.5
    reach = float(norm.ppf(0.975)) * spread
    return Estimate(value, float(expit(middle - reach)), float(expit(middle + reach)))


def auc_difference(
    labels: Sequence[int],
    one: Sequence[float],
    other: Sequence[float],
    patients: Sequence[str],
    repeats: int = REPEATS,
    seed: int = 0,
) -> Estimate:
    """AUC of ``one`` less that of ``other`` on the same lesions, by the same resamples of patients."""
    aucs = [PatientAuc(labels, scores, patients) for scores in (one, other)]
    count = len(aucs[0].names)
    weights = patient_weights(count, repeats, seed)
    drawn = aucs[0].of(weights) - aucs[1].of(weights)
    spread = float(np.nanstd(drawn)) * (count / max(count - 1, 1)) ** 0.5
    value, reach = aucs[0].value - aucs[1].value, float(norm.ppf(0.975)) * spread
    return Estimate(value, value - reach, value + reach)


def permutation_p(
    labels: Sequence[int], scores: Sequence[float], patients: Sequence[str], repeats: int = REPEATS, seed: int = 0
) -> float:
    """One-sided p-value of the AUC against chance: patients' labels change hands as blocks, in random order.

    Labels of one patient stay together, so that what lesions of a patient share is no evidence.
    """
    y, s = _checked(labels, scores, probabilities=False)
    order = np.argsort(np.asarray(patients, dtype=str), kind="stable")
    y, s = y[order], s[order]
    _, starts = np.unique(np.asarray(patients, dtype=str)[order], return_index=True)
    blocks = np.split(y, starts[1:])
    ranks = _mid_ranks(s)
    rng = np.random.default_rng(seed)
    found = _auc_of_ranks(y, ranks)
    hits = sum(
        _auc_of_ranks(np.concatenate([blocks[n] for n in rng.permutation(len(blocks))]), ranks) >= found - 1e-12
        for _ in range(repeats)
    )
    return (hits + 1) / (repeats + 1)


def by_stratum(
    labels: Sequence[int], scores: Sequence[float], patients: Sequence[str], strata: Mapping[str, Sequence[bool]]
) -> dict[str, Estimate]:
    """AUC within each stratum (of volume, for instance); NaN where it holds one class only."""
    found = {}
    for name, chosen in strata.items():
        index = np.flatnonzero(np.asarray(chosen, dtype=bool))
        y = np.asarray(labels)[index]
        if len(np.unique(y)) < 2 or len(index) < 4:
            found[name] = Estimate(np.nan, np.nan, np.nan)
            continue
        found[name] = auc_interval(y.tolist(), np.asarray(scores)[index].tolist(), np.asarray(patients)[index].tolist())
    return found


def _mid_ranks(scores: Array64) -> Array64:
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[place], dtype=np.float64)


def _auc_of_ranks(labels: Labels, ranks: Array64) -> float:
    bad = int(labels.sum())
    return float((ranks[labels == 1].sum() - bad * (bad + 1) / 2) / (bad * (len(labels) - bad)))


def _checked(labels: Sequence[int], scores: Sequence[float], probabilities: bool = True) -> tuple[Labels, Array64]:
    y, s = np.asarray(labels, dtype=np.intp), np.asarray(scores, dtype=np.float64)
    if y.shape != s.shape or y.ndim != 1 or len(y) < 4:
        raise CohortError("predictions", f"are {len(y)} labels and {len(s)} scores", "Give four lesions or more")
    if set(np.unique(y).tolist()) != {0, 1}:
        raise CohortError(
            "labels", f"hold {sorted(set(y.tolist()))}, expected both 0 and 1", "Add lesions of both classes"
        )
    if not np.isfinite(s).all() or (probabilities and ((s < 0) | (s > 1)).any()):
        raise CohortError("predictions", "hold values that are no probabilities", "Check the model that made them")
    return y, s
