"""Performance metrics of predictions, with intervals that account for the similarity of lesions of one patient.

Class 1 is non-response; a higher score means non-response. Intervals and tests resample whole patients.
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
MIN_STANDARD_ERROR = 1e-6
MIN_LOGIT_SD = 0.05  # smallest SD of the logits for which a calibration slope is meaningful
REPEATS = 2000
Array64 = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
Scores = Sequence[float] | npt.NDArray[np.float64]  # one per lesion, or one row per repeat
Folds = Sequence[object] | npt.NDArray[np.intp]  # same shape as Scores


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN where the data do not allow an estimate."""

    value: float
    low: float
    high: float


def point_metrics(
    labels: Sequence[int], probabilities: Sequence[float], *, threshold: float | Sequence[float] = 0.5
) -> dict[str, float]:
    """Discrimination, classification and calibration metrics of the probabilities of non-response.

    ``calibration_slope`` and ``calibration_intercept`` come from a logistic regression of the labels on the logit of
    the probabilities. The intercept is fitted with the slope fixed at 1 (calibration in the large) [Van Calster et al.,
    BMC Med 17 (2019) 230].

    Parameters
    ----------
    threshold : class threshold; one for all lesions, or one per lesion.

    Raises
    ------
    CohortError : one class only, fewer than four lesions, or values that are not probabilities.
    """
    y, p = _checked(labels, probabilities)
    called = (p >= np.asarray(threshold)).astype(int)
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
    """Calibration slope, and intercept with the slope fixed at 1; they are 1 and 0 for perfect calibration.

    The slope is NaN where the probabilities are almost equal.
    """
    x = logit(np.clip(probabilities, CLIP, 1 - CLIP))

    def loss(beta: Array64, slope: float | None) -> float:
        z = beta[0] + (beta[1] if slope is None else slope) * x
        return float(np.logaddexp(0, z).sum() - labels @ z)

    if float(np.std(x)) < MIN_LOGIT_SD:
        return float("nan"), float(minimize(loss, np.asarray([0.0]), args=(1.0,), method="BFGS").x[0])
    free_fit = minimize(loss, np.asarray([0.0, 1.0]), args=(None,), method="BFGS").x
    fixed_slope_fit = minimize(loss, np.asarray([0.0]), args=(1.0,), method="BFGS").x
    return float(free_fit[1]), float(fixed_slope_fit[0])


def net_benefit(labels: Sequence[int], probabilities: Sequence[float], *, thresholds: Sequence[float]) -> Array64:
    """Net benefit of acting on p(non-response) ≥ each threshold [Vickers & Elkin, Med Decis Making 2006;26:565]."""
    y, p = _checked(labels, probabilities)
    cutoffs = np.asarray(thresholds, dtype=np.float64)[:, None]
    called = p[None] >= cutoffs
    odds = cutoffs[:, 0] / (1 - cutoffs[:, 0])
    return np.asarray((called & (y == 1)).mean(axis=1) - (called & (y == 0)).mean(axis=1) * odds)


