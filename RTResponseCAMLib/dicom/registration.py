"""Spatial registration objects (REG): rigid maps between frames of reference, also along chains of registrations."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.identity import compare
from RTResponseCAMLib.dicom.index import Entry, Index
from RTResponseCAMLib.dicom.validation import damaged, numbers
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.rigid import Matrix, is_rigid, moved_points
from RTResponseCAMLib.warnings import Warning, WarningCode

SPATIAL_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"
SAME_MM = 0.1
PROBES_MM = 100.0 * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
Links = dict[tuple[str, str], Matrix]


def read_links(index: Index) -> tuple[Links, tuple[Warning, ...]]:
    """Rigid maps (4 × 4) of LPS points in mm, keyed by (from, to) Frame of Reference UID, in both directions.

    For an item that references images instead of a frame of reference, the frame of these images is used. Left out
    with a warning: registrations of another patient, deformable and non-rigid registrations, unreadable files, and
    registrations that contradict one another.
    """
    frames = _frames_of_images(index) if index.registrations else {}
    links: Links = {}
    disputed: set[tuple[str, str]] = set()
    warnings: list[Warning] = []
    for entry in index.registrations:
        comparisons = [compare(entry, files[0]) for files in index.series.values()]
        if comparisons and all(comparison.other for comparison in comparisons):
            reason = f"belongs to another patient than the images, by {comparisons[0].reason}"
            warnings.append(WarningCode.REGISTRATION_LEFT_OUT(file=entry.path.name, reason=reason))
            continue
        try:
            entry_links = _read_one(entry, frames)
        except StudyError as error:
            warnings.append(WarningCode.REGISTRATION_LEFT_OUT(file=entry.path.name, reason=error.what))
            continue
        for pair, matrix in entry_links.items():
            previous = links.setdefault(pair, matrix)
            links.setdefault(pair[::-1], np.asarray(np.linalg.inv(matrix), dtype=np.float64))
            if _apart_mm(previous, matrix) > SAME_MM:
                disputed |= {pair, pair[::-1]}
    for pair in disputed:
        del links[pair]
    if disputed:
        warnings.append(WarningCode.REGISTRATIONS_DIFFER(count=len(disputed) // 2))
    return links, tuple(warnings)


def map_between(links: Links, start: str, *, stop: str) -> Matrix | None:
    """Map from one frame to another through the fewest registrations (breadth-first search); None when unconnected."""
    if start == stop:
        return np.eye(4)
    queue, seen = deque([(start, np.eye(4))]), {start}
    while queue:
        frame, matrix = queue.popleft()
        for (source, destination), step in links.items():
            if source != frame or destination in seen:
                continue
            if destination == stop:
                return np.asarray(step @ matrix)
            seen.add(destination)
            queue.append((destination, step @ matrix))
    return None


def _apart_mm(first: Matrix, second: Matrix) -> float:
    """Largest distance that two maps put between the same point, mm; evaluated at `PROBES_MM`, the extent of a head."""
    return float(np.linalg.norm(moved_points(first, PROBES_MM) - moved_points(second, PROBES_MM), axis=1).max())


def _frames_of_images(index: Index) -> dict[str, str]:
    """SOP Instance UID of every image → its frame of reference."""
    return {e.uid: e.text("FrameOfReferenceUID") for files in index.series.values() for e in files}


def _read_one(entry: Entry, frames: Mapping[str, str]) -> Links:
    if entry.text("SOPClassUID") != SPATIAL_REGISTRATION:
        raise StudyError(entry.path, "is not a rigid spatial registration", "Export a rigid registration")
    with damaged(entry.path, "a registration"):
        data = read_header(entry.path)
        target = str(data.get("FrameOfReferenceUID", "") or "")
        links: Links = {}
        unnamed = 0
        for item in data.get("RegistrationSequence") or ():
            matrix = np.eye(4)
            for group in item.get("MatrixRegistrationSequence") or ():
                for step in group.get("MatrixSequence") or ():
                    matrix = _matrix(entry.path, step) @ matrix
            source = str(item.get("FrameOfReferenceUID", "") or "") or _frame_by_images(item, frames)
            unnamed += not source
            if source and target and source != target:
                previous = links.setdefault((source, target), matrix)
                if _apart_mm(previous, matrix) > SAME_MM:
                    problem = "holds two matrices that contradict one another for the same pair of frames of reference"
                    raise StudyError(entry.path, problem, "Export only one of the two registrations")
    if not links:
        problem = "links no pair of frames of reference (0020,0052)"
        if not target:
            problem = "does not name the frame of reference that it maps into (0020,0052)"
        elif unnamed:
            problem = (
                f"has {unnamed} item(s) without a frame of reference (0020,0052) whose images (0008,1140) are absent"
            )
        raise StudyError(
            entry.path, problem, "Export the registration again, together with the images that it references"
        )
    return links


def _frame_by_images(item: Dataset, frames: Mapping[str, str]) -> str:
    """Frame of reference of the images that an item references; "" when none is present or they lie in several."""
    images = item.get("ReferencedImageSequence") or ()
    frame_uids = {frames.get(str(image.get("ReferencedSOPInstanceUID", "")), "") for image in images} - {""}
    return frame_uids.pop() if len(frame_uids) == 1 else ""


def _matrix(path: Path, step: Dataset) -> Matrix:
    kind = str(step.get("FrameOfReferenceTransformationMatrixType", "RIGID")).upper()
    matrix = numbers(path, step, keyword="FrameOfReferenceTransformationMatrix", count=16).reshape(4, 4)
    if kind != "RIGID" or not is_rigid(matrix):
        raise StudyError(path, f"holds a {kind} matrix that is not rigid (3006,00C6)", "Export a rigid registration")
    return matrix
