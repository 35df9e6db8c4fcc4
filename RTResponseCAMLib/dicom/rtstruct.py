"""Read RTSTRUCT: the regions of interest (ROIs) with their contours, keyed by ROI Number."""

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
REPORTED = 64  # contours between two progress reports
MAX_ROIS, MAX_CONTOURS, MAX_POINTS = 1000, 50_000, 5_000_000


def read_structures(path: Path, progress: Progress = no_progress) -> tuple[tuple[Structure, ...], tuple[Warning, ...]]:
    """Read every ROI; ROIs without a usable contour are returned without contours.

    Raises
    ------
    StudyError : no ROI, too many ROIs, contours or points, contour data that are not x, y, z triples, values that are
        not finite, or a damaged file.
    """
    with damaged(path, "a structure set"):
        return _read(path, read_header(path), progress)


def _read(path: Path, data: Dataset, progress: Progress) -> tuple[tuple[Structure, ...], tuple[Warning, ...]]:
    rois = data.get("StructureSetROISequence") or ()
    if not rois:
        raise StudyError(path, "lists no ROI (3006,0020)", "Export the structure set with its targets")
    if len(rois) > MAX_ROIS:
        raise StudyError(path, f"lists {len(rois)} ROIs, more than {MAX_ROIS}", "Export the targets only")
    warnings: list[Warning] = []
    names: dict[int, str] = {}
    for item in rois:
        roi_number = whole_number(path, item, keyword="ROINumber", low=0, high=2**31 - 1)
        if roi_number in names:
            warnings.append(WarningCode.REPEATED_ROI_NUMBER(number=roi_number, name=roi_name(data, item)))
            continue
        names[roi_number] = roi_name(data, item) or f"ROI {roi_number}"
    kinds = _kinds(data, names, warnings)
    items: dict[int, list[Dataset]] = {}
    for item in data.get("ROIContourSequence") or ():
        items.setdefault(_reference(item), []).append(item)
    structures, name_counts = [], dict.fromkeys(names.values(), 0)
    n_points = 0
    for index, (roi_number, name) in enumerate(names.items()):
        progress_fraction = index / len(names)
        name_counts[name] += 1
        unique_name = name if name_counts[name] == 1 else f"{name}#{name_counts[name]}"
        if name_counts[name] == 2:
            warnings.append(WarningCode.REPEATED_ROI_NAME(name=name))
        roi_items = items.get(roi_number, [])
        contours = tuple(
            c for item in roi_items for c in _contours(path, unique_name, item, warnings, progress, progress_fraction)
        )
        n_points += sum(len(c) for c in contours)
        if n_points > MAX_POINTS:
            raise StudyError(path, f"has over {MAX_POINTS} contour points", "Export the targets only")
        structures.append(
            Structure(
                roi_number,
                unique_name,
                kinds.get(roi_number, ""),
                contours,
                _color(roi_items[0] if roi_items else None),
            )
        )
    return tuple(structures), tuple(warnings)


def roi_name(data: Dataset, item: Dataset) -> str:
    """ROI Name; decoded as UTF-8, otherwise Latin-1, when the file states no Specific Character Set."""
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
    """RT ROI Interpreted Type of each ROI, by ROI Number.

    If several observations differ, a specific type takes precedence over `UNSPECIFIC` types. Among target types, the
    first in `TARGET_KINDS` is used; other contradictory types give "".
    """
    kinds_by_roi: dict[int, set[str]] = {}
    for item in data.get("RTROIObservationsSequence") or ():
        kind = str(item.get("RTROIInterpretedType", "") or "").strip().upper()
        if kind:
            kinds_by_roi.setdefault(_reference(item), set()).add(kind)
    kinds = {}
    for roi_number, stated_kinds in kinds_by_roi.items():
        specific = (stated_kinds - UNSPECIFIC) or stated_kinds
        if specific <= set(TARGET_KINDS):
            kinds[roi_number] = min(specific, key=TARGET_KINDS.index)
        else:
            kinds[roi_number] = specific.pop() if len(specific) == 1 else ""
        if len(stated_kinds) > 1:
            used = f"{kinds[roi_number]} counts" if kinds[roi_number] else "its name decides"
            name = names.get(roi_number, str(roi_number))
            warnings.append(
                WarningCode.OBSERVATIONS_DIFFER(name=name, kinds=" and ".join(sorted(stated_kinds)), used=used)
            )
    return kinds


def _contours(
    path: Path, name: str, item: Dataset, warnings: list[Warning], progress: Progress, share: float
) -> tuple[FloatArray, ...]:
    contours: list[FloatArray] = []
    n_short = n_points = n_open = 0
    unknown: Counter[str] = Counter()
    sequence = item.get("ContourSequence") or ()
    if len(sequence) > MAX_CONTOURS:
        raise StudyError(path, f"ROI '{name}' has {len(sequence)} contours, more than {MAX_CONTOURS}", "Export fewer")
    for index, contour in enumerate(sequence):
        if index % REPORTED == 0:
            progress(share, "reading contours")
        kind = str(contour.get("ContourGeometricType", "") or "CLOSED_PLANAR").strip().upper()
        if kind in OPEN:
            n_open += 1
            continue
        unknown[kind] += kind not in CLOSED
        values = _numbers(path, name, contour)
        n_points += len(values)
        if n_points > MAX_POINTS:
            raise StudyError(path, f"ROI '{name}' has over {MAX_POINTS} contour points", "Export a simpler ROI")
        if len(values) > 1 and np.allclose(values[0], values[-1]):
            values = values[:-1]
        values = without_spikes(values)  # removed here, so that bounding boxes, centers and distances also ignore them
        if len(values) < 3:
            n_short += 1
            continue
        contours.append(values)
    if n_open and not contours:
        warnings.append(WarningCode.POINTS_ONLY(name=name))
    elif n_open:
        warnings.append(WarningCode.OPEN_CONTOURS(name=name, count=n_open))
    warnings += [WarningCode.CONTOUR_TYPE(name=name, count=n, kind=kind) for kind, n in unknown.items() if n]
    if n_short:
        warnings.append(WarningCode.SHORT_CONTOUR(name=name, count=n_short))
    return tuple(contours)


def _numbers(path: Path, name: str, contour: Dataset) -> FloatArray:
    element = contour.get_item("ContourData")
    if element is None or element.value is None:
        return np.zeros((0, 3))
    try:
        # Parse the raw text at once: value by value, pydicom takes seconds for the contours of a skull.
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
