"""Subregions and evidence as DICOM objects beside the study they came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from RTResponseCAMLib import __version__
from RTResponseCAMLib.dicom.files import save
from RTResponseCAMLib.dicom.originals import find_originals
from RTResponseCAMLib.dicom.write_images import parametric_map, segmentation
from RTResponseCAMLib.dicom.write_rtstruct import Region, rtstruct
from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.progress import Progress, part, silent
from RTResponseCAMLib.study import Caution, Result
from RTResponseCAMLib.workflow.output import new_folder
from RTResponseCAMLib.workflow.subregion import Drawn
from RTResponseCAMLib.workflow.write import RESEARCH_ONLY

FORMATS = {"rtstruct": "RS_subregions.dcm", "seg": "SEG_subregions.dcm", "map": "PM_evidence.dcm"}


def export_dicom(
    folder: Path,
    result: Result,
    drawn: Sequence[Drawn],
    out: Path,
    formats: Sequence[str] = tuple(FORMATS),
    overwrite: bool = False,
    progress: Progress = silent,
) -> tuple[tuple[str, ...], tuple[Caution, ...]]:
    """Write the chosen objects into ``out``; returns the names of the files, and what is to be known.

    Parameters
    ----------
    folder : from which the study was read: the objects refer to its MR.
    formats : "rtstruct", "seg", "map" (Parametric Map).

    Raises
    ------
    OutputError : nothing to export, highdicom is missing, ``out`` exists or cannot be written.
    StudyError : the planning MR is not in the folder any more.
    """
    regions = [region_of(one, result) for one in drawn if one.mask.any()]
    if not regions and set(formats) & {"rtstruct", "seg"}:
        what = "no subregion holds a voxel: there is nothing to contour"
        raise OutputError("", what, "Choose another threshold, or --anyway for lesions in doubt")
    originals = find_originals(folder, result.study, part(progress, 0.0, 0.4))
    cautions: tuple[Caution, ...] = ()
    objects = {}
    for number, kind in enumerate(formats):
        progress(0.4 + 0.4 * number / len(formats), f"making {FORMATS[kind]}")
        if kind == "rtstruct":
            objects[kind], cautions = rtstruct(originals, regions, "RTResponseCAM", __version__)
        elif kind == "seg":
            objects[kind] = segmentation(originals, regions, __version__)
        else:
            objects[kind] = parametric_map(originals, result.cam, result.scale, __version__)
    with new_folder(out, overwrite) as partial:
        for kind, data in objects.items():
            progress(0.9, f"writing {FORMATS[kind]}")
            save(data, partial / FORMATS[kind])
    progress(1.0, "done")
    return tuple(FORMATS[kind] for kind in formats), cautions


def region_of(one: Drawn, result: Result) -> Region:
    """A subregion under its name for other systems, with what it came from in its description."""
    figures = one.statistics
    method = {"value": f"v{figures.cut:.2g}", "percentile": f"p{figures.selection.value:g}", "otsu": "otsu"}
    suffix = method.get(figures.selection.method, f"{figures.selection.value:g}cc")
    doubts = f" IN DOUBT: {'; '.join(one.doubts)}." if one.doubts else ""
    description = (
        f"{RESEARCH_ONLY}{doubts} Evidence for non-response of {one.prediction.lesion.id}: "
        f"{figures.selection.as_text()} (cut {figures.cut:.4g} {result.scale}). "
        f"Model {result.provenance.get('model', '')}, sha256 {result.provenance.get('model_sha256', '')[:16]}, "
        f"{result.provenance.get('program', '')}."
    )
    name = f"{one.prediction.lesion.structure.name}_CAMres_{suffix}"
    return Region(name, description, one.mask, one.voxels.grid)
