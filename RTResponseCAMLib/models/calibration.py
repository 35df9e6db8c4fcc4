"""Calibration of any model: Platt scaling and class threshold, fitted on held-out predictions of inner folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.models.folds import inner_folds
from RTResponseCAMLib.models.interface import UNCALIBRATED, Calibration, FittedModel, LesionModel, LesionPrediction
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.samples.sample import LesionSample

LOG_SLOPES, OFFSETS = (float(np.log(0.05)), 4.0), (-20.0, 20.0)  # bounds of log slope and intercept
Array64 = npt.NDArray[np.float64]
NONE64 = np.zeros(0)


@dataclass(frozen=True)
class CalibratedModel:
    """A fitted model, its calibration line on the logit, and its class threshold.

    Attributes
    ----------
    threshold : probability of non-response from which the class of a lesion is non-response.
    held_out : calibrated probabilities of non-response of the labeled lesions, in their order, each by a model that was
        not trained on the lesion's patient.
    """

    fitted: FittedModel
    calibration: Calibration = UNCALIBRATED
    threshold: float = 0.5
    held_out: Array64 = field(default_factory=lambda: NONE64)

    def predict(
        self, samples: Sequence[LesionSample], *, members: bool = False, progress: Progress = no_progress
    ) -> list[LesionPrediction]:
        """Calibrated predictions, in the order of the samples; raises as `FittedModel.predict`."""
        return self.fitted.predict(samples, calibration=self.calibration, members=members, progress=progress)


@dataclass(frozen=True)
class Calibrated:
    """A model to be fitted together with its calibration, for comparisons and bundles."""

    model: LesionModel

    def fit(
        self, samples: Sequence[LesionSample], *, seed: int = 0, progress: Progress = no_progress
    ) -> CalibratedModel:
        """Fit on all samples; calibrate and choose the class threshold on inner, patient-wise folds.

        Raises
        ------
        CohortError : the labeled lesions contain one class only, or cannot be split by patient.
        """
        labeled = [sample for sample in samples if sample.label is not None]
        labels = np.asarray([int(sample.label or 0) for sample in labeled])
        if len(set(labels.tolist())) < 2:
            raise CohortError("labels", "hold one class only, expected both 0 and 1", "Add lesions of both classes")
        patients = np.asarray([sample.patient for sample in labeled])
        folds = inner_folds(labels, patients, seed=self.model.seed + seed)
        fitted, totals = self.model.fit_on_folds(samples, folds, seed=seed, progress=progress)
        if np.ptp(totals) == 0:  # every lesion has the same prediction: nothing to calibrate or to separate
            return CalibratedModel(fitted, UNCALIBRATED, 0.5, expit(totals))
        line = Calibration(*platt_line(totals, labels))
        held_out = np.asarray(expit(line.slope * totals + line.intercept), dtype=np.float64)
        return CalibratedModel(fitted, line, best_threshold(labels, held_out), held_out)


def platt_line(totals: Array64, labels: npt.NDArray[np.integer]) -> tuple[float, float]:
    """Slope and intercept of Platt scaling on held-out logits.

    Smoothed targets [Platt 1999] prevent probabilities of 0 and 1 where the classes separate perfectly. The slope is
    at least 0.05: where inner folds rank worse than chance, a negative slope would reverse the ranking, and noise would
    appear as skill.
    """
    target = smoothed_targets(labels)

    def loss(line: Array64) -> float:
        return float(cross_entropy(np.exp(line[0]) * totals + line[1], target).mean())

    best = minimize(loss, np.asarray([0.0, 0.0]), method="Nelder-Mead", bounds=[LOG_SLOPES, OFFSETS])
    return float(np.exp(best.x[0])), float(best.x[1])


def smoothed_targets(labels: npt.NDArray[np.integer]) -> Array64:
    """Targets of Platt scaling [Platt 1999]: labels, smoothed by the number of lesions in each class."""
    n_non_response, n_response = int((labels == 1).sum()), int((labels == 0).sum())
    return np.where(labels == 1, (n_non_response + 1) / (n_non_response + 2), 1 / (n_response + 2))


def cross_entropy(logits: Array64, target: Array64) -> Array64:
    """Cross-entropy: negative log-likelihood of each target, 0…1, given its logit."""
    return np.asarray(np.logaddexp(0, logits) - target * logits)


def best_threshold(labels: npt.NDArray[np.integer], probabilities: Array64) -> float:
    """Class threshold on the probability of non-response: best balanced accuracy; among ties, the nearest to 0.5."""
    values = np.unique(probabilities)
    thresholds = np.concatenate([[0.5], (values[1:] + values[:-1]) / 2])
    is_non_response = probabilities[None] >= thresholds[:, None]
    balanced = is_non_response[:, labels == 1].mean(axis=1) - is_non_response[:, labels == 0].mean(axis=1)
    best = np.flatnonzero(balanced >= balanced.max() - 1e-12)
    return float(thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]])
