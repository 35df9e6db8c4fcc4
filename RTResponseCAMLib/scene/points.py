"""Cell-level measurements as markups: one list and color per type, locked where they were measured."""

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
GLYPH_PERCENT = 1.5  # of the view


def show_points(scene: Any, points: Sequence[Point]) -> list[Any]:
    """Put points into the scene, a list for each type; returns the lists. Those of an earlier call are replaced."""
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
    """Write points of all types as one list of markups (``.mrk.json``), which opens in Slicer.

    Raises
    ------
    OutputError : it cannot be written.
    """
    import slicer

    scene = new_scene()
    node = _list(scene, "cell-level points", points, COLORS[0])
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
        place = node.AddControlPoint(*ras(point.place_mm))
        node.SetNthControlPointLabel(place, f"{point.value:g}")
        node.SetNthControlPointDescription(place, f"{point.kind} {point.value:g}".strip())
    node.EndModify(modifying)
    node.SetLocked(True)
    shown = node.GetDisplayNode()
    if shown is not None:
        shown.SetColor(*color)
        shown.SetSelectedColor(*color)
        shown.SetGlyphScale(GLYPH_PERCENT)
        shown.SetTextScale(2.5)
    return node
