"""Weighted metrics are scikit-learn's on the resample that the weights stand for; fold-wise AUC does not mix folds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, recall_score

from RTResponseCAMLib.evaluation.intervals import metric_intervals, weighted_calibration, weighted_metrics
from RTResponseCAMLib.evaluation.metrics import (
    Estimate,
    PatientAuc,
    auc_interval,
    calibration,
    fitting_variance,
    permutation_p,
)


def test_weights_are_repetitions():
    rng = np.random.default_rng(2)
    y = (rng.random(40) < 0.4).astype(float)
    p = np.round(np.clip(0.3 * y + rng.random(40) * 0.7, 0.02, 0.98), 2)  # with ties
    weights = rng.integers(0, 4, (5, 40)).astype(float)
    found = weighted_metrics(y, p, called=p >= 0.5, weights=weights)
    for n, row in enumerate(weights):
        who = np.repeat(np.arange(40), row.astype(int))
        called = (p[who] >= 0.5).astype(int)
        assert found["pr_auc"][n] == pytest.approx(average_precision_score(y[who], p[who]))
        assert found["brier"][n] == pytest.approx(brier_score_loss(y[who], p[who]))
        assert found["f1"][n] == pytest.approx(f1_score(y[who], called))
        assert found["sensitivity"][n] == pytest.approx(recall_score(y[who], called))
        slope, intercept = calibration(y[who].astype(int), p[who])
        assert found["calibration_slope"][n] == pytest.approx(slope, abs=2e-3)
        assert found["calibration_intercept"][n] == pytest.approx(intercept, abs=2e-3)


def test_an_interval_holds_its_value_and_shrinks_with_more_patients():
    rng = np.random.default_rng(4)

    def width(count):
        y = (rng.random(count) < 0.4).astype(int)
        p = np.clip(0.25 * y + 0.6 * rng.random(count), 0.02, 0.98)
        found = metric_intervals(
            y.tolist(), p[None], thresholds=np.full((1, count), 0.5), patients=[f"p{n // 2}" for n in range(count)]
        )
        assert all(e.low <= e.value <= e.high for e in found.values())
        return found["brier"].high - found["brier"].low

    assert width(400) < 0.6 * width(80)


def test_folds_are_not_ranked_against_each_other():
    """Each fold ranks its own lesions rightly, but one fold's scores all lie above the other's."""
    labels = [1, 0, 0, 0, 1, 1, 1, 0]
    scores = [0.2, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.8]
    patients = list("abcdefgh")
    folds = [0, 0, 0, 0, 1, 1, 1, 1]
    assert PatientAuc(labels, scores, patients, folds).value == 1.0
    assert PatientAuc(labels, scores, patients).value < 1.0
    base_rates = [0.3] * 4 + [0.1] * 4  # each fold gets a constant: no knowledge, though the constants differ
    assert PatientAuc(labels, base_rates, patients, folds).value == 0.5
    assert PatientAuc(labels, base_rates, patients).value < 0.5


def test_repeats_are_meant_over_and_permuted_together():
    rng = np.random.default_rng(0)
    labels = (rng.random(30) < 0.5).astype(int).tolist()
    patients = [f"p{n // 2}" for n in range(30)]
    scores = np.asarray([np.asarray(labels) + rng.normal(0, 0.5, 30) for _ in range(3)])
    folds = np.asarray([rng.permutation(30) % 5 for _ in range(3)])
    each = [PatientAuc(labels, s, patients, f) for s, f in zip(scores, folds, strict=True)]
    pairs = [float(a.pairs.sum()) for a in each]
    mean = sum(a.value * n for a, n in zip(each, pairs, strict=True)) / sum(pairs)
    assert PatientAuc(labels, scores, patients, folds).value == pytest.approx(mean)
    assert permutation_p(labels, scores, patients=patients, folds=folds, repeats=300) < 0.05
    noise = rng.normal(size=(3, 30))
    assert permutation_p(labels, noise, patients=patients, folds=folds, repeats=300) > 0.05


def test_the_choice_of_training_patients_widens_what_was_cross_validated():
    """Nadeau and Bengio by hand: variance of the folds' AUCs × (1 / folds + tested / trained)."""
    labels = [1, 0, 0, 1] * 5
    scores = np.tile([0.9, 0.2, 0.1, 0.8], 5)
    scores[:4] = 0.1, 0.2, 0.9, 0.8  # one fold of five ranks badly: AUC 0.25
    folds = np.repeat(np.arange(5), 4)
    each = [0.25, 1.0, 1.0, 1.0, 1.0]
    assert fitting_variance(labels, scores, folds=folds) == pytest.approx(np.var(each, ddof=1) * (1 / 5 + 1 / 4))
    assert fitting_variance(labels, scores, folds=None) == 0.0
    assert fitting_variance(labels, scores, folds=folds, other=scores) == 0.0
    patients = [f"p{n}" for n in range(20)]
    plain, wide = (
        auc_interval(labels, scores, patients=patients),
        auc_interval(labels, scores, patients=patients, folds=folds),
    )
    assert wide.high - wide.low > plain.high - plain.low


