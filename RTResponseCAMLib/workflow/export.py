"""Subregions and evidence as DICOM objects beside the study they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from RTResponseCAMLib.device import FOR_DICOM, missing_packages
from RTResponseCAMLib.dicom.export_formats import ExportInput, format_of, formats
from RTResponseCAMLib.dicom.files import save
from RTResponseCAMLib.dicom.source_series import find_source_series
from RTResponseCAMLib.dicom.write_rtstruct import Region
from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.resample import resample_nearest
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.scene.subregion import Kept
from RTResponseCAMLib.study import Result
from RTResponseCAMLib.subregion.contoured import ContouredSubregion
from RTResponseCAMLib.warnings import Warning, WarningCode
from RTResponseCAMLib.workflow.output import RESEARCH_ONLY, new_folder

INSTALL = "Install highdicom, or create a segment"


def export_dicom(
    folder: Path,
    result: Result,
    *,
    drawn: Sequence[ContouredSubregion],
    out: Path,
    names: Sequence[str] = (),
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> tuple[tuple[str, ...], tuple[Warning, ...]]:
    """Write the chosen objects into ``out``; returns the names of the files, and what is to be known.

    Parameters
    ----------
    names : of formats; none takes all.

    Raises
    ------
    OutputError : nothing to export, highdicom is missing, ``out`` exists or cannot be written.
    StudyError : the planning MR is not in the folder any more.
    """
    regions = [region_of(one, result) for one in drawn]
    objects, warnings = dicom_objects(
        folder, result, regions=regions, names=names, progress=subprogress(progress, 0.0, 0.8)
    )
    with new_folder(out, overwrite) as partial:
        files = save_objects(objects, partial, progress=subprogress(progress, 0.8, 0.99))
    progress(1.0, "done")
    return files, warnings


def dicom_objects(
    folder: Path,
    result: Result,
    *,
    regions: Sequence[Region],
    names: Sequence[str] = (),
    progress: Progress = no_progress,
) -> tuple[dict[str, Dataset], tuple[Warning, ...]]:
    """Make the chosen objects, by format; also returns what is to be known.

    Parameters
    ----------
    folder : from which the study was read: the objects refer to its MR.
    names : of formats, see `dicom.export_formats`; none takes all.

    Raises
    ------
    OutputError : nothing to export, or highdicom is missing.
    StudyError : the planning MR is not in the folder any more.
    """
    regions = [region for region in regions if region.mask.any()]
    chosen = [format_of(name) for name in names] or list(formats())
    if not regions and any(each.needs_regions for each in chosen):
        what = "no subregion holds a voxel: there is nothing to contour"
        raise OutputError("", what, "Choose another threshold, or ask for lesions in doubt too")
    source_series = find_source_series(folder, result.study, progress=subprogress(progress, 0.0, 0.5))
    given = ExportInput(source_series, regions, result.cam, result.scale)
    warnings: list[Warning] = []
    objects: dict[str, Dataset] = {}
    for number, each in enumerate(chosen):
        progress(0.5 + 0.5 * number / len(chosen), f"making {each.file}")
        objects[each.name], more = each.make(given)
        warnings += more
    progress(1.0)
    return objects, tuple(warnings)


def objects_of_scene(
    folder: Path, result: Result, *, kept: Sequence[Kept], progress: Progress = no_progress
) -> tuple[dict[str, Dataset], tuple[Warning, ...]]:
    """Objects of the subregions that were kept as segments, and the map; what cannot be made is a warning.

    Raises
    ------
    OutputError : there is neither a subregion nor highdicom, without which there is no map.
    StudyError : the planning MR is not in the folder.
    """
    pairs = [kept_region(one, result) for one in kept]
    warnings = [warning for _, found in pairs for warning in found]
    wanted = [each for each in formats() if pairs or not each.needs_regions]
    if not pairs:
        warnings.append(WarningCode.NO_SUBREGION())
    needed = {each.package: FOR_DICOM.get(each.package, each.package) for each in wanted if each.package}
    if missing := missing_packages(needed):
        wanted = [each for each in wanted if needed.get(each.package) not in missing]
        if not wanted:
            raise OutputError("DICOM", f"cannot be written: {warnings[-1].text}, and {missing[0]} is missing", INSTALL)
        warnings.append(WarningCode.NO_HIGHDICOM(package=missing[0]))
    names = [each.name for each in wanted]
    objects, more = dicom_objects(
        folder, result, regions=[region for region, _ in pairs], names=names, progress=progress
    )
    return objects, (*warnings, *more)


def save_objects(objects: Mapping[str, Dataset], folder: Path, *, progress: Progress = no_progress) -> tuple[str, ...]:
    """Write objects into a folder that is there; returns the names of the files."""
    for number, (kind, data) in enumerate(objects.items()):
        file = format_of(kind).file
        progress(number / len(objects), f"writing {file}")
        save(data, folder / file)
    return tuple(format_of(kind).file for kind in objects)


def kept_region(kept: Kept, result: Result) -> tuple[Region, tuple[Warning, ...]]:
    """A segment that was kept in the scene, on the voxels of the planning MR; and what is to be known of it."""
    mr, warnings, mask, grid = Grid.of(result.study.mr), [], kept.mask, kept.grid
    start = mr.to_index(np.asarray([grid.origin_mm]))[0]
    whole = np.rint(start).astype(int)
    if np.abs(grid.axes - mr.axes).max() > 1e-4 or np.abs(start - whole).max() > 1e-2:
        corners = mr.to_index(grid.points_of(mask))
        low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
        i, j, k = (int(n) for n in low)
        width, height, depth = (int(n) for n in high - low + 1)
        box = mr.crop((i, j, k), (width, height, depth))
        moved = sitk.GetArrayFromImage(resample_nearest(grid.image(mask.astype(np.uint8)), box))
        mask, grid = moved.astype(bool), box
        warnings.append(WarningCode.REGRIDDED(name=kept.name))
    came = result.provenance
    if kept.model and kept.model != came.get("model_sha256"):
        came = {**came, "model": "another than the map's", "model_sha256": kept.model}
        warnings.append(WarningCode.OTHER_MODEL(name=kept.name))
    quality_flags = f" QUALITY FLAGS: {kept.quality_flags}." if kept.quality_flags else ""
    hand = " Edited by hand." if kept.edited else ""
    description = (
        f"{RESEARCH_ONLY}{quality_flags}{hand} Evidence for non-response of {kept.lesion} above {kept.threshold} "
        f"({result.scale}). {_origin(came)}"
    )
    structures = {p.lesion.id: p.lesion.structure.name for p in result.predictions}
    name = f"{structures.get(kept.lesion, kept.lesion)}_CAMres_v{kept.threshold}{'_edited' if kept.edited else ''}"
    return Region(name, description, mask, grid, edited=kept.edited), tuple(warnings)


def region_of(one: ContouredSubregion, result: Result) -> Region:
    """A subregion under its name for other systems, with what it came from in its description."""
    figures = one.statistics
    method = {"value": f"v{figures.threshold:.2g}", "percentile": f"p{figures.selection.value:g}", "otsu": "otsu"}
    suffix = method.get(figures.selection.method, f"{figures.selection.value:g}cc")
    quality_flags = f" IN DOUBT: {'; '.join(one.quality_flags)}." if one.quality_flags else ""
    description = (
        f"{RESEARCH_ONLY}{quality_flags} Evidence for non-response of {one.prediction.lesion.id}: "
        f"{figures.selection.as_text()} (threshold {figures.threshold:.4g} {result.scale}). "
        f"{_origin(result.provenance)}"
    )
    name = f"{one.prediction.lesion.structure.name}_CAMres_{suffix}"
    return Region(name, description, one.mask, one.voxels.grid)


def _origin(came: Mapping[str, str]) -> str:
    return f"Model {came.get('model', '')}, sha256 {came.get('model_sha256', '')[:16]}, {came.get('program', '')}."
