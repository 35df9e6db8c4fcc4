"""Logistic regression on a table of features; every step is fitted inside the training folds.

Imputation of missing values, scaling, feature selection and classifier are steps of one scikit-learn pipeline. Inner
folds of the training patients choose penalty and number of features; the test fold is used once, at the end. The
interval is that of fits to bootstrap samples of the patients, with the chosen penalty and number of features.
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

from RTResponseCAMLib.models.folds import Fold
from RTResponseCAMLib.models.interface import (
    INTERVAL,
    UNCALIBRATED,
    Calibration,
    FittedModel,
    FoldedModel,
    LesionPrediction,
)
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.samples.sample import LesionSample

PENALTIES = (0.003, 0.03, 0.3)
COUNTS = (4, 8, 16, 32)
CLIP = 1e-4
BOOTSTRAP_FITS = 20
OWN_TENSORS = ("median", "mean", "scale", "coefficients")
BOOTSTRAP_TENSORS = ("bootstrap_median", "bootstrap_coefficients", "bootstrap_intercepts")
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
    bootstrap_names, bootstrap_median : all features that a bootstrap fit reads, and their medians.
    bootstrap_coefficients, bootstrap_intercepts : of each bootstrap fit ``(fits, features)``, ``(fits,)``, for features
        in their own units; without any fit there is no interval.
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
    bootstrap_names: tuple[str, ...] = ()
    bootstrap_median: Array64 = field(default_factory=lambda: np.zeros(0))
    bootstrap_coefficients: Array64 = field(default_factory=lambda: np.zeros((0, 0)))
    bootstrap_intercepts: Array64 = field(default_factory=lambda: np.zeros(0))
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
        values = (self._values(self.names, self.median, samples) - self.mean) / self.scale
        totals = calibration.slope * _clipped(values @ self.coefficients + self.intercept) + calibration.intercept
        p = expit(-totals)
        low = high = np.full(len(samples), np.nan)
        if len(self.bootstrap_intercepts):
            raw = self._values(self.bootstrap_names, self.bootstrap_median, samples) @ self.bootstrap_coefficients.T
            spread = calibration.slope * _clipped(raw + self.bootstrap_intercepts) + calibration.intercept
            low, high = np.percentile(expit(-spread), INTERVAL, axis=1)
            low, high = np.minimum(low, p), np.maximum(high, p)  # the fit to all patients is none of the bootstrap fits
        found = zip(p.tolist(), low.tolist(), high.tolist(), totals.tolist(), strict=True)
        return [LesionPrediction(*values) for values in found]

    def _values(self, names: Sequence[str], median: Array64, samples: Sequence[LesionSample]) -> Array64:
        """Features ``(lesions, names)`` in their own units, missing ones replaced."""
        table = _finite(feature_table(self.families, names, samples=samples))
        return np.where(np.isfinite(table), table, median)

    def architecture(self) -> dict[str, Any]:
        """Families and selected features by name."""
        named = {"bootstrap_selected": list(self.bootstrap_names)} if len(self.bootstrap_intercepts) else {}
        return {"families": list(self.families), **self.summary(), "intercept": self.intercept, **named}

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Median, mean, scale and coefficient of each selected feature, and the bootstrap fits."""
        return {name: np.asarray(getattr(self, name)) for name in (*OWN_TENSORS, *BOOTSTRAP_TENSORS)}

    def summary(self) -> dict[str, Any]:
        """Penalty, number of features, inner AUC, and the selected features ``of`` how many."""
        return {**self.chosen, "selected": list(self.names), "of": self.candidates}


