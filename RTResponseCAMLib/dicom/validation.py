"""Validate DICOM attributes before use: each check raises an error that names the file and the attribute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from RTResponseCAMLib.errors import RTResponseError, StudyError
from RTResponseCAMLib.progress import Cancelled

EXPORT_AGAIN = "Export the object again"


@contextmanager
def damaged(path: Path, kind: str) -> Iterator[None]:
    """Context manager that converts any exception of a parser into one `StudyError` about ``path``.

    pydicom converts values on first access and may then raise any exception. Errors of this library and `Cancelled`
    are passed on unchanged.
    """
    try:
        yield
    except (RTResponseError, Cancelled):
        raise
    except Exception as error:
        reason = f"is damaged: it cannot be read as {kind} ({type(error).__name__})"
        raise StudyError(path, reason, EXPORT_AGAIN) from error


def numbers(path: Path, data: Dataset, *, keyword: str, count: int | None = None) -> npt.NDArray[np.float64]:
    """Finite numbers of an attribute ``(n,)``; exactly ``count`` of them when given.

    Raises
    ------
    StudyError : absent, not numbers, not finite, or another count.
    """
    try:
        value: Any = data.get(keyword)
        values = np.atleast_1d(np.asarray(value, dtype=np.float64)) if value is not None else np.zeros(0)
    except Exception as error:
        raise StudyError(path, f"{keyword} is not a number", EXPORT_AGAIN) from error
    if values.size == 0:
        raise StudyError(path, f"lacks {keyword}", EXPORT_AGAIN)
    if not np.isfinite(values).all():
        raise StudyError(path, f"{keyword} is not a finite number (NaN)", EXPORT_AGAIN)
    if count is not None and values.size != count:
        raise StudyError(path, f"{keyword} has {values.size} values, expected {count}", EXPORT_AGAIN)
    return values


def whole_number(path: Path, data: Dataset, *, keyword: str, low: int, high: int, default: int | None = None) -> int:
    """Integer of an attribute within ``low``…``high``.

    Raises
    ------
    StudyError : absent without a default, no integer, or out of range.
    """
    if default is not None and data.get(keyword) in (None, ""):
        return default
    value = float(numbers(path, data, keyword=keyword, count=1)[0])
    if value != round(value) or not low <= value <= high:
        raise StudyError(path, f"{keyword} is {value:g}, expected an integer from {low} to {high}", EXPORT_AGAIN)
    return int(value)


def orientation(path: Path, data: Dataset) -> npt.NDArray[np.float64]:
    """Axes ``(3, 3)`` from Image Orientation (Patient): rows x, y, normal; orthonormal LPS, right-handed.

    Raises
    ------
    StudyError : absent, not unit vectors, or not perpendicular (tolerance 0.01).
    """
    cosines = numbers(path, data, keyword="ImageOrientationPatient", count=6)
    x, y = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(x), np.linalg.norm(y)
    if abs(lengths[0] - 1) > 0.01 or abs(lengths[1] - 1) > 0.01 or abs(float(x @ y)) > 0.01:
        problem = "ImageOrientationPatient (0020,0037) is not a pair of perpendicular unit vectors"
        raise StudyError(path, problem, EXPORT_AGAIN)
    x = x / lengths[0]
    y = y - (y @ x) * x
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)])


def pixel_spacing(path: Path, data: Dataset) -> tuple[float, float]:
    """Row step (y) and column step (x), mm.

    Raises
    ------
    StudyError : absent, or not within 0.01…50 mm.
    """
    row_step, column_step = (float(c) for c in numbers(path, data, keyword="PixelSpacing", count=2))
    if not (0.01 <= row_step <= 50 and 0.01 <= column_step <= 50):
        raise StudyError(path, f"PixelSpacing (0028,0030) is {row_step:g}\\{column_step:g} mm", EXPORT_AGAIN)
    return row_step, column_step


def position(path: Path, data: Dataset) -> npt.NDArray[np.float64]:
    """Image Position (Patient): center of the first pixel, LPS mm ``(3,)``.

    Raises
    ------
    StudyError : absent, or farther than 10 m from the origin.
    """
    point = numbers(path, data, keyword="ImagePositionPatient", count=3)
    if np.abs(point).max() > 1e4:
        raise StudyError(path, "ImagePositionPatient (0020,0032) is farther than 10 m from the origin", EXPORT_AGAIN)
    return point
