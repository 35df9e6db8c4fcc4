"""Finds the nodes that depend on another node, so that deleting a volume leaves no orphans."""

from __future__ import annotations

from typing import Any

from RTResponseCAMLib.scene import display
from RTResponseCAMLib.scene.heatmap import GRADED_ROLE
from RTResponseCAMLib.scene.lesions import ROWS
from RTResponseCAMLib.scene.views import isodoses_of


def dependent_nodes_of(node: Any) -> list[str]:
    """Ids of the nodes to remove after ``node``; call it while ``node`` is still in the scene.

    For an evidence volume: colors, legend and graded copy. For a dose: isodose lines. Each with its display node.
    """
    dependents: list[Any] = []
    if node.IsA("vtkMRMLScalarVolumeNode"):
        models = isodoses_of(node)
        dependents += models + [model.GetDisplayNode() for model in models] + _looks(node)
    if node.GetAttribute(ROWS) is not None:
        graded = node.GetNodeReference(GRADED_ROLE)
        dependents += [graded, graded.GetDisplayNode() if graded is not None else None, node.GetDisplayNode()]
    return [dependent.GetID() for dependent in dependents if dependent is not None]


def _looks(volume: Any) -> list[Any]:
    """Legend of a volume, and its color node when this program created it."""
    import slicer

    display_node = volume.GetDisplayNode()
    colors = display_node.GetColorNode() if display_node is not None else None
    created_names = (display.EVIDENCE_COLORS, display.DOSE_COLORS)
    created_colors = colors if colors is not None and colors.GetName().startswith(created_names) else None
    return [slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume), created_colors]
