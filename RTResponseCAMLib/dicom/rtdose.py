"""RTDOSE in Gy: scaling applied once, frames in order, the files of a plan summed on one grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.pixels import pixel_format, stored_frames
from RTResponseCAMLib.dicom.privacy import pseudonym
from RTResponseCAMLib.dicom.values import damaged, numbers, orientation, pixel_spacing, position
from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.rigid import Matrix, moved_image
from RTResponseCAMLib.imaging.sums import plan_total, same_voxels, total_on_one_grid
from RTResponseCAMLib.study import Caution, Dose

SPACING_TOLERANCE = 0.01
WHOLE_PLAN = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW")
PARTS = ("FRACTION", "FRACTION_SESSION", "BEAM", "BEAM_SESSION", "BRACHY", "BRACHY_SESSION", "CONTROL_POINT")
Array32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _File:
    path: Path
    header: Dataset
    kind: str
    scaling: float


def read_plan_dose(
    paths: tuple[Path, ...],
    planned_fractions: int | None = None,
    dose_fractions: int | None = None,
    moves: Mapping[Path, Matrix] | None = None,
) -> tuple[Dose, tuple[Caution, ...]]:
    """Read the dose of a whole plan.

    PLAN doses are summed; without one, FRACTION doses, else BEAM doses. PLAN files that hold the same dose where they
    overlap count once; FRACTION and BEAM files are all parts. One file per plane is stacked.

    Parameters
    ----------
    planned_fractions : number of fractions that the plan states, None when unknown.
    dose_fractions : what FRACTION and BEAM doses are multiplied by; 1 says that they hold the whole course. It must
        be given when the plan has, or may have, more than one fraction.
    moves : rigid maps into the frame of the planning MR, for files that lie in another one.

    Raises
    ------
    StudyError : units or type that are not physical Gy, scaling missing or not positive, frames that do not
        match their offsets, FRACTION or BEAM doses of an unknown number of fractions (also: equal ones that are to
        be multiplied, for they may be the fractions), undecodable pixels.
    GeometryError : frames that form no grid.
    """
    files = [_open(path) for path in paths]
    used, cautions = _choose_kind(files)
    factor = _factor(used[0], planned_fractions, dose_fractions)
    if factor != 1:
        text = f"the {used[0].kind} dose is multiplied by {factor} fractions, as asked for"
        cautions.append(Caution("dose-multiplied", text))
    groups = _planes_together(used)
    volumes = [_volume(group, factor) for group in groups]
    places = [(moves or {}).get(group[0].path) for group in groups]
    images = [
        image if matrix is None else moved_image(matrix, image)
        for (image, _), matrix in zip(volumes, places, strict=True)
    ]
    if not all(even for _, even in volumes):
        text = "the dose frames are unevenly spaced; they are resampled at the smallest step"
        cautions.append(Caution("dose-uneven", text))
    if used[0].kind in WHOLE_PLAN:
        total, repeats = plan_total(images)
    else:
        if factor > 1 and any(same_voxels(images[0], image) for image in images[1:]):
            what = f"is one of {len(images)} {used[0].kind} doses that are alike: they may be the fractions themselves"
            raise StudyError(used[0].path, what, "Give --dose-fractions 1 to add them as they are, or export PLAN dose")
        total, repeats = total_on_one_grid([[image] for image in images]), 0
    if repeats:
        text = f"{repeats} RTDOSE repeat(s) the dose of another file; each dose counts once"
        cautions.append(Caution("dose-repeated", text))
    if len(images) - repeats > 1:
        cautions.append(Caution("dose-summed", f"the dose is the sum of {len(images) - repeats} RTDOSE files"))
    sources = tuple(pseudonym(str(file.header.get("SOPInstanceUID", ""))) for file in used)
    return Dose(total, sources), tuple(cautions)


def _open(path: Path) -> _File:
    with damaged(path, "a dose"):
        header = read_header(path)
        _check_units(path, header)
        kind = str(header.get("DoseSummationType", "") or "PLAN").upper()
        scaling = float(numbers(path, header, "DoseGridScaling", 1)[0])
        if not 0 < scaling <= 1e3:
            raise _unscaled(path, scaling)
    return _File(path, header, kind, scaling)


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
    if header.get("DoseGridScaling") in (None, ""):
        raise _unscaled(path, "absent")


def _unscaled(path: Path, found: object) -> StudyError:
    return StudyError(
        path,
        f"DoseGridScaling (3004,000E) is '{found}', expected a positive number",
        "Export the dose again; without it the stored integers are not Gy",
    )


def _choose_kind(files: list[_File]) -> tuple[list[_File], list[Caution]]:
    by_kind: dict[str, list[_File]] = {}
    for file in files:
        by_kind.setdefault(file.kind, []).append(file)
    for kind in (*WHOLE_PLAN, *PARTS):
        if kind in by_kind:
            used = by_kind.pop(kind)
            break
    else:
        found = files[0]
        what = f"DoseSummationType (3004,000A) is {found.kind}, expected PLAN: the dose of the whole course"
        raise StudyError(found.path, what, "Export the plan's total dose")
    cautions = [
        Caution("dose-left-out", f"{len(left)} RTDOSE of type {kind} are not used beside the {used[0].kind} dose")
        for kind, left in by_kind.items()
    ]
    if used[0].kind == "MULTI_PLAN":
        cautions.append(Caution("dose-of-plans", "the dose is that of several plans together (MULTI_PLAN)"))
    return used, cautions


def _factor(file: _File, planned: int | None, given: int | None) -> int:
    if file.kind in WHOLE_PLAN or (planned == 1 and given is None):
        return 1
    if given is None:
        stated = "an unknown number of" if planned is None else str(planned)
        raise StudyError(
            file.path,
            f"DoseSummationType (3004,000A) is {file.kind} and the plan has {stated} fractions, so the dose of the "
            "whole course is unknown",
            "Give --dose-fractions N (1 when the file already holds the whole course), or export the PLAN dose",
        )
    if not 1 <= given <= 100:
        raise StudyError("--dose-fractions", f"is {given}, expected 1 to 100", "Correct the value")
    return given


def _planes_together(files: list[_File]) -> list[list[_File]]:
    """Files of one plane each that belong to one series are one volume."""
    groups: defaultdict[tuple[str, ...], list[_File]] = defaultdict(list)
    for number, file in enumerate(files):
        header = file.header
        single = pixel_format(file.path, header).frames == 1
        beams = str(header.get("ReferencedRTPlanSequence", "")) if single else ""
        key = (str(header.get("SeriesInstanceUID", "")), beams) if single else (str(number),)
        groups[key].append(file)
    return list(groups.values())


def _volume(files: list[_File], factor: int) -> tuple[sitk.Image, bool]:
    """One dose box, Gy, and whether its frames were evenly spaced."""
    first = files[0]
    with damaged(first.path, "a dose"):
        if len(files) == 1:
            offsets, values = _frames(first)
        else:
            axes = orientation(first.path, first.header)
            places = np.asarray([position(f.path, f.header) @ axes[2] for f in files])
            offsets = places - places[0]
            pieces = [_frames(file)[1] for file in files]
            if len({piece.shape for piece in pieces}) > 1:
                raise GeometryError(first.path, "belongs to planes of unlike size", "Export the dose as one file")
            values = np.concatenate(pieces)
        order = np.argsort(offsets)  # descending frames are turned round, so that grids stay right-handed
        return _image(first, offsets[order], values[order] * np.float32(factor))


def _frames(file: _File) -> tuple[npt.NDArray[np.float64], Array32]:
    """Offsets along the normal from the image position, mm, and dose, Gy ``(frames, rows, columns)``."""
    layout = pixel_format(file.path, file.header)
    if layout.frames == 1 and file.header.get("GridFrameOffsetVector") is None:
        offsets = np.zeros(1)
    else:
        offsets = numbers(file.path, file.header, "GridFrameOffsetVector")
    if layout.frames != len(offsets):
        raise StudyError(
            file.path,
            f"has {layout.frames} frames but {len(offsets)} values in GridFrameOffsetVector (3004,000C)",
            "Export the dose again",
        )
    values = stored_frames(file.path, file.header).astype(np.float32)
    values *= np.float32(file.scaling)
    # The first value belongs to the image position, whether offsets are relative (0, …) or absolute (z, …).
    return offsets - offsets[0], values


def _image(file: _File, offsets_mm: npt.NDArray[np.float64], values: Array32) -> tuple[sitk.Image, bool]:
    axes = orientation(file.path, file.header)
    row_step, column_step = pixel_spacing(file.path, file.header)
    steps, even = np.diff(offsets_mm), True
    if not len(steps):
        step = float(numbers(file.path, file.header, "SliceThickness", 1)[0])
        if not 0.01 <= step <= 50:
            raise GeometryError(file.path, "is a single plane without a thickness", "Export the whole dose grid")
    else:
        step = float(np.median(steps))
        if steps.min() <= 1e-3 or steps.max() > 50:
            what = "has dose frames at one place, or farther apart than 50 mm (3004,000C)"
            raise GeometryError(file.path, what, "Export the dose on a regular grid")
        if np.abs(steps / step - 1).max() > SPACING_TOLERANCE:
            step, even = float(steps.min()), False
            values, offsets_mm = _evenly(values, offsets_mm, step)
    start = position(file.path, file.header) + axes[2] * offsets_mm[0]
    x, y, z = start.tolist()
    size = (values.shape[2], values.shape[1], values.shape[0])
    grid = Grid(size, (column_step, row_step, step), (x, y, z), tuple(axes.T.ravel().tolist()))
    return grid.image(values), even


def _evenly(
    values: Array32, offsets_mm: npt.NDArray[np.float64], step_mm: float
) -> tuple[Array32, npt.NDArray[np.float64]]:
    """Frames at even steps, linear between the given ones; the last step may end short of the last frame."""
    wanted = np.arange(offsets_mm[0], offsets_mm[-1] + 1e-6, step_mm)
    if len(wanted) > 4 * len(values) + 16:
        raise GeometryError("GridFrameOffsetVector", "is far from even steps", "Export the dose on a regular grid")
    upper = np.clip(np.searchsorted(offsets_mm, wanted), 1, len(values) - 1)
    share = ((wanted - offsets_mm[upper - 1]) / (offsets_mm[upper] - offsets_mm[upper - 1])).astype(np.float32)
    even = (1 - share)[:, None, None] * values[upper - 1] + share[:, None, None] * values[upper]
    return even, wanted
