"""Image series as one volume: geometry from tags, not from file order, Patient Position or SliceThickness."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import shift as shift_plane

from RTResponseCAMLib.dicom.frames import Slice, Wanted, slices_of
from RTResponseCAMLib.dicom.index import Entry
from RTResponseCAMLib.dicom.pixels import MAX_PIXEL_BYTES, padding_of, stored_frames
from RTResponseCAMLib.dicom.stacks import DRIFT_MM, Stack, choose_stack
from RTResponseCAMLib.dicom.validation import EXPORT_AGAIN
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.warnings import Warning, WarningCode

MAX_VOXELS = 2**28


@dataclass(frozen=True)
class Series:
    """Image series as one volume.

    Attributes
    ----------
    image : float32, LPS mm, slices along the normal of rows and columns.
    gaps_mm : intervals along ``normal`` (position · normal, mm) in which slices are missing and interpolated.
    normal : LPS unit vector across the slices.
    warnings : warnings about unusual data.
    """

    image: sitk.Image
    gaps_mm: tuple[tuple[float, float], ...]
    normal: npt.NDArray[np.float64]
    warnings: tuple[Warning, ...]


def read_series(entries: tuple[Entry, ...], wanted: Wanted = dict, *, progress: Progress = no_progress) -> Series:
    """Read a series, classic or enhanced multi-frame.

    Missing slices and uneven or sheared stacks are resampled linearly onto a regular grid, with a warning.

    Parameters
    ----------
    wanted : returns the images on which structures were contoured, to choose among several stacks.

    Raises
    ------
    StudyError : a file is truncated, undecodable, lacks geometry tags, or holds values that are not finite.
    GeometryError : the slices form no stack (see `stacks.choose_stack`).
    """
    progress(0.0, "reading slices")
    stack = choose_stack([plane for entry in entries for plane in slices_of(entry)], wanted)
    first = stack.slices[0]
    if len(stack.slices) * first.shape[0] * first.shape[1] > MAX_VOXELS:
        raise StudyError(first.path, "belongs to a series of more than 268 million voxels", "Export one series")
    values, padded = _values(stack, progress)
    warnings = stack.warnings + ((WarningCode.PIXEL_PADDING(count=padded),) if padded else ())
    origin, step = stack.origin_mm, stack.step_mm
    if not stack.regular:
        values, count = _regular(values, stack)
        step = float(stack.along_mm[-1] - stack.along_mm[0]) / (count - 1)
    progress(0.95, "making the volume")
    x, y, z = origin.tolist()
    rows, columns = first.shape
    size, spacing = (columns, rows, len(values)), (first.steps[1], first.steps[0], step)
    image = Grid(size, spacing, (x, y, z), tuple(first.axes.T.ravel().tolist())).image(values)
    progress(1.0)
    return Series(image, stack.gaps_mm, first.axes[2], warnings)


def _values(stack: Stack, progress: Progress) -> tuple[npt.NDArray[np.float32], int]:
    """Return rescaled values ``[slice, row, column]``, and the number of padding pixels.

    Padding pixels get the lowest value of the other pixels. Each file is decoded once; unused frames are dropped.
    """
    rows, columns = stack.slices[0].shape
    values = np.empty((len(stack.slices), rows, columns), dtype=np.float32)
    planes_by_file: defaultdict[Path, list[tuple[int, Slice]]] = defaultdict(list)
    for slice_index, plane in enumerate(stack.slices):
        planes_by_file[plane.path].append((slice_index, plane))
    total = 0
    padded: list[tuple[int, npt.NDArray[np.bool_]]] = []
    for file_index, members in enumerate(planes_by_file.values()):
        if file_index % 16 == 0:
            progress(0.1 + 0.8 * file_index / len(planes_by_file), "reading pixels")
        entry = members[0][1].entry
        frames = stored_frames(entry.path, entry.header)
        padding = padding_of(entry.header)
        total += frames.nbytes
        if total > MAX_PIXEL_BYTES:
            raise StudyError(entry.path, "belongs to a series of more than 1 GB", "Export one series")
        for slice_index, plane in members:
            if frames.shape[1:] != (rows, columns):
                raise StudyError(entry.path, "holds pixels of another size than its header states", EXPORT_AGAIN)
            values[slice_index] = frames[plane.frame]
            if padding not in (None, (0, 0)):  # 0 is the background of MR
                low, high = np.sort(np.asarray(padding).astype(frames.dtype))
                is_padding = (frames[plane.frame] >= low) & (frames[plane.frame] <= high)
                padded += [(slice_index, is_padding)] if is_padding.any() else []
            if (plane.slope, plane.intercept) != (1.0, 0.0):
                values[slice_index] *= np.float32(plane.slope)
                values[slice_index] += np.float32(plane.intercept)
    if padded:
        for slice_index, is_padding in padded:
            values[slice_index][is_padding] = np.inf
        lowest = values.min()
        for slice_index, is_padding in padded:
            values[slice_index][is_padding] = lowest if np.isfinite(lowest) else 0.0
    return values, sum(int(is_padding.sum()) for _, is_padding in padded)


def _regular(values: npt.NDArray[np.float32], stack: Stack) -> tuple[npt.NDArray[np.float32], int]:
    """Resample to even steps along the normal, and shift sheared slices back; return the values and their number.

    Both steps use linear interpolation; edge values are repeated.
    """
    row_step, column_step = stack.slices[0].steps
    if np.abs(stack.drift_mm).max() > DRIFT_MM:
        for slice_index, (along_x, along_y) in enumerate(stack.drift_mm):
            offset = (along_y / row_step, along_x / column_step)
            if max(abs(c) for c in offset) > 1e-4:
                values[slice_index] = shift_plane(values[slice_index], offset, order=1, mode="nearest")
    count = round((stack.along_mm[-1] - stack.along_mm[0]) / stack.step_mm) + 1
    targets_mm = np.linspace(stack.along_mm[0], stack.along_mm[-1], count)
    upper = np.clip(np.searchsorted(stack.along_mm, targets_mm), 1, len(values) - 1)
    weights = (targets_mm - stack.along_mm[upper - 1]) / (stack.along_mm[upper] - stack.along_mm[upper - 1])
    # Slices on the grid stay unchanged.
    weights = np.where(np.abs(weights - np.rint(weights)) < 1e-4, np.rint(weights), weights)
    result = np.empty((count, *values.shape[1:]), dtype=np.float32)
    for slice_index, (above, weight) in enumerate(zip(upper, weights, strict=True)):
        result[slice_index] = (1 - weight) * values[above - 1] + weight * values[above]
    return result, count
