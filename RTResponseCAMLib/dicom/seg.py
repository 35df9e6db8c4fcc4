"""Read DICOM segmentations (binary, fractional, label map) as structures with contours along voxel edges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.frames import Slice, slices_of
from RTResponseCAMLib.dicom.index import Entry
from RTResponseCAMLib.dicom.pixels import padding_of, stored_frames
from RTResponseCAMLib.dicom.targets import ANATOMY, LESION_WORD, name_words
from RTResponseCAMLib.dicom.validation import EXPORT_AGAIN, damaged, numbers, whole_number
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.outlines import pixel_edges
from RTResponseCAMLib.study import FloatArray, Structure
from RTResponseCAMLib.warnings import Warning, WarningCode

LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
MAX_SEGMENTS = 1000
PHOTOMETRIC = ("MONOCHROME2", "PALETTE COLOR")  # a label map may contain a color palette
# SNOMED CT and its older SRT codes: neoplasm (of brain), metastasis (of brain), primary and recurrent tumor, mass,
# lesion, gross tumor volume; enhancing lesion (NCIt).
TUMOR_TYPES = {
    "108369006", "M-80003", "126952004", "14799000", "M-80006", "128462008", "94225005", "86049000", "372087000",
    "25173007", "4147007", "M-03000", "52988006", "M-01100", "228791009", "C113842",
}  # fmt: skip
# Edema, necrosis, hemorrhage, non-enhancing lesion, background.
BESIDE_TUMOR = {"79654002", "M-36300", "6574001", "M-54000", "50960005", "M-37000", "C81175", "125040"}
# Anatomical and body structure, substances, physical object, function, spatial concept (CID 7150).
ANATOMY_CATEGORIES = {
    "91723000", "T-D000A", "123037004", "91720002", "105590001", "260787004", "A-00004", "246464006", "309825002",
}  # fmt: skip


def read_segments(entry: Entry) -> tuple[tuple[Structure, ...], tuple[Warning, ...]]:
    """Read every segment as a structure; fractional segments are thresholded at one half, with a warning.

    Raises
    ------
    StudyError : no segment, frames without a segment number or a position, two frames of a segment at one position,
        or pixels that cannot be decoded.
    """
    with damaged(entry.path, "a segmentation"):
        header = read_header(entry.path)
        items = header.get("SegmentSequence") or ()
        if not items or len(items) > MAX_SEGMENTS:
            raise StudyError(entry.path, f"lists {len(items)} segments (0062,0002)", EXPORT_AGAIN)
        kind = str(header.get("SegmentationType", "BINARY")).upper()
        warnings: list[Warning] = []
        threshold = 1
        if kind == "FRACTIONAL":
            maximum = whole_number(entry.path, header, keyword="MaximumFractionalValue", low=1, high=65535, default=255)
            threshold = (maximum + 1) // 2
            warnings.append(WarningCode.FRACTIONAL_SEGMENTS())
        labels = kind == "LABELMAP" or entry.text("SOPClassUID") == LABELMAP
        slices = slices_of(Entry(entry.path, header))
        frames = stored_frames(entry.path, header, photometric=PHOTOMETRIC if labels else PHOTOMETRIC[:1])
        step_mm, new_warnings = _slice_step_mm(entry.path, header, slices)
        warnings += new_warnings
        contours: defaultdict[int, list[FloatArray]] = defaultdict(list)
        if labels:
            background = (padding_of(header) or (0, 0))[0]
            for slice_, frame in zip(slices, frames, strict=True):
                for segment_number in np.unique(frame[(frame > 0) & (frame != background)]).tolist():
                    contours[segment_number] += _edges(slice_, step_mm, frame == segment_number)
        else:
            seen_positions: set[tuple[int, float]] = set()
            for slice_, segment_number, frame in zip(
                slices, _segment_of_frames(entry.path, header), frames, strict=True
            ):
                key = (segment_number, round(float(slice_.position @ slice_.axes[2]), 2))
                if key in seen_positions:
                    problem = (
                        f"holds two frames of segment {segment_number} (0062,000B) at one position; it is unclear "
                        "which one to use"
                    )
                    raise StudyError(entry.path, problem, EXPORT_AGAIN)
                seen_positions.add(key)
                contours[segment_number] += _edges(slice_, step_mm, frame >= threshold)
        structures, new_warnings = _structures(entry.path, items, contours, labels)
    return structures, (*warnings, *new_warnings)


def _structures(
    path: Path, items: Iterable[Dataset], contours: Mapping[int, list[FloatArray]], labels: bool
) -> tuple[tuple[Structure, ...], tuple[Warning, ...]]:
    """Segments as structures; segment 0 of a label map is the background and is skipped."""
    warnings: list[Warning] = []
    structures: list[Structure] = []
    name_counts: defaultdict[str, int] = defaultdict(int)
    for item in items:
        segment_number = whole_number(path, item, keyword="SegmentNumber", low=0 if labels else 1, high=65535)
        if segment_number == 0:
            continue
        name = str(item.get("SegmentLabel", "") or f"segment {segment_number}")
        if any(s.number == segment_number for s in structures):
            warnings.append(WarningCode.REPEATED_ROI_NUMBER(number=segment_number, name=name))
            continue
        name_counts[name] += 1
        name = name if name_counts[name] == 1 else f"{name}#{name_counts[name]}"
        structures.append(Structure(segment_number, name, _kind(item), tuple(contours.get(segment_number, ()))))
    unlisted = sorted(
        n for n, segment_contours in contours.items() if segment_contours and all(s.number != n for s in structures)
    )
    if unlisted:
        warnings.append(WarningCode.UNLISTED_SEGMENT(numbers=", ".join(map(str, unlisted))))
    return tuple(structures), tuple(warnings)


def _kind(item: Dataset) -> str:
    """RT ROI Interpreted Type from the property codes: GTV (tumor), ORGAN (anatomy), OTHER (beside a tumor) or "".

    The category Tissue alone gives "": programs write it as a default when the user selects nothing.
    """
    category, kind = (
        _code(item, keyword)
        for keyword in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence")
    )
    if kind in TUMOR_TYPES:
        return "GTV"
    if category in ANATOMY_CATEGORIES or _is_anatomy(item):
        return "ORGAN"
    return "OTHER" if kind in BESIDE_TUMOR else ""


def _is_anatomy(item: Dataset) -> bool:
    """Whether the Code Meaning of the property type names anatomy, independent of the category (Tissue, Bone)."""
    codes = item.get("SegmentedPropertyTypeCodeSequence")
    words = name_words(str(codes[0].get("CodeMeaning", ""))) if codes else []
    tumor = any(LESION_WORD.fullmatch(word) or word in ("neoplasm", "mass", "malignant") for word in words)
    return not tumor and any(ANATOMY.fullmatch(word) for word in words)


def _code(item: Dataset, keyword: str) -> str:
    """Code Value or Long Code Value of a code sequence; "" when absent."""
    codes = item.get(keyword)
    code = codes[0] if codes else Dataset()
    return str(code.get("CodeValue") or code.get("LongCodeValue") or "").strip()


def _segment_of_frames(path: Path, header: Dataset) -> list[int]:
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    segment_numbers = []
    for groups in header.get("PerFrameFunctionalGroupsSequence") or ():
        identification = groups.get("SegmentIdentificationSequence") or (
            shared[0].get("SegmentIdentificationSequence") if shared else None
        )
        if not identification:
            raise StudyError(path, "has a frame without a segment number (0062,000A)", EXPORT_AGAIN)
        segment_numbers.append(
            whole_number(path, identification[0], keyword="ReferencedSegmentNumber", low=1, high=65535)
        )
    return segment_numbers


def _slice_step_mm(path: Path, header: Dataset, places: list[Slice]) -> tuple[float, tuple[Warning, ...]]:
    """Distance between slices, mm, and a warning where it differs from the stated value.

    The stated value is used, because empty frames may be omitted from the file. The distance of the frames is used
    instead when nothing is stated, when it is smaller than the stated value, or when only Slice Thickness is stated
    (which may be less than the distance) and three or more frames are evenly spaced.
    """
    positions_mm = np.unique(np.round([slice_.position @ places[0].axes[2] for slice_ in places], 3))
    gaps = np.diff(positions_mm)
    gap = float(gaps.min()) if len(gaps) else None
    spacing, thickness = (_measure(path, header, keyword) for keyword in ("SpacingBetweenSlices", "SliceThickness"))
    stated = spacing if spacing is not None else thickness
    if gap is None:
        if stated is None:
            raise StudyError(path, "lacks SliceThickness (0018,0050) for a single frame", EXPORT_AGAIN)
        return stated, ()
    evenly_spaced = len(gaps) > 1 and float(np.median(gaps)) < 1.01 * gap
    frames_decide = stated is None or gap < 0.99 * stated or (spacing is None and evenly_spaced)
    step = gap if stated is None or frames_decide else stated
    if stated is not None and abs(step / stated - 1) < 0.01:
        return step, ()
    stated_text = "no slice distance" if stated is None else f"slices of {stated:.2f} mm"
    return step, (WarningCode.SEGMENTATION_STEP(stated=stated_text, gap=gap, step=step),)


def _measure(path: Path, header: Dataset, keyword: str) -> float | None:
    """A distance from the pixel measures (shared, otherwise of the first frame), mm; None if absent or implausible."""
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        groups = header.get(name)
        measures = groups[0].get("PixelMeasuresSequence") if groups else None
        if measures and measures[0].get(keyword) not in (None, ""):
            value = float(numbers(path, measures[0], keyword=keyword, count=1)[0])
            if 0.01 <= value <= 50:
                return value
    return None


def _edges(place: Slice, step_mm: float, mask: npt.NDArray[np.bool_]) -> list[FloatArray]:
    """Outlines of one frame as LPS contours, mm, in two planes of half its thickness each (see `edge_contours`)."""
    if not mask.any():
        return []
    (row_step, column_step), (x, y, normal) = place.steps, place.axes
    return [
        place.position + edge[:, :1] * column_step * x + edge[:, 1:] * row_step * y + shift * step_mm * normal
        for edge in pixel_edges(mask)
        for shift in (-0.25, 0.25)
    ]
