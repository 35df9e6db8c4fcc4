"""Logistic regression on a table of features; every step is fitted inside the training folds.

Imputation of missing values, scaling, feature selection and classifier are steps of one scikit-learn pipeline. Inner
folds of the training patients choose penalty and number of features; the test fold is used once, at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from RTResponseCAMLib.models.folds import Fold, inner_folds
from RTResponseCAMLib.models.interface import UNCALIBRATED, Calibration, FittedModel, LesionModel, LesionPrediction
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.samples.sample import LesionSample

PENALTIES = (0.003, 0.03, 0.3)
COUNTS = (4, 8, 16, 32)
CLIP = 1e-4
Array64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FittedLogistic(FittedModel):
    """A fitted regression on the selected features; without any it predicts the prevalence of the training lesions.

    Attributes
    ----------
    names : names of the selected features.
    median, mean, scale, coefficients : values for each selected feature, ``(features,)``.
    intercept : logit of a lesion with mean features.
    chosen : penalty, number of features, AUC of the inner folds.
    candidates : number of features before the selection.
    """

    families: tuple[str, ...]
    names: tuple[str, ...]
    median: Array64
    mean: Array64
    scale: Array64
    coefficients: Array64
    intercept: float
    chosen: Mapping[str, float] = field(default_factory=dict)
    candidates: int = 0

    def predict(
        self,
        samples: Sequence[LesionSample],
        *,
        calibration: Calibration = UNCALIBRATED,
        members: bool = False,
        progress: Progress = no_progress,
    ) -> list[LesionPrediction]:
        """Predict; a missing feature of a lesion is replaced by the median of the training lesions."""
        table = _finite(feature_table(self.families, self.names, samples=samples))
        values = (np.where(np.isfinite(table), table, self.median) - self.mean) / self.scale
        raw = logit(np.clip(expit(values @ self.coefficients + self.intercept), CLIP, 1 - CLIP))
        totals = (calibration.slope * raw + calibration.intercept).tolist()
        return [LesionPrediction(float(expit(-total)), np.nan, np.nan, total) for total in totals]

    def architecture(self) -> dict[str, Any]:
        """Families and selected features by name."""
        return {"families": list(self.families), **self.summary(), "intercept": self.intercept}

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Median, mean, scale and coefficient of each selected feature."""
        return {name: np.asarray(getattr(self, name)) for name in ("median", "mean", "scale", "coefficients")}

    def summary(self) -> dict[str, Any]:
        """Penalty, number of features, inner AUC, and the selected features ``of`` how many."""
        return {**self.chosen, "selected": list(self.names), "of": self.candidates}


