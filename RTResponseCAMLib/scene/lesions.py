"""Lesions in the scene: their segments, and their results, which are stored with the evidence volume.

The evidence volume stores everything that the panel shows, so a saved scene needs no other file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from RTResponseCAMLib.dicom.targets import names_a_target
from RTResponseCAMLib.models.registry import entry_of
from RTResponseCAMLib.scene.nodes import place_of_volume
from RTResponseCAMLib.state import Row
from RTResponseCAMLib.study import DoseMetrics, Prediction, Result
from RTResponseCAMLib.warnings import by_severity, labeled

PREFIX = "RTResponseCAM."
LESION_TAG, PRESCRIPTION_TAG, SUBREGION_TAG = f"{PREFIX}Lesion", f"{PREFIX}PrescriptionGy", f"{PREFIX}SubregionOf"
ISODOSE_ROLE, ISODOSE_LEVELS = f"{PREFIX}isodose", f"{PREFIX}isodoseLevels"
ROWS, INPUTS, NOTES = f"{PREFIX}lesions", f"{PREFIX}inputs", f"{PREFIX}warnings"
OLD_NOTES, THRESHOLD, OLD_THRESHOLD = f"{PREFIX}cautions", f"{PREFIX}subregionThreshold", f"{PREFIX}cut"
OLD_KEYS = {"cautions": "warnings", "doubts": "quality_flags"}  # of rows in scenes of earlier versions
PLACE = f"{PREFIX}place"  # geometry of the evidence at its creation


def lesion_segments(segmentation: Any) -> dict[str, str]:
    """Lesion id ("L1", …) → segment id, in the order of the segments.

    Segments named like anatomy (skull, brain, …) and subregions created by this program are excluded. A segment
    keeps the lesion id that it got on loading; other segments get the next free number.
    """
    if segmentation is None:
        return {}
    segments = segmentation.GetSegmentation()
    all_ids = [segments.GetNthSegmentID(n) for n in range(segments.GetNumberOfSegments())]
    lesion_segment_ids = [s for s in all_ids if is_lesion(segments.GetSegment(s))]
    stored: dict[str, str] = {}
    for segment_id in lesion_segment_ids:
        stored_id = tag_of(segments.GetSegment(segment_id), LESION_TAG)
        if stored_id and stored_id not in stored:
            stored[stored_id] = segment_id
    free = (f"L{n}" for n in range(1, len(all_ids) + len(stored) + 1) if f"L{n}" not in stored)
    stored_by_segment = {s: name for name, s in stored.items()}
    return {stored_by_segment.get(s) or next(free): s for s in lesion_segment_ids}


def is_lesion(segment: Any) -> bool:
    """Whether a segment is a treated target: it was loaded as one, or its name does not exclude it."""
    if tag_of(segment, SUBREGION_TAG):
        return False
    return bool(tag_of(segment, LESION_TAG)) or names_a_target(segment.GetName() or "")


def lesion_name(segment: Any) -> str:
    """ROI name of a lesion's segment, without the lesion id in front of it."""
    name, lesion_id = str(segment.GetName() or ""), tag_of(segment, LESION_TAG)
    return name[len(lesion_id) + 1 :] if lesion_id and name.startswith(f"{lesion_id} ") else name


def tagged_prescription_gy(segment: Any) -> float | None:
    """Prescription that the plan states for a lesion, Gy; None without one."""
    try:
        return float(tag_of(segment, PRESCRIPTION_TAG))
    except ValueError:
        return None


def row_of(prediction: Prediction, segment_id: str) -> Row:
    """Table row of a predicted lesion."""
    return Row(
        segment_id=segment_id,
        id=prediction.lesion.id,
        name=prediction.lesion.structure.name,
        volume_cc=prediction.volume_cc,
        p_response=prediction.p_response,
        p_low=prediction.p_response_low,
        p_high=prediction.p_response_high,
        label=prediction.label,
        class_threshold=prediction.class_threshold,
        warnings=tuple(w.translated() for w in by_severity(prediction.warnings)),
        severities=tuple(w.severity.value for w in by_severity(prediction.warnings)),
        quality_flags=prediction.quality_flags,
        contributions={entry_of(name).title: added for name, added in prediction.contributions.items()},
        **dose_columns(prediction.dose),
    )


