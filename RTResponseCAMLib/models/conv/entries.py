"""Registry entry of the convolutional autoencoder-classifier. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.interface import FittedModel, LesionModel
from RTResponseCAMLib.models.registry import ModelEntry, Requirements
from RTResponseCAMLib.progress import Progress


def _option(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class Options:
    """Options of architecture and training; the defaults suit 69 lesions."""

    encoder: str = _option("", "folder of an encoder, as the command pretrain makes it; without it, the included one")
    members: int = _option(5, "number of evidence heads", 1, 100)
    width: int = _option(8, "hidden units of an evidence head", 1, 1000)
    learned: bool = _option(True, "heads read the fixed features only, not the learned layer; for an ablation")
    fixed: bool = _option(True, "heads read the learned layer only, not the fixed features; for an ablation")
    steps: int = _option(250, "optimization steps of the evidence heads", 10, 1_000_000)
    n_augmentations: int = _option(4, "augmented copies of each lesion, with another contour and scan", 0, 50)
    l2: float = _option(0.003, "weight of the squared weights of the evidence heads in the loss", 0, 100)
    dropout: float = _option(0.5, "share of the features that a head does not see at a training step", 0, 0.95)
    consistency: float = _option(0.0, "weight of the differences between a lesion's copies in the loss", 0, 100)
    seed: int = _option(7, "random seed of training and folds", 0, 2**31 - 1)


def _make(options: Mapping[str, Any]) -> LesionModel:
    from RTResponseCAMLib.models.conv.model import ConvModel

    return ConvModel.of(Options(**options))


def _restore(architecture: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> FittedModel:
    from RTResponseCAMLib.models.conv.model import restore

    return restore(architecture, tensors)


def _describe(options: Mapping[str, Any]) -> str:
    settings = Options(**options)
    return (
        "Convolutional autoencoder-classifier: encoder pre-trained on unlabeled lesions by masked reconstruction and "
        f"frozen, local energies of its last layer, {settings.members} bounded evidence heads on patient bootstraps, "
        f"{settings.n_augmentations} augmented copies of each lesion; calibration and class threshold by inner "
        "patient folds."
    )


def _pretrain(
    lesions: Callable[[int, Progress], Sequence[Patch]],
    settings: Mapping[str, Any],
    *,
    state: Path,
    origin: str,
    card: Mapping[str, Any],
    device: str,
    progress: Progress,
) -> tuple[tuple[float, ...], Callable[[Path], None]]:
    """Pre-train an encoder; return the loss of every epoch, and a function that writes the encoder into a folder.

    Parameters
    ----------
    settings : "channels", "epochs", "learning_rate" and "seed", where they are not the defaults.
    lesions, state, origin : see `pretraining.pretrain`.
    card : further entries of the encoder's card.
    """
    from RTResponseCAMLib.models.conv.autoencoder import Shape
    from RTResponseCAMLib.models.conv.encoder import save_encoder
    from RTResponseCAMLib.models.conv.pretraining import Plan, pretrain

    values = dict(settings)
    shape = Shape(channels=tuple(values.pop("channels", Shape().channels)))
    plan = Plan(shape, **values)
    done = pretrain(lesions, plan, state=state, origin=origin, device=device, progress=progress)
    full = {**card, "schedule": plan.as_json(), "losses": [round(loss, 6) for loss in done.losses]}
    return done.losses, partial(save_encoder, network=done.network, card=full)


ENTRIES = (
    ModelEntry(
        "conv", "Convolutional autoencoder-classifier", "#cc3311", Requirements(patch=True), _make, _restore, Options,
        "contrast-enhanced MR within the lesion, voxel by voxel", _describe, compared=False, explains=True,
        pretrain=_pretrain,
    ),
)  # fmt: skip
