"""Folds keep patients whole, and a feature table full of noise gives chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.evaluation.metrics import calibration
from RTResponseCAMLib.models.calibration import Calibrated
from RTResponseCAMLib.models.folds import patient_folds
from RTResponseCAMLib.models.interface import Calibration
from RTResponseCAMLib.models.logistic import FittedLogistic, LogisticModel, restore
from RTResponseCAMLib.samples.sample import LesionSample


def cohort(seed, signal=0.0, patients=39, lesions=69, features=60):
    rng = np.random.default_rng(seed)
    owner = np.sort(np.concatenate([np.arange(patients), rng.integers(0, patients, lesions - patients)]))
    label = (rng.random(lesions) < 0.35).astype(int)
    table = rng.normal(size=(lesions, features)) + 0.8 * rng.normal(size=(patients, features))[owner]
    table[:, 7] += signal * label
    return table, label, np.asarray([f"p{n:03d}" for n in owner])


def samples_of(table, label, patient):
    return [
        LesionSample(None, features={"table": {f"f{n:03d}": x for n, x in enumerate(row)}}, patient=who, label=int(y))
        for row, y, who in zip(table, label, patient, strict=True)
    ]


def out_of_fold(table, label, patient, seed=0, folds=5):
    found = np.full(len(label), np.nan)
    for fold in patient_folds(label, patient, folds=folds, repeats=1, seed=seed):
        train, test = (samples_of(table[part], label[part], patient[part]) for part in (fold.train, fold.test))
        fitted = Calibrated(LogisticModel(("table",))).fit(train, seed=seed)
        found[fold.test] = [1 - prediction.p_response for prediction in fitted.predict(test)]
    return found


def test_no_patient_is_on_both_sides_and_each_lesion_is_tested_once_per_repeat():
    _, label, patient = cohort(1)
    folds = patient_folds(label, patient, folds=5, repeats=3, seed=4)
    assert len(folds) == 15
    assert len({fold.name for fold in folds}) == 15
    for fold in folds:
        assert not set(patient[fold.train]) & set(patient[fold.test])
        assert abs(label[fold.test].mean() - label.mean()) < 0.35
    for repeat in range(3):
        tested = np.concatenate([f.test for f in folds if f.repeat == repeat])
        assert sorted(tested.tolist()) == list(range(69))
    again = patient_folds(label, patient, folds=5, repeats=3, seed=4)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(folds, again, strict=True))
    other = patient_folds(label, patient, folds=5, repeats=1, seed=5)
    assert any(not np.array_equal(a.test, b.test) for a, b in zip(folds, other, strict=False))


def test_cohorts_that_cannot_be_split_are_refused():
    with pytest.raises(CohortError, match="expected both 0 and 1"):
        patient_folds([1, 1, 1], ["a", "b", "c"], folds=2)
    with pytest.raises(CohortError, match="1 patients with a lesion of the rarer class, fewer than 2 folds"):
        patient_folds([0, 0, 1, 1], ["a", "b", "c", "c"], folds=2)


@pytest.mark.slow
def test_noise_gives_chance_although_features_are_selected():
    """Selecting on all lesions before splitting would give an AUC far above one half here."""
    found = [roc_auc_score(y, out_of_fold(x, y, p, s)) for s in range(5) for x, y, p in [cohort(s, features=200)]]
    assert 0.38 < np.mean(found) < 0.6


@pytest.mark.slow
def test_a_signal_is_found_and_its_probabilities_mean_what_they_say():
    table, label, patient = cohort(2, 2.0, patients=200, lesions=350)
    found = out_of_fold(table, label, patient)
    assert roc_auc_score(label, found) > 0.85
    slope, intercept = calibration(label, found)
    assert 0.7 < slope < 1.4
    assert abs(intercept) < 0.35


def test_missing_and_constant_features_are_no_obstacle():
    table, label, patient = cohort(3, 3.0)
    table[:, 0] = 5.0
    table[:, 1] = np.nan
    table[::7, 7] = np.nan
    table[3, 9] = np.inf
    assert roc_auc_score(label, out_of_fold(table, label, patient)) > 0.8
    constant = samples_of(np.full((69, 3), 2.0), label, patient)  # nothing to learn from: their share of non-response
    fitted = Calibrated(LogisticModel(("table",))).fit(constant)
    assert fitted.threshold == 0.5
    assert [1 - p.p_response for p in fitted.predict(constant)] == pytest.approx([label.mean()] * 69)


def sample(number, label, **features) -> LesionSample:
    return LesionSample(None, features={"clinical": features}, patient=f"p{number:03d}", label=label)


def linear(**changes) -> FittedLogistic:
    one = np.ones(1)
    values = {
        "families": ("clinical",), "names": ("a",), "median": 2 * one, "mean": one, "scale": 4 * one,
        "coefficients": 3 * one, "intercept": 0.5,
    }  # fmt: skip
    return FittedLogistic(**{**values, **changes})


def test_the_prediction_is_that_of_the_formula_and_missing_values_are_medians():
    found = linear().predict([sample(1, 0, a=5.0), sample(2, 0, a=float("nan"))])
    for prediction, value in zip(found, (5.0, 2.0), strict=True):
        total = 3 * (value - 1) / 4 + 0.5
        assert prediction.total == pytest.approx(total)
        assert prediction.p_response == pytest.approx(1 / (1 + np.exp(total)))


@pytest.mark.parametrize("value", [1e9, -1e9])
def test_a_feature_far_off_gives_a_finite_logit(value):
    (found,) = linear().predict([sample(1, 0, a=value)])
    assert np.isfinite(found.total)
    assert 0 < found.p_response < 1
    assert np.sign(found.total) == np.sign(value)


@pytest.mark.parametrize("length", [0, 2])
def test_arrays_of_another_length_than_the_names_are_refused(length):
    fitted = linear()
    tensors = {**fitted.tensors(), "scale": np.ones(length)}
    with pytest.raises(ValueError, match="differ in length"):
        restore(fitted.architecture(), tensors)
    again = restore(fitted.architecture(), fitted.tensors())
    assert again.predict([sample(1, 0, a=5.0)])[0].total == fitted.predict([sample(1, 0, a=5.0)])[0].total


def test_a_model_fits_without_folds_of_its_own_and_ignores_lesions_without_label():
    rng = np.random.default_rng(4)
    labels = np.arange(40) % 2
    samples = [sample(n, int(y), a=float(y + 0.3 * rng.standard_normal())) for n, y in enumerate(labels)]
    fitted = LogisticModel(("clinical",)).fit(samples)
    totals = [p.total for p in fitted.predict(samples)]
    assert roc_auc_score(labels, totals) > 0.95
    unlabeled = [sample(100 + n, None, a=float(rng.standard_normal() * 50)) for n in range(10)]
    again = LogisticModel(("clinical",)).fit([*samples, *unlabeled])
    np.testing.assert_allclose([p.total for p in again.predict(samples)], totals)


def test_the_interval_is_that_of_the_bootstrap_fits_and_holds_p():
    fits = {
        "bootstrap_names": ("a", "b"), "bootstrap_median": np.asarray([2.0, 7.0]),
        "bootstrap_coefficients": np.asarray([[1.0, 0.0], [0.5, 0.1]]), "bootstrap_intercepts": np.asarray([0.0, -1.0]),
    }  # fmt: skip
    line = Calibration(0.5, 0.2)
    (inside, outside) = linear(**fits).predict([sample(1, 0, a=2.0, b=3.0), sample(2, 0, a=9.0)], calibration=line)
    p = expit(-(0.5 * np.asarray([2.0, 0.5 * 2 + 0.1 * 3 - 1]) + 0.2))
    assert inside.low == pytest.approx(min(np.percentile(p, 5), inside.p_response))
    assert inside.high == pytest.approx(max(np.percentile(p, 95), inside.p_response))
    assert inside.high > inside.low
    missing = expit(-(0.5 * np.asarray([9.0, 0.5 * 9 + 0.1 * 7 - 1]) + 0.2))
    assert outside.high == pytest.approx(max(np.percentile(missing, 95), outside.p_response))


def test_bootstrap_fits_are_of_patients_depend_on_the_seed_and_are_restored():
    table, label, patient = cohort(3, signal=1.5)
    samples = samples_of(table, label, patient)
    fitted = Calibrated(LogisticModel(("table",))).fit(samples, seed=1)
    found = fitted.predict(samples)
    width = np.asarray([p.high - p.low for p in found])
    assert np.all([p.low <= p.p_response <= p.high for p in found])
    assert 0.02 < np.median(width) < 0.6
    same, other = (Calibrated(LogisticModel(("table",))).fit(samples, seed=s).predict(samples) for s in (1, 2))
    assert [p.low for p in same] == [p.low for p in found]
    assert [p.low for p in other] != [p.low for p in found]
    again = restore(fitted.fitted.architecture(), fitted.fitted.tensors())
    assert [p.low for p in again.predict(samples, calibration=fitted.calibration)] == [p.low for p in found]
    # Twice the lesions of the same patients tell nothing new: the interval must not become narrower.
    twice = Calibrated(LogisticModel(("table",))).fit(
        samples_of(*(np.repeat(a, 2, axis=0) for a in (table, label, patient)))
    )
    assert np.median([p.high - p.low for p in twice.predict(samples)]) > 0.8 * np.median(width)


def test_a_bundle_without_bootstrap_fits_gives_no_interval():
    fitted = linear()
    tensors = {name: fitted.tensors()[name] for name in ("median", "mean", "scale", "coefficients")}
    (found,) = restore(fitted.architecture(), tensors).predict([sample(1, 0, a=1.0)])
    assert np.isnan(found.low)
    with pytest.raises(ValueError, match="bootstrap"):
        restore(fitted.architecture(), {**fitted.tensors(), "bootstrap_intercepts": np.zeros(3)})
