"""Calibration and class threshold of any model: the line that was lost is found, and noise never becomes skill."""

from __future__ import annotations

import numpy as np
import pytest

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.models.calibration import (
    Calibrated,
    best_threshold,
    cross_entropy,
    platt_line,
    smoothed_targets,
)
from RTResponseCAMLib.models.folds import inner_folds
from RTResponseCAMLib.models.interface import FittedModel, LesionModel, LesionPrediction
from RTResponseCAMLib.models.scale_space.model import volume_factor
from RTResponseCAMLib.progress import no_progress
from RTResponseCAMLib.samples.sample import LesionSample


def test_calibration_finds_the_scale_that_was_lost():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 6000)
    p = 1 / (1 + np.exp(-truth))
    labels = (rng.random(6000) < p).astype(int)
    slope, intercept = platt_line((truth - 0.7) / 2.5, labels)
    assert slope == pytest.approx(2.5, rel=0.12)
    assert intercept == pytest.approx(0.7, abs=0.2)


def test_calibration_never_turns_a_ranking_round():
    """Inner folds that rank worse than chance must not make skill out of noise."""
    labels = np.array([0, 1] * 30)
    slope, _ = platt_line(np.where(labels == 1, -1.0, 1.0), labels)
    assert 0 < slope < 0.06


def test_held_out_lesions_say_how_much_volume_counts():
    """Many lesions find the factor that was lost; a few move it a little; a volume without weight keeps its own."""
    rng = np.random.default_rng(0)
    rest, volumes = rng.normal(0, 1.5, 6000), rng.normal(0, 1.0, 6000)
    truth = rest + 2.0 * volumes
    p = 1 / (1 + np.exp(-truth))
    labels = (rng.random(6000) < p).astype(int)
    assert volume_factor(rest / 3, volumes / 3, labels=labels) == pytest.approx(2.0, rel=0.1)
    few = [volume_factor(rest[k : k + 69], volumes[k : k + 69], labels=labels[k : k + 69]) for k in range(0, 1380, 69)]
    assert 1.1 < np.mean(few) < 1.9
    assert volume_factor(rest, 0 * volumes, labels=labels) == pytest.approx(1.0, abs=1e-3)


def test_targets_are_smoothed_by_the_lesions_of_each_class():
    """[Platt 1999]: (n + 1) / (n + 2) for the class itself, 1 / (n + 2) for the other."""
    found = smoothed_targets(np.array([1, 1, 1, 0, 1, 0]))
    assert found.tolist() == pytest.approx([5 / 6, 5 / 6, 5 / 6, 1 / 4, 5 / 6, 1 / 4])


def test_cross_entropy_is_that_of_the_logit():
    p = 1 / (1 + np.exp(-np.array([2.0, -1.0])))
    expected = -(np.array([1.0, 0.25]) * np.log(p) + np.array([0.0, 0.75]) * np.log(1 - p))
    assert cross_entropy(np.array([2.0, -1.0]), np.array([1.0, 0.25])) == pytest.approx(expected)


def test_the_threshold_lies_half_way_between_the_lesions_that_it_parts_best():
    assert best_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])) == pytest.approx(0.5)  # of equals
    assert best_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.9])) == pytest.approx(0.25)
    assert best_threshold(np.array([0, 1, 0, 1]), np.array([0.6, 0.8, 0.7, 0.9])) == pytest.approx(0.75)
    # A wrong lesion on either side: balanced accuracy is what counts, not how many are right.
    labels, p = np.array([0] * 8 + [1, 1]), np.array([0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.8, 0.45, 0.9])
    assert best_threshold(labels, p) == pytest.approx(0.425)


class Told(LesionModel):
    """A model that says what it was told of each lesion, and remembers whom it was fitted on."""

    def __init__(self, totals):
        self.totals, self.fitted_on = totals, []

    def fit(self, samples, *, seed=0, progress=no_progress):
        self.fitted_on.append((seed, {sample.patient for sample in samples}))
        return Telling(self.totals)


class Telling(FittedModel):
    def __init__(self, totals):
        self.totals = totals

    def predict(self, samples, *, calibration=None, members=False, progress=no_progress):
        return [LesionPrediction(0.5, 0.5, 0.5, self.totals[sample.patient]) for sample in samples]

    def architecture(self):
        return {}

    def tensors(self):
        return {}


def samples_of(count):
    return [LesionSample(None, patient=f"p{n:02d}", label=n % 2) for n in range(count)]


def test_each_lesion_is_calibrated_by_a_model_that_has_not_seen_its_patient():
    rng = np.random.default_rng(0)
    samples = samples_of(40)
    totals = {s.patient: 4 * s.label - 2 + float(rng.normal()) for s in samples}
    unlabeled = LesionSample(None, patient="p00")
    model = Told(totals)
    fitted = Calibrated(model).fit([*samples, unlabeled], seed=3)
    *folds, (seed, everyone) = model.fitted_on
    assert seed == 3
    assert everyone == set(totals)
    assert [seed for seed, _ in folds] == [1003, 2003, 3003, 4003]
    left_out = [set(totals) - seen for _, seen in folds]
    assert set.union(*left_out) == set(totals)
    assert sum(map(len, left_out)) == 40
    expected = [fitted.calibration.slope * totals[s.patient] + fitted.calibration.intercept for s in samples]
    assert np.log(fitted.held_out / (1 - fitted.held_out)) == pytest.approx(expected)
    assert 0.3 < fitted.threshold < 0.7


def test_inner_folds_are_drawn_by_the_models_seed_and_that_of_the_fit():
    samples = samples_of(40)
    labels, patients = np.array([s.label for s in samples]), np.array([s.patient for s in samples])
    model = Told({s.patient: float(n) for n, s in enumerate(samples)})
    model.seed = 5
    Calibrated(model).fit(samples, seed=3)
    expected = [set(patients[fold.test]) for fold in inner_folds(labels, patients, seed=8)]
    assert [set(patients) - seen for _, seen in model.fitted_on[:-1]] == expected


def test_a_model_that_says_the_same_of_everyone_is_left_as_it_is():
    fitted = Calibrated(Told(dict.fromkeys((f"p{n:02d}" for n in range(12)), 0.7))).fit(samples_of(12))
    assert (fitted.calibration.slope, fitted.calibration.intercept, fitted.threshold) == (1.0, 0.0, 0.5)
    assert fitted.held_out.tolist() == pytest.approx([1 / (1 + np.exp(-0.7))] * 12)


def test_one_class_cannot_be_calibrated():
    with pytest.raises(CohortError, match="hold one class only"):
        Calibrated(Told({})).fit([LesionSample(None, patient=str(n), label=1) for n in range(9)])


def test_of_equal_thresholds_the_one_nearest_one_half_is_taken():
    labels = np.asarray([0, 0, 1, 1])
    assert best_threshold(labels, np.asarray([0.1, 0.2, 0.8, 0.9])) == 0.5
    # Both 0.65 and 0.85 call one of two rightly and none wrongly, 0.25 both and one wrongly.
    labels = np.asarray([0, 1, 0, 1, 1, 0])
    found = best_threshold(labels, np.asarray([0.1, 0.2, 0.3, 0.7, 0.9, 0.25]))
    assert found == 0.5
    low = best_threshold(np.asarray([0, 0, 1, 1]), np.asarray([0.01, 0.02, 0.1, 0.2]))
    assert low == pytest.approx(0.06)