def dose_columns(dose: DoseMetrics | None) -> dict[str, Any]:
    """The columns of a `Row` that come from the dose; empty without dose metrics."""
    if dose is None:
        return {}
    return {
        "prescription_gy": dose.prescription_gy,
        "mean_gy": dose.mean_gy,
        "d98_gy": dose.d98_gy,
        "coverage": dose.coverage,
        "dose_unit": dose.unit,
    }


def attach_result(
    cam: Any,
    result: Result,
    *,
    segments: Mapping[str, str],
    dose: Any,
    segmentation: Any,
    inputs: Mapping[str, str] | None = None,
) -> None:
    """Store rows, warnings, provenance and the fingerprints of the inputs with the evidence volume."""
    rows = [row_of(p, segments.get(p.lesion.id, "")) for p in result.predictions]
    cam.SetAttribute(ROWS, json.dumps([asdict(row) for row in rows]))
    cam.SetAttribute(
        NOTES, json.dumps([labeled(w.translated(), w.severity.value) for w in by_severity(result.warnings)])
    )
    cam.SetAttribute(INPUTS, json.dumps(dict(inputs or {})))
    cam.SetAttribute(PLACE, place_of_volume(cam))
    cam.SetAttribute(THRESHOLD, repr(result.subregion_threshold))
    for key, value in result.provenance.items():
        cam.SetAttribute(f"{PREFIX}{key}", value)
    for role, node in (("dose", dose), ("segmentation", segmentation)):
        cam.SetNodeReferenceID(f"{PREFIX}{role}", node.GetID() if node is not None else None)


def rows_of(cam: Any) -> tuple[Row, ...]:
    """Rows stored with an evidence volume; empty when they cannot be read."""
    try:
        entries: Sequence[dict[str, Any]] = json.loads(cam.GetAttribute(ROWS) or "[]")
        return tuple(row_from(entry) for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()


def row_from(entry: Mapping[str, Any]) -> Row:
    """Restore a stored row; scenes of earlier versions use `OLD_KEYS` and store no severities."""
    values = {OLD_KEYS.get(key, key): value for key, value in entry.items()}
    return Row(**{**values, **{k: tuple(values.get(k, ())) for k in ("warnings", "quality_flags", "severities")}})


def notes_of(cam: Any) -> tuple[str, ...]:
    """Warnings about the whole result, stored with an evidence volume; empty when they cannot be read."""
    try:
        return tuple(str(text) for text in json.loads(cam.GetAttribute(NOTES) or cam.GetAttribute(OLD_NOTES) or "[]"))
    except (ValueError, TypeError):
        return ()


def inputs_of(cam: Any) -> dict[str, str]:
    """Fingerprints of the inputs of a result; an unreadable record gives an entry that matches no inputs."""
    try:
        return {str(key): str(value) for key, value in json.loads(cam.GetAttribute(INPUTS) or "{}").items()}
    except (ValueError, AttributeError):
        return {"inputs (their record cannot be read)": ""}


def stored_subregion_threshold(cam: Any, otherwise: float) -> float:
    """Subregion threshold stored with an evidence volume; ``otherwise`` when none can be read."""
    try:
        return float(cam.GetAttribute(THRESHOLD) or cam.GetAttribute(OLD_THRESHOLD) or otherwise)
    except ValueError:
        return otherwise


def is_evidence(volume: Any) -> bool:
    """Whether a volume is an evidence map."""
    return volume.GetAttribute(ROWS) is not None


def was_moved(cam: Any) -> bool:
    """Whether the evidence was moved after its creation, by hardening a transform on it."""
    created_geometry = cam.GetAttribute(PLACE)
    return created_geometry is not None and created_geometry != place_of_volume(cam)


def tag_of(segment: Any, name: str) -> str:
    """Value of a segment's tag; "" when the segment does not have it."""
    import vtk

    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""
