"""RTDOSE in Gy: scaling applied once, frames in order, several files summed on one grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import UNCOMPRESSED, check_pixels_present, pseudonym, read_header
from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.imaging.grid import Grid, same_grid
from RTResponseCAMLib.study import Caution, Dose

SPACING_TOLERANCE = 0.01


def read_plan_dose(paths: tuple[Path, ...]) -> tuple[Dose, tuple[Caution, ...]]:
    """Read the dose of a whole plan.

    PLAN doses are summed; BEAM doses only when there is no PLAN dose; one FRACTION dose is not multiplied,
    because nothing here says by how much.

    Raises
    ------
    StudyError : units or type that are not physical Gy, scaling missing or not positive, frames that do not
        match their offsets, a FRACTION dose, truncated or undecodable pixels.
    """
    cautions: list[Caution] = []
    headers = {path: read_header(path) for path in paths}
    for path, header in headers.items():
        _check_units(path, header)
    by_type: dict[str, list[Path]] = {}
    for path, header in headers.items():
        by_type.setdefault(str(header.get("DoseSummationType", "") or "PLAN").upper(), []).append(path)
    if "PLAN" in by_type:
        used = by_type.pop("PLAN")
    elif "BEAM" in by_type:
        used = by_type.pop("BEAM")
    else:
        kind, files = next(iter(by_type.items()))
        raise StudyError(
            files[0],
            f"DoseSummationType (3004,000A) is {kind}, expected PLAN: the dose of the whole course",
            "Export the plan's total dose",
        )
    for kind, left in by_type.items():
        text = f"{len(left)} RTDOSE of type {kind} are not used beside the {headers[used[0]].DoseSummationType} dose"
        cautions.append(Caution("dose-left-out", text))
    images = [_read_one(path, headers[path]) for path in used]
    if len(images) > 1:
        cautions.append(Caution("dose-summed", f"the dose is the sum of {len(images)} RTDOSE files"))
    sources = tuple(pseudonym(str(headers[path].SOPInstanceUID)) for path in used)
    return Dose(_sum(images), sources), tuple(cautions)


def _check_units(path: Path, header: Dataset) -> None:
    units = str(header.get("DoseUnits", "") or "").upper()
    if units != "GY":
        raise StudyError(
            path,
            f"DoseUnits (3004,0002) is '{units or 'absent'}', expected GY",
            "Export the dose in absolute units",
        )
    kind = str(header.get("DoseType", "") or "PHYSICAL").upper()
    if kind != "PHYSICAL":
        raise StudyError(path, f"DoseType (3004,0004) is {kind}, expected PHYSICAL", "Export the physical dose")
    try:
        scaling = float(header.DoseGridScaling)
    except (AttributeError, TypeError, ValueError):
        scaling = float("nan")
    if not (np.isfinite(scaling) and scaling > 0):
        found = header.get("DoseGridScaling")
        raise StudyError(
            path,
            f"DoseGridScaling (3004,000E) is '{'absent' if found is None else found}', expected a positive number",
            "Export the dose again; without it the stored integers are not Gy",
        )


def _read_one(path: Path, header: Dataset) -> sitk.Image:
    check_pixels_present(path, header)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "GridFrameOffsetVector",
    ):
        if header.get(keyword) is None:
            raise StudyError(path, f"lacks {keyword}", "Export the dose with its geometry")
    offsets = np.atleast_1d(np.asarray(header.GridFrameOffsetVector, dtype=np.float64))
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if frames != len(offsets):
        raise StudyError(
            path,
            f"has {frames} frames but {len(offsets)} values in GridFrameOffsetVector (3004,000C)",
            "Export the dose again",
        )
    values = _stored_values(path).reshape(frames, int(header.Rows), int(header.Columns)).astype(np.float32)
    order = np.argsort(offsets)  # descending frames are turned round, so that grids stay right-handed
    values = values[order] * np.float32(header.DoseGridScaling)
    if not np.isfinite(values).all():
        raise StudyError(path, "the dose holds values that are not finite (NaN)", "Export the dose again")
    # The first value belongs to the image position, whether offsets are relative (0, …) or absolute (z, …).
    relative = (offsets - offsets[0])[order]
    return _grid(path, header, relative).image(values)


def _stored_values(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.integer[Any]]]:
    """Integers as stored. pydicom reads 32-bit big-endian words right, which GDCM swaps by halves."""
    data = pydicom.dcmread(path, force=True)
    try:
        return np.asarray(data.pixel_array)
    except (NotImplementedError, RuntimeError, ValueError, AttributeError) as reason:
        if str(data.file_meta.get("TransferSyntaxUID", "")) in UNCOMPRESSED:
            raise StudyError(path, "its pixels cannot be decoded", "Export the dose again") from reason
    try:
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))  # compressed: GDCM has the codecs
    except RuntimeError as reason:
        raise StudyError(path, "its pixels cannot be decoded", "Export the dose again") from reason


def _grid(path: Path, header: Dataset, offsets_mm: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Grid:
    orientation = np.asarray(header.ImageOrientationPatient, dtype=np.float64)
    x, y = orientation[:3], orientation[3:]
    normal = np.cross(x, y)
    steps = np.diff(offsets_mm)
    step = float(np.median(steps)) if len(steps) else 1.0
    if len(steps) and (steps.min() <= 0 or np.abs(steps / step - 1).max() > SPACING_TOLERANCE):
        raise GeometryError(path, "has unevenly spaced dose frames (3004,000C)", "Export the dose on a regular grid")
    row_step, column_step = (float(c) for c in header.PixelSpacing)
    a, b, c = (np.asarray(header.ImagePositionPatient, dtype=np.float64) + normal * offsets_mm[0]).tolist()
    size = (int(header.Columns), int(header.Rows), len(offsets_mm))
    direction = np.stack([x, y, normal], axis=1).ravel().tolist()
    return Grid(size, (column_step, row_step, step), (a, b, c), tuple(direction))


def _sum(images: list[sitk.Image]) -> sitk.Image:
    """Sum in Gy on the first image's axes, at the finest step, over the box that holds all of them."""
    grids = [Grid.of(image) for image in images]
    if all(same_grid(grids[0], grid) for grid in grids[1:]):
        total = np.sum([sitk.GetArrayViewFromImage(image) for image in images], axis=0)
        return grids[0].image(total.astype(np.float32))
    frame = grids[0]
    spacing = tuple(float(s) for s in np.min([grid.spacing_mm for grid in grids], axis=0))
    unit = Grid((1, 1, 1), (spacing[0], spacing[1], spacing[2]), frame.origin_mm, frame.direction)
    corners = np.concatenate(
        [
            unit.to_index(grid.to_lps(np.asarray([(i, j, k) for i in (0, grid.size[0] - 1)
                                                  for j in (0, grid.size[1] - 1) for k in (0, grid.size[2] - 1)])))
            for grid in grids
        ]
    )  # fmt: skip
    low = np.floor(corners.min(axis=0) + 1e-6).astype(int)
    size = np.ceil(corners.max(axis=0) - 1e-6).astype(int) - low + 1
    whole = unit.crop((int(low[0]), int(low[1]), int(low[2])), (int(size[0]), int(size[1]), int(size[2])))
    total = np.zeros(whole.shape, dtype=np.float32)
    for image in images:
        moved = sitk.Resample(image, whole.blank(), sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        total += sitk.GetArrayViewFromImage(moved)
    return whole.image(total)
