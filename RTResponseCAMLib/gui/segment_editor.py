"""Opens Slicer's Segment Editor on a segment."""

from __future__ import annotations

from typing import Any

import slicer


def edit_segment(parameters: Any, segment_id: str) -> None:
    """Open the Segment Editor on a segment; without a main window, only select the segment in its parameter node.

    On entering, the editor restores its own selection. The segment is therefore selected afterwards.
    """
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(parameters.segmentation)
        editor.setSourceVolumeNode(parameters.mrVolume)
        editor.setCurrentSegmentID(segment_id)
        return
    scene, tag = slicer.mrmlScene, "SegmentEditor"
    node = scene.GetSingletonNode(tag, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(tag)
        node = scene.AddNode(node)
    node.SetAndObserveSegmentationNode(parameters.segmentation)
    node.SetAndObserveSourceVolumeNode(parameters.mrVolume)
    node.SetSelectedSegmentID(segment_id)
