"""Biopsy / cell-density points as markups: one list and one color per type, locked in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.scene.build import new_scene
from RTResponseCAMLib.scene.lesions import PREFIX
from RTResponseCAMLib.scene.nodes import ras
from RTResponseCAMLib.subregion.points import Point

POINTS = f"{PREFIX}Points"
COLORS = ((0.35, 0.9, 0.45), (0.95, 0.85, 0.2), (0.75, 0.5, 1.0), (0.3, 0.85, 0.95))
GLYPH_PERCENT = 1.5  # of the view size


def show_points(scene: Any, points: Sequence[Point]) -> list[Any]:
    """Add points to the scene, one list per type; returns the lists. Lists of an earlier call are replaced."""
    for node in points_lists(scene):
        scene.RemoveNode(node)
    kinds = list(dict.fromkeys(point.kind for point in points))
    return [
        _list(scene, kind, [p for p in points if p.kind == kind], COLORS[n % len(COLORS)])
        for n, kind in enumerate(kinds)
    ]


def points_lists(scene: Any) -> list[Any]:
    """The lists of points in the scene."""
    count = int(scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode"))
    nodes = [scene.GetNthNodeByClass(n, "vtkMRMLMarkupsFiducialNode") for n in range(count)]
    return [node for node in nodes if node.GetAttribute(POINTS)]


def save_points(points: Sequence[Point], path: Path) -> None:
    """Write points of all types as one markups list (``.mrk.json``), which opens in Slicer.

    Raises
    ------
    OutputError : the file cannot be written.
    """
    import slicer

    scene = new_scene()
    node = _list(scene, "biopsy / cell-density points", points, COLORS[0])
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    storage.SetFileName(str(path))
    written = storage.WriteData(node)
    scene.Clear(True)
    if not written:
        raise OutputError(path.name, "the points could not be written", "Check free space and permissions")


def _list(scene: Any, kind: str, points: Sequence[Point], color: tuple[float, float, float]) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", kind or "Points")
    node.SetAttribute(POINTS, "1")
    node.CreateDefaultDisplayNodes()
    modifying = node.StartModify()
    for point in points:
        point_index = node.AddControlPoint(*ras(point.place_mm))
        node.SetNthControlPointLabel(point_index, f"{point.value:g}")
        node.SetNthControlPointDescription(point_index, f"{point.kind} {point.value:g}".strip())
    node.EndModify(modifying)
    node.SetLocked(True)
    display_node = node.GetDisplayNode()
    if display_node is not None:
        display_node.SetColor(*color)
        display_node.SetSelectedColor(*color)
        display_node.SetGlyphScale(GLYPH_PERCENT)
        display_node.SetTextScale(2.5)
    return node
