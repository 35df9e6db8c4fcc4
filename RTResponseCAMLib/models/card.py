"""The card of a bundle, ``model.json``: what a model is, what it was trained on and meant for. No torch here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from RTResponseCAMLib.errors import ModelError

# 9: "warnings" instead of "cautions", names of options and tensors as in the vocabulary; 8: names the model and its
# inputs; 7: last change of what weights mean, the stem included.
SCHEMA_VERSION = 9
OLDEST_SCHEMA, RENAMED_SCHEMA = 7, 9
SCHEMA_7_MODEL = "scale-space"  # the one model of that schema
CARD, WEIGHTS = "model.json", "weights.safetensors"
REQUIRED = ("schema_version", "name", "model", "architecture", "preprocessing", "calibration", "threshold", "weights")
INPUTS = ("spacing_mm", "margin_mm", "dose", "families")  # of "preprocessing"
ASSUMED_CC = (0.05, 15.0)  # where a card does not say what volumes its model has seen

MODEL_FOLDERS = (
    Path(__file__).parents[1] / "Models",  # installed as a wheel
    Path(__file__).parents[2] / "Resources" / "Models",  # beside the library, as in the repository and in Slicer
)


@dataclass(frozen=True)
class InputSpecification:
    """What a model reads, and what its training lesions were like.

    Attributes
    ----------
    spacing_mm, margin_mm : of the patch. dose : whether the dose is read. families : of features that are read.
    volume_cc : smallest and largest training lesion. mr_voxel_mm : longest voxel side of the training MR; 0 unknown.
    """

    spacing_mm: float
    margin_mm: float
    dose: bool
    families: tuple[str, ...]
    volume_cc: tuple[float, float]
    mr_voxel_mm: float

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> InputSpecification:
        """What a card that `read_card` accepted says."""
        known = card["preprocessing"]
        low, high = known.get("volume_cc", ASSUMED_CC)
        return cls(
            float(known["spacing_mm"]),
            float(known["margin_mm"]),
            bool(known["dose"]),
            tuple(str(family) for family in known["families"]),
            (float(low), float(high)),
            float(known.get("mr_voxel_mm", 0.0)),
        )


def default_bundle() -> Path:
    """Folder of the bundle that ships with the product (trained on phantoms only)."""
    for folder in MODEL_FOLDERS:
        if (folder / "phantom").is_dir():
            return folder / "phantom"
    return MODEL_FOLDERS[-1] / "phantom"


def read_card(folder: Path) -> dict[str, Any]:
    """Read ``model.json`` without touching the weights; cards of schema 7 and 8 are converted.

    Raises
    ------
    ModelError : file missing, not JSON, a field missing, an input specification that lacks something, a newer schema,
        or one too old.
    """
    path = folder / CARD
    if not path.is_file():
        raise ModelError(path, "there is no model card", "Give the folder of a model bundle")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(path, f"is not JSON ({error})", "Restore the bundle") from error
    if not isinstance(card, dict):
        raise ModelError(path, "is no model card (no JSON object)", "Restore the bundle")
    version = card.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        what = f"has schema version {version}, newer than this program reads ({SCHEMA_VERSION})"
        raise ModelError(path, what, "Update the program")
    if isinstance(version, int) and version < OLDEST_SCHEMA:
        what = f"has schema version {version}; since version {OLDEST_SCHEMA} weights mean something else"
        raise ModelError(path, what, "Train the model again with `rtresponsecam train`, by the command in its card")
    if not isinstance(version, int) or isinstance(version, bool):
        raise ModelError(path, f"has schema version {version!r}, expected a whole number", "Restore the bundle")
    if version == OLDEST_SCHEMA:
        card = _from_schema_7(card, path)
    if version < RENAMED_SCHEMA and "cautions" in card:
        card = {**card, "warnings": card["cautions"]}
    missing = [name for name in REQUIRED if name not in card]
    if missing:
        raise ModelError(path, f"lacks {', '.join(missing)}", "Restore the bundle, or train it again")
    lacking = [
        name for name in INPUTS if not isinstance(card["preprocessing"], dict) or name not in card["preprocessing"]
    ]
    if lacking:
        what = f"lacks {', '.join(lacking)} of the input specification (preprocessing)"
        raise ModelError(path, what, "Restore the bundle, or train it again")
    try:
        inputs = InputSpecification.of(card)
        if not 0 < inputs.spacing_mm < math.inf or not 0 <= inputs.margin_mm < math.inf:
            raise ValueError("spacing_mm or margin_mm is no length")
    except (TypeError, ValueError) as error:
        raise ModelError(path, f"has an unreadable input specification ({error})", "Restore the bundle") from error
    _check_values(card, path)
    return dict(card)


def _check_values(card: Mapping[str, Any], path: Path) -> None:
    """Refuse values that a model cannot be restored from.

    Raises
    ------
    ModelError : the first of them, named.
    """
    line, weights = card["calibration"], card["weights"]
    named = {
        "calibration": isinstance(line, dict)
        and all(_is_number(line.get(key)) for key in ("slope", "intercept"))
        and line["slope"] > 0,
        "threshold": _is_number(card["threshold"]) and 0 <= float(card["threshold"]) <= 1,
        "weights": isinstance(weights, list)
        and bool(weights)
        and isinstance(weights[0], dict)
        and all(isinstance(weights[0].get(key), str) for key in ("file", "sha256")),
        "architecture": isinstance(card["architecture"], dict),
        "preprocessing": isinstance(card["preprocessing"]["dose"], bool)
        and _are_texts(card["preprocessing"]["families"]),
        "warnings": _are_texts(card.get("warnings", [])),
    }
    wrong = [name for name, right in named.items() if not right]
    if wrong:
        raise ModelError(path, f"holds no usable {', '.join(wrong)}", "Restore the bundle, or train it again")


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _from_schema_7(card: dict[str, Any], path: Path) -> dict[str, Any]:
    """A card of schema 7 as one of schema 8: it had one model, which read no features."""
    shape, inputs = card.get("architecture"), card.get("preprocessing")
    if not isinstance(shape, dict) or not isinstance(inputs, dict):
        raise ModelError(path, "lacks architecture or preprocessing", "Restore the bundle, or train it again")
    if shape.get("form", "signed") != "signed":
        what = "describes a model of cumulative hazards, which is not supported any more"
        raise ModelError(path, what, "Train it again without --form")
    needed = {"dose": bool(shape.get("dose")), "families": []}
    return {**card, "model": SCHEMA_7_MODEL, "preprocessing": {**inputs, **needed}}
