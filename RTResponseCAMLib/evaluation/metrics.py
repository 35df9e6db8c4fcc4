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
MIN_STANDARD_ERROR = 1e-6
MIN_LOGIT_SD = 0.05  # spread of logits from which a calibration slope means something
REPEATS = 2000
Array64 = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
Scores = Sequence[float] | npt.NDArray[np.float64]  # one for each lesion, or a row of them for each repeat
Folds = Sequence[object] | npt.NDArray[np.intp]  # alike


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN where the data cannot give it."""

    value: float
    low: float
    high: float


def point_metrics(
    labels: Sequence[int], probabilities: Sequence[float], *, threshold: float | Sequence[float] = 0.5
) -> dict[str, float]:
    """Discrimination, classification at ``threshold`` (one, or one each), and calibration of p(non-response).

    ``calibration_slope`` and ``calibration_intercept`` are those of a logistic regression of the labels on the logit of
    the probabilities; the intercept with the slope held at 1 (calibration in the large) [Van Calster et al., BMC Med 17
    (2019) 230].

    Raises
    ------
    CohortError : one class only, fewer than four lesions, or values that are no probabilities.
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
    """Slope, and intercept with the slope held at 1; 1 and 0 when probabilities mean what they say.

    The slope is NaN where the probabilities are all but the same.
    """
    x = logit(np.clip(probabilities, CLIP, 1 - CLIP))

    def loss(beta: Array64, slope: float | None) -> float:
        z = beta[0] + (beta[1] if slope is None else slope) * x
        return float(np.logaddexp(0, z).sum() - labels @ z)

    if float(np.std(x)) < MIN_LOGIT_SD:
        return float("nan"), float(minimize(loss, np.asarray([0.0]), args=(1.0,), method="BFGS").x[0])
    free = minimize(loss, np.asarray([0.0, 1.0]), args=(None,), method="BFGS").x
    held = minimize(loss, np.asarray([0.0]), args=(1.0,), method="BFGS").x
    return float(free[1]), float(held[0])


def net_benefit(labels: Sequence[int], probabilities: Sequence[float], *, thresholds: Sequence[float]) -> Array64:
    """Net benefit of acting on non-response from each threshold on [Vickers & Elkin, Med Decis Making 2006;26:565]."""
    y, p = _checked(labels, probabilities)
    cut = np.asarray(thresholds, dtype=np.float64)[:, None]
    called = p[None] >= cut
    odds = cut[:, 0] / (1 - cut[:, 0])
    return np.asarray((called & (y == 1)).mean(axis=1) - (called & (y == 0)).mean(axis=1) * odds)


class PatientAuc:
    """AUC over resampled patients: pairs of lesions are compared once, and weighted ever after.

    Only lesions tested in the same fold are compared: scores of two folds come from two models, and pooled they rank
    whole folds against each other, which pulls a model without knowledge below one half [Forman & Scholz, SIGKDD
    Explorations 12 (2010) 49]. Entry (g, h) counts pairs of a non-responding lesion of patient g and a responding one
    of patient h: all of them, and those ranked rightly (ties: one half). Of repeated folds, scores and folds have a row
    for each repeat.
    """

    def __init__(
        self,
        labels: Sequence[int],
        scores: Scores,
        patients: Sequence[str],
        folds: Folds | None = None,
    ) -> None:
        y, rows = _rows(labels, scores)
        self.names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        if len(owner) != len(y):
            raise CohortError("predictions", "have not one patient for each lesion", "Give a patient for each")
        where = owner[y == 1][:, None], owner[y == 0][None]
        self.wins, self.pairs = (np.zeros((len(self.names), len(self.names))) for _ in range(2))
        for s, place in zip(rows, _fold_numbers(folds, rows.shape), strict=True):
            same = place[y == 1][:, None] == place[y == 0][None]
            beats = (s[y == 1][:, None] > s[y == 0][None]) + 0.5 * (s[y == 1][:, None] == s[y == 0][None])
            np.add.at(self.wins, where, beats * same)
            np.add.at(self.pairs, where, same.astype(float))

    @property
    def value(self) -> float:
        """AUC of the lesions as they are."""
        return float(self.of(np.ones((1, len(self.names))))[0])

    def of(self, weights: Array64) -> Array64:
        """AUC for each row of patients' weights; NaN where no pair has a weight."""
        pairs, wins = (((weights @ matrix) * weights).sum(axis=1) for matrix in (self.pairs, self.wins))
        return np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def patient_weights(count: int, repeats: int = REPEATS, *, seed: int = 0) -> Array64:
    """How often each of ``count`` patients is drawn in each resample, with replacement ``(repeats, count)``."""
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
    """AUC with a 95 % interval: the patient-cluster bootstrap's standard error on the logit scale.

    The logit keeps the interval within 0 … 1 and its coverage near 95 % for AUCs away from one half
    (``Testing/Benchmarks/interval_coverage.py``); percentiles of so few patients are too narrow. With ``folds`` the
    models were fitted on the same few patients, and another cohort would have given other models: `fitting_variance`
    is added, without which such intervals are far too narrow.
    """
    auc = PatientAuc(labels, scores, patients, folds)
    drawn = auc.of(patient_weights(len(auc.names), repeats, seed=seed))
    more = fitting_variance(labels, scores, folds=folds)
    return on_logit_scale(auc.value, drawn[np.isfinite(drawn)], patients=len(auc.names), variance=more)


