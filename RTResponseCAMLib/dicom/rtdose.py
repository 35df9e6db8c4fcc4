"""Read RTDOSE files in Gy: apply the scaling, sort the frames, and sum the files of a plan on one grid."""

from __future__ import annotations

import itertools
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
from RTResponseCAMLib.dicom.validation import damaged, numbers, orientation, pixel_spacing, position
from RTResponseCAMLib.errors import GeometryError, QuestionError, StudyError
from RTResponseCAMLib.imaging.dose_sum import plan_total, same_voxels, total_on_one_grid
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.rigid import Matrix, moved_image
from RTResponseCAMLib.study import GY, GY_RBE, Dose, Plan
from RTResponseCAMLib.warnings import Warning, WarningCode

SPACING_TOLERANCE = 0.01
NEAR_ZERO_MM, SAME_Z_MM, AXIAL = 0.01, 0.1, 0.999  # limits of the first frame offset; |z| of an axial normal
WHOLE_PLAN = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW")
PARTS = ("FRACTION", "FRACTION_SESSION", "BEAM", "BEAM_SESSION", "BRACHY", "BRACHY_SESSION", "CONTROL_POINT")
UNITS = {"PHYSICAL": GY, "EFFECTIVE": GY_RBE}
RELATIVE = "Export the dose with relative offsets, the first of which is 0"
CHOOSE = "Choose one with --dose FILE, or name both to add them up"
Array32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _File:
    path: Path
    header: Dataset
    kind: str
    scaling: float
    unit: str
    beams: tuple[int, ...]

    @property
    def named(self) -> str:
        """File name, with Tissue Heterogeneity Correction (3004,0014) where stated."""
        corrected = self.header.get("TissueHeterogeneityCorrection")
        return f"{self.path.name} ({corrected})" if corrected else self.path.name


def read_plan_dose(
    paths: tuple[Path, ...],
    plan: Plan | None = None,
    *,
    dose_fractions: int | None = None,
    moves: Mapping[Path, Matrix] | None = None,
    add_up: bool = False,
) -> tuple[Dose, tuple[Warning, ...]]:
    """Read the dose of a whole plan.

    A PLAN dose is the dose of the whole plan. Files with the same dose in their overlap count once, boxes of separate
    targets are combined side by side, and files that contradict one another raise `QuestionError`. Without a PLAN
    dose, FRACTION doses, otherwise BEAM doses, are summed as parts of the plan. Files of one plane each are stacked.

    Parameters
    ----------
    plan : gives the number of fractions and the beams; None when unknown.
    dose_fractions : factor for FRACTION and BEAM doses; 1 means that they hold the dose of the whole course. Required
        when the plan has, or may have, more than one fraction.
    moves : rigid maps into the frame of the planning MR, for files in another frame of reference.
    add_up : the user selected these files as parts: they are summed whatever their DoseSummationType is.

    Raises
    ------
    StudyError : units or type other than Gy or Gy (RBE), or both in one plan; scaling missing or not positive; bit
        depth or sign that changes the meaning of stored values; frames that do not match their offsets; doses of a
        plan that contradict one another; beams that are missing or repeated; FRACTION or BEAM doses with an unknown
        number of fractions (also identical ones that would be multiplied: they may be the fractions); undecodable
        pixels.
    GeometryError : frames that do not form a grid.
    """
    files = [_open(path) for path in paths]
    used, warnings = (files, []) if add_up else _choose_kind(files)
    if len({file.unit for file in used}) > 1:
        listed = ", ".join(f"{dose_file.path.name} {dose_file.unit}" for dose_file in used)
        problem = f"is one of several doses of two quantities (DoseType 3004,0004), which cannot be added: {listed}"
        choices = [((dose_file.path.name,), f"{dose_file.path.name} {dose_file.unit}") for dose_file in used]
        raise QuestionError(used[0].path, problem, "Choose one with --dose FILE", option="doses", choices=choices)
    if used[0].unit == GY_RBE:
        warnings.append(WarningCode.DOSE_RBE())
    kinds = {file.kind in WHOLE_PLAN for file in used}
    if len(kinds) > 1:
        listed = ", ".join(f"{dose_file.path.name} ({dose_file.kind})" for dose_file in used)
        problem = (
            "is one of several doses, of the whole plan and of parts of it (3004,000A), which cannot be added: "
            f"{listed}"
        )
        raise StudyError(used[0].path, problem, "Choose doses of one kind with --dose FILE")
    factor = _factor(used[0], plan.fractions if plan is not None else None, dose_fractions)
    if factor != 1:
        warnings.append(WarningCode.DOSE_MULTIPLIED(kind=used[0].kind, count=factor))
    groups = _planes_together(used)
    volumes = [_volume(group, factor) for group in groups]
    to_planning_mr = [(moves or {}).get(group[0].path) for group in groups]
    images = [
        image if matrix is None else moved_image(matrix, image)
        for (image, _), matrix in zip(volumes, to_planning_mr, strict=True)
    ]
    if not all(even for _, even in volumes):
        warnings.append(WarningCode.DOSE_UNEVEN())
    repeats = 0
    if add_up:
        _check_unlike(groups, images)
        total, reason = total_on_one_grid([[image] for image in images]), "as chosen by the user"
    elif used[0].kind in WHOLE_PLAN:
        combination = plan_total(images)
        if combination.contradicting is not None or combination.image is None:
            first, second = (groups[n][0] for n in combination.contradicting or (0, 0))
            problem = (
                f"holds the dose of the whole plan (DoseSummationType 3004,000A {first.kind}), and so does "
                f"{second.named}, which differs at the same place"
            )
            choices = [((dose_file.path.name,), dose_file.named) for dose_file in (first, second)]
            raise QuestionError(first.path, problem, CHOOSE, option="doses", choices=choices)
        total, repeats, reason = combination.image, combination.repeats, "boxes of separate targets"
    else:
        warnings += _check_parts(groups, images, plan, dose_fractions)
        total, reason = total_on_one_grid([[image] for image in images]), f"{used[0].kind} doses are parts of the plan"
    if repeats:
        warnings.append(WarningCode.DOSE_REPEATED(count=repeats))
    if len(images) - repeats > 1:
        warnings.append(WarningCode.DOSE_SUMMED(count=len(images) - repeats, reason=reason))
    sources = tuple(pseudonym(str(file.header.get("SOPInstanceUID", ""))) for file in used)
    return Dose(total, sources, used[0].unit), tuple(warnings)


