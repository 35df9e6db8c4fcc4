"""The card of a bundle, ``model.json``: what a model is, what it was trained on and meant for. No torch here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from RTResponseCAMLib.errors import ModelError

SCHEMA_VERSION = 7  # rises with everything that changes what weights mean, the stem included
CARD, WEIGHTS = "model.json", "weights.safetensors"
REQUIRED = ("schema_version", "name", "architecture", "preprocessing", "calibration", "threshold", "weights")

MODEL_FOLDERS = (
    Path(__file__).parents[1] / "Models",  # installed as a wheel
    Path(__file__).parents[2] / "Resources" / "Models",  # beside the library, as in the repository and in Slicer
)


def default_bundle() -> Path:
    """Folder of the bundle that ships with the product (trained on phantoms only)."""
    for folder in MODEL_FOLDERS:
        if (folder / "phantom").is_dir():
            return folder / "phantom"
    return MODEL_FOLDERS[-1] / "phantom"


def read_card(folder: Path) -> dict[str, Any]:
    """Read ``model.json`` without touching the weights.

    Raises
    ------
    ModelError : file missing, not JSON, a field missing, or a newer schema.
    """
    path = folder / CARD
    if not path.is_file():
        raise ModelError(path, "there is no model card", "Give the folder of a model bundle")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(path, f"is not JSON ({error})", "Restore the bundle") from error
    missing = [name for name in REQUIRED if name not in card]
    if missing:
        raise ModelError(path, f"lacks {', '.join(missing)}", "Restore the bundle, or train it again")
    if card["schema_version"] != SCHEMA_VERSION:
        raise ModelError(
            path,
            f"has schema version {card['schema_version']}, this program reads {SCHEMA_VERSION}",
            "Update one of them",
        )
    return dict(card)
