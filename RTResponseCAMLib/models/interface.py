"""What every model offers, whatever it is made of: fit on lesion samples, predict probability and evidence map.

A model is fitted on `LesionSample`s and predicts from them. Larger evidence speaks for non-response; the logit of
non-response is ``total``, and where a model explains itself, Σ map + bias = total.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.models.folds import Fold
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.samples.sample import LesionSample

if TYPE_CHECKING:
    from torch import Tensor, nn

Array32 = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]
PATTERN = 12  # voxels along each side of `FittedModel.mean_pattern`


@dataclass(frozen=True)
class Calibration:
    """Line on the logit of non-response: slope · logit + intercept. The default changes nothing."""

    slope: float = 1.0
    intercept: float = 0.0


UNCALIBRATED = Calibration()


@dataclass(frozen=True)
class LesionPrediction:
    """What a model predicts for one lesion.

    Attributes
    ----------
    p_response : probability of response. low, high : its interval; NaN where the model gives none.
    total : calibrated logit of non-response.
    map : evidence map ``[z, y, x]`` float32 on the patch's grid, zero outside the lesion; None where the model cannot
        explain itself. Σ map + bias = total.
    ensemble_sd : standard deviation of the map over an ensemble, same shape; None without an ensemble.
    from_volume : the part of ``bias`` that the lesion's volume alone gives.
    member_maps : maps of the ensemble's members ``(members, z, y, x)``; only where they were asked for.
    diagnostics : further figures by name, for the reader of a comparison.
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
    diagnostics: Mapping[str, float] = field(default_factory=dict)


class FittedModel(ABC):
    """A model that has learned; immutable to its users."""

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
        calibration : line that every member's logit goes through before interval and map are taken.
        members : also give the maps of the ensemble's members.

        Raises
        ------
        ModelError : a sample lacks what the model needs.
        """

    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """Plain values from which, with `tensors`, the model is restored."""

    @abstractmethod
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays by name, for ``weights.safetensors``."""

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda"."""
        return "cpu"

    def to(self, device: str) -> FittedModel:
        """The model on another device; models without a use for one stay where they are."""
        return self

    def summary(self) -> dict[str, Any]:
        """What fitting chose, in plain values (``selected``: features by name, where it selects any)."""
        return {}

    def named_layers(self) -> Mapping[str, tuple[nn.Module, ...]]:
        """Layers where gradient CAMs can look, by name; the last is the default. None: no gradients."""
        return {}

    def differentiable_total(self, sample: LesionSample) -> Tensor:
        """Uncalibrated logit of non-response of one lesion, with a graph through `named_layers`.

        Raises
        ------
        ModelError : the model has no gradients.
        """
        raise ModelError("model", "has no layers for gradient maps", "Use a convolutional model")

    def with_random_weights(self, seed: int = 0) -> FittedModel | None:
        """Weight-randomization control: the same model, having learned nothing; None where that means nothing."""
        return None

    @property
    def mean_pattern(self) -> Array32 | None:
        """Mean map of the training lesions (``cam.checks.mean_pattern``); None while unknown."""
        return None

    def with_mean_pattern(self, pattern: Array32) -> FittedModel:
        """The model with the mean map of its training lesions; models that cannot keep one stay as they are."""
        return self


class LesionModel(ABC):
    """A model that can be fitted. ``seed`` is its own, to which that of a fit is added."""

    seed: int = 0

    @abstractmethod
    def fit(self, samples: Sequence[LesionSample], *, seed: int = 0, progress: Progress = no_progress) -> FittedModel:
        """Fit on all samples given; those without a label may only teach what needs none.

        Raises
        ------
        CohortError : nothing can be learned from these samples.
        """

    def fit_on_folds(
        self,
        samples: Sequence[LesionSample],
        folds: Sequence[Fold],
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> tuple[FittedModel, Array64]:
        """Fit on everyone, and predict each labeled lesion by a model that has not seen its patient.

        Models that choose something by held-out predictions do it here.

        Parameters
        ----------
        folds : over the labeled samples, in their order.

        Returns
        -------
        The fitted model, and the held-out logits of non-response ``(labeled,)``.
        """
        labeled = [sample for sample in samples if sample.label is not None]
        totals = np.zeros(len(labeled))
        for number, fold in enumerate(folds):
            span = number / (len(folds) + 1), (number + 1) / (len(folds) + 1)
            tested = {labeled[i].patient for i in fold.test}
            training = [sample for sample in samples if sample.patient not in tested]
            fitted = self.fit(training, seed=seed + 1000 * (number + 1), progress=subprogress(progress, *span))
            totals[fold.test] = [p.total for p in fitted.predict([labeled[i] for i in fold.test])]
        last = subprogress(progress, len(folds) / (len(folds) + 1), 1.0)
        return self.fit(samples, seed=seed, progress=last), totals

    def settings(self) -> dict[str, Any]:
        """How it is fitted, in plain values, for the card."""
        return {}
