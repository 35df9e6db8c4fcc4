"""Inputs that the user has chosen in the scene, and the study that is made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from RTResponseCAMLib.study import Study


@dataclass(frozen=True)
class Inputs:
    """Inputs chosen by the user in the scene.

    Attributes
    ----------
    mr, dose, segmentation : nodes, or None.
    prescription_gy : for every lesion, Gy; 0 uses the prescription that the plan states per lesion.
    isodose_percent : prescription isodose of the dose maximum, used when no dose in Gy is known; 0 is "not stated".
    fractions : number of fractions.
    """

    mr: Any
    dose: Any
    segmentation: Any
    prescription_gy: float = 0.0
    isodose_percent: float = 0.0
    fractions: int = 1


@dataclass(frozen=True)
class SceneStudy:
    """A study made from nodes, and the segment id of each lesion id."""

    study: Study
    segments: Mapping[str, str]
