"""Prediction task: read from the scene, computed in another thread, put back. `compute` accesses no scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from RTResponseCAMLib.device import preload_torch
from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.study import Result, Study
from RTResponseCAMLib.workflow.merge import merge_results


class Parameters(Protocol):
    """Settings of the user: the module's parameter node (choices have a ``value``)."""

    mrVolume: Any
    doseVolume: Any
    segmentation: Any
    followUpVolume: Any
    camVolume: Any
    prescriptionGy: float
    isodosePercent: float
    fractions: int
    bundleFolder: str
    device: Any
    selectedLesion: str
    opacity: float
    threshold: float
    shown: Any
    colors: Any
    scale: Any
    doseDisplay: Any
    graded: bool
    legend: bool


@dataclass(frozen=True)
class Task:
    """A prediction task, read from the scene and ready to be computed in another thread.

    ``nodes`` are the ids of the nodes that it was read from: MR, dose ("" without a dose) and segmentation.
    """

    study: Study
    segments: Mapping[str, str]
    prints: Mapping[str, str]
    bundle: Path
    device: str
    keep: tuple[str, ...]
    earlier: Result | None
    nodes: tuple[str, str, str]


def compute(task: Task, progress: Progress = no_progress) -> Result:
    """Return the result of a prediction task; safe to run in another thread.

    Raises
    ------
    ModelError, GeometryError : see `load_bundle` and `predict_study`; a ModelError also if PyTorch is missing.
    """
    progress(0.0, "loading PyTorch and the model")
    preload_torch()
    try:
        from RTResponseCAMLib.models.bundle import load_bundle
    except ImportError as error:
        raise ModelError("PyTorch", "is not installed", "Install it in the Model section") from error
    from RTResponseCAMLib.workflow.predict import predict_study

    bundle = load_bundle(task.bundle, task.device)
    result = predict_study(task.study, bundle, progress=subprogress(progress, 0.4, 1.0))
    return merge_results(task.earlier, result, keep=task.keep) if task.earlier is not None and task.keep else result
