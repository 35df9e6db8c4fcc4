"""Commands on what a map shows: subregion, export, align."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from RTResponseCAMLib.commands.bar import close
from RTResponseCAMLib.commands.study import study_with_dose
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.progress import Progress, part
from RTResponseCAMLib.warnings import by_severity, labeled

if TYPE_CHECKING:
    from RTResponseCAMLib.subregion.points import Point


def subregion(options: argparse.Namespace, progress: Progress) -> None:
    """Contour the evidence of each lesion and measure it against the rest."""
    from RTResponseCAMLib.workflow.subregion import write_subregions

    result, drawn, warnings = _drawn(options, part(progress, 0.0, 0.9))
    content = write_subregions(result, drawn, warnings, options.out, options.overwrite, part(progress, 0.9, 1.0))
    close(progress)
    if options.json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return
    print("\n".join([content["notice"], *_table(content["subregions"])]))
    print("\n".join([*(f"! {labeled(**c)}" for c in content["cautions"]), f"written: {options.out}"]))


def export(options: argparse.Namespace, progress: Progress) -> None:
    """Write subregions and evidence as DICOM."""
    from RTResponseCAMLib.workflow.export import FORMATS, export_dicom

    result, drawn, warnings = _drawn(options, part(progress, 0.0, 0.7))
    names, more = export_dicom(
        options.study, result, drawn, options.out, options.format or tuple(FORMATS), options.overwrite,
        part(progress, 0.7, 1.0),
    )  # fmt: skip
    close(progress)
    for warning in by_severity((*result.warnings, *warnings, *more)):
        print(f"! {warning.labeled()}")
    print("\n".join(f"written: {options.out / name}" for name in names))


def _drawn(options: argparse.Namespace, progress: Progress) -> Any:
    from RTResponseCAMLib.cam.evidence import NEUTRAL
    from RTResponseCAMLib.models.bundle import load_bundle
    from RTResponseCAMLib.models.card import default_bundle
    from RTResponseCAMLib.subregion.select import Selection
    from RTResponseCAMLib.workflow.output import check_free
    from RTResponseCAMLib.workflow.predict import predict_study
    from RTResponseCAMLib.workflow.subregion import draw_subregions

    check_free(options.out, options.overwrite)
    bundle = load_bundle(options.model or default_bundle(), options.device)
    value = NEUTRAL if options.value is None and options.method in ("value", "otsu") else options.value
    try:
        if value is None:
            raise ValueError(f"--method {options.method} has no --value, expected one")
        selection = Selection(
            options.method,
            value,
            options.smooth,
            options.minimum,
            options.largest,
            options.margin,
            not options.unclipped,
        )
        if options.boost is not None and not 0 < options.boost < math.inf:
            raise ValueError(f"the boost is {options.boost:g} Gy, expected more than 0")
    except ValueError as error:
        raise StudyError("the selection", str(error), "Correct the option") from error
    study = study_with_dose(options, part(progress, 0.0, 0.4))
    result = predict_study(study, bundle, part(progress, 0.4, 0.8))
    drawn, warnings = draw_subregions(
        result, selection, options.anyway, options.boost, options.interpolation, part(progress, 0.8, 1.0)
    )
    return result, drawn, warnings


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    unit = next((row["dose_unit"] for row in rows if row["dose_unit"]), "Gy")
    lines = [f"{'':4}{'ROI':<18}{'cm³':>8}{'share':>7}{'mean':>8}{'D98':>8}{'rest: mean':>12}{'D98':>8}  {unit}"]
    for row in rows:
        keys = ("mean_gy", "d98_gy", "rest_mean_gy", "rest_d98_gy")
        doses = "".join(
            f"{'–' if row[key] is None else format(row[key], '.2f'):>{width}}"
            for key, width in zip(keys, (8, 8, 12, 8), strict=True)
        )
        share = f"{100 * row['share_of_lesion']:.0f} %"
        lines.append(f"{row['lesion']:<4}{row['name']:<18.17}{row['volume_cc']:8.3f}{share:>7}{doses}")
        lines += [f"      {text}" for text in row["words"]]
        lines += [f"      ! {text}" for text in row["cautions"]]
    return lines


def align(options: argparse.Namespace, progress: Progress) -> None:
    """Lay maps over cell-level data."""
    from RTResponseCAMLib.dicom.load import load_study
    from RTResponseCAMLib.imaging.rigid import as_transform
    from RTResponseCAMLib.imaging.transform_file import read_transform
    from RTResponseCAMLib.models.bundle import load_bundle
    from RTResponseCAMLib.models.card import default_bundle
    from RTResponseCAMLib.subregion.points import read_points, slide_points
    from RTResponseCAMLib.workflow.align import align_study, points_of, write_alignment
    from RTResponseCAMLib.workflow.output import check_free
    from RTResponseCAMLib.workflow.predict import predict_study

    check_free(options.out, options.overwrite)
    names = [study.name for study in options.studies]
    if options.points is None and options.slide is None and options.habitats is None:
        raise StudyError("align", "was given nothing to align with", "Give --points, --slide or --habitats")
    if len(names) > 1 and (options.slide or options.habitats):
        raise StudyError("align", "takes a slide or habitats for one study only", "Run it for each study")
    for option, size in (("--radius", options.radius), ("--error", options.error), ("--block", options.block)):
        if not (size >= 0 if option == "--error" else size > 0) or not size < math.inf:
            raise StudyError(option, f"is {size:g} mm, expected a positive number", "Correct the option")
    if len(set(names)) < len(names):
        raise StudyError("align", "was given two folders of one name", "Rename one: the name tells patients apart")
    points = read_points(options.points, options.frame) if options.points else ()
    if options.slide:
        # The file maps points of the MR onto the slide, as Slicer saves what moves the slide onto the MR.
        matrix = read_transform(options.transform) if options.transform else np.eye(4)
        points += slide_points(
            _read_image(options.slide, flat=True),
            as_transform(np.asarray(np.linalg.inv(matrix), dtype=np.float64)),
            options.block,
        )
    labels = _read_image(options.habitats) if options.habitats else None
    by_study = {name: points_of(points, name, names) for name in names}
    bundle = load_bundle(options.model or default_bundle(), options.device)
    aligned, scale = [], ""
    for number, (folder, name) in enumerate(zip(options.studies, names, strict=True)):
        within = part(progress, number / len(names), (number + 1) / len(names))
        study = load_study(folder, progress=part(within, 0.0, 0.5), with_dose=bundle.inputs.dose)
        result = predict_study(study, bundle, part(within, 0.5, 1.0))
        scale = result.scale
        aligned.append(align_study(result, by_study[name], options.radius, options.error, labels, seed=number))
    markups: Callable[[Sequence[Point], Path], None] | None = None
    if find_spec("slicer") is not None:  # Slicer's own writer
        from RTResponseCAMLib.scene.points import save_points

        markups = save_points
    content = write_alignment(aligned, scale, options.out, options.overwrite, markups=markups)
    close(progress)
    print(json.dumps(content, indent=2, ensure_ascii=False) if options.json else _aligned_text(content))
    if not options.json:
        print(f"written: {options.out}")


def _read_image(path: Path, flat: bool = False) -> Any:
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise StudyError(path, "cannot be read as an image", "Save it as NRRD, NIfTI or TIFF") from error
    if image.GetNumberOfComponentsPerPixel() > 1 or image.GetDimension() > 3:
        what = f"has {image.GetNumberOfComponentsPerPixel()} components in {image.GetDimension()} dimensions"
        raise StudyError(path, f"{what}, expected one value per pixel", "Save a single layer without colours")
    if image.GetDimension() < 3 and not flat:
        raise StudyError(path, "is flat, expected a volume", "Save the label map of the whole MR")
    return image


def _aligned_text(content: dict[str, Any]) -> str:
    lines = [content["notice"], content["note"], f"{content['points']} point(s) in lesions"]
    for kind, found in content["alignment"].items():
        if isinstance(found, str):
            continue
        lines.append(
            f"{kind or 'points'}: Spearman {found['rho']:.2f}{_range(found)}, "
            f"{found['points']} points of {found['patients']} patient(s), spatial p {found['spatial_p']:.3f}"
        )
        if found["slope"] is not None:
            slope = f"{found['slope']:.2f} ({found['slope_low']:.2f} to {found['slope_high']:.2f})"
            lines.append(f"      mixed model, standardised slope {slope}, p {found['slope_p']:.4f}")
    for row in content["habitats"]:
        lines.append(
            f"{row['lesion']} {row['habitat']}: {100 * row['share_of_lesion']:.0f} % of the lesion, "
            f"{100 * row['share_of_subregion']:.0f} % of its subregion"
        )
    return "\n".join([*lines, *(f"! {labeled(**c)}" for c in content["cautions"])])


def _range(found: dict[str, Any]) -> str:
    return "" if found["low"] is None else f" ({found['low']:.2f} to {found['high']:.2f})"
