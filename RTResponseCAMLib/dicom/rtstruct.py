"""RTSTRUCT: the regions of interest with their contours, keyed by ROI Number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.targets import TARGET_KINDS, UNSPECIFIC
from RTResponseCAMLib.dicom.validation import damaged, whole_number
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.parts import without_spikes
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.study import FloatArray, Structure
from RTResponseCAMLib.warnings import Warning, WarningCode

CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "INTERPOLATED_PLANAR"}
OPEN = {"POINT", "OPEN_PLANAR", "OPEN_NONPLANAR"}
REPORTED = 64  # contours between two reports
MAX_ROIS, MAX_CONTOURS, MAX_POINTS = 1000, 50_000, 5_000_000


def read_structures(path: Path, progress: Progress = no_progress) -> tuple[tuple[Structure, ...], tuple[Warning, ...]]:
    """Read every ROI; those without a usable contour stay in the list, empty.

    Raises
    ------
    StudyError : no ROI, contour data that is not a list of x, y, z, values that are not finite, or a damaged file.
    """
    with damaged(path, "a structure set"):
        return _read(path, read_header(path), progress)


def _read(path: Path, data: Dataset, progress: Progress) -> tuple[tuple[Structure, ...], tuple[Warning, ...]]:
    listed = data.get("StructureSetROISequence") or ()
    if not listed:
        raise StudyError(path, "lists no ROI (3006,0020)", "Export the structure set with its targets")
    if len(listed) > MAX_ROIS:
        raise StudyError(path, f"lists {len(listed)} ROIs, more than {MAX_ROIS}", "Export the targets only")
    warnings: list[Warning] = []
    names: dict[int, str] = {}
    for item in listed:
        number = whole_number(path, item, keyword="ROINumber", low=0, high=2**31 - 1)
        if number in names:
            warnings.append(WarningCode.REPEATED_ROI_NUMBER(number=number, name=roi_name(data, item)))
            continue
        names[number] = roi_name(data, item) or f"ROI {number}"
    kinds = _kinds(data, names, warnings)
    items: dict[int, list[Dataset]] = {}
    for item in data.get("ROIContourSequence") or ():
        items.setdefault(_reference(item), []).append(item)
    structures, taken = [], dict.fromkeys(names.values(), 0)
    total = 0
    for done, (number, name) in enumerate(names.items()):
        share = done / len(names)
        taken[name] += 1
        unique = name if taken[name] == 1 else f"{name}#{taken[name]}"
        if taken[name] == 2:
            warnings.append(WarningCode.REPEATED_ROI_NAME(name=name))
        own = items.get(number, [])
        contours = tuple(c for item in own for c in _contours(path, unique, item, warnings, progress, share))
        total += sum(len(c) for c in contours)
        if total > MAX_POINTS:
            raise StudyError(path, f"has over {MAX_POINTS} contour points", "Export the targets only")
        structures.append(Structure(number, unique, kinds.get(number, ""), contours, _color(own[0] if own else None)))
    return tuple(structures), tuple(warnings)


def roi_name(data: Dataset, item: Dataset) -> str:
    """ROI Name; UTF-8 also where the file forgot to name its character set."""
    element = item.get_item("ROIName")
    if (
        isinstance(element, RawDataElement)
        and isinstance(element.value, bytes)
        and not data.get("SpecificCharacterSet")
    ):
        try:
            return element.value.decode("utf-8").rstrip(" \0")
        except UnicodeDecodeError:
            return element.value.decode("latin-1").rstrip(" \0")
    return str(item.get("ROIName", "") or "").strip()


def _reference(item: Dataset) -> int:
    value = item.get("ReferencedROINumber")
    return -1 if value is None else int(value)


def _color(item: Dataset | None) -> tuple[int, int, int]:
    value = item.get("ROIDisplayColor") if item is not None else None
    if value is None or len(value) != 3:
        return 255, 200, 0
    red, green, blue = (min(max(int(c), 0), 255) for c in value)
    return red, green, blue


def _kinds(data: Dataset, names: Mapping[int, str], warnings: list[Warning]) -> dict[int, str]:
    """RT ROI Interpreted Type of each ROI; of several observations the specific one, of targets' types the first."""
    stated: dict[int, set[str]] = {}
    for item in data.get("RTROIObservationsSequence") or ():
        kind = str(item.get("RTROIInterpretedType", "") or "").strip().upper()
        if kind:
            stated.setdefault(_reference(item), set()).add(kind)
    kinds = {}
    for number, found in stated.items():
        specific = (found - UNSPECIFIC) or found
        if specific <= set(TARGET_KINDS):
            kinds[number] = min(specific, key=TARGET_KINDS.index)
        else:
            kinds[number] = specific.pop() if len(specific) == 1 else ""
        if len(found) > 1:
            used = f"{kinds[number]} counts" if kinds[number] else "its name decides"
            name = names.get(number, str(number))
            warnings.append(WarningCode.OBSERVATIONS_DIFFER(name=name, kinds=" and ".join(sorted(found)), used=used))
    return kinds


