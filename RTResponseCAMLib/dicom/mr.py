"""An MR series as one image: pixels by GDCM, geometry from the tags, never from file order or SliceThickness."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.dicom.files import check_pixels_present
from RTResponseCAMLib.dicom.index import Entry
from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.progress import Progress, silent

SPACING_TOLERANCE = 0.01
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"


def read_series(entries: tuple[Entry, ...], progress: Progress = silent) -> sitk.Image:
    """Read a series into float32, LPS mm, slices along the normal of rows and columns.

    Raises
    ------
    StudyError : a file is truncated, undecodable, lacks geometry tags, or holds values that are not finite.
    GeometryError : slices of unlike size or orientation, at one position, or unevenly spaced (a lost slice).
    """
    first = entries[0]
    if first.text("SOPClassUID") == ENHANCED_MR:
        raise StudyError(first.path, "is an enhanced multi-frame MR, which is not read yet", "Export it as classic MR")
    for number, entry in enumerate(entries):
        if number % 64 == 0:
            progress(0.3 * number / len(entries), "checking slices")
        check_pixels_present(entry.path, entry.header)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            if entry.header.get(keyword) is None:
                raise StudyError(entry.path, f"lacks {keyword}", "Export the series with its geometry")
        for keyword in ("RescaleSlope", "RescaleIntercept"):
            if not np.isfinite(float(entry.header.get(keyword, 1) or 0)):
                raise StudyError(entry.path, f"{keyword} is not a finite number (NaN)", "Export the series again")
    order, axes, spacing = _geometry(entries)
    sorted_entries = [entries[i] for i in order]
    progress(0.3, "reading pixels")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(entry.path) for entry in sorted_entries])
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise StudyError(
            first.path.parent, f"a slice cannot be decoded ({_last_line(error)})", "Export again"
        ) from error
    progress(0.9, "checking values")
    image.SetOrigin([float(c) for c in sorted_entries[0].header.ImagePositionPatient])
    image.SetDirection(axes.T.ravel().tolist())
    row_step, column_step = (float(c) for c in first.header.PixelSpacing)
    image.SetSpacing((column_step, row_step, spacing))
    if not np.isfinite(sitk.GetArrayViewFromImage(image).sum(dtype=np.float64)):
        raise StudyError(first.path.parent, "the MR holds values that are not finite (NaN)", "Export the series again")
    progress(1.0)
    return image


def _geometry(
    entries: tuple[Entry, ...],
) -> tuple[list[int], np.ndarray[tuple[int, ...], np.dtype[np.float64]], float]:
    """Slice order, LPS axes as rows (columns' direction, rows' direction, normal) and slice step, mm."""
    first = entries[0]
    orientation = np.asarray(first.header.ImageOrientationPatient, dtype=np.float64)
    for entry in entries[1:]:
        header = entry.header
        if np.abs(np.asarray(header.ImageOrientationPatient, dtype=np.float64) - orientation).max() > 1e-3:
            raise GeometryError(
                entry.path, "is turned against the other slices (0020,0037)", "Keep one stack per folder"
            )
        if (header.Rows, header.Columns) != (first.header.Rows, first.header.Columns):
            raise GeometryError(entry.path, "has other Rows or Columns than its series", "Keep one stack per folder")
        if not np.allclose(np.asarray(header.PixelSpacing, float), np.asarray(first.header.PixelSpacing, float), 1e-3):
            raise GeometryError(entry.path, "has another PixelSpacing than its series", "Keep one stack per folder")
    x = orientation[:3] / np.linalg.norm(orientation[:3])
    y = orientation[3:] - (orientation[3:] @ x) * x
    axes = np.stack([x, y / np.linalg.norm(y), np.cross(x, y / np.linalg.norm(y))])
    positions = np.asarray([entry.header.ImagePositionPatient for entry in entries], dtype=np.float64)
    along = positions @ axes[2]
    order = [int(i) for i in np.argsort(along, kind="stable")]
    if len(entries) < 2:
        raise GeometryError(first.path, "is the only slice of its series", "Export the whole series")
    steps = np.diff(along[order])
    step = float(np.median(steps))
    if steps.min() < 1e-3:
        twin = entries[order[int(np.argmin(steps)) + 1]].path
        raise GeometryError(twin, "lies at the same position as another slice of its series", "Export one acquisition")
    worst = float(np.abs(steps / step - 1).max())
    if worst > SPACING_TOLERANCE:
        place = int(np.argmax(np.abs(steps / step - 1)))
        raise GeometryError(
            entries[order[place]].path,
            f"the step to the next slice is {steps[place]:.3f} mm, usual is {step:.3f} mm",
            "A slice is missing or the spacing is uneven; export the whole series",
        )
    return order, axes, float((along[order[-1]] - along[order[0]]) / (len(entries) - 1))


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "unknown reason"
