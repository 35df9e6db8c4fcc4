"""A pre-trained autoencoder on disk: ``encoder.json`` and safetensors, verified by hash; nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.models.conv.autoencoder import Autoencoder, Shape
from RTResponseCAMLib.models.evidence import arrays_of
from RTResponseCAMLib.models.weights import read_weights

CARD, WEIGHTS = "encoder.json", "encoder.safetensors"
SCHEMA_VERSION = 1
MAX_BYTES = 20 * 2**20
INPUT = "contrast-enhanced T1 MR, head median and inter-quartile range; partial-volume fraction of the lesion"
FIX = "Pre-train it again, or give another --encoder"


@dataclass(frozen=True)
class Encoder:
    """A pre-trained autoencoder.

    Attributes
    ----------
    card : content of ``encoder.json``: shape, input, training lesions, loss curve, command.
    tensors : state of `Autoencoder`, by name.
    sha256 : SHA-256 of the weights; stored in the card of every model that uses them.
    """

    shape: Shape
    card: dict[str, Any]
    tensors: dict[str, npt.NDArray[Any]]
    sha256: str

    def autoencoder(self) -> Autoencoder:
        """The network with these weights."""
        network = Autoencoder(self.shape)
        network.load_state_dict({name: torch.from_numpy(value) for name, value in self.tensors.items()})
        return network


def save_encoder(folder: Path, network: Autoencoder, *, card: dict[str, Any]) -> None:
    """Write weights and card of an autoencoder into a folder.

    Parameters
    ----------
    card : content of ``encoder.json`` without schema version, shape, input and weights, which this function adds.
    """
    import safetensors.numpy

    folder.mkdir(parents=True, exist_ok=True)
    tensors = arrays_of(network)
    safetensors.numpy.save_file(tensors, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes the file readable by its owner only
    content = (folder / WEIGHTS).read_bytes()
    full = {
        "schema_version": SCHEMA_VERSION,
        **card,
        "input": INPUT,
        "shape": network.shape.as_json(),
        "weights": {"file": WEIGHTS, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
    }
    (folder / CARD).write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")


def load_encoder(folder: Path) -> Encoder:
    """Load a pre-trained autoencoder and verify its weights against the hash in its card.

    Raises
    ------
    ModelError : no encoder in the folder; another schema version or input; weights missing, altered or of another
        shape.
    """
    path = folder / CARD
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version, found_input = card["schema_version"], card["input"]
    except FileNotFoundError as error:
        raise ModelError(folder, f"holds no pre-trained encoder ({CARD} is missing)", FIX) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(path, f"is not the card of an encoder ({error})", FIX) from error
    if version != SCHEMA_VERSION:
        raise ModelError(path, f"has the schema version {version!r}, expected {SCHEMA_VERSION}", FIX)
    if found_input != INPUT:
        raise ModelError(path, f"was trained on another input: {found_input!r}, expected {INPUT!r}", FIX)
    weights = folder / WEIGHTS
    if not weights.is_file() or weights.stat().st_size > MAX_BYTES:
        raise ModelError(weights, "is missing or larger than an encoder can be", FIX)
    content = weights.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        stated = str(card["weights"]["sha256"])
        if digest != stated:
            problem = f"has the SHA-256 {digest[:12]}…, not that of {CARD} ({stated[:12]}…)"
            raise ModelError(weights, problem, FIX)
        encoder = Encoder(Shape.of(card["shape"]), card, read_weights(content, weights), digest)
        finite = all(bool(np.isfinite(value).all()) for value in encoder.tensors.values())
        encoder.autoencoder()
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(weights, f"does not fit the shape in {CARD}", FIX) from error
    if not finite:
        raise ModelError(weights, "holds values that are not numbers (NaN)", FIX)
    return encoder