def _contours(
    path: Path, name: str, item: Dataset, warnings: list[Warning], progress: Progress, share: float
) -> tuple[FloatArray, ...]:
    contours: list[FloatArray] = []
    short = points = open_ = 0
    unknown: Counter[str] = Counter()
    sequence = item.get("ContourSequence") or ()
    if len(sequence) > MAX_CONTOURS:
        raise StudyError(path, f"ROI '{name}' has {len(sequence)} contours, more than {MAX_CONTOURS}", "Export fewer")
    for number, contour in enumerate(sequence):
        if number % REPORTED == 0:
            progress(share, "reading contours")
        kind = str(contour.get("ContourGeometricType", "") or "CLOSED_PLANAR").strip().upper()
        if kind in OPEN:
            open_ += 1
            continue
        unknown[kind] += kind not in CLOSED
        values = _numbers(path, name, contour)
        points += len(values)
        if points > MAX_POINTS:
            raise StudyError(path, f"ROI '{name}' has over {MAX_POINTS} contour points", "Export a simpler ROI")
        if len(values) > 1 and np.allclose(values[0], values[-1]):
            values = values[:-1]
        values = without_spikes(values)  # here, so that boxes, middles and distances know nothing of them either
        if len(values) < 3:
            short += 1
            continue
        contours.append(values)
    if open_ and not contours:
        warnings.append(WarningCode.POINTS_ONLY(name=name))
    elif open_:
        warnings.append(WarningCode.OPEN_CONTOURS(name=name, count=open_))
    warnings += [WarningCode.CONTOUR_TYPE(name=name, count=n, kind=kind) for kind, n in unknown.items() if n]
    if short:
        warnings.append(WarningCode.SHORT_CONTOUR(name=name, count=short))
    return tuple(contours)


def _numbers(path: Path, name: str, contour: Dataset) -> FloatArray:
    element = contour.get_item("ContourData")
    if element is None or element.value is None:
        return np.zeros((0, 3))
    try:
        # Raw text is parsed at once: pydicom's number by number takes seconds for a skull.
        if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
            values = np.asarray(element.value.rstrip(b" \0").split(b"\\"), dtype=np.float64)
        else:
            values = np.asarray([float(v) for v in contour.ContourData], dtype=np.float64)
    except ValueError as error:
        raise StudyError(path, f"ROI '{name}' has contour data that are not numbers", "Export it again") from error
    if values.size % 3 or not np.isfinite(values).all() or np.abs(values).max(initial=0) > 1e4:
        raise StudyError(
            path,
            f"ROI '{name}' has a contour of {values.size} values, expected x, y, z triples within 10 m",
            "Export it again",
        )
    return np.asarray(values.reshape(-1, 3))
