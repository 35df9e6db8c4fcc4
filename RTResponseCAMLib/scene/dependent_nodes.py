"""Nodes that exist only for another one, so that deleting a volume leaves no orphans."""

from __future__ import annotations

from typing import Any

from RTResponseCAMLib.scene import display
from RTResponseCAMLib.scene.heatmap import GRADED_ROLE
from RTResponseCAMLib.scene.lesions import ROWS
from RTResponseCAMLib.scene.views import isodoses_of


def dependent_nodes_of(node: Any) -> list[str]:
    """Ids of nodes to remove after ``node``; to be asked while it is still in the scene.

    Of an evidence volume its colors, legend and graded copy; of a dose its isodose lines; each with its display.
    """
    found: list[Any] = []
    if node.IsA("vtkMRMLScalarVolumeNode"):
        models = isodoses_of(node)
        found += models + [model.GetDisplayNode() for model in models] + _looks(node)
    if node.GetAttribute(ROWS) is not None:
        graded = node.GetNodeReference(GRADED_ROLE)
        found += [graded, graded.GetDisplayNode() if graded is not None else None, node.GetDisplayNode()]
    return [one.GetID() for one in found if one is not None]


def _looks(volume: Any) -> list[Any]:
    """Legend of a volume, and the colors that were made for it."""
    import slicer

    shown = volume.GetDisplayNode()
    colors = shown.GetColorNode() if shown is not None else None
    made = (display.EVIDENCE_COLORS, display.DOSE_COLORS)
    own = colors if colors is not None and colors.GetName().startswith(made) else None
    return [slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume), own]
