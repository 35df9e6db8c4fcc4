"""An approach that judges lesions by a table of features: everything that learns does so inside the training folds.

Missing values, scaling, selection, the penalty and the calibration are steps of one scikit-learn pipeline, chosen by
inner folds of the training patients; the test fold is seen once, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.evaluation.splits import Fold, patient_folds

INNER_FOLDS = 4
PENALTIES = (0.003, 0.03, 0.3)
COUNTS = (4, 8, 16, 32)
CLIP = 1e-4
LOG_SLOPES, OFFSETS = (float(np.log(0.05)), 4.0), (-20.0, 20.0)  # of the line that calibrates
Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FittedArm:
    """A pipeline fitted on all training lesions, the line that calibrates its logits, and where it cuts.

    ``threshold`` is a probability of non-response, chosen on inner, held-out predictions.
    """

    pipeline: Pipeline
    slope: float
    intercept: float
    threshold: float
    chosen: dict[str, float]

    @property
    def selected(self) -> list[int]:
        """Positions of the features that it reads in the end."""
        varying = np.flatnonzero(self.pipeline.named_steps["constant"].get_support())
        return [int(i) for i in varying[self.pipeline.named_steps["select"].get_support()]]

    def predict(self, features: Array64) -> Array64:
        """Probability of non-response, ``(n,)``."""
        return _on_line(self.pipeline.predict_proba(_finite(features))[:, 1], self.slope, self.intercept)


def fit_arm(features: Array64, labels: Sequence[int], patients: Sequence[str], seed: int = 0) -> FittedArm:
    """Choose penalty and number of features by inner patient folds, refit, and calibrate on the inner predictions.

    Parameters
    ----------
    features : ``(lesions, features)``; NaN where a value is missing.

    Raises
    ------
    CohortError : no feature varies, or the training lesions cannot be split by patient.
    """
    x, y, groups = _finite(features), np.asarray(labels), np.asarray(patients)
    varies = varying(x)
    if not varies.any():
        raise CohortError("features", "are the same for every lesion", "Check the images and the contours")
    settings = [(c, k) for c in PENALTIES for k in sorted({min(count, int(varies.sum())) for count in COUNTS})]
    inner = np.full((len(settings), len(y)), np.nan)
    for fold in inner_folds(y, groups, seed):
        if not varying(x[fold.train]).any():  # known of a few patients only, all of them in the test fold
            inner[:, fold.test] = y[fold.train].mean()
            continue
        prepare = _preparation().fit(x[fold.train])
        train, test = prepare.transform(x[fold.train]), prepare.transform(x[fold.test])
        ranked = np.argsort(-np.nan_to_num(f_classif(train, y[fold.train])[0]), kind="stable")
        for number, (penalty, count) in enumerate(settings):
            columns = ranked[:count]
            fitted = _classifier(penalty).fit(train[:, columns], y[fold.train])
            inner[number, fold.test] = fitted.predict_proba(test[:, columns])[:, 1]
    scores = [float(roc_auc_score(y, row)) for row in inner]
    best = int(np.argmax(np.round(scores, 9)))  # of equals the first: the stronger penalty, the fewer features
    penalty, count = settings[best]
    whole = Pipeline(
        [*_preparation().steps, ("select", SelectKBest(f_classif, k=count)), ("classify", _classifier(penalty))]
    )
    slope, intercept = calibrate(logit(np.clip(inner[best], CLIP, 1 - CLIP)), y, "signed")
    chosen = {"penalty_c": penalty, "features": float(count), "inner_auc": scores[best]}
    threshold = best_threshold(y, _on_line(inner[best], slope, intercept))
    return FittedArm(whole.fit(x, y), slope, intercept, threshold, chosen)


def varying(features: Array64) -> npt.NDArray[np.bool_]:
    """Which features have two values or more."""
    x = _finite(features)
    return np.asarray([len(np.unique(column[np.isfinite(column)])) > 1 for column in x.T], dtype=bool)


def _finite(features: Array64) -> Array64:
    """Infinite values count as missing."""
    x = np.asarray(features, dtype=np.float64)
    return np.where(np.isfinite(x), x, np.nan)


def inner_folds(
    labels: npt.NDArray[np.integer], patients: npt.NDArray[np.str_], seed: int, most: int = INNER_FOLDS
) -> tuple[Fold, ...]:
    """Patient folds within training lesions: as many as the rarer class has patients, up to ``most``."""
    fewest = min(len(set(patients[labels == label].tolist())) for label in (0, 1))
    return patient_folds(labels.tolist(), patients.tolist(), max(min(most, fewest), 2), 1, seed)


def best_threshold(labels: npt.NDArray[np.integer], probabilities: Array64) -> float:
    """Probability of non-response with the best balanced accuracy; of equals the one nearest one half."""
    values = np.unique(probabilities)
    cuts = np.concatenate([[0.5], (values[1:] + values[:-1]) / 2])
    called = probabilities[None] >= cuts[:, None]
    balanced = called[:, labels == 1].mean(axis=1) - called[:, labels == 0].mean(axis=1)
    best = np.flatnonzero(balanced >= balanced.max() - 1e-12)
    return float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]])


def _on_line(probabilities: Array64, slope: float, intercept: float) -> Array64:
    return np.asarray(expit(slope * logit(np.clip(probabilities, CLIP, 1 - CLIP)) + intercept), dtype=np.float64)


def _preparation() -> Pipeline:
    missing = SimpleImputer(strategy="median", keep_empty_features=True)
    return Pipeline([("missing", missing), ("constant", VarianceThreshold()), ("scale", StandardScaler())])


def _classifier(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, class_weight="balanced", solver="newton-cholesky")


def calibrate(totals: Array64, labels: npt.NDArray[np.integer], form: str) -> tuple[float, float]:
    """Slope and intercept of Platt's scaling on held-out totals (for hazards: of the log hazard).

    With Platt's smoothed targets [Platt 1999], so that a perfect split gives no certainty. The slope is kept above
    0.05: where inner folds rank worse than chance, a negative one would turn the ranking round: skill out of noise.
    """
    target = smoothed(labels)

    def loss(line: Array64) -> float:
        return float(misfit(np.exp(line[0]) * totals + line[1], target, form).mean())

    best = minimize(loss, np.asarray([0.0, 0.0]), method="Nelder-Mead", bounds=[LOG_SLOPES, OFFSETS])
    return float(np.exp(best.x[0])), float(best.x[1])


def smoothed(labels: npt.NDArray[np.integer]) -> Array64:
    """Targets of Platt's scaling [Platt 1999]: labels, less the doubt of so few."""
    bad, good = int((labels == 1).sum()), int((labels == 0).sum())
    return np.where(labels == 1, (bad + 1) / (bad + 2), 1 / (good + 2))


def misfit(totals: Array64, target: Array64, form: str) -> Array64:
    """Negative log-likelihood of each target, 0…1, by its logit or its log hazard."""
    if form == "signed":
        return np.asarray(np.logaddexp(0, totals) - target * totals)
    hazard = np.exp(np.clip(totals, -20, 5))
    return np.asarray(target * -np.log(-np.expm1(-hazard) + 1e-9) + (1 - target) * hazard)
