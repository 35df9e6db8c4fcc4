"""Subregions in the scene: a live preview, and the segment that is kept."""

from __future__ import annotations

from typing import Any

from RTResponseCAMLib.scene import display
from RTResponseCAMLib.scene.lesions import PREFIX, SUBREGION_TAG, lesion_name
from RTResponseCAMLib.scene.nodes import add_segment, oriented_labelmap, segmentation_node
from RTResponseCAMLib.subregion.voxels import LesionVoxels, Mask

PREVIEW = f"{PREFIX}preview"
PREVIEW_COLOR = (0.2, 1.0, 0.9)
CUT_TAG = f"{PREFIX}Cut"


class Preview:
    """Outline of the subregion that would be made, in a segmentation of its own that is never saved."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._node: Any = None
        self._lesion: LesionVoxels | None = None

    def show(self, voxels: LesionVoxels, mask: Mask, reference: Any) -> None:
        """Draw a mask on the lesion's box; ``reference`` gives a new segmentation its geometry."""
        import slicer

        if self._node is None or self._node.GetScene() is None:
            self._node = _preview_node(self._scene, reference)
            self._lesion = None
        if self._lesion is not voxels:
            self._node.GetSegmentation().RemoveAllSegments()
            add_segment(self._node, mask, voxels.grid, "preview", PREVIEW_COLOR)
            self._lesion = voxels
            return
        slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
            oriented_labelmap(mask, voxels.grid),
            self._node,
            self._node.GetSegmentation().GetNthSegmentID(0),
            slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE,
        )

    def hide(self) -> None:
        """Take the preview away."""
        if self._node is not None and self._node.GetScene() is not None:
            self._scene.RemoveNode(self._node)
        self._node, self._lesion = None, None


def create_segment(segmentation: Any, lesion_id: str, segment_id: str, voxels: LesionVoxels, cut: float) -> str:
    """Add the voxels above ``cut`` to the lesion's segmentation as a segment of their own; returns its id.

    A subregion of the same lesion at the same cut is replaced, not doubled.
    """
    segments = segmentation.GetSegmentation()
    name = f"{lesion_id} {lesion_name(segments.GetSegment(segment_id))} evidence > {cut:.2f}"
    old = segments.GetSegmentIdBySegmentName(name)
    if old:
        segments.RemoveSegment(old)
    created = add_segment(segmentation, voxels.above(cut), voxels.grid, name, display.SUBREGION_COLOR)
    segment = segments.GetSegment(created)
    segment.SetTag(SUBREGION_TAG, lesion_id)
    segment.SetTag(CUT_TAG, f"{cut:.4f}")
    return created


def _preview_node(scene: Any, reference: Any) -> Any:
    node = segmentation_node(scene, "Subregion preview", reference)
    node.SetAttribute(PREVIEW, "1")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    shown = node.GetDisplayNode()
    shown.SetSaveWithScene(False)
    shown.SetVisibility3D(False)
    display.show_outlines(node)
    shown.SetVisibility2DFill(True)
    shown.SetOpacity2DFill(0.2)
    return node
