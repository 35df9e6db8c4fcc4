"""What a saved scene keeps beside its nodes: the contours that were loaded, and the doses that were measured on them.

Segments are voxels once a scene was saved; figures made of them would differ from those of the contours. Both are kept
as attributes of the segmentation, each with the fingerprint of the segment's voxels for which it holds.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from RTResponseCAMLib.scene.lesions import PREFIX, row_from
from RTResponseCAMLib.scene.nodes import fingerprint, segment_mask
from RTResponseCAMLib.state import Row
from RTResponseCAMLib.study import Structure

CONTOURS, MEASURES = f"{PREFIX}contours", f"{PREFIX}measures"
DECIMALS = 6  # of a millimetre: no figure sees the difference
MOST_BYTES = 200_000_000  # of the text, unpacked: an attribute is read before anybody has looked at it


def keep_contours(segmentation: Any, structures: Mapping[str, Structure]) -> None:
    """Keep contours by segment id, each with the fingerprint of its segment's voxels."""
    entries = {
        segment: [
            fingerprint(*segment_mask(segmentation, segment)),
            structure.kind,
            [np.round(c, DECIMALS).tolist() for c in structure.contours],
        ]
        for segment, structure in structures.items()
    }
    packed = zlib.compress(json.dumps(entries, separators=(",", ":")).encode(), 6)
    segmentation.SetAttribute(CONTOURS, base64.b64encode(packed).decode())


def kept_contours(segmentation: Any) -> dict[str, tuple[str, Structure]]:
    """Contours by segment id, with the fingerprint for which they hold; none where the attribute cannot be read."""
    text = segmentation.GetAttribute(CONTOURS)
    if not text:
        return {}
    try:
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
        entries = json.loads(plain)
        return {
            segment: (str(state), Structure(0, "", str(kind), tuple(_contour(c) for c in contours)))
            for segment, (state, kind, contours) in entries.items()
        }
    except (ValueError, TypeError, AttributeError, binascii.Error, zlib.error):
        return {}


def keep_measures(segmentation: Any, measured: Mapping[str, tuple[str, Row]]) -> None:
    """Keep what was measured of each lesion, by its id, with the fingerprint of its segment's voxels."""
    entries = {lesion: [state, asdict(row)] for lesion, (state, row) in measured.items()}
    segmentation.SetAttribute(MEASURES, json.dumps(entries))


def kept_measures(segmentation: Any) -> dict[str, tuple[str, Row]]:
    """What was measured of each lesion; none where the attribute cannot be read."""
    try:
        entries = json.loads(segmentation.GetAttribute(MEASURES) or "{}")
        return {lesion: (str(state), row_from(row)) for lesion, (state, row) in entries.items()}
    except (ValueError, TypeError, AttributeError, KeyError):
        return {}


def _contour(points: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = np.asarray(points, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 3 or not np.isfinite(found).all():
        raise ValueError("not a contour")
    return found
