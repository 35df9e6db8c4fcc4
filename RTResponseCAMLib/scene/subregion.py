"""Subregions in the scene: a live preview, and the segment that is kept."""

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
THRESHOLD_TAG, PRINT_TAG = f"{PREFIX}Cut", f"{PREFIX}AsDrawn"
QUALITY_FLAGS_TAG, MODEL_TAG = f"{PREFIX}Doubts", f"{PREFIX}Model"
PLACE_MM = 0.01


@dataclass(frozen=True)
class Kept:
    """A subregion that the user kept as a segment.

    Attributes
    ----------
    lesion, name : of which lesion, and the segment's name.
    threshold : subregion threshold as text. quality_flags : those of its lesion, "" without one.
    model : SHA-256 of the model whose map it was drawn on.
    edited : its voxels are not those that were drawn.
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
    """Outline of the subregion that would be made, in a segmentation of its own that is never saved."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._node: Any = None
        self._lesion: LesionVoxels | None = None

    def show(self, voxels: LesionVoxels, mask: Mask, *, reference: Any) -> None:
        """Draw a mask on the lesion's box; ``reference`` gives a new segmentation its geometry."""
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
        """Take the preview away."""
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
    """Add the voxels above ``threshold`` to the lesion's segmentation as a segment of their own; returns its id.

    A subregion of the same lesion at the same cut is replaced, not doubled, unless it was edited. Doubts and the
    model's SHA-256 stay with the segment.
    """
    segments = segmentation.GetSegmentation()
    flagged = " (in doubt)" if quality_flags else ""
    name = f"{lesion_id} {lesion_name(segments.GetSegment(segment_id))} evidence > {threshold:.2f}{flagged}"
    plain = name
    for number in count(2):
        old = segments.GetSegmentIdBySegmentName(name)
        if not old:
            break
        if not _edited(segmentation, old):
            segments.RemoveSegment(old)
            break
        name = f"{plain} ({number})"
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


def kept_subregions(segmentation: Any) -> list[Kept]:
    """All subregions kept in a segmentation that still hold a voxel, in the order of its segments."""
    segments, found = segmentation.GetSegmentation(), []
    for number in range(segments.GetNumberOfSegments()):
        segment_id = segments.GetNthSegmentID(number)
        segment = segments.GetSegment(segment_id)
        lesion = tag_of(segment, SUBREGION_TAG)
        if not lesion:
            continue
        try:
            mask, grid = segment_mask(segmentation, segment_id)
        except GeometryError:  # emptied in the editor
            continue
        edited = not _same(tag_of(segment, PRINT_TAG), _print(mask, grid))
        threshold, quality_flags = tag_of(segment, THRESHOLD_TAG), tag_of(segment, QUALITY_FLAGS_TAG)
        model = tag_of(segment, MODEL_TAG)
        found.append(Kept(lesion, str(segment.GetName()), threshold, quality_flags, model, edited, mask, grid))
    return found


def _edited(segmentation: Any, segment_id: str) -> bool:
    """Whether a kept subregion's voxels are not those that were drawn."""
    try:
        now = _print(*segment_mask(segmentation, segment_id))
    except GeometryError:  # emptied
        return True
    return not _same(tag_of(segmentation.GetSegmentation().GetSegment(segment_id), PRINT_TAG), now)


def _print(mask: Mask, grid: Grid) -> str:
    """Fingerprint of a segment's voxels, and where they begin (LPS, mm)."""
    place = " ".join(f"{mm:.3f}" for mm in grid.origin_mm)
    return f"{zlib.crc32(np.packbits(mask).tobytes()):08x}{grid.size} at {place}"


def _same(one: str, other: str) -> bool:
    (voxels, _, place), (voxels2, _, place2) = one.partition(" at "), other.partition(" at ")
    if voxels != voxels2 or not place:
        return False
    return all(abs(float(a) - float(b)) < PLACE_MM for a, b in zip(place.split(), place2.split(), strict=True))


def _preview_node(scene: Any, reference: Any) -> Any:
    node = segmentation_node(scene, "Subregion preview", reference=reference)
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
