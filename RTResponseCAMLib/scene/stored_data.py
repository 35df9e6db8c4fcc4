"""Data stored in a saved scene beside its nodes: the loaded contours, and the doses measured on them.

A saved scene stores segments as voxels; values computed from voxels differ from those of the contours. Contours and
measured doses are attributes of the segmentation, each with the fingerprint of the segment's voxels for which it holds.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from RTResponseCAMLib.scene.lesions import PREFIX, row_from
from RTResponseCAMLib.scene.nodes import fingerprint, segment_mask
from RTResponseCAMLib.state import Row
from RTResponseCAMLib.study import Structure

CONTOURS, MEASURES, PRESCRIPTION = f"{PREFIX}contours", f"{PREFIX}measures", f"{PREFIX}prescription"
STEP_MM = 1e-6  # points are rounded to this step, which changes no reported value
MOST_BYTES = 200_000_000  # limit of the decompressed text: the attribute is unchecked input


def store_contours(segmentation: Any, structures: Mapping[str, Structure]) -> None:
    """Store contours by segment id, each with the fingerprint of its segment's voxels."""
    entries = {
        segment: [
            fingerprint(*segment_mask(segmentation, segment)),
            structure.kind,
            [len(contour) for contour in structure.contours],
        ]
        for segment, structure in structures.items()
    }
    header = json.dumps(entries, separators=(",", ":")).encode()
    points = [np.rint(c / STEP_MM).astype("<i8").tobytes() for s in structures.values() for c in s.contours]
    packed = zlib.compress(b"\n".join([header, b"".join(points)]), 1)
    segmentation.SetAttribute(CONTOURS, base64.b64encode(packed).decode())


def stored_contours(segmentation: Any) -> dict[str, tuple[str, Structure]]:
    """Stored contours by segment id, with the fingerprint for which they hold; empty when they cannot be read."""
    text = segmentation.GetAttribute(CONTOURS)
    if not text:
        return {}
    try:
        plain = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), MOST_BYTES)
        header, points = plain.split(b"\n", 1)
        points_mm, first_point, contours_by_segment = np.frombuffer(points, dtype="<i8").reshape(-1, 3) * STEP_MM, 0, {}
        for segment, (state, kind, lengths) in json.loads(header).items():
            edges = first_point + np.cumsum([0, *lengths])
            if min(lengths) < 1:
                return {}
            contours = tuple(points_mm[a:b] for a, b in pairwise(edges.tolist()))
            contours_by_segment[segment] = str(state), Structure(0, "", str(kind), contours)
            first_point = int(edges[-1])
        return contours_by_segment if first_point == len(points_mm) else {}
    except (ValueError, TypeError, AttributeError, binascii.Error, zlib.error):
        return {}


def store_measures(segmentation: Any, measured: Mapping[str, tuple[str, Row]]) -> None:
    """Store the measured row of each lesion by lesion id, with the fingerprint of its segment's voxels."""
    entries = {lesion: [state, asdict(row)] for lesion, (state, row) in measured.items()}
    segmentation.SetAttribute(MEASURES, json.dumps(entries))


def stored_measures(segmentation: Any) -> dict[str, tuple[str, Row]]:
    """Stored rows by lesion id, each with its fingerprint; empty when they cannot be read."""
    try:
        entries = json.loads(segmentation.GetAttribute(MEASURES) or "{}")
        return {lesion: (str(state), row_from(row)) for lesion, (state, row) in entries.items()}
    except (ValueError, TypeError, AttributeError, KeyError):
        return {}


def store_prescription(segmentation: Any, gray: float, *, isodose_percent: float, fractions: int) -> None:
    """Store what was stated for all lesions of a segmentation: prescription (Gy), isodose (%), fractions."""
    segmentation.SetAttribute(PRESCRIPTION, json.dumps([gray, isodose_percent, fractions]))


def stored_prescription(segmentation: Any) -> tuple[float, float, int]:
    """Stored prescription (Gy; 0 as planned), isodose (%; 0 not stated) and number of fractions.

    (0, 0, 1) when nothing is stored or the attribute cannot be read.
    """
    try:
        gray, isodose_percent, fractions = json.loads(segmentation.GetAttribute(PRESCRIPTION) or "[0, 0, 1]")
        return float(gray), float(isodose_percent), int(fractions)
    except (ValueError, TypeError):
        return 0.0, 0.0, 1
