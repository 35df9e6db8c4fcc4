"""Slices of classic and enhanced multi-frame images in one description: geometry and rescaling of each slice."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.index import Entry
from RTResponseCAMLib.dicom.validation import (
    EXPORT_AGAIN,
    damaged,
    numbers,
    orientation,
    pixel_spacing,
    position,
    whole_number,
)
from RTResponseCAMLib.errors import StudyError

MAX_FRAMES = 20_000
# Attributes that distinguish the acquisitions of one series, in the order in which they are tried.
KINDS = (
    "EchoTime", "TemporalPositionIdentifier", "AcquisitionNumber", "ImageType", "SeriesTime", "AcquisitionTime",
    "TriggerTime", "InversionTime", "FlipAngle", "ContentTime",
)  # fmt: skip
ENHANCED_KINDS = (
    ("MREchoSequence", "EffectiveEchoTime"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("FrameContentSequence", "FrameAcquisitionDateTime"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
)
Array64 = npt.NDArray[np.float64]
ImageReferences = Mapping[str, frozenset[int]]  # SOP Instance UID to its frame numbers, from 1; empty means all
Wanted = Callable[[], ImageReferences]  # called only where there is a choice, because it reads contours


@dataclass(frozen=True)
class Slice:
    """One plane of pixels.

    Attributes
    ----------
    entry, frame : file, and index of the frame in it, from 0.
    axes : rows x, y, normal; LPS, right-handed.
    position : center of the first pixel, LPS mm.
    steps : row step (y) and column step (x), mm.
    shape : rows, columns.
    slope, intercept : stored value × slope + intercept is the image's value.
    stack : name of the stack that the file states (Stack ID), "" for none.
    kinds : values that distinguish acquisitions at the same position, see `KINDS`.
    precision_mm : precision of the stated position, mm: the last decimal of the attribute's text.
    turn_precision : precision of the stated direction cosines: the last decimal of the attribute's text.
    """

    entry: Entry
    frame: int
    axes: Array64
    position: Array64
    steps: tuple[float, float]
    shape: tuple[int, int]
    slope: float
    intercept: float
    stack: str
    kinds: tuple[str, ...]
    precision_mm: float = 0.0
    turn_precision: float = 0.0

    @property
    def path(self) -> Path:
        """File of the slice."""
        return self.entry.path

    def is_among(self, references: ImageReferences) -> bool:
        """Whether references name this frame, or all frames of its file; frame numbers that it lacks are ignored."""
        frames = references.get(self.entry.uid)
        stated = self.entry.text("NumberOfFrames")
        valid_frames = {n for n in frames or () if 0 < n <= (int(stated) if stated.isdecimal() else 1)}
        return frames is not None and (not valid_frames or self.frame + 1 in valid_frames)


def slices_of(entry: Entry) -> list[Slice]:
    """Return a description of every frame of a file.

    Raises
    ------
    StudyError : geometry or rescaling is absent or not a number.
    """
    with damaged(entry.path, "an image"):
        if entry.header.get("ImagePositionPatient") is None and entry.header.get("NumberOfFrames") is not None:
            return _enhanced(entry)
        header = entry.header
        slope, intercept = _rescaling(entry.path, header)
        kinds = tuple(str(header.get(keyword, "")) for keyword in KINDS)
        return [_slice(entry, 0, header, header, header, slope, intercept, "", kinds)]


def _enhanced(entry: Entry) -> list[Slice]:
    header = read_header(entry.path)
    n_frames = whole_number(entry.path, header, keyword="NumberOfFrames", low=1, high=MAX_FRAMES)
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    frame_groups = header.get("PerFrameFunctionalGroupsSequence") or ()
    if len(frame_groups) != n_frames:
        problem = f"describes {len(frame_groups)} frames (5200,9230) but holds {n_frames}"
        raise StudyError(entry.path, problem, EXPORT_AGAIN)
    slices = []
    for frame_index, groups in enumerate(frame_groups):

        def group(name: str, groups: Dataset = groups) -> Dataset:
            return _first(groups.get(name)) if groups.get(name) else _first(shared.get(name))

        slope, intercept = _rescaling(entry.path, group("PixelValueTransformationSequence"))
        content = group("FrameContentSequence")
        kinds = tuple(str(group(sequence).get(keyword, "")) for sequence, keyword in ENHANCED_KINDS)
        geometry = group("PlanePositionSequence"), group("PlaneOrientationSequence"), group("PixelMeasuresSequence")
        stack = str(content.get("StackID", "") or "")
        slices.append(_slice(entry, frame_index, *geometry, slope, intercept, stack, kinds))
    return slices


def _first(sequence: Any) -> Dataset:
    return sequence[0] if sequence else Dataset()


def _slice(
    entry: Entry,
    frame: int,
    place: Dataset,
    turn: Dataset,
    measures: Dataset,
    slope: float,
    intercept: float,
    stack: str,
    kinds: tuple[str, ...],
) -> Slice:
    path, header = entry.path, entry.header
    shape = (
        whole_number(path, header, keyword="Rows", low=1, high=65535),
        whole_number(path, header, keyword="Columns", low=1, high=65535),
    )
    first_pixel, axes, steps = position(path, place), orientation(path, turn), pixel_spacing(path, measures)
    axis_aligned = bool((np.abs(axes[:2]).max(axis=1) == 1.0).all())  # 1, 0 and −1 are exact in any notation
    turn_precision = 0.0 if axis_aligned else stated_precision(turn, "ImageOrientationPatient")
    precisions = stated_precision(place, "ImagePositionPatient"), turn_precision
    return Slice(entry, frame, axes, first_pixel, steps, shape, slope, intercept, stack, kinds, *precisions)


def stated_precision(data: Dataset, keyword: str) -> float:
    """Return the value of the last decimal in an attribute's text; 0 where it is stored as a binary number."""
    value: Any = data.get(keyword)
    finest = math.inf
    for component in value if value is not None else ():
        text = str(getattr(component, "original_string", "") or "").strip().lower()
        mantissa, _, exponent = text.partition("e")
        if text:
            decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
            finest = min(finest, 10.0**-decimals)
    return 0.0 if finest == math.inf else finest


def _rescaling(path: Path, data: Dataset) -> tuple[float, float]:
    values = [1.0, 0.0]
    for index, keyword in enumerate(("RescaleSlope", "RescaleIntercept")):
        if data.get(keyword) not in (None, ""):
            values[index] = float(numbers(path, data, keyword=keyword, count=1)[0])
    if values[0] == 0 or max(abs(v) for v in values) > 1e9:
        raise StudyError(path, f"RescaleSlope (0028,1053) is {values[0]:g}", EXPORT_AGAIN)
    return values[0], values[1]
