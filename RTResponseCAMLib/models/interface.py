"""Interface of every model: fit on lesion samples, predict probability and evidence map.

A model is fitted on `LesionSample`s and predicts from them. Larger evidence indicates non-response. ``total`` is the
logit of non-response; where a model gives an evidence map, Σ map + bias = total.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.models.folds import Fold, inner_folds
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.samples.sample import LesionSample

if TYPE_CHECKING:
    from torch import Tensor, nn

Array32 = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]
INTERVAL = (5.0, 95.0)  # percentiles over the members, each of its own sample of patients
PATTERN = 12  # voxels along each side of `FittedModel.mean_pattern`


@dataclass(frozen=True)
class Calibration:
    """Calibration line on the logit of non-response: slope · logit + intercept. The default is the identity."""

    slope: float = 1.0
    intercept: float = 0.0


UNCALIBRATED = Calibration()


@dataclass(frozen=True)
class LesionPrediction:
    """Prediction of a model for one lesion.

    Attributes
    ----------
    p_response : probability of response.
    low, high : interval of ``p_response``; NaN where the model gives none.
    total : calibrated logit of non-response.
    map : evidence map ``[z, y, x]`` float32 on the patch's grid, zero outside the lesion; None where the model gives
        none. Σ map + bias = total.
    ensemble_sd : standard deviation of the map over an ensemble, same shape; None without an ensemble.
    from_volume : the part of ``bias`` that results from the lesion's volume alone.
    member_maps : maps of the ensemble's members ``(members, z, y, x)``; None unless requested.
    contributions : what each member of an ensemble of models adds to ``total``, by name; empty for others.
    """

    p_response: float
    low: float
    high: float
    total: float
    map: Array32 | None = None
    ensemble_sd: Array32 | None = None
    bias: float = 0.0
    from_volume: float = 0.0
    member_maps: Array32 | None = None
    contributions: Mapping[str, float] = field(default_factory=dict)


class FittedModel(ABC):
    """A fitted model; immutable for its users."""

    @abstractmethod
    def predict(
        self,
        samples: Sequence[LesionSample],
        *,
        calibration: Calibration = UNCALIBRATED,
        members: bool = False,
        progress: Progress = no_progress,
    ) -> list[LesionPrediction]:
        """Predict samples, in their order.

        Parameters
        ----------
        calibration : line that is applied to every member's logit before interval and map are computed.
        members : also return the maps of the ensemble's members.

        Raises
        ------
        ModelError : a sample lacks an input of the model.
        """

    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """Plain values that restore the model, together with `tensors`."""

    @abstractmethod
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays by name, for ``weights.safetensors``."""

    @property
    def device(self) -> str:
        """Device on which the model runs: "cpu" or "cuda"."""
        return "cpu"

    def to(self, device: str) -> FittedModel:
        """The model on another device; models that use the CPU only return themselves."""
        return self

    def summary(self) -> dict[str, Any]:
        """Choices made by the fit, as plain values (``selected``: names of features, where the fit selects any)."""
        return {}

    def named_layers(self) -> Mapping[str, tuple[nn.Module, ...]]:
        """Layers for gradient CAMs, by name; the last is the default. Empty where the model has no gradients."""
        return {}

    def differentiable_total(self, sample: LesionSample) -> Tensor:
        """Uncalibrated logit of non-response of one lesion, with a graph through `named_layers`.

        Raises
        ------
        ModelError : the model has no gradients.
        """
        raise ModelError("model", "has no layers for gradient maps", "Use a convolutional model")

    def with_random_weights(self, seed: int = 0) -> FittedModel | None:
        """Weight-randomization control: the same model with untrained weights; None where this has no meaning."""
        return None

    @property
    def mean_pattern(self) -> Array32 | None:
        """Mean evidence map of the training lesions (``cam.checks.mean_pattern``); None while unknown."""
        return None

    def with_mean_pattern(self, pattern: Array32) -> FittedModel:
        """The model with the mean map of its training lesions; models that cannot store it return themselves."""
        return self


class LesionModel(ABC):
    """A model to be fitted. The seed of a fit is added to the model's own ``seed``."""

    seed: int = 0

    @abstractmethod
    def fit(self, samples: Sequence[LesionSample], *, seed: int = 0, progress: Progress = no_progress) -> FittedModel:
        """Fit on all samples; samples without a label are used only for parts of the model that need no label.

        Raises
        ------
        CohortError : the samples do not allow a fit.
        """

    def fit_on_folds(
        self,
        samples: Sequence[LesionSample],
        folds: Sequence[Fold],
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> tuple[FittedModel, Array64]:
        """Fit on all samples, and predict each labeled lesion by a model that was not trained on its patient.

        Models that choose settings by held-out predictions do so here.

        Parameters
        ----------
        folds : folds over the labeled samples, in their order.

        Returns
        -------
        The fitted model, and the held-out logits of non-response ``(labeled,)``.
        """
        labeled = [sample for sample in samples if sample.label is not None]
        totals = np.zeros(len(labeled))
        for fold_index, fold in enumerate(folds):
            span = fold_index / (len(folds) + 1), (fold_index + 1) / (len(folds) + 1)
            test_patients = {labeled[i].patient for i in fold.test}
            training = [sample for sample in samples if sample.patient not in test_patients]
            fitted = self.fit(training, seed=seed + 1000 * (fold_index + 1), progress=subprogress(progress, *span))
            totals[fold.test] = [p.total for p in fitted.predict([labeled[i] for i in fold.test])]
        final_progress = subprogress(progress, len(folds) / (len(folds) + 1), 1.0)
        return self.fit(samples, seed=seed, progress=final_progress), totals

    def settings(self) -> dict[str, Any]:
        """Settings of the fit as plain values, for the card."""
        return {}


class FoldedModel(LesionModel):
    """A model that makes choices by held-out predictions: a fit without given folds makes its own, by patient."""

    def fit(self, samples: Sequence[LesionSample], *, seed: int = 0, progress: Progress = no_progress) -> FittedModel:
        """Fit on the labeled samples by inner folds, see `fit_on_folds`."""
        labeled = [sample for sample in samples if sample.label is not None]
        labels = np.asarray([int(sample.label or 0) for sample in labeled])
        folds = inner_folds(labels, np.asarray([sample.patient for sample in labeled]), seed=self.seed + seed)
        return self.fit_on_folds(samples, folds, seed=seed, progress=progress)[0]

    @abstractmethod
    def fit_on_folds(
        self,
        samples: Sequence[LesionSample],
        folds: Sequence[Fold],
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> tuple[FittedModel, Array64]:
        """See `LesionModel.fit_on_folds`."""
