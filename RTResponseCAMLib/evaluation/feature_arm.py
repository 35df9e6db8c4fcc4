"""An approach that judges lesions by a table of features: everything that learns does so inside the training folds.

Missing values, scaling, selection, the penalty and the calibration are steps of one scikit-learn pipeline, chosen by
inner folds of the training patients; the test fold is seen once, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.evaluation.splits import patient_folds

INNER_FOLDS = 4
PENALTIES = (0.003, 0.03, 0.3)
COUNTS = (4, 8, 16, 32)
CLIP = 1e-4
Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FittedArm:
    """A pipeline fitted on all training lesions, and the line that calibrates its logits."""

    pipeline: Pipeline
    slope: float
    intercept: float
    chosen: dict[str, float]

    def predict(self, features: Array64) -> Array64:
        """Probability of non-response, ``(n,)``."""
        raw = self.pipeline.predict_proba(_finite(features))[:, 1]
        return np.asarray(expit(self.slope * logit(np.clip(raw, CLIP, 1 - CLIP)) + self.intercept), dtype=np.float64)


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
    varies = np.asarray([len(np.unique(column[np.isfinite(column)])) > 1 for column in x.T])
    if not varies.any():
        raise CohortError("features", "are the same for every lesion", "Check the images and the contours")
    settings = [(c, k) for c in PENALTIES for k in sorted({min(count, int(varies.sum())) for count in COUNTS})]
    inner = np.full((len(settings), len(y)), np.nan)
    for fold in patient_folds(y.tolist(), groups.tolist(), _inner_folds(y, groups), 1, seed):
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
    slope, intercept = _platt(inner[best], y)
    chosen = {"penalty_c": penalty, "features": float(count), "inner_auc": scores[best]}
    return FittedArm(whole.fit(x, y), slope, intercept, chosen)


def _finite(features: Array64) -> Array64:
    """Infinite values count as missing."""
    x = np.asarray(features, dtype=np.float64)
    return np.where(np.isfinite(x), x, np.nan)


def _inner_folds(labels: npt.NDArray[np.intp], patients: npt.NDArray[np.str_]) -> int:
    fewest = min(len(set(patients[labels == label].tolist())) for label in (0, 1))
    return max(min(INNER_FOLDS, fewest), 2)


def _preparation() -> Pipeline:
    missing = SimpleImputer(strategy="median", keep_empty_features=True)
    return Pipeline([("missing", missing), ("constant", VarianceThreshold()), ("scale", StandardScaler())])


def _classifier(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, class_weight="balanced", solver="newton-cholesky")


def _platt(probabilities: Array64, labels: npt.NDArray[np.intp]) -> tuple[float, float]:
    """Line on the logits [Platt 1999], with his smoothed targets, so that a perfect split gives no certainty."""
    x = logit(np.clip(probabilities, CLIP, 1 - CLIP))[:, None]
    bad, good = int((labels == 1).sum()), int((labels == 0).sum())
    targets = np.where(labels == 1, (bad + 1) / (bad + 2), 1 / (good + 2))
    twice, weights = np.concatenate([x, x]), np.concatenate([targets, 1 - targets])
    called = np.concatenate([np.ones(len(x)), np.zeros(len(x))])
    line = LogisticRegression(C=1e6, max_iter=2000).fit(twice, called, sample_weight=weights)
    return float(line.coef_[0, 0]), float(line.intercept_[0])
