"""Export of subregions and evidence as DICOM objects that reference the source study."""

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
from RTResponseCAMLib.scene.subregion import StoredSubregion
from RTResponseCAMLib.study import Result
from RTResponseCAMLib.subregion.contoured import ContouredSubregion
from RTResponseCAMLib.warnings import Warning, WarningCode
from RTResponseCAMLib.workflow.output import RESEARCH_ONLY, new_folder

INSTALL = "Install highdicom, or create a segment"


def export_dicom(
    folder: Path,
    result: Result,
    *,
    contoured: Sequence[ContouredSubregion],
    out: Path,
    names: Sequence[str] = (),
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> tuple[tuple[str, ...], tuple[Warning, ...]]:
    """Write the chosen objects into ``out``; returns the file names and the warnings.

    Parameters
    ----------
    folder : folder from which the study was read.
    names : names of formats; empty: all formats.

    Raises
    ------
    OutputError : nothing to export, highdicom is missing, ``out`` exists or cannot be written.
    StudyError : the planning MR is no longer in the folder.
    """
    regions = [region_of(subregion, result) for subregion in contoured]
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
    """Return the chosen DICOM objects by format, and the warnings.

    Parameters
    ----------
    folder : folder from which the study was read; the objects reference its MR.
    names : names of formats, see `dicom.export_formats`; empty: all formats.

    Raises
    ------
    OutputError : nothing to export, or highdicom is missing.
    StudyError : the planning MR is no longer in the folder.
    """
    regions = [region for region in regions if region.mask.any()]
    chosen = [format_of(name) for name in names] or list(formats())
    if not regions and any(export_format.needs_regions for export_format in chosen):
        problem = "no subregion contains a voxel: there is nothing to contour"
        raise OutputError("", problem, "Choose another threshold, or include lesions with quality flags")
    source_series = find_source_series(folder, result.study, progress=subprogress(progress, 0.0, 0.5))
    export_input = ExportInput(source_series, regions, result.cam, result.scale)
    warnings: list[Warning] = []
    objects: dict[str, Dataset] = {}
    for index, export_format in enumerate(chosen):
        progress(0.5 + 0.5 * index / len(chosen), f"making {export_format.file}")
        objects[export_format.name], format_warnings = export_format.make(export_input)
        warnings += format_warnings
    progress(1.0)
    return objects, tuple(warnings)


def objects_of_scene(
    folder: Path, result: Result, *, stored: Sequence[StoredSubregion], progress: Progress = no_progress
) -> tuple[dict[str, Dataset], tuple[Warning, ...]]:
    """Return DICOM objects of the kept segments and of the evidence map, and warnings about objects left out.

    Raises
    ------
    OutputError : there is no subregion, and highdicom, which the map needs, is missing.
    StudyError : the planning MR is not in the folder.
    """
    pairs = [stored_region(segment, result) for segment in stored]
    warnings = [warning for _, region_warnings in pairs for warning in region_warnings]
    chosen_formats = [export_format for export_format in formats() if pairs or not export_format.needs_regions]
    if not pairs:
        warnings.append(WarningCode.NO_SUBREGION())
    package_names = {
        export_format.package: FOR_DICOM.get(export_format.package, export_format.package)
        for export_format in chosen_formats
        if export_format.package
    }
    if missing := missing_packages(package_names):
        chosen_formats = [
            export_format for export_format in chosen_formats if package_names.get(export_format.package) not in missing
        ]
        if not chosen_formats:
            raise OutputError("DICOM", f"cannot be written: {warnings[-1].text}, and {missing[0]} is missing", INSTALL)
        warnings.append(WarningCode.NO_HIGHDICOM(package=missing[0]))
    names = [export_format.name for export_format in chosen_formats]
    objects, export_warnings = dicom_objects(
        folder, result, regions=[region for region, _ in pairs], names=names, progress=progress
    )
    return objects, (*warnings, *export_warnings)


def save_objects(objects: Mapping[str, Dataset], folder: Path, *, progress: Progress = no_progress) -> tuple[str, ...]:
    """Write objects into an existing folder; returns the file names."""
    for index, (kind, data) in enumerate(objects.items()):
        file = format_of(kind).file
        progress(index / len(objects), f"writing {file}")
        save(data, folder / file)
    return tuple(format_of(kind).file for kind in objects)


def stored_region(stored: StoredSubregion, result: Result) -> tuple[Region, tuple[Warning, ...]]:
    """Return a kept segment of the scene on the voxels of the planning MR, and the warnings about it."""
    mr, warnings, mask, grid = Grid.of(result.study.mr), [], stored.mask, stored.grid
    start_index = mr.to_index(np.asarray([grid.origin_mm]))[0]
    rounded_start = np.rint(start_index).astype(int)
    if np.abs(grid.axes - mr.axes).max() > 1e-4 or np.abs(start_index - rounded_start).max() > 1e-2:
        corners = mr.to_index(grid.points_of(mask))
        low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
        i, j, k = (int(n) for n in low)
        width, height, depth = (int(n) for n in high - low + 1)
        box = mr.crop((i, j, k), (width, height, depth))
        resampled = sitk.GetArrayFromImage(resample_nearest(grid.image(mask.astype(np.uint8)), box))
        mask, grid = resampled.astype(bool), box
        warnings.append(WarningCode.REGRIDDED(name=stored.name))
    provenance = result.provenance
    if stored.model and stored.model != provenance.get("model_sha256"):
        provenance = {**provenance, "model": "other (not the model of the map)", "model_sha256": stored.model}
        warnings.append(WarningCode.OTHER_MODEL(name=stored.name))
    quality_flags = f" QUALITY FLAGS: {stored.quality_flags}." if stored.quality_flags else ""
    edit_note = " Edited by hand." if stored.edited else ""
    description = (
        f"{RESEARCH_ONLY}{quality_flags}{edit_note} Evidence for non-response of {stored.lesion} "
        f"above {stored.threshold} ({result.scale}). {_origin(provenance)}"
    )
    structures = {p.lesion.id: p.lesion.structure.name for p in result.predictions}
    name = (
        f"{structures.get(stored.lesion, stored.lesion)}_CAMres_v{stored.threshold}{'_edited' if stored.edited else ''}"
    )
    return Region(name, description, mask, grid, edited=stored.edited), tuple(warnings)


def region_of(subregion: ContouredSubregion, result: Result) -> Region:
    """Return a subregion with a name for other systems and a description of its origin."""
    statistics = subregion.statistics
    suffixes = {
        "value": f"v{statistics.threshold:.2g}",
        "percentile": f"p{statistics.selection.value:g}",
        "otsu": "otsu",
    }
    suffix = suffixes.get(statistics.selection.method, f"{statistics.selection.value:g}cc")
    quality_flags = f" QUALITY FLAGS: {'; '.join(subregion.quality_flags)}." if subregion.quality_flags else ""
    description = (
        f"{RESEARCH_ONLY}{quality_flags} Evidence for non-response of {subregion.prediction.lesion.id}: "
        f"{statistics.selection.as_text()} (threshold {statistics.threshold:.4g} {result.scale}). "
        f"{_origin(result.provenance)}"
    )
    name = f"{subregion.prediction.lesion.structure.name}_CAMres_{suffix}"
    return Region(name, description, subregion.mask, subregion.voxels.grid)


def _origin(came: Mapping[str, str]) -> str:
    return f"Model {came.get('model', '')}, sha256 {came.get('model_sha256', '')[:16]}, {came.get('program', '')}."
