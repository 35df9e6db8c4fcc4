"""A trained model on disk: ``model.json`` and safetensors, verified by hash; nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.models.calibration import CalibratedModel
from RTResponseCAMLib.models.card import CARD, SCHEMA_VERSION, WEIGHTS, InputSpecification, read_card
from RTResponseCAMLib.models.familiarity import Familiarity
from RTResponseCAMLib.models.interface import Calibration, FittedModel, LesionPrediction
from RTResponseCAMLib.models.registry import ModelEntry, entry_of
from RTResponseCAMLib.models.weights import read_weights
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.samples.sample import LesionSample

MAX_WEIGHT_BYTES = 200 * 2**20


@dataclass(frozen=True)
class Bundle:
    """A loaded model, ready for prediction.

    Attributes
    ----------
    card : content of ``model.json``.
    model : calibrated model, on its device.
    sha256 : SHA-256 of the weights; identifies the model in every result.
    """

    card: dict[str, Any]
    model: CalibratedModel
    sha256: str

    @property
    def threshold(self) -> float:
        """Class threshold: probability of response from which the class of a lesion is response."""
        return float(self.card["threshold"])

    @property
    def device(self) -> str:
        """Device on which the model runs."""
        return self.model.fitted.device

    @property
    def inputs(self) -> InputSpecification:
        """Input specification of the model."""
        return InputSpecification.of(self.card)

    @cached_property
    def familiarity(self) -> Familiarity | None:
        """Distribution of the training lesions; None for bundles of earlier versions, which do not store it."""
        return Familiarity.from_json(self.card["familiarity"]) if "familiarity" in self.card else None

    def predict(
        self, samples: Sequence[LesionSample], *, members: bool = False, progress: Progress = no_progress
    ) -> list[LesionPrediction]:
        """Calibrated predictions, in the order of the samples; raises as `FittedModel.predict`."""
        return self.model.predict(samples, members=members, progress=progress)


def save_bundle(folder: Path, fitted: FittedModel, *, card: dict[str, Any]) -> None:
    """Write weights and card of a fitted model.

    Parameters
    ----------
    card : content of the card without schema version, architecture and weights, which this function adds.
    """
    import safetensors.numpy

    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(fitted.tensors(), folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes the file readable by its owner only
    content = (folder / WEIGHTS).read_bytes()
    full = {
        "schema_version": SCHEMA_VERSION,
        **card,
        "architecture": fitted.architecture(),
        "weights": [{"file": WEIGHTS, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}],
    }
    (folder / CARD).write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")


def load_bundle(folder: Path, device: str = "auto") -> Bundle:
    """Load a bundle and verify its weights against the hash in its card.

    Parameters
    ----------
    device : "auto" (CUDA where available), "cpu" or "cuda".

    Raises
    ------
    ModelError : see `read_card`; a model that is not registered; weights missing, altered, unreadable or of another
        shape; no such device.
    """
    card = read_card(folder)
    model_entry = entry_of_card(card, folder)
    weights_entry = card["weights"][0]
    path = folder / str(weights_entry["file"])
    if path.parent != folder or not path.is_file():
        raise ModelError(path, "the weights named in model.json are missing", "Restore the bundle")
    if path.stat().st_size > MAX_WEIGHT_BYTES:
        raise ModelError(path, "is larger than the weights of a bundle can be", "Restore the bundle")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != weights_entry["sha256"]:
        problem = f"has the SHA-256 {digest[:12]}…, not that of model.json ({str(weights_entry['sha256'])[:12]}…)"
        if weights_entry.get("bytes") not in (None, len(content)):
            problem = f"has {len(content)} bytes, model.json states {weights_entry['bytes']}: the file is not whole"
        raise ModelError(path, problem, "Restore the bundle")
    try:
        fitted = model_entry.restore(card["architecture"], read_weights(content, path))
        line = Calibration(float(card["calibration"]["slope"]), float(card["calibration"]["intercept"]))
        threshold = 1 - float(card["threshold"])
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(path, "does not fit the architecture in model.json", "Restore the bundle") from error
    bundle = Bundle(card, CalibratedModel(fitted.to(choose_device(device)), line, threshold), digest)
    try:
        _ = bundle.familiarity  # read once, and refused here if it is damaged
    except (TypeError, ValueError) as error:
        raise ModelError(folder / CARD, f"has an unreadable familiarity ({error})", "Restore the bundle") from error
    return bundle


def entry_of_card(card: dict[str, Any], folder: Path) -> ModelEntry:
    """Registry entry of a bundle's model.

    Raises
    ------
    ModelError : the model is not registered.
    """
    try:
        return entry_of(str(card["model"]))
    except ModelError as error:
        problem = f"names the model '{card['model']}', which is not registered in this program"
        raise ModelError(folder / CARD, problem, f"{error.fix}, or install the package that provides it") from error


def choose_device(name: str) -> str:
    """Available device for "auto", "cpu" or "cuda".

    Raises
    ------
    ModelError : another name, or no CUDA device is available.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ModelError("device", f"is '{name}', expected auto, cpu or cuda", "Correct --device")
    if name == "cpu":
        return name
    try:
        import torch

        has_cuda = torch.cuda.is_available()
    except ImportError:  # models that do not need torch run on the CPU
        has_cuda = False
    if name == "cuda" and not has_cuda:
        raise ModelError("device", "no CUDA device is available", "Use --device cpu")
    return "cuda" if has_cuda else "cpu"
