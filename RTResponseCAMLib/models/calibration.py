"""Calibration of any model: Platt scaling and class threshold, fitted on inner, held-out predictions."""

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

LOG_SLOPES, OFFSETS = (float(np.log(0.05)), 4.0), (-20.0, 20.0)  # limits of the calibration line
Array64 = npt.NDArray[np.float64]
NONE64 = np.zeros(0)


@dataclass(frozen=True)
class CalibratedModel:
    """A fitted model, the line that calibrates its logits, and its class threshold.

    Attributes
    ----------
    threshold : probability of non-response from which a lesion is called non-response.
    held_out : calibrated probabilities of non-response of the labeled lesions, in their order, each by a model that has
        not seen its patient.
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
    """A model with its calibration: what is fitted, compared and written as a bundle."""

    model: LesionModel

    def fit(
        self, samples: Sequence[LesionSample], *, seed: int = 0, progress: Progress = no_progress
    ) -> CalibratedModel:
        """Fit on all samples; calibrate and choose the threshold on inner folds of their patients.

        Raises
        ------
        CohortError : the labeled lesions hold one class only, or cannot be split by patient.
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

    With Platt's smoothed targets [Platt 1999], so that a perfect split gives no certainty. The slope is kept above
    0.05: where inner folds rank worse than chance, a negative one would turn the ranking round: skill out of noise.
    """
    target = smoothed_targets(labels)

    def loss(line: Array64) -> float:
        return float(cross_entropy(np.exp(line[0]) * totals + line[1], target).mean())

    best = minimize(loss, np.asarray([0.0, 0.0]), method="Nelder-Mead", bounds=[LOG_SLOPES, OFFSETS])
    return float(np.exp(best.x[0])), float(best.x[1])


def smoothed_targets(labels: npt.NDArray[np.integer]) -> Array64:
    """Targets of Platt scaling [Platt 1999]: labels, smoothed by the number of lesions of each class."""
    bad, good = int((labels == 1).sum()), int((labels == 0).sum())
    return np.where(labels == 1, (bad + 1) / (bad + 2), 1 / (good + 2))


def cross_entropy(logits: Array64, target: Array64) -> Array64:
    """Negative log-likelihood of each target, 0…1, by its logit."""
    return np.asarray(np.logaddexp(0, logits) - target * logits)


def best_threshold(labels: npt.NDArray[np.integer], probabilities: Array64) -> float:
    """Probability of non-response with the best balanced accuracy; of equals the one nearest one half."""
    values = np.unique(probabilities)
    cuts = np.concatenate([[0.5], (values[1:] + values[:-1]) / 2])
    called = probabilities[None] >= cuts[:, None]
    balanced = called[:, labels == 1].mean(axis=1) - called[:, labels == 0].mean(axis=1)
    best = np.flatnonzero(balanced >= balanced.max() - 1e-12)
    return float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]])
