"""What tests of models and maps share: networks as calibrated models, patches as samples, and their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.calibration import CalibratedModel
from RTResponseCAMLib.models.interface import Calibration, LesionPrediction
from RTResponseCAMLib.models.scale_space.model import FittedScaleSpace
from RTResponseCAMLib.samples.sample import LesionSample


def plain_model(network: Any, slope: float = 1.0, intercept: float = 0.0, threshold: float = 0.5) -> CalibratedModel:
    """A network as a calibrated model."""
    return CalibratedModel(FittedScaleSpace(network), Calibration(slope, intercept), threshold)


def sample_of(patch: Patch, label: int | None = None, patient: str = "", index: int = 1) -> LesionSample:
    return LesionSample(patch, label=label, patient=patient, index=index)


def predictions_of(model: Any, patches: Sequence[Patch]) -> list[LesionPrediction]:
    """What a model or a bundle predicts for patches."""
    return model.predict([sample_of(patch) for patch in patches])
