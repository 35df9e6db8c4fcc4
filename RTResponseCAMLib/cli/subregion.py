"""``subregion`` and ``export``: contour the evidence of each lesion, measure the subregion, and write DICOM."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

from typer import Option

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import Interpolation, Json, ModelOptions, OutOptions, StudyOptions
from RTResponseCAMLib.cli.tables import number, print_table
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.progress import Progress, subprogress
from RTResponseCAMLib.warnings import by_severity, labeled


class Method(str, Enum):
    """How the subregion is chosen."""

    VALUE = "value"
    PERCENTILE = "percentile"
    OTSU = "otsu"
    VOLUME = "volume"


@dataclass(frozen=True)
class SelectionOptions:
    """Which part of a lesion becomes the subregion."""

    method: Annotated[
        Method,
        Option(
            "--method",
            help="evidence above --value, above a percentile, above Otsu's threshold, or the cm³ of highest evidence",
        ),
    ] = Method.VALUE
    value: Annotated[
        float | None,
        Option("--value", help="logit (default 0), percentile or cm³, as --method needs it"),
    ] = None
    smooth: Annotated[float, Option("--smooth", metavar="MM", help="SD of Gaussian smoothing, mm")] = 0.0
    minimum: Annotated[float, Option("--minimum", metavar="CM3", help="remove smaller components, cm³")] = 0.0
    largest: Annotated[int, Option("--largest", metavar="N", help="keep the N largest components only")] = 0
    margin: Annotated[float, Option("--margin", metavar="MM", help="margin in mm; a negative one shrinks")] = 0.0
    unclipped: Annotated[bool, Option("--unclipped", help="let the margin extend beyond the lesion")] = False
    anyway: Annotated[bool, Option("--anyway", help="also contour flagged lesions; the flags are kept")] = False
    boost: Annotated[
        float | None,
        Option("--boost", metavar="GY", help="simulated boost: raise the subregion's D98 to this dose, Gy"),
    ] = None
    interpolation: Annotated[Interpolation, Option("--interpolation", help="interpolation of the dose")] = (
        Interpolation.LINEAR
    )


def subregion(
    study: StudyOptions,
    model: ModelOptions,
    selection: SelectionOptions,
    out: OutOptions,
    *,
    json_: Json = False,
    progress: Progress,
) -> None:
    """Contour the evidence of each lesion and compare the subregion with the rest of the lesion."""
    from RTResponseCAMLib.workflow.subregion import write_subregions

    result, contoured, warnings = _contoured(study, model, selection, out, subprogress(progress, 0.0, 0.9))
    content = write_subregions(
        result,
        contoured,
        warnings=warnings,
        out=out.out,
        overwrite=out.overwrite,
        progress=subprogress(progress, 0.9, 1.0),
    )
    close(progress)
    if json_:
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return
    print(content["notice"])
    _print(content["subregions"])
    print("\n".join([*(f"! {labeled(**warning)}" for warning in content["warnings"]), f"written: {out.out}"]))


def export(
    study: StudyOptions,
    model: ModelOptions,
    selection: SelectionOptions,
    out: OutOptions,
    *,
    formats: Annotated[
        list[str],
        Option("--format", metavar="FORMAT", help="export format: rtstruct, seg, map … (repeatable; default: all)"),
    ] = [],  # noqa: B006
    progress: Progress,
) -> None:
    """Write subregions and evidence as DICOM."""
    from RTResponseCAMLib.dicom.export_formats import format_of
    from RTResponseCAMLib.dicom.export_formats import formats as known
    from RTResponseCAMLib.workflow.export import export_dicom

    names = [format_of(name).name for name in formats] or [entry.name for entry in known()]
    result, contoured, warnings = _contoured(study, model, selection, out, subprogress(progress, 0.0, 0.7))
    written, export_warnings = export_dicom(
        study.study,
        result,
        contoured=contoured,
        out=out.out,
        names=names,
        overwrite=out.overwrite,
        progress=subprogress(progress, 0.7, 1.0),
    )
    close(progress)
    for warning in by_severity((*result.warnings, *warnings, *export_warnings)):
        print(f"! {warning.labeled()}")
    print("\n".join(f"written: {out.out / name}" for name in written))


def _contoured(
    study: StudyOptions, model: ModelOptions, chosen: SelectionOptions, out: OutOptions, progress: Progress
) -> Any:
    from RTResponseCAMLib.cam import evidence
    from RTResponseCAMLib.models.bundle import load_bundle
    from RTResponseCAMLib.models.card import default_bundle
    from RTResponseCAMLib.subregion.select import Selection
    from RTResponseCAMLib.workflow.output import check_free
    from RTResponseCAMLib.workflow.predict import predict_study
    from RTResponseCAMLib.workflow.subregion import contour_subregions

    check_free(out.out, out.overwrite)
    bundle = load_bundle(model.model or default_bundle(), model.device.value)
    method = chosen.method.value
    value = evidence.NEUTRAL if chosen.value is None and method in ("value", "otsu") else chosen.value
    try:
        if value is None:
            raise ValueError(f"--method {method} has no --value, expected one")
        selection = Selection(
            method,
            value,
            chosen.smooth,
            chosen.minimum,
            chosen.largest,
            chosen.margin,
            not chosen.unclipped,
        )
        if chosen.boost is not None and not 0 < chosen.boost < math.inf:
            raise ValueError(f"the boost is {chosen.boost:g} Gy, expected more than 0")
    except ValueError as error:
        raise StudyError("the selection", str(error), "Correct the option") from error
    loaded = study.load(subprogress(progress, 0.0, 0.4))
    result = predict_study(loaded, bundle, progress=subprogress(progress, 0.4, 0.8))
    contoured, warnings = contour_subregions(
        result,
        selection,
        anyway=chosen.anyway,
        boost_gy=chosen.boost,
        interpolation=chosen.interpolation.value,
        progress=subprogress(progress, 0.8, 1.0),
    )
    return result, contoured, warnings


def _print(rows: Sequence[dict[str, Any]]) -> None:
    unit = next((row["dose_unit"] for row in rows if row["dose_unit"]), "Gy")
    doses = ("mean_gy", "d98_gy", "rest_mean_gy", "rest_d98_gy")
    table = [
        [
            f"{row['lesion']} {row['name']}",
            number(row["volume_cc"], 3),
            f"{100 * row['share_of_lesion']:.0f} %",
            *(number(row[key]) for key in doses),
        ]
        for row in rows
    ]
    names = (f"mean ({unit})", f"D98 ({unit})", f"rest: mean ({unit})", f"rest: D98 ({unit})")
    print_table(["subregion", "cm³", "share of lesion", *names], table)
    for row in rows:
        for text in row["summary"]:
            print(f"{row['lesion']} {text}")
        for text in row["warnings"]:
            print(f"{row['lesion']} ! {text}")


COMMANDS = (
    Command(
        "subregion",
        "contour the evidence of each lesion, and compare its dose with the rest of the lesion",
        subregion,
    ),
    Command("export", "write subregions as RTSTRUCT and DICOM SEG, and evidence maps as Parametric Map", export),
)
