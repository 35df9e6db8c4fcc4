"""Commands that contour evidence: subregion and export."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from RTResponseCAMLib.commands.bar import close
from RTResponseCAMLib.commands.study import study_with_dose
from RTResponseCAMLib.progress import Progress, part


def subregion(options: argparse.Namespace, progress: Progress) -> None:
    """Contour the evidence of each lesion and measure it against the rest."""
    from RTResponseCAMLib.workflow.subregion import write_subregions

    result, drawn, cautions = _drawn(options, part(progress, 0.0, 0.9))
    content = write_subregions(result, drawn, cautions, options.out, options.overwrite, part(progress, 0.9, 1.0))
    close(progress)
    if options.json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return
    print("\n".join([content["notice"], *_table(content["subregions"])]))
    print("\n".join([*(f"! {c['text']}" for c in content["cautions"]), f"written: {options.out}"]))


def export(options: argparse.Namespace, progress: Progress) -> None:
    """Write subregions and evidence as DICOM."""
    from RTResponseCAMLib.workflow.export import FORMATS, export_dicom

    result, drawn, cautions = _drawn(options, part(progress, 0.0, 0.7))
    names, more = export_dicom(
        options.study, result, drawn, options.out, options.format or tuple(FORMATS), options.overwrite,
        part(progress, 0.7, 1.0),
    )  # fmt: skip
    close(progress)
    for caution in (*result.cautions, *cautions, *more):
        print(f"! {caution.text}")
    print("\n".join(f"written: {options.out / name}" for name in names))


def _drawn(options: argparse.Namespace, progress: Progress) -> Any:
    from RTResponseCAMLib.errors import StudyError
    from RTResponseCAMLib.network.bundle import load_bundle
    from RTResponseCAMLib.network.card import default_bundle
    from RTResponseCAMLib.subregion.select import Selection
    from RTResponseCAMLib.workflow.output import check_free
    from RTResponseCAMLib.workflow.predict import predict_study
    from RTResponseCAMLib.workflow.subregion import draw_subregions

    check_free(options.out, options.overwrite)
    try:
        selection = Selection(
            options.method,
            options.value,
            options.smooth,
            options.minimum,
            options.largest,
            options.margin,
            not options.unclipped,
        )
        if options.boost is not None and options.boost <= 0:
            raise ValueError(f"the boost is {options.boost:g} Gy, expected more than 0")
    except ValueError as error:
        raise StudyError("the selection", str(error), "Correct the option") from error
    bundle = load_bundle(options.model or default_bundle(), options.device)
    study = study_with_dose(options, part(progress, 0.0, 0.4))
    result = predict_study(study, bundle, part(progress, 0.4, 0.8))
    drawn, cautions = draw_subregions(
        result, selection, options.anyway, options.boost, options.interpolation, part(progress, 0.8, 1.0)
    )
    return result, drawn, cautions


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [f"{'':4}{'ROI':<18}{'cm³':>8}{'share':>7}{'mean':>8}{'D98':>8}{'rest: mean':>12}{'D98':>8}  Gy"]
    for row in rows:
        keys = ("mean_gy", "d98_gy", "rest_mean_gy", "rest_d98_gy")
        doses = "".join(
            f"{'–' if row[key] is None else format(row[key], '.2f'):>{width}}"
            for key, width in zip(keys, (8, 8, 12, 8), strict=True)
        )
        share = f"{100 * row['share_of_lesion']:.0f} %"
        lines.append(f"{row['lesion']:<4}{row['name']:<18.17}{row['volume_cc']:8.3f}{share:>7}{doses}")
        if row["boost"]:
            lines.append(_boost_line(row["boost"]))
        lines += [f"      ! {text}" for text in row["cautions"]]
    return lines


def _boost_line(boost: dict[str, Any]) -> str:
    risk = ""
    if boost["risk_cc"]:
        risk = f", V{boost['risk_gy']:g} {boost['risk_cc'][0]:.2f} → {boost['risk_cc'][1]:.2f} cm³"
    shots = f"{boost['shots']} shot(s) of {boost['collimator_mm']} mm"
    d98 = f"D98 {boost['d98_gy'][0]:.1f} → {boost['d98_gy'][1]:.1f} Gy"
    return f"      what if: {shots} add up to {boost['added_gy']:.1f} Gy; {d98}{risk}"