def fitting_variance(
    labels: Sequence[int], scores: Scores, *, folds: Folds | None, other: Scores | None = None
) -> float:
    """Variance of a cross-validated AUC (or of its difference from ``other``'s) by the choice of training patients.

    Nadeau and Bengio's correction for overlapping training sets [Mach Learn 52 (2003) 239]: the variance of the folds'
    AUCs times (1 / folds in all + tested / trained). It holds some of what resampling patients gives too, so their sum
    is too wide for a model that hardly changes with its training patients; for models that do, either alone is too
    narrow, and the sum right (``Testing/Benchmarks/cross_validated_coverage.py``). 0 without folds: the model was
    fitted elsewhere. NaN where fewer than two folds hold both classes.
    """
    y, rows = _rows(labels, scores)
    if folds is None:
        return 0.0
    others = None if other is None else _rows(labels, other)[1]
    found, sizes = [], []
    for number, (s, place) in enumerate(zip(rows, _fold_numbers(folds, rows.shape), strict=True)):
        for fold in np.unique(place):
            at = place == fold
            sizes.append(float(at.mean()))
            if len(set(y[at].tolist())) < 2:
                continue
            auc = roc_auc_score(y[at], s[at])
            found.append(auc if others is None else auc - roc_auc_score(y[at], others[number][at]))
    tested = float(np.mean(sizes))
    if tested >= 1:
        return 0.0
    if len(found) < 2:
        return float("nan")
    return float(np.var(found, ddof=1)) * (1 / len(found) + tested / (1 - tested))


def on_logit_scale(value: float, drawn: Array64, *, patients: int, variance: float = 0.0) -> Estimate:
    """Interval of a share from its bootstrap values; a resample of n patients is too alike by (n − 1) / n.

    ``variance`` of the share is added to that of the bootstrap. Ends are NaN where nothing varies: that all resamples
    agree, of so few lesions, is no certainty.
    """
    middle = logit(np.clip(value, CLIP, 1 - CLIP))
    standard_error = float(np.std(logit(np.clip(drawn, CLIP, 1 - CLIP)))) * (patients / max(patients - 1, 1)) ** 0.5
    standard_error = float(np.hypot(standard_error, variance**0.5 / max(value * (1 - value), 0.01)))
    if standard_error < MIN_STANDARD_ERROR:
        standard_error = float("nan")
    reach = float(norm.ppf(0.975)) * standard_error
    return Estimate(value, float(expit(middle - reach)), float(expit(middle + reach)))