def restore(architecture: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> FittedLogistic:
    """Restore the model from `FittedLogistic.architecture` and `FittedLogistic.tensors`."""
    names = tuple(str(name) for name in architecture["selected"])
    arrays = {name: np.asarray(tensors[name], dtype=np.float64) for name in ("median", "mean", "scale", "coefficients")}
    if any(array.shape != (len(names),) for array in arrays.values()):
        raise ValueError("arrays and names of features differ in length")
    return FittedLogistic(
        tuple(architecture["families"]),
        names,
        arrays["median"],
        arrays["mean"],
        arrays["scale"],
        arrays["coefficients"],
        float(architecture["intercept"]),
        candidates=int(architecture["of"]),
    )


@dataclass(frozen=True)
class LogisticModel(LesionModel):
    """Logistic regression on feature families.

    ``keep`` limits it to features with this text in their names ("" keeps all).
    """

    families: tuple[str, ...]
    keep: str = ""

    def fit(
        self, samples: Sequence[LesionSample], *, seed: int = 0, progress: Progress = no_progress
    ) -> FittedLogistic:
        """Fit on the labeled samples; inner folds choose penalty and number of features."""
        labeled = [sample for sample in samples if sample.label is not None]
        labels = np.asarray([int(sample.label or 0) for sample in labeled])
        folds = inner_folds(labels, np.asarray([sample.patient for sample in labeled]), seed=seed)
        return self.fit_on_folds(samples, folds, seed=seed, progress=progress)[0]

    def fit_on_folds(
        self,
        samples: Sequence[LesionSample],
        folds: Sequence[Fold],
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> tuple[FittedLogistic, Array64]:
        """Choose penalty and number of features by the folds, and refit; held-out logits belong to the best choice."""
        labeled = [sample for sample in samples if sample.label is not None]
        names = feature_names(self.families, labeled, keep=self.keep)
        table = feature_table(self.families, names, samples=labeled)
        y = np.asarray([int(sample.label or 0) for sample in labeled])
        if not varying(table).any():
            prevalence_logit = float(logit(np.clip(y.mean(), CLIP, 1 - CLIP)))
            empty = np.zeros(0)
            fitted = FittedLogistic(
                self.families, (), empty, empty, empty, empty, prevalence_logit, candidates=len(names)
            )
            return fitted, np.full(len(y), prevalence_logit)
        return fit_table(table, y, folds=folds, families=self.families, names=names)


@contextmanager
def _without_solver_messages() -> Iterator[None]:
    """Silence what a user cannot act on: a change of the solver, and a feature that separates the classes wholly."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="divide by zero", category=RuntimeWarning)
        yield


@_without_solver_messages()
def fit_table(
    table: Array64,
    y: npt.NDArray[np.integer],
    *,
    folds: Sequence[Fold],
    families: tuple[str, ...],
    names: Sequence[str],
) -> tuple[FittedLogistic, Array64]:
    """Fit on a table ``(lesions, names)``, NaN where a value is missing; at least one feature varies."""
    from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    def preparation() -> Any:
        missing = SimpleImputer(strategy="median", keep_empty_features=True)
        return Pipeline([("missing", missing), ("constant", VarianceThreshold()), ("scale", StandardScaler())])

    def classifier(penalty: float) -> Any:
        return LogisticRegression(C=penalty, class_weight="balanced", solver="newton-cholesky")

    x = _finite(table)
    settings = [(c, k) for c in PENALTIES for k in sorted({min(count, int(varying(x).sum())) for count in COUNTS})]
    inner = np.full((len(settings), len(y)), np.nan)
    for fold in folds:
        if not varying(x[fold.train]).any():  # few patients have values, and all of them are in the test fold
            inner[:, fold.test] = y[fold.train].mean()
            continue
        prepare = preparation().fit(x[fold.train])
        train, test = prepare.transform(x[fold.train]), prepare.transform(x[fold.test])
        ranked = np.argsort(-np.nan_to_num(f_classif(train, y[fold.train])[0]), kind="stable")
        for setting_index, (penalty, count) in enumerate(settings):
            columns = ranked[:count]
            fitted = classifier(penalty).fit(train[:, columns], y[fold.train])
            inner[setting_index, fold.test] = fitted.predict_proba(test[:, columns])[:, 1]
    scores = [float(roc_auc_score(y, row)) for row in inner]
    best = int(np.argmax(np.round(scores, 9)))  # among ties the first: stronger penalty, fewer features
    penalty, count = settings[best]
    pipeline = Pipeline(
        [*preparation().steps, ("select", SelectKBest(f_classif, k=count)), ("classify", classifier(penalty))]
    ).fit(x, y)
    steps = pipeline.named_steps
    varying_columns = np.flatnonzero(steps["constant"].get_support())
    is_selected = steps["select"].get_support()
    columns = varying_columns[is_selected]
    return (
        FittedLogistic(
            families,
            tuple(names[i] for i in columns),
            steps["missing"].statistics_[columns],
            steps["scale"].mean_[is_selected],
            steps["scale"].scale_[is_selected],
            steps["classify"].coef_[0],
            float(steps["classify"].intercept_[0]),
            {"penalty_c": penalty, "features": float(count), "inner_auc": scores[best]},
            len(names),
        ),
        logit(np.clip(inner[best], CLIP, 1 - CLIP)),
    )


def feature_names(families: Sequence[str], samples: Sequence[LesionSample], *, keep: str = "") -> list[str]:
    """Names of all features of the families, sorted; ``keep``: only names that contain this text."""
    names = {
        name for sample in samples for family in families for name in sample.features.get(family, {}) if keep in name
    }
    return sorted(names)


def feature_table(families: Sequence[str], names: Sequence[str], *, samples: Sequence[LesionSample]) -> Array64:
    """Features ``(lesions, names)``; NaN where a lesion lacks a feature."""
    rows = []
    for sample in samples:
        features = {name: value for family in families for name, value in sample.features.get(family, {}).items()}
        rows.append([features.get(name, np.nan) for name in names])
    return np.asarray(rows, dtype=np.float64).reshape(len(samples), len(names))


def varying(features: Array64) -> Mask:
    """Mask of the features with at least two different finite values."""
    x = _finite(features)
    return np.asarray([len(np.unique(column[np.isfinite(column)])) > 1 for column in x.T], dtype=bool)


def _finite(features: Array64) -> Array64:
    """Replace infinite values by NaN, so that they count as missing."""
    x = np.asarray(features, dtype=np.float64)
    return np.where(np.isfinite(x), x, np.nan)