def _open(path: Path) -> _File:
    with damaged(path, "a dose"):
        header = read_header(path)
        unit = _unit(path, header)
        _check_stored(path, header)
        kind = str(header.get("DoseSummationType", "") or "PLAN").upper()
        scaling = float(numbers(path, header, keyword="DoseGridScaling", count=1)[0])
        if not 0 < scaling <= 1e3:
            raise _unscaled(path, scaling)
    return _File(path, header, kind, scaling, unit, _beams_of(header))


def _unit(path: Path, header: Dataset) -> str:
    """Unit of the dose, from DoseUnits and DoseType."""
    units = str(header.get("DoseUnits", "") or "").upper()
    if units != "GY":
        raise StudyError(
            path,
            f"DoseUnits (3004,0002) is '{units or 'absent'}', expected GY",
            "Export the dose in absolute units",
        )
    kind = str(header.get("DoseType", "") or "PHYSICAL").upper()
    if kind not in UNITS:
        problem = f"DoseType (3004,0004) is {kind}, expected PHYSICAL or EFFECTIVE"
        raise StudyError(path, problem, "Export the dose itself, not the dose error")
    if header.get("DoseGridScaling") in (None, ""):
        raise _unscaled(path, "absent")
    return UNITS[kind]


def _check_stored(path: Path, header: Dataset) -> None:
    """Raise when attributes that the RT Dose module does not allow would change the stored values."""
    layout = pixel_format(path, header)
    if layout.stored != layout.allocated:
        problem = f"BitsStored (0028,0101) is {layout.stored} and BitsAllocated (0028,0100) {layout.allocated}"
        raise StudyError(path, f"{problem}; both must be equal for a dose", "Export the dose again")
    for keyword, neutral in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        if (
            header.get(keyword) not in (None, "")
            and float(numbers(path, header, keyword=keyword, count=1)[0]) != neutral
        ):
            tag = "0028,1053" if keyword == "RescaleSlope" else "0028,1052"
            problem = f"has {keyword} ({tag}) in addition to DoseGridScaling (3004,000E), so the scaling is ambiguous"
            raise StudyError(path, problem, "Export the dose with DoseGridScaling alone")


def _beams_of(header: Dataset) -> tuple[int, ...]:
    """Numbers of the beams that a dose references; empty when it references none."""
    return tuple(
        int(beam.ReferencedBeamNumber)
        for plan in header.get("ReferencedRTPlanSequence") or ()
        for group in plan.get("ReferencedFractionGroupSequence") or ()
        for beam in group.get("ReferencedBeamSequence") or ()
        if beam.get("ReferencedBeamNumber") not in (None, "")
    )


def _check_unlike(groups: list[list[_File]], images: list[sitk.Image]) -> None:
    """Raise when two of the doses to be summed are identical: the same dose must not be added twice."""
    for (one, first), (other, second) in itertools.combinations(zip(groups, images, strict=True), 2):
        if same_voxels(first, second):
            problem = f"holds the same dose as {other[0].path.name}, and cannot be added to it"
            raise StudyError(one[0].path, problem, "Name it once with --dose")


