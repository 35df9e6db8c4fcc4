"""Spatial registration objects (REG): rigid maps between frames of reference, followed along chains."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.index import Entry
from RTResponseCAMLib.dicom.values import damaged, numbers
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.rigid import Matrix, is_rigid, moved_points
from RTResponseCAMLib.study import Caution

SPATIAL_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"
SAME_MM = 0.1
PROBES_MM = 100.0 * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
Links = dict[tuple[str, str], Matrix]


def read_links(entries: Iterable[Entry]) -> tuple[Links, tuple[Caution, ...]]:
    """Maps of LPS points, mm, by (from, to) Frame of Reference UID, in both directions.

    Deformable and non-rigid registrations, files that cannot be read, and registrations that contradict one another
    are left out with a caution.
    """
    links: Links = {}
    disputed: set[tuple[str, str]] = set()
    cautions: list[Caution] = []
    for entry in entries:
        try:
            found = _read_one(entry)
        except StudyError as error:
            cautions.append(Caution("registration-left-out", f"{entry.path.name} {error.what}; it is left out"))
            continue
        for pair, matrix in found.items():
            known = links.setdefault(pair, matrix)
            links.setdefault(pair[::-1], np.asarray(np.linalg.inv(matrix), dtype=np.float64))
            if np.linalg.norm(moved_points(known, PROBES_MM) - moved_points(matrix, PROBES_MM), axis=1).max() > SAME_MM:
                disputed |= {pair, pair[::-1]}
    for pair in disputed:
        del links[pair]
    if disputed:
        text = f"{len(disputed) // 2} pair(s) of frames have registrations (REG) that contradict one another; not used"
        cautions.append(Caution("registrations-differ", text))
    return links, tuple(cautions)


def map_between(links: Links, start: str, stop: str) -> Matrix | None:
    """Map from one frame to another along the fewest registrations; None when nothing connects them."""
    if start == stop:
        return np.eye(4)
    queue, seen = deque([(start, np.eye(4))]), {start}
    while queue:
        frame, matrix = queue.popleft()
        for (one, other), step in links.items():
            if one != frame or other in seen:
                continue
            if other == stop:
                return np.asarray(step @ matrix)
            seen.add(other)
            queue.append((other, step @ matrix))
    return None


def _read_one(entry: Entry) -> Links:
    if entry.text("SOPClassUID") != SPATIAL_REGISTRATION:
        raise StudyError(entry.path, "is no rigid spatial registration", "Export a rigid registration")
    with damaged(entry.path, "a registration"):
        data = read_header(entry.path)
        target = str(data.get("FrameOfReferenceUID", ""))
        links: Links = {}
        for item in data.get("RegistrationSequence") or ():
            matrix = np.eye(4)
            for group in item.get("MatrixRegistrationSequence") or ():
                for step in group.get("MatrixSequence") or ():
                    matrix = _matrix(entry.path, step) @ matrix
            source = str(item.get("FrameOfReferenceUID", ""))
            if source and target and source != target:
                links[(source, target)] = matrix
    if not links:
        raise StudyError(entry.path, "names no pair of frames of reference", "Export the registration again")
    return links


def _matrix(path: Path, step: Dataset) -> Matrix:
    kind = str(step.get("FrameOfReferenceTransformationMatrixType", "RIGID")).upper()
    matrix = numbers(path, step, "FrameOfReferenceTransformationMatrix", 16).reshape(4, 4)
    if kind != "RIGID" or not is_rigid(matrix):
        raise StudyError(path, f"holds a {kind} matrix that is not rigid (3006,00C6)", "Export a rigid registration")
    return matrix