class PatientAuc:
    """AUC of patient resamples: pairs of lesions are compared once, then only reweighted.

    Only lesions tested in the same fold are compared. Scores of two folds come from two models; if they are pooled,
    whole folds are ranked against each other, and the AUC of an uninformative model falls below 0.5 [Forman & Scholz,
    SIGKDD Explorations 12 (2010) 49]. Entry (g, h) of ``pairs`` is the number of pairs of a non-responding lesion of
    patient g and a responding lesion of patient h. The entry of ``wins`` is the number of correctly ranked pairs (ties:
    one half). With repeated folds, scores and folds have one row per repeat.
    """

    def __init__(
        self,
        labels: Sequence[int],
        scores: Scores,
        patients: Sequence[str],
        folds: Folds | None = None,
    ) -> None:
        y, rows = _rows(labels, scores)
        self.names, patient_index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        if len(patient_index) != len(y):
            raise CohortError("predictions", "do not have one patient per lesion", "Give one patient per lesion")
        pair_index = patient_index[y == 1][:, None], patient_index[y == 0][None]
        self.wins, self.pairs = (np.zeros((len(self.names), len(self.names))) for _ in range(2))
        for row, fold_ids in zip(rows, _fold_numbers(folds, rows.shape), strict=True):
            same_fold = fold_ids[y == 1][:, None] == fold_ids[y == 0][None]
            beats = (row[y == 1][:, None] > row[y == 0][None]) + 0.5 * (row[y == 1][:, None] == row[y == 0][None])
            np.add.at(self.wins, pair_index, beats * same_fold)
            np.add.at(self.pairs, pair_index, same_fold.astype(float))

    @property
    def value(self) -> float:
        """AUC of the lesions without resampling."""
        return float(self.of(np.ones((1, len(self.names))))[0])

    def of(self, weights: Array64) -> Array64:
        """AUC for each row of patient weights; NaN where no pair has a weight."""
        pairs, wins = (((weights @ matrix) * weights).sum(axis=1) for matrix in (self.pairs, self.wins))
        return np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def patient_weights(count: int, repeats: int = REPEATS, *, seed: int = 0) -> Array64:
    """Number of times each of ``count`` patients is sampled with replacement, per resample: ``(repeats, count)``."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=repeats).astype(np.float64)


def auc_interval(
    labels: Sequence[int],
    scores: Scores,
    *,
    patients: Sequence[str],
    folds: Folds | None = None,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Estimate:
    """AUC with a 95 % interval from the standard error of the patient-cluster bootstrap on the logit scale.

    The logit scale keeps the interval within 0 … 1 and its coverage near 95 % for AUCs away from 0.5
    (``Testing/Benchmarks/interval_coverage.py``); percentile intervals are too narrow for so few patients. With
    ``folds`` the models were fitted on the same few patients, and another cohort would give other models. The interval
    then includes `fitting_variance`; without it the interval is far too narrow.
    """
    auc = PatientAuc(labels, scores, patients, folds)
    resampled = auc.of(patient_weights(len(auc.names), repeats, seed=seed))
    extra_variance = fitting_variance(labels, scores, folds=folds)
    return on_logit_scale(
        auc.value, resampled[np.isfinite(resampled)], patients=len(auc.names), variance=extra_variance
    )


def fitting_variance(
    labels: Sequence[int], scores: Scores, *, folds: Folds | None, other: Scores | None = None
) -> float:
    """Variance of a cross-validated AUC (or of its difference from ``other``) due to the choice of training patients.

    Nadeau–Bengio correction for overlapping training sets [Mach Learn 52 (2003) 239]: the variance of the AUCs of the
    folds times (1 / number of folds + tested / trained). It includes a part of the variance that resampling of patients
    also gives. The sum of both variances is therefore too large for a model that hardly changes with its training
    patients. For other models each variance alone is too small, and the sum is right
    (``Testing/Benchmarks/cross_validated_coverage.py``). The result is 0 without folds, because the model was fitted
    elsewhere, and NaN where fewer than two folds hold both classes.
    """
    y, rows = _rows(labels, scores)
    if folds is None:
        return 0.0
    other_rows = None if other is None else _rows(labels, other)[1]
    fold_aucs, fold_fractions = [], []
    for repeat_index, (row, fold_ids) in enumerate(zip(rows, _fold_numbers(folds, rows.shape), strict=True)):
        for fold in np.unique(fold_ids):
            in_fold = fold_ids == fold
            fold_fractions.append(float(in_fold.mean()))
            if len(set(y[in_fold].tolist())) < 2:
                continue
            auc = roc_auc_score(y[in_fold], row[in_fold])
            fold_aucs.append(
                auc if other_rows is None else auc - roc_auc_score(y[in_fold], other_rows[repeat_index][in_fold])
            )
    test_fraction = float(np.mean(fold_fractions))
    if test_fraction >= 1:
        return 0.0
    if len(fold_aucs) < 2:
        return float("nan")
    return float(np.var(fold_aucs, ddof=1)) * (1 / len(fold_aucs) + test_fraction / (1 - test_fraction))


def on_logit_scale(value: float, resampled: Array64, *, patients: int, variance: float = 0.0) -> Estimate:
    """95 % interval of a value between 0 and 1 from its bootstrap values, on the logit scale.

    The bootstrap underestimates the variance of n patients by the factor (n − 1) / n; this is corrected. ``variance``
    is a further variance of the value, added to that of the bootstrap. The bounds are NaN where nothing varies:
    agreement of all resamples of so few lesions does not prove certainty.
    """
    center = logit(np.clip(value, CLIP, 1 - CLIP))
    standard_error = float(np.std(logit(np.clip(resampled, CLIP, 1 - CLIP)))) * (patients / max(patients - 1, 1)) ** 0.5
    standard_error = float(np.hypot(standard_error, variance**0.5 / max(value * (1 - value), 0.01)))
    if standard_error < MIN_STANDARD_ERROR:
        standard_error = float("nan")
    half_width = float(norm.ppf(0.975)) * standard_error
    return Estimate(value, float(expit(center - half_width)), float(expit(center + half_width)))


def auc_difference(
    labels: Sequence[int],
    first: Scores,
    *,
    second: Scores,
    patients: Sequence[str],
    folds: Folds | None = None,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Estimate:
    """AUC of ``first`` minus AUC of ``second`` on the same lesions, with the same patient resamples.

    With ``folds``, `fitting_variance` of the difference is added.
    """
    aucs = [PatientAuc(labels, scores, patients, folds) for scores in (first, second)]
    count = len(aucs[0].names)
    weights = patient_weights(count, repeats, seed=seed)
    resampled = aucs[0].of(weights) - aucs[1].of(weights)
    standard_error = float(np.nanstd(resampled)) * (count / max(count - 1, 1)) ** 0.5
    standard_error = float(np.hypot(standard_error, fitting_variance(labels, first, folds=folds, other=second) ** 0.5))
    value, half_width = aucs[0].value - aucs[1].value, float(norm.ppf(0.975)) * standard_error
    return Estimate(value, value - half_width, value + half_width)


def permutation_p(
    labels: Sequence[int],
    scores: Scores,
    *,
    patients: Sequence[str],
    folds: Folds | None = None,
    repeats: int = REPEATS,
    seed: int = 0,
) -> float:
    """One-sided permutation p-value of the AUC against chance: patients with equal numbers of lesions exchange labels.

    The labels of one patient stay together, so that the similarity of a patient's lesions does not count as evidence.
    With ``folds`` the predictions depend on the labels, and a permutation after fitting cannot undo this. The permuted
    AUCs are therefore spread about 0.5 by the same factor by which `fitting_variance` widens the interval. The p-value
    is 1 where `fitting_variance` is not finite.
    """
    y, rows = _rows(labels, scores)
    fold_ids = _fold_numbers(folds, rows.shape).ravel()
    order = np.argsort(np.asarray(patients, dtype=str), kind="stable")
    _, starts = np.unique(np.asarray(patients, dtype=str)[order], return_index=True)
    blocks = np.split(order, starts[1:])
    equal_size_blocks = [np.stack([b for b in blocks if len(b) == size]) for size in sorted({len(b) for b in blocks})]
    ranks = _mid_ranks(rows.ravel(), fold_ids)
    rng = np.random.default_rng(seed)
    auc = _auc_of_ranks(np.tile(y, len(rows)), ranks, fold_ids)
    permuted_aucs = np.empty(repeats)
    for repeat in range(repeats):
        permuted_labels = np.empty_like(y)
        for block_positions in equal_size_blocks:
            permuted_labels[block_positions] = y[rng.permutation(block_positions)]
        permuted_aucs[repeat] = _auc_of_ranks(np.tile(permuted_labels, len(rows)), ranks, fold_ids)
    standard_error = float(permuted_aucs.std())
    extra_variance = fitting_variance(labels, scores, folds=folds)
    if not np.isfinite(extra_variance):
        return 1.0
    widening = np.hypot(standard_error, extra_variance**0.5) / standard_error if standard_error > 0 else 1.0
    hits = int((0.5 + (permuted_aucs - 0.5) * widening >= auc - 1e-12).sum())
    return (hits + 1) / (repeats + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for multiple tests by the Holm method [Scand J Stat 6 (1979) 65]."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if len(p_values) else []


def by_stratum(
    labels: Sequence[int],
    scores: Scores,
    *,
    patients: Sequence[str],
    strata: Mapping[str, Sequence[bool] | npt.NDArray[np.bool_]],
    folds: Folds | None = None,
) -> dict[str, Estimate]:
    """AUC within each stratum (e.g. of volume); NaN where it holds one class only, or fewer than four lesions."""
    estimates = {}
    for name, members in strata.items():
        index = np.flatnonzero(np.asarray(members, dtype=bool))
        y = np.asarray(labels)[index]
        if len(np.unique(y)) < 2 or len(index) < 4:
            estimates[name] = Estimate(np.nan, np.nan, np.nan)
            continue
        stratum_folds = None if folds is None else np.asarray(folds)[..., index]
        stratum_patients = np.asarray(patients)[index].tolist()
        estimates[name] = auc_interval(
            y.tolist(), np.asarray(scores)[..., index], patients=stratum_patients, folds=stratum_folds
        )
    return estimates


def _rows(labels: Sequence[int], scores: Scores) -> tuple[Labels, Array64]:
    """Checked labels and scores, with one row of scores per repeat."""
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    return _checked(labels, rows[0].tolist(), probabilities=False)[0], np.stack(
        [_checked(labels, row.tolist(), probabilities=False)[1] for row in rows]
    )


def _fold_numbers(folds: Folds | None, shape: tuple[int, ...]) -> Labels:
    """Fold index of each score; folds of different repeats have different indices."""
    repeats, count = shape
    if folds is None:
        fold_ids = np.zeros(shape, dtype=np.intp)
    else:
        fold_ids = np.unique(np.asarray(folds).astype(str), return_inverse=True)[1].reshape(-1)
        if len(fold_ids) != repeats * count:
            raise CohortError("predictions", "do not have one fold per lesion", "Give one fold per lesion")
        fold_ids = fold_ids.reshape(shape)
    return fold_ids + (fold_ids.max() + 1) * np.arange(repeats, dtype=np.intp)[:, None]


def _mid_ranks(scores: Array64, folds: Labels) -> Array64:
    """Ranks within each fold; equal scores get their mean rank."""
    order = np.lexsort((scores, folds))
    starts_group = np.r_[True, (np.diff(scores[order]) != 0) | (np.diff(folds[order]) != 0)]
    group = np.cumsum(starts_group) - 1
    counts = np.bincount(group)
    last = np.cumsum(counts)
    ranks = np.empty(len(scores))
    ranks[order] = (last - (counts - 1) / 2)[group]
    before = np.r_[0, np.cumsum(np.bincount(folds))][folds]
    return np.asarray(ranks - before)


def _auc_of_ranks(labels: Labels, ranks: Array64, folds: Labels) -> float:
    positives = np.bincount(folds, weights=labels)
    negatives = np.bincount(folds) - positives
    wins = np.bincount(folds, weights=ranks * labels) - positives * (positives + 1) / 2
    pairs = float((positives * negatives).sum())
    return float(wins.sum() / pairs) if pairs else 0.5


def _checked(labels: Sequence[int], scores: Scores, probabilities: bool = True) -> tuple[Labels, Array64]:
    y, s = np.asarray(labels, dtype=np.intp), np.asarray(scores, dtype=np.float64)
    if y.shape != s.shape or y.ndim != 1 or len(y) < 4:
        raise CohortError("predictions", f"are {len(y)} labels and {len(s)} scores", "Give four lesions or more")
    if set(np.unique(y).tolist()) != {0, 1}:
        raise CohortError(
            "labels", f"hold {sorted(set(y.tolist()))}, expected both 0 and 1", "Add lesions of both classes"
        )
    if not np.isfinite(s).all() or (probabilities and ((s < 0) | (s > 1)).any()):
        raise CohortError("predictions", "hold values that are not probabilities", "Check the model that made them")
    return y, s
