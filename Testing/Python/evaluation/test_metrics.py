"""Metrics against scikit-learn, formulas worked by hand, and simulated cohorts whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.evaluation.metrics import (
    PatientAuc,
    _auc_of_ranks,
    _fold_numbers,
    _mid_ranks,
    auc_difference,
    auc_interval,
    by_stratum,
    calibration,
    fitting_variance,
    holm,
    net_benefit,
    on_logit_scale,
    patient_weights,
    permutation_p,
    point_metrics,
)


def cohort(seed, separation=1.0, patients=39, lesions=69):
    rng = np.random.default_rng(seed)
    owner = np.sort(np.concatenate([np.arange(patients), rng.integers(0, patients, lesions - patients)]))
    label = rng.integers(0, 2, lesions)
    score = expit(separation * label + rng.normal(0, 0.7, patients)[owner] + rng.normal(0, 1, lesions) - 0.5)
    return label, score, np.asarray([f"p{n}" for n in owner])


def test_a_small_table_worked_by_hand():
    found = point_metrics([1, 1, 1, 0, 0, 0, 0, 0], [0.9, 0.6, 0.3, 0.7, 0.4, 0.2, 0.2, 0.1])
    assert found["auc"] == pytest.approx((5 + 4 + 3) / 15)
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert found["specificity"] == pytest.approx(4 / 5)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    squares = [0.1**2, 0.4**2, 0.7**2, 0.7**2, 0.4**2, 0.2**2, 0.2**2, 0.1**2]
    assert found["brier"] == pytest.approx(sum(squares) / 8)
    # Precision at each non-responding lesion, from the highest score down: 1/1, 2/3, 3/5.
    assert found["pr_auc"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_calibration_finds_what_was_bent():
    rng = np.random.default_rng(3)
    true = rng.uniform(0.02, 0.98, 60_000)
    label = (rng.random(60_000) < true).astype(int)
    assert calibration(label, true) == pytest.approx((1.0, 0.0), abs=0.04)
    overconfident = expit(2.0 * logit(true))
    assert calibration(label, overconfident)[0] == pytest.approx(0.5, abs=0.02)
    too_high = expit(logit(true) + 1.0)
    assert calibration(label, too_high)[1] == pytest.approx(-1.0, abs=0.05)


def test_net_benefit_is_true_positives_less_weighted_false_ones():
    label, score = [1, 1, 0, 0, 0], [0.8, 0.3, 0.6, 0.2, 0.1]
    assert net_benefit(label, score, thresholds=[0.5]) == pytest.approx([1 / 5 - 1 / 5 * 1.0])
    assert net_benefit(label, score, thresholds=[0.25]) == pytest.approx([2 / 5 - 1 / 5 * (0.25 / 0.75)])


def test_weighted_patients_give_the_auc_of_their_repeated_lesions():
    label, score, patient = cohort(1)
    score = np.round(score, 1)  # ties
    auc = PatientAuc(label, score, patient)
    assert auc.value == pytest.approx(roc_auc_score(label, score))
    weights = patient_weights(len(auc.names), 5, seed=2)
    for row, found in zip(weights, auc.of(weights), strict=True):
        times = np.asarray([row[np.flatnonzero(auc.names == p)[0]] for p in patient]).astype(int)
        assert found == pytest.approx(roc_auc_score(np.repeat(label, times), np.repeat(score, times)))
    assert weights.sum(axis=1) == pytest.approx(len(auc.names))


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """The benchmark ``interval_coverage.py`` looks closer."""
    label, score, _ = cohort(0, 1.0, 20_000, 35_000)
    truth = roc_auc_score(label, score)
    held = 0
    for seed in range(100):
        label, score, patient = cohort(seed + 1)
        found = auc_interval(label, score, patients=patient, repeats=400)
        held += found.low <= truth <= found.high
    assert 88 <= held <= 100


def test_patients_with_many_alike_lesions_widen_the_interval():
    label, score, _ = cohort(5, lesions=69)
    alone = auc_interval(label, score, patients=np.arange(69).astype(str))
    labels, scores, patients = (np.tile(a, 4) for a in (label, score, np.arange(69).astype(str)))
    copied = auc_interval(labels, scores, patients=patients)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_the_difference_of_a_model_to_itself_is_nothing_and_to_noise_is_plain():
    label, score, patient = cohort(7, 2.5)
    same = auc_difference(label, score, second=score, patients=patient)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    noise = np.random.default_rng(1).random(len(label))
    gap = auc_difference(label, score, second=noise, patients=patient)
    assert gap.low > 0


def test_permutations_see_a_signal_and_none_where_there_is_none():
    def p_of(seed, separation, repeats):
        label, score, patient = cohort(seed, separation)
        return permutation_p(label, score, patients=patient, repeats=repeats, seed=seed)

    assert p_of(11, 2.0, 400) < 0.01
    found = [p_of(seed, 0.0, 100) for seed in range(80)]
    assert 0.35 < np.mean(found) < 0.65
    assert np.mean(np.asarray(found) < 0.1) < 0.25


def test_what_lesions_of_a_patient_share_is_no_evidence():
    """Labels and scores of a patient alike, patients of one to six lesions: noise must stay noise."""
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        sizes = rng.permutation([1] * 22 + [2] * 8 + [3] * 5 + [6] * 4)
        owner = np.repeat(np.arange(39), sizes)
        label = (rng.random(39) < 0.4).astype(int)[owner]
        score = rng.normal(size=39)[owner] + 0.1 * rng.normal(size=len(owner))
        found.append(permutation_p(label, score, patients=owner.astype(str), repeats=100, seed=seed))
    assert np.mean(np.asarray(found) < 0.05) < 0.09
    assert 0.4 < np.mean(found) < 0.6


def test_a_perfect_rank_of_few_lesions_is_no_certainty():
    found = auc_interval([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], patients=["a", "b", "c", "d"])
    assert found.value == 1.0
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_alike_probabilities_have_no_calibration_slope():
    label = np.asarray([0, 1] * 10)
    assert np.isnan(calibration(label, np.full(20, 0.4) + 1e-4 * label)[0])


def test_strata_of_one_class_are_unknown():
    label, score, patient = cohort(3)
    found = by_stratum(label, score, patients=patient, strata={"all": np.ones(69, bool), "bad": label == 1})
    assert found["all"].value == pytest.approx(roc_auc_score(label, score))
    assert np.isnan(found["bad"].value)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1, 1, 1], [0.1, 0.2, 0.3, 0.4], "expected both 0 and 1"),
        ([1, 0], [0.1, 0.2], "Give four lesions or more"),
        ([1, 0, 1, 0], [0.1, 0.2, float("nan"), 0.3], "not probabilities"),
        ([1, 0, 1, 0], [0.1, 0.2, 1.3, 0.3], "not probabilities"),
    ],
)
def test_what_cannot_be_judged_is_refused(labels, scores, message):
    with pytest.raises(CohortError, match=message):
        point_metrics(labels, scores)


def test_holm_asks_more_of_each_of_many_p_values():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def two_folds(seed=3, lesions=24):
    """Labels, scores with ties, patients and folds; both classes in each fold."""
    rng = np.random.default_rng(seed)
    label = np.tile([0, 1], lesions // 2)
    score = np.round(expit(rng.normal(0, 1, lesions) + 0.8 * label), 1)
    fold = np.repeat([0, 1], lesions // 2)
    return label, score, np.asarray([f"p{n // 2:02d}" for n in range(lesions)]), fold


def test_the_variance_of_fitting_is_nadeau_and_bengios():
    label, score, _, fold = two_folds()
    aucs = [roc_auc_score(label[fold == n], score[fold == n]) for n in (0, 1)]
    expected = np.var(aucs, ddof=1) * (1 / 2 + 0.5 / 0.5)
    assert fitting_variance(label, score, folds=fold) == pytest.approx(expected)
    thirds = np.repeat([0, 1, 2], 8)
    aucs = [roc_auc_score(label[thirds == n], score[thirds == n]) for n in range(3)]
    expected = np.var(aucs, ddof=1) * (1 / 3 + (1 / 3) / (2 / 3))
    assert fitting_variance(label, score, folds=thirds) == pytest.approx(expected)
    assert fitting_variance(label, score, folds=None) == 0.0
    assert fitting_variance(label, score, folds=np.zeros(24, dtype=int)) == 0.0  # one model, fitted elsewhere


def test_the_variance_of_a_difference_is_that_of_the_folds_differences():
    label, score, _, fold = two_folds()
    other = np.random.default_rng(9).random(len(label))
    gaps = [
        roc_auc_score(label[fold == n], score[fold == n]) - roc_auc_score(label[fold == n], other[fold == n])
        for n in (0, 1)
    ]
    expected = np.var(gaps, ddof=1) * (1 / 2 + 1)
    assert fitting_variance(label, score, folds=fold, other=other) == pytest.approx(expected)


def test_the_interval_of_a_difference_lies_about_it_and_is_that_of_its_resamples():
    label, score, patient, _ = two_folds(lesions=60)
    other = np.random.default_rng(9).random(len(label))
    gap = auc_difference(label, score, second=other, patients=patient, seed=4)
    assert gap.value == pytest.approx(roc_auc_score(label, score) - roc_auc_score(label, other))
    assert gap.value - gap.low == pytest.approx(gap.high - gap.value)
    one, two = (PatientAuc(label, s, patient) for s in (score, other))
    weights = patient_weights(30, seed=4)
    spread = np.nanstd(one.of(weights) - two.of(weights)) * (30 / 29) ** 0.5
    assert gap.high - gap.value == pytest.approx(1.959964 * spread, rel=1e-5)


@pytest.mark.parametrize("repeats", [1, 2])
def test_ranks_within_folds_give_the_auc_of_their_pairs(repeats):
    """Ties share their mean rank; lesions of two folds, or of two repeats, are never compared."""
    label, score, patient, fold = two_folds()
    scores = np.stack([score, 1 - score])[:repeats]
    folds = np.stack([fold, fold[::-1]])[:repeats]
    place = _fold_numbers(folds, scores.shape)
    assert len(np.unique(place)) == 2 * repeats
    assert all(len(np.unique(row)) == 2 for row in place)
    ranks = _mid_ranks(scores.ravel(), place.ravel())
    for number in np.unique(place):
        at = place.ravel() == number
        assert ranks[at].tolist() == rankdata(scores.ravel()[at]).tolist()
    expected = PatientAuc(label, scores, patient, folds).value
    assert _auc_of_ranks(np.tile(label, repeats), ranks, place.ravel()) == pytest.approx(expected)
    with pytest.raises(CohortError, match="do not have one fold per lesion"):
        _fold_numbers(folds[:, :-1], scores.shape)


@pytest.mark.slow
def test_p_is_the_share_of_orders_that_rank_as_well_and_folds_make_it_larger():
    label, score, patient, fold = two_folds(lesions=40)
    plain = permutation_p(label, score, patients=patient, repeats=600)
    auc = PatientAuc(label, score, patient).value
    rng = np.random.default_rng(0)
    pairs = label.reshape(-1, 2)
    drawn = [roc_auc_score(pairs[rng.permutation(20)].ravel(), score) for _ in range(600)]
    assert plain == pytest.approx((np.mean([d >= auc - 1e-12 for d in drawn])), abs=0.06)
    same = permutation_p(label, np.full(40, 0.5), patients=patient, repeats=50)
    assert same == 1.0  # nothing ranks: every order does as well
    assert permutation_p(label, score, patients=patient, folds=fold, repeats=600) >= plain


def test_a_stratum_needs_four_lesions_of_both_classes():
    label, score, patient, _ = two_folds()
    strata = {"three": np.arange(24) < 3, "four": np.arange(24) < 4, "one class": label == 1}
    found = by_stratum(label, score, patients=patient, strata=strata)
    assert np.isnan(found["three"].value)
    assert np.isnan(found["one class"].value)
    assert found["four"].value == pytest.approx(roc_auc_score(label[:4], score[:4]))


def test_an_interval_on_the_logit_scale_is_worked_by_hand():
    drawn = np.array([0.6, 0.7, 0.8, 0.75])
    found = on_logit_scale(0.7, drawn, patients=10)
    spread = np.std(logit(drawn)) * (10 / 9) ** 0.5
    assert logit(found.high) - logit(0.7) == pytest.approx(1.959964 * spread, rel=1e-5)
    assert logit(0.7) - logit(found.low) == pytest.approx(1.959964 * spread, rel=1e-5)
    wider = on_logit_scale(0.7, drawn, patients=10, variance=0.01)
    both = np.hypot(spread, 0.1 / (0.7 * 0.3))
    assert logit(wider.high) - logit(0.7) == pytest.approx(1.959964 * both, rel=1e-5)
    edge = on_logit_scale(0.999, drawn, patients=10, variance=0.01)  # the share's own variance is not taken below 0.01
    assert logit(edge.high) - logit(0.999) == pytest.approx(1.959964 * np.hypot(spread, 0.1 / 0.01), rel=1e-4)


def test_weights_without_a_pair_have_no_auc():
    auc = PatientAuc([1, 0, 1, 0], [0.9, 0.1, 0.8, 0.2], list("abcd"))
    found = auc.of(np.asarray([[1.0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]))
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == 1.0


@pytest.mark.parametrize("count", [3, 5])
def test_folds_are_as_many_as_lesions(count):
    with pytest.raises(CohortError, match="do not have one fold per lesion"):
        PatientAuc([1, 0, 1, 0], [0.9, 0.1, 0.8, 0.2], list("abcd"), list(range(count)))


def test_folds_of_one_class_alone_rank_nothing():
    labels, scores = np.asarray([1, 1, 0, 0]), np.asarray([0.9, 0.1, 0.8, 0.2])
    assert _auc_of_ranks(labels, _mid_ranks(scores, np.asarray([0, 0, 1, 1])), np.asarray([0, 0, 1, 1])) == 0.5


def test_the_variance_of_fitting_widens_permutations_by_its_root():
    rng = np.random.default_rng(8)
    labels = np.asarray([0, 1] * 20)
    scores = 0.5 * labels + rng.normal(0, 1.2, 40)
    patients = [f"p{n}" for n in range(40)]
    folds = np.arange(40) // 2 % 5
    extra = fitting_variance(labels.tolist(), scores, folds=folds)
    assert extra > 0
    y, rows = labels, scores[None]
    ranks = _mid_ranks(scores, folds)
    rng = np.random.default_rng(0)
    permuted = np.asarray([_auc_of_ranks(y[rng.permutation(40)], ranks, folds) for _ in range(2000)])
    widening = np.hypot(permuted.std(), extra**0.5) / permuted.std()
    auc = _auc_of_ranks(y, ranks, folds)
    expected = ((0.5 + (permuted - 0.5) * widening) >= auc).mean()
    found = permutation_p(labels.tolist(), rows, patients=patients, folds=folds[None])
    assert found == pytest.approx(expected, abs=0.02)
    assert 0.005 < expected < 0.5
