"""Subregions in the scene: a live preview, and the segment that the user keeps."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.scene import display
from RTResponseCAMLib.scene.lesions import PREFIX, SUBREGION_TAG, lesion_name, tag_of
from RTResponseCAMLib.scene.nodes import add_segment, oriented_labelmap, segment_mask, segmentation_node
from RTResponseCAMLib.subregion.voxels import LesionVoxels, Mask

PREVIEW = f"{PREFIX}preview"
PREVIEW_COLOR = (0.2, 1.0, 0.9)
THRESHOLD_TAG, PRINT_TAG = f"{PREFIX}SubregionThreshold", f"{PREFIX}AsCreated"
QUALITY_FLAGS_TAG, MODEL_TAG = f"{PREFIX}QualityFlags", f"{PREFIX}Model"
# Tags in scenes of earlier versions.
OLD_TAGS = {THRESHOLD_TAG: f"{PREFIX}Cut", PRINT_TAG: f"{PREFIX}AsDrawn", QUALITY_FLAGS_TAG: f"{PREFIX}Doubts"}
PLACE_MM = 0.01


@dataclass(frozen=True)
class StoredSubregion:
    """A subregion that the user kept as a segment.

    Attributes
    ----------
    lesion : id of its lesion.
    name : name of the segment.
    threshold : subregion threshold as text.
    quality_flags : those of its lesion, "" without one.
    model : SHA-256 of the model that produced the evidence map.
    edited : whether its voxels differ from those created.
    mask, grid : ``[z, y, x]`` on the segment's own voxels.
    """

    lesion: str
    name: str
    threshold: str
    quality_flags: str
    model: str
    edited: bool
    mask: Mask
    grid: Grid


class Preview:
    """Outline of the subregion at the current threshold, in a separate segmentation that is never saved."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._node: Any = None
        self._lesion: LesionVoxels | None = None

    def show(self, voxels: LesionVoxels, mask: Mask, *, reference: Any) -> None:
        """Show a mask on the lesion's box; ``reference`` gives the segmentation its geometry and transform."""
        import slicer

        if self._node is None or self._node.GetScene() is None:
            self._node = _preview_node(self._scene, reference)
            self._lesion = None
        if self._node.GetTransformNodeID() != reference.GetTransformNodeID():
            self._node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
        if self._lesion is not voxels:
            self._node.GetSegmentation().RemoveAllSegments()
            add_segment(self._node, mask, grid=voxels.grid, name="preview", color=PREVIEW_COLOR)
            self._lesion = voxels
            return
        slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
            oriented_labelmap(mask, voxels.grid),
            self._node,
            self._node.GetSegmentation().GetNthSegmentID(0),
            slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE,
        )

    def hide(self) -> None:
        """Remove the preview."""
        if self._node is not None and self._node.GetScene() is not None:
            self._scene.RemoveNode(self._node)
        self._node, self._lesion = None, None


def create_segment(
    segmentation: Any,
    lesion_id: str,
    *,
    segment_id: str,
    voxels: LesionVoxels,
    threshold: float,
    quality_flags: Sequence[str] = (),
    model: str = "",
) -> str:
    """Add the voxels above ``threshold`` as a new segment to the lesion's segmentation; returns its id.

    A subregion of the same lesion at the same threshold is replaced, unless it was edited. Quality flags and the
    SHA-256 of the model are stored with the segment.
    """
    segments = segmentation.GetSegmentation()
    flagged = " (flagged)" if quality_flags else ""
    name = f"{lesion_id} {lesion_name(segments.GetSegment(segment_id))} evidence > {threshold:.2f}{flagged}"
    base_name = name
    for suffix in count(2):
        existing_id = segments.GetSegmentIdBySegmentName(name)
        if not existing_id:
            break
        if not _edited(segmentation, existing_id):
            segments.RemoveSegment(existing_id)
            break
        name = f"{base_name} ({suffix})"
    created = str(
        add_segment(segmentation, voxels.above(threshold), grid=voxels.grid, name=name, color=display.SUBREGION_COLOR)
    )
    segment = segments.GetSegment(created)
    segment.SetTag(SUBREGION_TAG, lesion_id)
    segment.SetTag(THRESHOLD_TAG, f"{threshold:.4g}")
    segment.SetTag(QUALITY_FLAGS_TAG, "; ".join(quality_flags))
    segment.SetTag(MODEL_TAG, model)
    segment.SetTag(PRINT_TAG, _print(*segment_mask(segmentation, created)))
    return created


def stored_subregions(segmentation: Any) -> list[StoredSubregion]:
    """All non-empty subregions kept in a segmentation, in the order of its segments."""
    segments, subregions = segmentation.GetSegmentation(), []
    for index in range(segments.GetNumberOfSegments()):
        segment_id = segments.GetNthSegmentID(index)
        segment = segments.GetSegment(segment_id)
        lesion = tag_of(segment, SUBREGION_TAG)
        if not lesion:
            continue
        try:
            mask, grid = segment_mask(segmentation, segment_id)
        except GeometryError:  # emptied in the editor
            continue
        edited = not _same(_tag(segment, PRINT_TAG), _print(mask, grid))
        threshold, quality_flags = _tag(segment, THRESHOLD_TAG), _tag(segment, QUALITY_FLAGS_TAG)
        model = tag_of(segment, MODEL_TAG)
        subregions.append(
            StoredSubregion(lesion, str(segment.GetName()), threshold, quality_flags, model, edited, mask, grid)
        )
    return subregions


def _edited(segmentation: Any, segment_id: str) -> bool:
    """Whether a kept subregion's voxels differ from those created."""
    try:
        current_print = _print(*segment_mask(segmentation, segment_id))
    except GeometryError:  # emptied
        return True
    return not _same(_tag(segmentation.GetSegmentation().GetSegment(segment_id), PRINT_TAG), current_print)


def _print(mask: Mask, grid: Grid) -> str:
    """Fingerprint of a segment's voxels, and the origin of its grid (LPS, mm)."""
    origin = " ".join(f"{mm:.3f}" for mm in grid.origin_mm)
    return f"{zlib.crc32(np.packbits(mask).tobytes()):08x}{grid.size} at {origin}"


def _same(first: str, second: str) -> bool:
    (voxels, _, origin), (other_voxels, _, other_origin) = first.partition(" at "), second.partition(" at ")
    if voxels != other_voxels or not origin:
        return False
    return all(abs(float(a) - float(b)) < PLACE_MM for a, b in zip(origin.split(), other_origin.split(), strict=True))


def _preview_node(scene: Any, reference: Any) -> Any:
    node = segmentation_node(scene, "Subregion preview", reference=reference)
    node.SetAttribute(PREVIEW, "1")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    display_node = node.GetDisplayNode()
    display_node.SetSaveWithScene(False)
    display_node.SetVisibility3D(False)
    display.show_outlines(node)
    display_node.SetVisibility2DFill(True)
    display_node.SetOpacity2DFill(0.2)
    return node


def _tag(segment: Any, name: str) -> str:
    """Value of a tag, under its present or its earlier name."""
    return tag_of(segment, name) or tag_of(segment, OLD_TAGS.get(name, name))
