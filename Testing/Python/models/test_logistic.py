"""Folds keep patients whole, and a feature table full of noise gives chance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.evaluation.metrics import calibration
from RTResponseCAMLib.models.calibration import Calibrated
from RTResponseCAMLib.models.folds import patient_folds
from RTResponseCAMLib.models.logistic import LogisticModel
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
