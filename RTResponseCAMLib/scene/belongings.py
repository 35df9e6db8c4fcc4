"""Nodes that exist only for another one, so that deleting a volume leaves no orphans."""

from __future__ import annotations

from typing import Any

from RTResponseCAMLib.scene import display
from RTResponseCAMLib.scene.heatmap import GRADED_ROLE
from RTResponseCAMLib.scene.lesions import ROWS
from RTResponseCAMLib.scene.views import isodoses_of


def belongings_of(node: Any) -> list[str]:
    """Ids of nodes to remove after ``node``; to be asked while it is still in the scene.

    Of an evidence volume its colours, legend and graded copy; of a dose its isodose lines; each with its display.
    """
    found: list[Any] = []
    if node.IsA("vtkMRMLScalarVolumeNode"):
        models = isodoses_of(node)
        found += models + [model.GetDisplayNode() for model in models]
    if node.GetAttribute(ROWS) is not None:
        found += _of_evidence(node)
    return [one.GetID() for one in found if one is not None]


def remove_with_display(scene: Any, node: Any) -> None:
    """Remove a node and the node that says how it looks."""
    shown = node.GetDisplayNode()
    scene.RemoveNode(node)
    if shown is not None:
        scene.RemoveNode(shown)


def _of_evidence(cam: Any) -> list[Any]:
    import slicer

    graded, shown = cam.GetNodeReference(GRADED_ROLE), cam.GetDisplayNode()
    colors = shown.GetColorNode() if shown is not None else None
    own = colors if colors is not None and colors.GetName().startswith(display.EVIDENCE_COLORS) else None
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(cam)
    return [graded, graded.GetDisplayNode() if graded is not None else None, legend, shown, own]