def _check_parts(
    groups: list[list[_File]], images: list[sitk.Image], plan: Plan | None, dose_fractions: int | None
) -> list[Warning]:
    """Raise unless the parts make up the plan: no beam repeated or missing, no two doses identical; return warnings."""
    first = groups[0][0]
    numbered = first.kind.startswith("BEAM") and all(group[0].beams for group in groups)
    if not numbered and dose_fractions != 1 and any(same_voxels(*pair) for pair in itertools.combinations(images, 2)):
        problem = (
            f"is one of {len(images)} {first.kind} doses with identical values: they may be one dose exported twice, "
            "or they may be the fractions themselves"
        )
        fix = "Choose one with --dose FILE, give --dose-fractions 1 to add them as they are, or export PLAN dose"
        raise StudyError(first.path, problem, fix)
    beams = [beam for group in groups for beam in group[0].beams]
    if not first.kind.startswith("BEAM"):
        return []
    planned = len(plan.beams) if plan is not None else 0
    if not beams:
        if planned not in (0, len(groups)):
            problem = (
                f"is one of {len(groups)} {first.kind} doses without a beam number (300C,0006), of {planned} beams"
            )
            raise StudyError(first.path, problem, "Export the dose of every beam, or the PLAN dose")
        return [] if planned else [WarningCode.DOSE_PARTS_UNKNOWN(count=len(groups), kind=first.kind)]
    repeated_beams = sorted({beam for beam in beams if beams.count(beam) > 1})
    if repeated_beams:
        files = ", ".join(g[0].path.name for g in groups if repeated_beams[0] in g[0].beams)
        problem = f"is one of several that hold the dose of beam {repeated_beams[0]} (300C,0006): {files}"
        raise StudyError(first.path, problem, CHOOSE)
    missing_beams = sorted(plan.beams - set(beams)) if plan is not None else []
    if missing_beams:
        listed = ", ".join(map(str, missing_beams))
        problem = (
            f"belongs to a plan with {len(beams) + len(missing_beams)} beams, and the dose of beam {listed} "
            "(300C,0006) is absent"
        )
        raise StudyError(first.path, problem, "Export the dose of every beam, or the PLAN dose")
    return []


def _unscaled(path: Path, scaling: object) -> StudyError:
    return StudyError(
        path,
        f"DoseGridScaling (3004,000E) is '{scaling}', expected a positive number",
        "Export the dose again; without it the stored integers are not Gy",
    )


def _choose_kind(files: list[_File]) -> tuple[list[_File], list[Warning]]:
    by_kind: dict[str, list[_File]] = {}
    for file in files:
        by_kind.setdefault(file.kind, []).append(file)
    for kind in (*WHOLE_PLAN, *PARTS):
        if kind in by_kind:
            used = by_kind.pop(kind)
            break
    else:
        first = files[0]
        problem = f"DoseSummationType (3004,000A) is {first.kind}, expected PLAN: the dose of the whole course"
        raise StudyError(first.path, problem, "Export the plan's total dose")
    warnings = [
        WarningCode.DOSE_LEFT_OUT(count=len(files_of_kind), kind=kind, used=used[0].kind)
        for kind, files_of_kind in by_kind.items()
    ]
    if used[0].kind == "MULTI_PLAN":
        warnings.append(WarningCode.DOSE_OF_PLANS())
    return used, warnings


def _factor(file: _File, planned: int | None, dose_fractions: int | None) -> int:
    if file.kind in WHOLE_PLAN or (planned == 1 and dose_fractions is None):
        return 1
    if dose_fractions is None:
        stated = "an unknown number of" if planned is None else str(planned)
        raise StudyError(
            file.path,
            f"DoseSummationType (3004,000A) is {file.kind} and the plan has {stated} fractions, so the dose of the "
            "whole course is unknown",
            "Give --dose-fractions N (1 when the file already holds the whole course), or export the PLAN dose",
        )
    if not 1 <= dose_fractions <= 100:
        raise StudyError("--dose-fractions", f"is {dose_fractions}, expected 1 to 100", "Correct the value")
    return dose_fractions


def _planes_together(files: list[_File]) -> list[list[_File]]:
    """Group the files of a dose volume: single-plane files of one series form one volume, other files their own."""
    groups: defaultdict[tuple[str, ...], list[_File]] = defaultdict(list)
    for index, file in enumerate(files):
        header = file.header
        is_single_plane = pixel_format(file.path, header).frames == 1
        beams = str(header.get("ReferencedRTPlanSequence", "")) if is_single_plane else ""
        key = (str(header.get("SeriesInstanceUID", "")), beams) if is_single_plane else (str(index),)
        groups[key].append(file)
    return list(groups.values())