def restore(architecture: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> FittedLogistic:
    """Restore the model from `FittedLogistic.architecture` and `FittedLogistic.tensors`."""
    names = tuple(str(name) for name in architecture["selected"])
    arrays: dict[str, Any] = {name: np.asarray(tensors[name], dtype=np.float64) for name in OWN_TENSORS}
    if any(array.shape != (len(names),) for array in arrays.values()):
        raise ValueError("arrays and names of features differ in length")
    # Bundles of earlier versions hold no bootstrap fits, and give no interval.
    other = tuple(str(name) for name in architecture.get("bootstrap_selected", ()))
    stored = [name for name in BOOTSTRAP_TENSORS if name in tensors]
    fits: dict[str, Any] = {name: np.asarray(tensors[name], dtype=np.float64) for name in stored}
    if fits:
        count = len(fits["bootstrap_intercepts"])
        shapes = [fits[name].shape for name in BOOTSTRAP_TENSORS]
        if shapes != [(len(other),), (count, len(other)), (count,)]:
            raise ValueError("arrays and names of features of the bootstrap fits differ in length")
    return FittedLogistic(
        tuple(architecture["families"]),
        names,
        **arrays,
        intercept=float(architecture["intercept"]),
        bootstrap_names=other,
        **fits,
        candidates=int(architecture["of"]),
    )


@dataclass(frozen=True)
class LogisticModel(FoldedModel):
    """Logistic regression on feature families.

    ``keep`` limits it to features with this text in their names ("" keeps all).
    """

    families: tuple[str, ...]
    keep: str = ""

    def fit_on_folds(
        self,
        samples: Sequence[LesionSample],
        folds: Sequence[Fold],
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> tuple[FittedLogistic, Array64]:
        """Choose penalty and number of features by the folds, and refit; held-out logits belong to the best choice."""
        from sklearn.metrics import roc_auc_score

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
        held_out = inner_probabilities(table, y, folds=folds)
        scores = {setting: float(roc_auc_score(y, row)) for setting, row in held_out.items()}
        # Among ties the first: stronger penalty, fewer features.
        best = max(scores, key=lambda setting: round(scores[setting], 9))
        own = fit_table(table, y, setting=best)
        groups = np.asarray([sample.patient for sample in labeled])
        fits = [own, *_bootstrap_fits(table, y, groups=groups, setting=best, seed=self.seed + seed)]
        read = np.unique(np.concatenate([fit.columns for fit in fits]))
        fitted = FittedLogistic(
            self.families,
            tuple(names[i] for i in own.columns),
            own.median,
            own.mean,
            own.scale,
            own.coefficients,
            own.intercept,
            tuple(names[i] for i in read),
            np.nanmedian(_finite(table[:, read]), axis=0),
            np.asarray([fit.slopes(read) for fit in fits[1:]]).reshape(-1, len(read)),
            np.asarray([fit.offset for fit in fits[1:]]),
            {"penalty_c": best[0], "features": float(best[1]), "inner_auc": scores[best]},
            len(names),
        )
        return fitted, _clipped(logit(held_out[best]))


@dataclass(frozen=True)
class _Fit:
    """One fit: selected columns of the table, and median, mean, scale and coefficient of each."""

    columns: npt.NDArray[np.intp]
    median: Array64
    mean: Array64
    scale: Array64
    coefficients: Array64
    intercept: float

    def slopes(self, columns: npt.NDArray[np.intp]) -> Array64:
        """Coefficients of the given columns in the table's own units; 0 for those that are not selected."""
        slopes = np.zeros(len(columns))
        slopes[np.searchsorted(columns, self.columns)] = self.coefficients / self.scale
        return slopes

    @property
    def offset(self) -> float:
        """Intercept that belongs to `slopes`."""
        return self.intercept - float((self.coefficients * self.mean / self.scale).sum())


@contextmanager
def _without_solver_messages() -> Iterator[None]:
    """Silence what a user cannot act on: a change of the solver, and a feature that separates the classes wholly."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="divide by zero", category=RuntimeWarning)
        yield


@_without_solver_messages()
def inner_probabilities(
    table: Array64, y: npt.NDArray[np.integer], *, folds: Sequence[Fold]
) -> dict[tuple[float, int], Array64]:
    """Held-out probabilities ``(lesions,)`` of each penalty and number of features; at least one feature varies."""
    from sklearn.feature_selection import f_classif

    x = _finite(table)
    settings = [(c, k) for c in PENALTIES for k in sorted({min(count, int(varying(x).sum())) for count in COUNTS})]
    inner = {setting: np.full(len(y), np.nan) for setting in settings}
    for fold in folds:
        if not varying(x[fold.train]).any():  # few patients have values, and all of them are in the test fold
            for row in inner.values():
                row[fold.test] = y[fold.train].mean()
            continue
        prepare = _preparation().fit(x[fold.train])
        train, test = prepare.transform(x[fold.train]), prepare.transform(x[fold.test])
        ranked = np.argsort(-np.nan_to_num(f_classif(train, y[fold.train])[0]), kind="stable")
        for (penalty, count), row in inner.items():
            columns = ranked[:count]
            fitted = _classifier(penalty).fit(train[:, columns], y[fold.train])
            row[fold.test] = fitted.predict_proba(test[:, columns])[:, 1]
    return inner


@_without_solver_messages()
def fit_table(table: Array64, y: npt.NDArray[np.integer], *, setting: tuple[float, int]) -> _Fit:
    """Fit with a penalty and a number of features on a table ``(lesions, names)``; NaN where a value is missing."""
    from sklearn.feature_selection import SelectKBest, f_classif
    from sklearn.pipeline import Pipeline

    penalty, count = setting
    select = SelectKBest(f_classif, k="all" if count >= int(varying(table).sum()) else count)
    pipeline = Pipeline([*_preparation().steps, ("select", select), ("classify", _classifier(penalty))])
    steps = pipeline.fit(_finite(table), y).named_steps
    is_selected = steps["select"].get_support()
    columns = np.flatnonzero(steps["constant"].get_support())[is_selected]
    return _Fit(
        columns,
        steps["missing"].statistics_[columns],
        steps["scale"].mean_[is_selected],
        steps["scale"].scale_[is_selected],
        steps["classify"].coef_[0],
        float(steps["classify"].intercept_[0]),
    )


def _bootstrap_fits(
    table: Array64, y: npt.NDArray[np.integer], *, groups: npt.NDArray[np.str_], setting: tuple[float, int], seed: int
) -> list[_Fit]:
    """Fits to bootstrap samples of the patients; samples of one class or without a varying feature are passed over."""
    rng = np.random.default_rng([seed, len(y)])
    names, owner = np.unique(groups, return_inverse=True)
    fits: list[_Fit] = []
    for _ in range(10 * BOOTSTRAP_FITS):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        rows = np.repeat(np.arange(len(y)), times[owner])
        if len(set(y[rows].tolist())) == 2 and varying(table[rows]).any():
            fits.append(fit_table(table[rows], y[rows], setting=setting))
        if len(fits) == BOOTSTRAP_FITS:
            break
    return fits


def _preparation() -> Any:
    from sklearn.feature_selection import VarianceThreshold
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    missing = SimpleImputer(strategy="median", keep_empty_features=True)
    return Pipeline([("missing", missing), ("constant", VarianceThreshold()), ("scale", StandardScaler())])


def _classifier(penalty: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=penalty, class_weight="balanced", solver="newton-cholesky")


def _clipped(logits: Array64) -> Array64:
    """Logits limited to those of `CLIP` and 1 - `CLIP`."""
    limit = float(logit(1 - CLIP))
    return np.clip(logits, -limit, limit)


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
