"""Nodes that exist only for another one, so that deleting a volume leaves no orphans."""

from __future__ import annotations

from collections.abc import Iterable
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


def remove_nodes(scene: Any, ids: Iterable[str]) -> None:
    """Remove those of the nodes that are still there."""
    for one in ids:
        node = scene.GetNodeByID(one)
        if node is not None:
            scene.RemoveNode(node)


def _of_evidence(cam: Any) -> list[Any]:
    import slicer

    graded, shown = cam.GetNodeReference(GRADED_ROLE), cam.GetDisplayNode()
    colors = shown.GetColorNode() if shown is not None else None
    own = colors if colors is not None and colors.GetName().startswith(display.EVIDENCE_COLORS) else None
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(cam)
    return [graded, graded.GetDisplayNode() if graded is not None else None, legend, shown, own]
