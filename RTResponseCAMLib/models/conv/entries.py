"""Registry entry of the convolutional autoencoder-classifier. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.interface import FittedModel, LesionModel
from RTResponseCAMLib.models.registry import ModelEntry, Requirements
from RTResponseCAMLib.progress import Progress

ENCODERS = (
    Path(__file__).parents[3] / "Resources" / "Encoders",  # beside the library, as in the repository and in Slicer
    Path(__file__).parents[2] / "Encoders",  # in an installed package
)
SHIPPED = "phantom"


def _option(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class Options:
    """Options of architecture and training; the defaults suit 69 lesions."""

    encoder: str = _option("", "folder of a pre-trained encoder, as the command pretrain makes it")
    members: int = _option(5, "number of evidence heads", 1, 100)
    width: int = _option(8, "hidden units of an evidence head", 1, 1000)
    learned: bool = _option(True, "heads read fixed bands only, not the learned layer; for an ablation")
    fixed: bool = _option(True, "heads read the learned layer only, not the fixed bands; for an ablation")
    steps: int = _option(250, "optimization steps of the evidence heads", 10, 1_000_000)
    copies: int = _option(4, "copies of each lesion as of other scanners and contours", 0, 50)
    l2: float = _option(0.003, "weight of the squared weights of the evidence heads in the loss", 0, 100)
    seed: int = _option(7, "random seed of training and folds", 0, 2**31 - 1)


def shipped_encoder() -> Path:
    """Folder of the shipped encoder.

    Raises
    ------
    ModelError : there is none.
    """
    found = next((folder / SHIPPED for folder in ENCODERS if (folder / SHIPPED).is_dir()), None)
    if found is None:
        raise ModelError(
            "conv", "needs a pre-trained encoder, and none is shipped", "Pre-train one, and give --encoder"
        )
    return found


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
        f"{settings.copies} copies of each lesion as of other scanners; calibration and class threshold by inner "
        "patient folds."
    )


def _pretrain(
    lesions: Callable[[int], Sequence[Patch]],
    settings: Mapping[str, Any],
    *,
    folder: Path,
    state: Path,
    card: Mapping[str, Any],
    device: str,
    progress: Progress,
) -> tuple[float, ...]:
    """Pre-train an encoder, write it into a folder, and return the loss of every epoch; see `pretraining.pretrain`.

    Parameters
    ----------
    settings : "channels", "epochs", "learning_rate" and "seed", where they are not the defaults.
    state : folder of the state after each epoch, from which an interrupted run goes on.
    card : further entries of the encoder's card.
    """
    from RTResponseCAMLib.models.conv.autoencoder import Shape
    from RTResponseCAMLib.models.conv.encoder import save_encoder
    from RTResponseCAMLib.models.conv.pretraining import Plan, pretrain

    values = dict(settings)
    shape = Shape(channels=tuple(values.pop("channels", Shape().channels)))
    plan = Plan(shape, **values)
    done = pretrain(lesions, plan, state=state, device=device, progress=progress)
    losses = [round(loss, 6) for loss in done.losses]
    save_encoder(folder, done.network, card={**card, "schedule": plan.as_json(), "losses": losses})
    return done.losses


ENTRIES = (
    ModelEntry(
        "conv", "Convolutional autoencoder-classifier", "#cc3311", Requirements(patch=True), _make, _restore, Options,
        "contrast-enhanced MR within the lesion, voxel by voxel", _describe, compared=False, explains=True,
        pretrain=_pretrain,
    ),
)  # fmt: skip
