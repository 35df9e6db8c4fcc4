"""Problems of a node as an input, as sentences for the panel."""

from __future__ import annotations

from typing import Any

import numpy as np

from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.scene.lesions import lesion_segments
from RTResponseCAMLib.scene.nodes import grid_of
from RTResponseCAMLib.translation import tr


def volume_problems(node: Any, role: str) -> list[str]:
    """Reasons why a volume cannot be used in a role, as sentences; empty without problems."""
    if node is None:
        return [tr("Choose the {role}.").format(role=role)]
    try:
        grid = grid_of(node)
    except RTResponseError as error:
        return [tr("The {role} cannot be used: {error}").format(role=role, error=error.translated())]
    return [tr("The {role} has only one slice: choose a 3-D volume.").format(role=role)] if min(grid.size) < 2 else []


def segmentation_problems(node: Any) -> list[str]:
    """Reasons why a segmentation cannot be used, as sentences; empty without problems."""
    if node is None:
        return [tr("Choose the segmentation that contains the lesions.")]
    if node.GetSegmentation().GetNumberOfSegments() == 0:
        return [
            tr(
                "The segmentation '{name}' has no segments: contour the lesions, or choose another segmentation."
            ).format(name=node.GetName())
        ]
    if not lesion_segments(node):
        return [
            tr("No segment of '{name}' has the name of a lesion: rename or contour a lesion.").format(
                name=node.GetName()
            )
        ]
    return []


def tilt_deg(grid: Grid) -> float:
    """Largest angle between an axis of the grid and the nearest axis of the patient, degrees."""
    axes = np.abs(np.asarray(grid.direction).reshape(3, 3))
    return float(np.degrees(np.arccos(np.clip(axes.max(axis=0).min(), -1, 1))))
