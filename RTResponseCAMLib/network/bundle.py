"""A trained model on disk: ``model.json`` and safetensors, checked by hash; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.network.card import CARD, SCHEMA_VERSION, WEIGHTS, read_card
from RTResponseCAMLib.network.classifier import Architecture, AutoencoderClassifier
from RTResponseCAMLib.network.weights import read_weights

MAX_WEIGHT_BYTES = 200 * 2**20


@dataclass(frozen=True)
class Bundle:
    """A model ready to use.

    Attributes
    ----------
    card : content of ``model.json``.
    network : in evaluation mode, on ``device``.
    sha256 : hash of the weights, the model's identity in every result.
    """

    card: dict[str, Any]
    network: AutoencoderClassifier
    sha256: str
    device: torch.device

    @property
    def form(self) -> str:
        """How the map adds up: "signed" or "hazard"."""
        return self.network.architecture.form

    @property
    def threshold(self) -> float:
        """Probability of response from which a lesion is called a response."""
        return float(self.card["threshold"])

    @property
    def calibration(self) -> tuple[float, float]:
        """Slope and intercept on the total (logit, or log hazard), fitted on held-out patients."""
        return float(self.card["calibration"]["slope"]), float(self.card["calibration"]["intercept"])


def save_bundle(folder: Path, network: AutoencoderClassifier, card: dict[str, Any]) -> None:
    """Write weights and card; ``card`` lacks only schema, architecture and weights, which are added here."""
    import safetensors.torch

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(state, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone
    content = (folder / WEIGHTS).read_bytes()
    full = {
        "schema_version": SCHEMA_VERSION,
        **card,
        "architecture": network.architecture.as_json(),
        "weights": [{"file": WEIGHTS, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}],
    }
    (folder / CARD).write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")


def load_bundle(folder: Path, device: str = "auto") -> Bundle:
    """Load a bundle and check its weights against the hash in its card.

    Parameters
    ----------
    device : "auto" (CUDA when there is one), "cpu" or "cuda".

    Raises
    ------
    ModelError : see `read_card`; weights missing, altered, unreadable or of another shape; no such device.
    """
    card = read_card(folder)
    entry = card["weights"][0]
    path = folder / str(entry["file"])
    if path.parent != folder or not path.is_file():
        raise ModelError(path, "the weights named in model.json are missing", "Restore the bundle")
    if path.stat().st_size > MAX_WEIGHT_BYTES:
        raise ModelError(path, "is larger than a bundle's weights can be", "Restore the bundle")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry["sha256"]:
        raise ModelError(
            path,
            f"has SHA-256 {digest[:12]}…, model.json says {str(entry['sha256'])[:12]}…",
            "Restore the bundle",
        )
    try:
        network = AutoencoderClassifier(Architecture(**card["architecture"]))
        network.load_state_dict(read_weights(content, path))
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(path, "does not fit the architecture in model.json", "Restore the bundle") from error
    where = choose_device(device)
    return Bundle(card, network.eval().to(where), digest, where)


def choose_device(name: str) -> torch.device:
    """Turn "auto", "cpu" or "cuda" into a device that exists."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ModelError("device", f"is '{name}', expected auto, cpu or cuda", "Correct --device")
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("device", "no CUDA device is available", "Use --device cpu")
    return torch.device(name)