def _volume(files: list[_File], factor: int) -> tuple[sitk.Image, bool]:
    """Image of one dose box, Gy, and whether its frames are evenly spaced."""
    first = files[0]
    with damaged(first.path, "a dose"):
        if len(files) == 1:
            offsets, values = _frames(first)
        else:
            axes = orientation(first.path, first.header)
            positions_mm = np.asarray([position(f.path, f.header) @ axes[2] for f in files])
            offsets = positions_mm - positions_mm[0]
            planes = [_frames(file)[1] for file in files]
            if len({plane.shape for plane in planes}) > 1:
                raise GeometryError(
                    first.path, "belongs to a series of dose planes of different sizes", "Export the dose as one file"
                )
            values = np.concatenate(planes)
        order = np.argsort(offsets)  # ascending frames keep the grid right-handed
        return _image(first, offsets[order], values[order] * np.float32(factor))


def _frames(file: _File) -> tuple[npt.NDArray[np.float64], Array32]:
    """Offsets along the normal from the image position, mm ``(frames,)``, and dose, Gy ``(frames, rows, columns)``."""
    layout = pixel_format(file.path, file.header)
    if layout.frames == 1 and file.header.get("GridFrameOffsetVector") is None:
        offsets = np.zeros(1)
    else:
        offsets = numbers(file.path, file.header, keyword="GridFrameOffsetVector")
    if layout.frames != len(offsets):
        raise StudyError(
            file.path,
            f"has {layout.frames} frames but {len(offsets)} values in GridFrameOffsetVector (3004,000C)",
            "Export the dose again",
        )
    stored = stored_frames(file.path, file.header)
    if layout.signed and int(stored.min(initial=0)) < 0:
        problem = "holds negative values: PixelRepresentation (0028,0103) is 1 (signed), and a dose is not negative"
        raise StudyError(file.path, problem, "Export the dose unsigned")
    values = stored.astype(np.float32)
    values *= np.float32(file.scaling)
    return _along_normal(file, offsets), values


def _along_normal(file: _File, offsets: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distance of each plane from the image position along the normal, mm ``(frames,)``.

    Relative offsets begin with 0. Offsets in patient coordinates begin with the z of the image position; they are
    defined for axial planes only and run along z, independent of the direction of the normal (DICOM C.8.8.3.2).
    """
    if abs(offsets[0]) < NEAR_ZERO_MM or len(offsets) == 1:
        return offsets - offsets[0]
    normal, z = orientation(file.path, file.header)[2], float(position(file.path, file.header)[2])
    problem = f"GridFrameOffsetVector (3004,000C) begins with {offsets[0]:g}"
    if abs(normal[2]) < AXIAL:
        raise StudyError(file.path, f"{problem}: patient coordinates, for planes that are not axial", RELATIVE)
    if abs(offsets[0] - z) > SAME_Z_MM:
        raise StudyError(file.path, f"{problem}, neither 0 nor the z of the position ({z:g})", RELATIVE)
    return (offsets - offsets[0]) * np.sign(normal[2])


def _image(file: _File, offsets_mm: npt.NDArray[np.float64], values: Array32) -> tuple[sitk.Image, bool]:
    axes = orientation(file.path, file.header)
    row_step, column_step = pixel_spacing(file.path, file.header)
    steps, even = np.diff(offsets_mm), True
    if not len(steps):
        step = float(numbers(file.path, file.header, keyword="SliceThickness", count=1)[0])
        if not 0.01 <= step <= 50:
            raise GeometryError(file.path, "is a single plane without a thickness", "Export the whole dose grid")
    else:
        step = float(np.median(steps))
        if steps.min() <= 1e-3 or steps.max() > 50:
            problem = "has dose frames at one position, or farther apart than 50 mm (3004,000C)"
            raise GeometryError(file.path, problem, "Export the dose on a regular grid")
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
    """Frames at even steps by linear interpolation, and their offsets, mm; the last may lie before the last input."""
    target_mm = np.arange(offsets_mm[0], offsets_mm[-1] + 1e-6, step_mm)
    if len(target_mm) > 4 * len(values) + 16:
        raise GeometryError(
            "GridFrameOffsetVector", "has offsets that are far from even steps", "Export the dose on a regular grid"
        )
    upper = np.clip(np.searchsorted(offsets_mm, target_mm), 1, len(values) - 1)
    weight = ((target_mm - offsets_mm[upper - 1]) / (offsets_mm[upper] - offsets_mm[upper - 1])).astype(np.float32)
    even = (1 - weight)[:, None, None] * values[upper - 1] + weight[:, None, None] * values[upper]
    return even, target_mm
