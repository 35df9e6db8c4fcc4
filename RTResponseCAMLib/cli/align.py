"""``align``: compare evidence maps with biopsy / cell-density points, a registered slide or habitats."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from typer import Argument, Option

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import Json, ModelOptions, OutOptions
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.progress import Progress, subprogress
from RTResponseCAMLib.warnings import labeled

if TYPE_CHECKING:
    from RTResponseCAMLib.subregion.points import Point


class Frame(str, Enum):
    """Frame of coordinates."""

    LPS = "LPS"
    RAS = "RAS"


def align(
    studies: Annotated[list[Path], Argument(help="folders of the DICOM exports; the folder name is the study name")],
    model: ModelOptions,
    out: OutOptions,
    *,
    points: Annotated[
        Path | None,
        Option("--points", metavar="CSV", help="table with columns x, y, z (mm), value; optional: type, study, frame"),
    ] = None,
    frame: Annotated[Frame | None, Option("--frame", help="frame of the points' coordinates")] = None,
    radius: Annotated[float, Option("--radius", metavar="MM", help="radius of the sphere around a point, mm")] = 1.5,
    error: Annotated[float, Option("--error", metavar="MM", help="standard deviation of a point's position, mm")] = 1.0,
    slide: Annotated[
        Path | None, Option("--slide", metavar="IMAGE", help="registered slide image, such as cell density")
    ] = None,
    transform: Annotated[
        Path | None, Option("--transform", metavar="TFM", help="rigid transform (ITK) that moves the slide onto the MR")
    ] = None,
    block: Annotated[
        float, Option("--block", metavar="MM", help="size of the slide's blocks that are averaged, mm")
    ] = 1.5,
    habitats: Annotated[
        Path | None, Option("--habitats", metavar="LABELS", help="label map: necrosis, enhancement, edema …")
    ] = None,
    json_: Json = False,
    progress: Progress,
) -> None:
    """Compare evidence maps with biopsy / cell-density points, a registered slide or habitats."""
    from RTResponseCAMLib.dicom.load import load_study
    from RTResponseCAMLib.imaging.rigid import as_transform
    from RTResponseCAMLib.imaging.transform_file import read_transform
    from RTResponseCAMLib.models.bundle import load_bundle
    from RTResponseCAMLib.models.card import default_bundle
    from RTResponseCAMLib.subregion.points import read_points, slide_points
    from RTResponseCAMLib.workflow.align import align_study, points_of, write_alignment
    from RTResponseCAMLib.workflow.output import check_free
    from RTResponseCAMLib.workflow.predict import predict_study

    check_free(out.out, out.overwrite)
    names = [folder.name for folder in studies]
    if points is None and slide is None and habitats is None:
        raise StudyError("align", "has no data to compare with", "Give --points, --slide or --habitats")
    if len(names) > 1 and (slide or habitats):
        raise StudyError("align", "accepts a slide or habitats for one study only", "Run it for each study")
    for option, size in (("--radius", radius), ("--error", error), ("--block", block)):
        if not (size >= 0 if option == "--error" else size > 0) or not size < math.inf:
            raise StudyError(option, f"is {size:g} mm, expected a positive number", "Correct the option")
    if len(set(names)) < len(names):
        raise StudyError("align", "two folders have the same name", "Rename one: the name identifies the patient")
    measured = read_points(points, None if frame is None else frame.value) if points else ()
    if slide:
        # Slicer saves the transform that moves the slide onto the MR as a map from MR points to slide points.
        matrix = read_transform(transform) if transform else np.eye(4)
        measured += slide_points(
            _read_image(slide, flat=True),
            as_transform(np.asarray(np.linalg.inv(matrix), dtype=np.float64)),
            block_mm=block,
        )
    labels = _read_image(habitats) if habitats else None
    by_study = {name: points_of(measured, name, studies=names) for name in names}
    bundle = load_bundle(model.model or default_bundle(), model.device.value)
    alignments, scale = [], ""
    for index, (folder, name) in enumerate(zip(studies, names, strict=True)):
        study_progress = subprogress(progress, index / len(names), (index + 1) / len(names))
        study = load_study(folder, progress=subprogress(study_progress, 0.0, 0.5), with_dose=bundle.inputs.dose)
        result = predict_study(study, bundle, progress=subprogress(study_progress, 0.5, 1.0))
        scale = result.scale
        alignments.append(
            align_study(result, by_study[name], radius_mm=radius, error_mm=error, labels=labels, seed=index)
        )
    markups: Callable[[Sequence[Point], Path], None] | None = None
    if find_spec("slicer") is not None:  # Slicer writes markups itself
        from RTResponseCAMLib.scene.points import save_points

        markups = save_points
    content = write_alignment(alignments, scale, out=out.out, overwrite=out.overwrite, markups=markups)
    close(progress)
    print(json.dumps(content, indent=2, ensure_ascii=False) if json_ else _aligned_text(content))
    if not json_:
        print(f"written: {out.out}")


def _read_image(path: Path, flat: bool = False) -> Any:
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise StudyError(path, "cannot be read as an image", "Save it as NRRD, NIfTI or TIFF") from error
    if image.GetNumberOfComponentsPerPixel() > 1 or image.GetDimension() > 3:
        problem = f"has {image.GetNumberOfComponentsPerPixel()} components in {image.GetDimension()} dimensions"
        raise StudyError(path, f"{problem}, expected one value per pixel", "Save a single layer without colors")
    if image.GetDimension() < 3 and not flat:
        raise StudyError(path, "is two-dimensional, expected a volume", "Save the label map of the whole MR")
    return image


def _aligned_text(content: dict[str, Any]) -> str:
    lines = [content["notice"], content["note"], f"{content['points']} point(s) in lesions"]
    for kind, result in content["alignment"].items():
        if isinstance(result, str):
            continue
        lines.append(
            f"{kind or 'points'}: Spearman {result['rho']:.2f}{_range(result)}, "
            f"{result['points']} points of {result['patients']} patient(s), spatial p {result['spatial_p']:.3f}"
        )
        if result["slope"] is not None:
            slope = f"{result['slope']:.2f} ({result['slope_low']:.2f} to {result['slope_high']:.2f})"
            lines.append(f"      mixed model, standardized slope {slope}, p {result['slope_p']:.4f}")
    for row in content["habitats"]:
        lines.append(
            f"{row['lesion']} {row['habitat']}: {100 * row['share_of_lesion']:.0f} % of the lesion, "
            f"{100 * row['share_of_subregion']:.0f} % of its subregion"
        )
    return "\n".join([*lines, *(f"! {labeled(**warning)}" for warning in content["warnings"])])


def _range(figures: dict[str, Any]) -> str:
    return "" if figures["low"] is None else f" ({figures['low']:.2f} to {figures['high']:.2f})"


COMMANDS = (
    Command("align", "compare evidence maps with biopsy / cell-density points, a registered slide or habitats", align),
)
