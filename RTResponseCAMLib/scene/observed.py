"""Events that make a result out of date (voxels, segments, transforms), and changes of the layout."""

from __future__ import annotations

from typing import Any


def observed(scene: Any, parameters: Any) -> list[tuple[Any, Any]]:
    """Objects and events to observe for the chosen inputs."""
    import vtk

    pairs: list[tuple[Any, Any]] = []
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout is not None:
        pairs.append((layout, vtk.vtkCommand.ModifiedEvent))
    for node in (parameters.mrVolume, parameters.doseVolume, parameters.camVolume):
        if node is not None:
            pairs += [(node, node.ImageDataModifiedEvent), (node, node.TransformModifiedEvent)]
    if parameters.segmentation is not None:
        segments = parameters.segmentation.GetSegmentation()
        pairs += [(parameters.segmentation, parameters.segmentation.TransformModifiedEvent)]
        events = (
            segments.SegmentAdded,
            segments.SegmentRemoved,
            segments.SegmentModified,
            segments.SourceRepresentationModified,
        )
        pairs += [(segments, event) for event in events]
    return pairs