def auc_difference(
    labels: Sequence[int],
    one: Scores,
    *,
    other: Scores,
    patients: Sequence[str],
    folds: Folds | None = None,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Estimate:
    """AUC of ``one`` less that of ``other`` on the same lesions, by the same resamples of patients.

    With ``folds``, `fitting_variance` of the difference is added.
    """
    aucs = [PatientAuc(labels, scores, patients, folds) for scores in (one, other)]
    count = len(aucs[0].names)
    weights = patient_weights(count, repeats, seed=seed)
    drawn = aucs[0].of(weights) - aucs[1].of(weights)
    standard_error = float(np.nanstd(drawn)) * (count / max(count - 1, 1)) ** 0.5
    standard_error = float(np.hypot(standard_error, fitting_variance(labels, one, folds=folds, other=other) ** 0.5))
    value, reach = aucs[0].value - aucs[1].value, float(norm.ppf(0.975)) * standard_error
    return Estimate(value, value - reach, value + reach)


def permutation_p(
    labels: Sequence[int],
    scores: Scores,
    *,
    patients: Sequence[str],
    folds: Folds | None = None,
    repeats: int = REPEATS,
    seed: int = 0,
) -> float:
    """One-sided p-value of the AUC against chance: patients with equally many lesions exchange their labels.

    Labels of one patient stay together, so that what lesions of a patient share is no evidence. With ``folds`` the
    predictions themselves depend on the labels, which a permutation after the fact cannot undo: its AUCs are spread
    about one half by as much as `fitting_variance` widens the interval.
    """
    y, rows = _rows(labels, scores)
    place = _fold_numbers(folds, rows.shape).ravel()
    order = np.argsort(np.asarray(patients, dtype=str), kind="stable")
    _, starts = np.unique(np.asarray(patients, dtype=str)[order], return_index=True)
    blocks = np.split(order, starts[1:])
    alike = [np.stack([b for b in blocks if len(b) == size]) for size in sorted({len(b) for b in blocks})]
    ranks = _mid_ranks(rows.ravel(), place)
    rng = np.random.default_rng(seed)
    found = _auc_of_ranks(np.tile(y, len(rows)), ranks, place)
    drawn = np.empty(repeats)
    for n in range(repeats):
        mixed = np.empty_like(y)
        for places in alike:
            mixed[places] = y[rng.permutation(places)]
        drawn[n] = _auc_of_ranks(np.tile(mixed, len(rows)), ranks, place)
    standard_error = float(drawn.std())
    more = fitting_variance(labels, scores, folds=folds)
    if not np.isfinite(more):
        return 1.0
    wider = np.hypot(standard_error, more**0.5) / standard_error if standard_error > 0 else 1.0
    hits = int((0.5 + (drawn - 0.5) * wider >= found - 1e-12).sum())
    return (hits + 1) / (repeats + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values that allow for how many are asked at once [Holm, Scand J Stat 6 (1979) 65]."""
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
    """AUC within each stratum (of volume, for instance); NaN where it holds one class only."""
    found = {}
    for name, chosen in strata.items():
        index = np.flatnonzero(np.asarray(chosen, dtype=bool))
        y = np.asarray(labels)[index]
        if len(np.unique(y)) < 2 or len(index) < 4:
            found[name] = Estimate(np.nan, np.nan, np.nan)
            continue
        place = None if folds is None else np.asarray(folds)[..., index]
        owners = np.asarray(patients)[index].tolist()
        found[name] = auc_interval(y.tolist(), np.asarray(scores)[..., index], patients=owners, folds=place)
    return found


def _rows(labels: Sequence[int], scores: Scores) -> tuple[Labels, Array64]:
    """Labels, and a row of scores for each repeat; checked."""
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    return _checked(labels, rows[0].tolist(), probabilities=False)[0], np.stack(
        [_checked(labels, row.tolist(), probabilities=False)[1] for row in rows]
    )


def _fold_numbers(folds: Folds | None, shape: tuple[int, ...]) -> Labels:
    """Number of the fold of each score; folds of different repeats are different folds."""
    repeats, count = shape
    if folds is None:
        names = np.zeros(shape, dtype=np.intp)
    else:
        names = np.unique(np.asarray(folds).astype(str), return_inverse=True)[1].reshape(-1)
        if len(names) != repeats * count:
            raise CohortError("predictions", "have not one fold for each lesion", "Give a fold for each")
        names = names.reshape(shape)
    return names + (names.max() + 1) * np.arange(repeats, dtype=np.intp)[:, None]


def _mid_ranks(scores: Array64, folds: Labels) -> Array64:
    """Ranks within each fold; equal scores share their mean rank."""
    order = np.lexsort((scores, folds))
    fresh = np.r_[True, (np.diff(scores[order]) != 0) | (np.diff(folds[order]) != 0)]
    group = np.cumsum(fresh) - 1
    counts = np.bincount(group)
    last = np.cumsum(counts)
    ranks = np.empty(len(scores))
    ranks[order] = (last - (counts - 1) / 2)[group]
    before = np.r_[0, np.cumsum(np.bincount(folds))][folds]
    return np.asarray(ranks - before)


def _auc_of_ranks(labels: Labels, ranks: Array64, folds: Labels) -> float:
    bad = np.bincount(folds, weights=labels)
    good = np.bincount(folds) - bad
    wins = np.bincount(folds, weights=ranks * labels) - bad * (bad + 1) / 2
    pairs = float((bad * good).sum())
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
        raise CohortError("predictions", "hold values that are no probabilities", "Check the model that made them")
    return y, s
