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
from RTResponseCAMLib.imaging.rigid import Matrix, is_rigid
from RTResponseCAMLib.study import Caution

SPATIAL_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"
Links = dict[tuple[str, str], Matrix]


def read_links(entries: Iterable[Entry]) -> tuple[Links, tuple[Caution, ...]]:
    """Maps of LPS points, mm, by (from, to) Frame of Reference UID, in both directions.

    Deformable and non-rigid registrations, and files that cannot be read, are left out with a caution.
    """
    links: Links = {}
    cautions: list[Caution] = []
    for entry in entries:
        try:
            found = _read_one(entry)
        except StudyError as error:
            cautions.append(Caution("registration-left-out", f"{entry.path.name} {error.what}; it is left out"))
            continue
        for pair, matrix in found.items():
            links[pair] = matrix
            links[pair[::-1]] = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
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
