"""The card of a bundle, ``model.json``: model, training data and intended use. Does not import torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from RTResponseCAMLib.errors import ModelError

# 9: "warnings" replaces "cautions", options and tensors are renamed; 8: adds the model's name and its inputs;
# 7: last change in the meaning of the weights, including the stem.
SCHEMA_VERSION = 9
OLDEST_SCHEMA, RENAMED_SCHEMA = 7, 9
SCHEMA_7_MODEL = "scale-space"  # the only model of that schema
CARD, WEIGHTS = "model.json", "weights.safetensors"
REQUIRED = ("schema_version", "name", "model", "architecture", "preprocessing", "calibration", "threshold", "weights")
INPUTS = ("spacing_mm", "margin_mm", "dose", "families")  # required keys of "preprocessing"
ASSUMED_CC = (0.05, 15.0)  # range of training volumes that is assumed where a card states none

MODEL_FOLDERS = (
    Path(__file__).parents[1] / "Models",  # installed as a wheel
    Path(__file__).parents[2] / "Resources" / "Models",  # beside the library, as in the repository and in Slicer
)


@dataclass(frozen=True)
class InputSpecification:
    """Inputs of a model, and properties of its training lesions.

    Attributes
    ----------
    spacing_mm, margin_mm : voxel size of the patch and its margin around the lesion, mm.
    dose : whether the model reads the dose.
    families : feature families that the model reads.
    volume_cc : volume of the smallest and the largest training lesion, cm³.
    mr_voxel_mm : longest voxel side of the training MR, mm; 0 when unknown.
    """

    spacing_mm: float
    margin_mm: float
    dose: bool
    families: tuple[str, ...]
    volume_cc: tuple[float, float]
    mr_voxel_mm: float

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> InputSpecification:
        """Input specification of a card that `read_card` accepted."""
        preprocessing = card["preprocessing"]
        low, high = preprocessing.get("volume_cc", ASSUMED_CC)
        return cls(
            float(preprocessing["spacing_mm"]),
            float(preprocessing["margin_mm"]),
            bool(preprocessing["dose"]),
            tuple(str(family) for family in preprocessing["families"]),
            (float(low), float(high)),
            float(preprocessing.get("mr_voxel_mm", 0.0)),
        )


def default_bundle() -> Path:
    """Folder of the included bundle, which was trained on phantoms only."""
    for folder in MODEL_FOLDERS:
        if (folder / "phantom").is_dir():
            return folder / "phantom"
    return MODEL_FOLDERS[-1] / "phantom"


def default_encoder() -> Path:
    """Folder of the included encoder, which was pre-trained on phantoms only."""
    return default_bundle().with_name("encoder")


def read_card(folder: Path) -> dict[str, Any]:
    """Read ``model.json`` without the weights; convert cards of schema 7 and 8.

    Raises
    ------
    ModelError : file missing, not JSON, a field missing or unusable, input specification incomplete, schema too new or
        too old.
    """
    path = folder / CARD
    if not folder.is_dir():
        problem = "is a file, expected the folder of a bundle" if folder.is_file() else "there is no such folder"
        raise ModelError(folder, problem, "Give the folder of a model bundle")
    if not path.is_file():
        raise ModelError(path, "there is no model card", "Give the folder of a model bundle")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(path, f"is not JSON ({error})", "Restore the bundle") from error
    if not isinstance(card, dict):
        raise ModelError(path, "is not a model card (not a JSON object)", "Restore the bundle")
    version = card.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        problem = f"has schema version {version}, newer than this program reads ({SCHEMA_VERSION})"
        raise ModelError(path, problem, "Update the program")
    if isinstance(version, int) and version < OLDEST_SCHEMA:
        problem = f"has schema version {version}; the meaning of the weights changed with version {OLDEST_SCHEMA}"
        raise ModelError(path, problem, "Train the model again with the `rtresponsecam train` command in its card")
    if not isinstance(version, int) or isinstance(version, bool):
        raise ModelError(path, f"has schema version {version!r}, expected a whole number", "Restore the bundle")
    if version == OLDEST_SCHEMA:
        card = _from_schema_7(card, path)
    if version < RENAMED_SCHEMA and "cautions" in card:
        card = {**card, "warnings": card["cautions"]}
    missing = [name for name in REQUIRED if name not in card]
    if missing:
        raise ModelError(path, f"lacks {', '.join(missing)}", "Restore the bundle, or train it again")
    missing_inputs = [
        name for name in INPUTS if not isinstance(card["preprocessing"], dict) or name not in card["preprocessing"]
    ]
    if missing_inputs:
        problem = f"lacks {', '.join(missing_inputs)} of the input specification (preprocessing)"
        raise ModelError(path, problem, "Restore the bundle, or train it again")
    try:
        inputs = InputSpecification.of(card)
        if not 0 < inputs.spacing_mm < math.inf or not 0 <= inputs.margin_mm < math.inf:
            raise ValueError("spacing_mm or margin_mm is not a valid length")
    except (TypeError, ValueError) as error:
        raise ModelError(path, f"has an unreadable input specification ({error})", "Restore the bundle") from error
    _check_values(card, path)
    return dict(card)


def _check_values(card: Mapping[str, Any], path: Path) -> None:
    """Check the values that are needed to restore the model.

    Raises
    ------
    ModelError : some values are unusable; the message names them.
    """
    line, weights = card["calibration"], card["weights"]
    checks = {
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
    unusable = [name for name, is_valid in checks.items() if not is_valid]
    if unusable:
        raise ModelError(path, f"has no usable {', '.join(unusable)}", "Restore the bundle, or train it again")


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _from_schema_7(card: dict[str, Any], path: Path) -> dict[str, Any]:
    """Convert a card of schema 7 to schema 8; schema 7 had one model, which read no features."""
    architecture, inputs = card.get("architecture"), card.get("preprocessing")
    if not isinstance(architecture, dict) or not isinstance(inputs, dict):
        raise ModelError(path, "lacks architecture or preprocessing", "Restore the bundle, or train it again")
    if architecture.get("form", "signed") != "signed":
        problem = "describes a model with the link 'cumulative hazard', which is no longer supported"
        raise ModelError(path, problem, "Train it again without --form")
    added_inputs = {"dose": bool(architecture.get("dose")), "families": []}
    return {**card, "model": SCHEMA_7_MODEL, "preprocessing": {**inputs, **added_inputs}}


def worst_stress(card: Mapping[str, Any]) -> tuple[str, float, int] | None:
    """Change of the scan that flipped most classes, the share of lesions, and their number; None if not measured.

    Read from "stress" of the card, which ``Testing/Benchmarks/stress.py --write`` adds. Entries that cannot be read
    count as not measured: a card may come from anywhere.
    """
    found: list[tuple[float, str, int]] = []
    measured = card.get("stress")
    for entry in measured.values() if isinstance(measured, Mapping) else ():
        changes, count = (entry.get(k) if isinstance(entry, Mapping) else None for k in ("changes", "lesions"))
        for name, figures in changes.items() if isinstance(changes, Mapping) else ():
            flips = figures.get("flips") if isinstance(figures, Mapping) else None
            if isinstance(flips, (int, float)) and math.isfinite(flips) and isinstance(count, int):
                found.append((float(flips), str(name), count))
    if not found:
        return None
    flips, name, count = max(found)
    return name, flips, count
