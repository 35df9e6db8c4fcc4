"""RTSTRUCT: the regions of interest with their contours, keyed by ROI Number, and which of them are targets."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.values import damaged, whole_number
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.overlap import without_nested
from RTResponseCAMLib.study import Caution, FloatArray, Lesion, Structure

CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}
MAX_ROIS, MAX_CONTOURS, MAX_POINTS = 1000, 50_000, 5_000_000
TARGET_KINDS = {"GTV", "CTV", "PTV", "TREATED_VOLUME"}
ANATOMY = re.compile(
    r"skull|body|external|brain|skin|cochlea|chiasm|optic|eye|lens|nerve|hippo|pituit|scalp|normal|ventric",
    re.IGNORECASE,
)
HELPER = re.compile(
    r"(o?edema)|avoid|isodose|dose|registration|artifact|matrix|minus|\bprv|brain\s*[-_]\s*[gcp]tv"
    r"|(?<![a-z])ring(?![a-z])(?![ _-]*enhanc)",
    re.IGNORECASE,
)
LESION_WORD = re.compile(r"[gcp]tv|\bmets?\d*(\b|_)|metast|lesion|tumou?r|target|enhanc", re.IGNORECASE)


def read_structures(path: Path) -> tuple[tuple[Structure, ...], tuple[Caution, ...]]:
    """Read every ROI; those without a usable contour stay in the list, empty.

    Raises
    ------
    StudyError : no ROI, contour data that is not a list of x, y, z, values that are not finite, or a damaged file.
    """
    with damaged(path, "a structure set"):
        return _read(path, read_header(path))


def _read(path: Path, data: Dataset) -> tuple[tuple[Structure, ...], tuple[Caution, ...]]:
    listed = data.get("StructureSetROISequence") or ()
    if not listed:
        raise StudyError(path, "lists no ROI (3006,0020)", "Export the structure set with its targets")
    if len(listed) > MAX_ROIS:
        raise StudyError(path, f"lists {len(listed)} ROIs, more than {MAX_ROIS}", "Export the targets only")
    cautions: list[Caution] = []
    names: dict[int, str] = {}
    for item in listed:
        number = whole_number(path, item, "ROINumber", 0, 2**31 - 1)
        if number in names:
            text = f"ROI Number {number} is given twice; '{roi_name(data, item)}' is left out"
            cautions.append(Caution("repeated-roi-number", text))
            continue
        names[number] = roi_name(data, item) or f"ROI {number}"
    kinds = {
        _reference(item): str(item.get("RTROIInterpretedType", "") or "").upper()
        for item in data.get("RTROIObservationsSequence") or ()
    }
    items: dict[int, list[Dataset]] = {}
    for item in data.get("ROIContourSequence") or ():
        items.setdefault(_reference(item), []).append(item)
    structures, taken = [], dict.fromkeys(names.values(), 0)
    total = 0
    for number, name in names.items():
        taken[name] += 1
        unique = name if taken[name] == 1 else f"{name}#{taken[name]}"
        if taken[name] == 2:
            cautions.append(
                Caution("repeated-roi-name", f"several ROIs are called '{name}'; the later are '{name}#2' …")
            )
        own = items.get(number, [])
        contours = tuple(c for item in own for c in _contours(path, unique, item, cautions))
        total += sum(len(c) for c in contours)
        if total > MAX_POINTS:
            raise StudyError(path, f"has over {MAX_POINTS} contour points", "Export the targets only")
        structures.append(Structure(number, unique, kinds.get(number, ""), contours, _color(own[0] if own else None)))
    return tuple(structures), tuple(cautions)


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


def choose_lesions(
    path: Path, structures: tuple[Structure, ...], wanted: tuple[str, ...] = ()
) -> tuple[tuple[Lesion, ...], tuple[Caution, ...]]:
    """Take the ROIs that are treated targets: those named by the user, else by type, else by name.

    Raises
    ------
    StudyError : a wanted ROI does not exist or has no contours, or nothing looks like a target.
    """
    cautions: list[Caution] = []
    if wanted:
        by_name = {s.name: s for s in structures}
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise StudyError(path, f"has no ROI {missing}; it has {sorted(by_name)}", "Correct --roi")
        chosen = [by_name[name] for name in wanted]
        empty = [s.name for s in chosen if not s.contours]
        if empty:
            raise StudyError(path, f"ROI {empty} has no closed contour", "Contour the target and export it again")
    else:
        chosen = [s for s in structures if looks_like_target(s)]
        empty = [s.name for s in chosen if not s.contours]
        for name in empty:
            cautions.append(Caution("empty-roi", f"target '{name}' has no closed contour and is left out"))
        kept, said = without_nested(tuple(s for s in chosen if s.contours))
        chosen = list(kept)
        cautions += said
        if not chosen:
            names = [f"{s.name} ({s.kind or 'no type'}, {len(s.contours)} contours)" for s in structures]
            raise StudyError(path, f"has no target with contours; its ROIs: {', '.join(names)}", "Name one with --roi")
        if any(s.kind not in TARGET_KINDS for s in chosen):
            untyped = [s.name for s in chosen if s.kind not in TARGET_KINDS]
            text = f"taken for targets by their names, not their type: {', '.join(untyped)} (choose with --roi)"
            cautions.append(Caution("target-by-name", text))
    chosen.sort(key=lambda s: s.number)
    return tuple(Lesion(f"L{n}", s) for n, s in enumerate(chosen, start=1)), tuple(cautions)


def looks_like_target(structure: Structure) -> bool:
    """By its type; without one by its name, see `names_a_target`."""
    if structure.kind in TARGET_KINDS:
        return True
    return structure.kind in ("", "CONTROL") and names_a_target(structure.name)


def names_a_target(name: str) -> bool:
    """Whether a name may be a lesion's: not a planner's helper, and no anatomy unless it also says lesion."""
    if is_helper(name):
        return False
    return bool(LESION_WORD.search(name)) or not ANATOMY.search(name)


def is_helper(name: str) -> bool:
    """Whether a name is that of a planner's aid: avoidance, ring, isodose, oedema."""
    return bool(HELPER.search(name))


def _contours(path: Path, name: str, item: Dataset, cautions: list[Caution]) -> tuple[FloatArray, ...]:
    contours: list[FloatArray] = []
    short = points = open_ = 0
    sequence = item.get("ContourSequence") or ()
    if len(sequence) > MAX_CONTOURS:
        raise StudyError(path, f"ROI '{name}' has {len(sequence)} contours, more than {MAX_CONTOURS}", "Export fewer")
    for contour in sequence:
        kind = str(contour.get("ContourGeometricType", "CLOSED_PLANAR"))
        if kind not in CLOSED:
            open_ += 1
            continue
        values = _numbers(path, name, contour)
        points += len(values)
        if points > MAX_POINTS:
            raise StudyError(path, f"ROI '{name}' has over {MAX_POINTS} contour points", "Export a simpler ROI")
        if len(values) > 1 and np.allclose(values[0], values[-1]):
            values = values[:-1]
        if len(values) < 3:
            short += 1
            continue
        contours.append(values)
    if open_ and not contours:
        text = f"ROI '{name}' consists of points or open lines only: it has no volume"
        cautions.append(Caution("points-only", text))
    elif open_:
        text = f"ROI '{name}': {open_} open contour(s) enclose nothing and are left out; its volume may be too small"
        cautions.append(Caution("open-contours", text))
    if short:
        text = f"ROI '{name}': {short} contour(s) of fewer than three points enclose nothing and are left out"
        cautions.append(Caution("short-contour", text))
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