def test_resamples_without_both_classes_do_not_count():
    """One non-responding patient of six: a third of the resamples lack her, and sensitivity is 1 in all others."""
    labels = [1, 0, 0, 0, 0, 0]
    p = np.asarray([[0.9, 0.1, 0.2, 0.3, 0.2, 0.1]])
    found = metric_intervals(labels, p, thresholds=np.full((1, 6), 0.5), patients=list("abcdef"))
    assert found["sensitivity"] == Estimate(1.0, 1.0, 1.0)
    assert np.isfinite([found["brier"].low, found["brier"].high, found["pr_auc"].low]).all()


def test_a_figure_that_most_resamples_lack_has_no_interval():
    """Logits that are nearly constant have no slope; where one patient makes the difference, a third lack her."""
    labels = [1, 0, 1, 0, 1, 0, 1, 0]
    constant = np.full((1, 8), 0.4)
    found = metric_intervals(labels, constant, thresholds=np.full((1, 8), 0.5), patients=list("abcdefgh"))
    assert np.isnan([found["calibration_slope"].low, found["calibration_slope"].high]).all()
    one = constant.copy()
    one[0, 0] = 0.9
    found = metric_intervals(labels, one, thresholds=np.full((1, 8), 0.5), patients=list("abcdefgh"))
    assert np.isfinite([found["calibration_slope"].low, found["calibration_slope"].high]).all()


@pytest.mark.parametrize("extreme", [0.0, 1.0])
def test_certain_probabilities_have_finite_calibration(extreme):
    y = np.asarray([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    p = np.asarray([0.8, 0.3, 0.6, 0.4, extreme, 0.5])
    slope, intercept = weighted_calibration(y, p, weights=np.ones((1, 6)))
    assert np.isfinite([slope, intercept]).all()


@pytest.mark.parametrize(("logit_shift", "slope"), [(-2.0, 0.5), (1.5, 2.0)])
def test_the_intercept_is_what_every_logit_lacks_and_the_slope_what_bends_them(logit_shift, slope):
    """Labels in proportion to a bent probability: the fit straightens it."""
    x = np.linspace(-2.5, 2.5, 41)
    truth = expit(slope * x)
    y, p = np.r_[np.ones(41), np.zeros(41)], np.r_[expit(x), expit(x)]
    weights = np.r_[truth, 1 - truth][None]
    assert weighted_calibration(y, p, weights=weights)[0][0] == pytest.approx(slope, rel=1e-3)
    shifted = expit(x + logit_shift)
    weights = np.r_[shifted, 1 - shifted][None]
    assert weighted_calibration(y, p, weights=weights)[1][0] == pytest.approx(logit_shift, rel=1e-3)


@pytest.mark.parametrize(("spread", "known"), [(0.04, False), (0.06, True)])
@pytest.mark.parametrize("middle", [0.0, 2.0, -1.0])
def test_a_slope_needs_logits_that_differ_whatever_their_mean(spread, known, middle):
    x = middle + spread * np.asarray([1.0, -1.0] * 10)
    y = np.asarray([1.0, 0.0, 0.0, 1.0] * 5)
    slope, _ = weighted_calibration(y, expit(x), weights=np.ones((1, 20)))
    assert np.isfinite(slope[0]) == known
