"""Commands on one study: predict, dvh, follow-up, inspect."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from RTResponseCAMLib.commands.bar import close
from RTResponseCAMLib.errors import RTResponseError, StudyError
from RTResponseCAMLib.progress import Progress, part
from RTResponseCAMLib.study import Study
from RTResponseCAMLib.warnings import by_severity, labeled

if TYPE_CHECKING:
    from RTResponseCAMLib.dicom.options import ReadOptions


def predict(options: argparse.Namespace, progress: Progress) -> None:
    """Probability and evidence map for each lesion of a study."""
    from RTResponseCAMLib.models.card import default_bundle
    from RTResponseCAMLib.workflow.output import check_free
    from RTResponseCAMLib.workflow.predict import Stages, predict_study
    from RTResponseCAMLib.workflow.write import result_json, write_result, write_scene

    check_free(options.out, options.overwrite)
    stages = Stages()
    stages.begin("load model")
    from RTResponseCAMLib.models.bundle import load_bundle

    bundle = load_bundle(options.model or default_bundle(), options.device)
    stages.begin("read study")
    study = study_with_dose(options, part(progress, 0.0, 0.3))
    result = predict_study(study, bundle, part(progress, 0.3, 0.5), stages)
    write_result(
        result,
        options.out,
        options.overwrite,
        scene=None if options.no_scene else write_scene,
        pictures=options.pictures,
        progress=part(progress, 0.5, 1.0),
        stages=stages,
    )
    close(progress)
    if options.json:
        content = result_json(result)
        if options.profile:
            content["seconds"] = stages.seconds
        print(json.dumps(content, indent=2))
        return
    print(_table(result.predictions))
    for warning in by_severity(result.warnings):
        print(f"! {warning.labeled()}")
    print(f"written: {options.out}")
    if options.profile:
        print("\n".join(f"{name:<18} {seconds:7.2f} s" for name, seconds in stages.seconds.items()))


def study_with_dose(options: argparse.Namespace, progress: Progress) -> Study:
    """Read the study that the options name."""
    from RTResponseCAMLib.dicom.load import load_study

    return load_study(options.study, progress=progress, **vars(read_options(options)))


def read_options(options: argparse.Namespace) -> ReadOptions:
    """What the options say of how a study is to be read.

    Raises
    ------
    StudyError : ``--prescription`` is no dose, or states two for every target.
    """
    from RTResponseCAMLib.dicom.options import ReadOptions

    total: float | None = None
    named: dict[str, float] = {}
    for text in getattr(options, "prescription", None) or []:
        name, _, value = text.rpartition("=")
        try:
            dose = float(value)
        except ValueError as error:
            raise StudyError("--prescription", f"is '{text}', expected GY or ROI=GY", "Correct it") from error
        if not name and total is not None:
            raise StudyError("--prescription", "states two doses for every target", "Give one, or ROI=GY")
        if name:
            named[name] = dose
        else:
            total = dose
    return ReadOptions(
        prescription_gy=total,
        prescriptions_gy=named,
        isodose_percent=getattr(options, "isodose", None),
        series=options.series,
        rois=tuple(options.roi),
        course=options.course,
        plan=options.plan,
        structures=options.structures,
        doses=tuple(getattr(options, "dose_file", None) or ()),
        dose_fractions=getattr(options, "dose_fractions", None),
        visits=tuple(options.visit),
    )


def dvh(options: argparse.Namespace, progress: Progress) -> None:
    """Dose-volume histograms and plan indices of a study."""
    from RTResponseCAMLib.workflow.dvh import write_dose
    from RTResponseCAMLib.workflow.output import check_free

    check_free(options.out, options.overwrite)
    study = study_with_dose(options, part(progress, 0.0, 0.4))
    content = write_dose(study, options.out, options.overwrite, options.interpolation, part(progress, 0.4, 1.0))
    close(progress)
    print(json.dumps(content, indent=2, ensure_ascii=False) if options.json else _dvh_text(content, options.out))


def _dvh_text(content: dict[str, Any], out: Path) -> str:
    unit = content["dose_unit"]
    lines = [content["notice"], f"{'structure':<20}{'cm³':>9}{'mean':>8}{'D98':>8}{'D50':>8}{'D2':>8}  {unit}"]
    for row in content["structures"]:
        doses = "".join(f"{row[key]:8.2f}" for key in ("mean_gy", "d98_gy", "d50_gy", "d2_gy"))
        beyond = f"  ({100 * row['outside_grid']:.0f} % outside the dose)" if row["outside_grid"] >= 0.005 else ""
        lines.append(f"{row['structure']:<20.19}{row['volume_cc']:9.3f}{doses}{beyond}")
    if content["targets"]:
        lines.append(f"{'target':<20}{'Rx':>8}{'cover':>8}{'select':>8}{'PCI':>8}{'GI':>8}")
    for row in content["targets"]:
        indices = [row[key] for key in ("coverage", "selectivity", "paddick_ci", "gradient_index")]
        words = "".join("       –" if v is None else f"{v:8.3f}" for v in indices)
        lines.append(f"{row['name']:<20.19}{row['prescription_gy']:8.2f}{words}")
        lines += [f"      ! {text}" for text in row["cautions"]]
    lines += [f"! {labeled(**warning)}" for warning in content["cautions"]]
    return "\n".join([*lines, f"dose between grid points: {content['interpolation']}", f"written: {out}"])


def _table(predictions: Sequence[Any]) -> str:
    lines = [f"{'':4}{'ROI':<20}{'cm³':>8}  {'p(response)':<20}{'label':<15}"]
    for p in predictions:
        interval = f"{p.p_response:.2f} ({p.p_response_low:.2f}–{p.p_response_high:.2f})"
        lines.append(f"{p.lesion.id:<4}{p.lesion.structure.name:<20.19}{p.volume_cc:8.3f}  {interval:<20}{p.label:<15}")
        lines += [f"      ! {w.labeled()}" for w in by_severity(p.warnings)]
    return "\n".join(lines)


def follow_up(options: argparse.Namespace, progress: Progress) -> None:
    """Register follow-ups, measure lesions, name the response."""
    from RTResponseCAMLib.dicom.load import load_study
    from RTResponseCAMLib.response.conventions import CONVENTIONS, with_thresholds
    from RTResponseCAMLib.workflow.follow_up import follow_study
    from RTResponseCAMLib.workflow.output import check_free
    from RTResponseCAMLib.workflow.write_follow_up import write_follow_up

    check_free(options.out, options.overwrite)
    convention = with_thresholds(CONVENTIONS[options.convention], options.response_below, options.progression_above)
    window = (options.window[0], options.window[1])
    if not 0 <= window[0] <= options.target_day <= window[1]:
        what = f"is day {options.target_day} within days {window[0]} to {window[1]}: not in order"
        raise RTResponseError("the label's visit", what, "Correct --target-day or --window FIRST LAST")
    reading = vars(read_options(options)) | {"with_dose": False}
    study = load_study(options.study, progress=part(progress, 0.0, 0.2), **reading)
    followed = follow_study(
        study,
        _named_files(options.transform, "--transform"),
        _named_files(options.mask, "--mask"),
        options.boundary_mm,
        not options.no_proposals,
        part(progress, 0.2, 0.9),
        tuple(options.mask_values) if options.mask_values else None,
    )
    content = write_follow_up(
        followed,
        options.out,
        options.overwrite,
        convention,
        window,
        options.target_day,
        progress=part(progress, 0.9, 1.0),
    )
    close(progress)
    print(json.dumps(content, indent=2, ensure_ascii=False) if options.json else _follow_up_text(content, options.out))


def _named_files(given: list[str], option: str) -> dict[str, Path]:
    """``F1=file`` pairs."""
    pairs = [text.partition("=") for text in given]
    if any(not (name and file) for name, _, file in pairs):
        raise RTResponseError(option, "expects F1=FILE", "Name the follow-up and the file")
    names = [name for name, _, _ in pairs]
    if len(set(names)) < len(names):
        raise RTResponseError(option, "names a follow-up twice", "Give one file for each")
    return {name: Path(file) for name, _, file in pairs}


def _follow_up_text(content: dict[str, Any], out: Path) -> str:
    lines = [f"written: {out}", content["notice"]]
    lines += [f"! {labeled(**c)}" for c in content["cautions"]]
    if content["day_zero"]:
        lines.append(f"days count from {content['day_zero']}")
    for visit in content["visits"]:
        found = visit["registration"]
        how = visit["problem"] or f"registered ({found['method']}), edge correlation {found['edge_correlation']:.2f}"
        when = "unknown day" if visit["days"] is None else f"day {visit['days']}"
        source = f" by {visit['date_source']}" if visit["date_source"] else ""
        lines.append(f"{visit['visit']} '{visit['description']}', {when}{source}: {how}")
        lines += [f"      ! {labeled(**c)}" for c in visit["cautions"] if not visit["problem"]]
    for lesion in content["lesions"]:
        label = lesion["label"]
        change = ""
        if label["change"] is not None:
            low, high = label["change_interval"]
            change = f"  {100 * label['change']:+.0f} % ({100 * low:+.0f} … {100 * high:+.0f} %) at {label['visit']}"
        lines.append(f"{lesion['id']:<4}{lesion['name']:<20}{label['word']:<15}{change}  {label['reason']}")
    lines += [f"! {text}" for text in content["remarks"]]
    return "\n".join(lines)


def inspect(options: argparse.Namespace, progress: Progress) -> None:
    """List what a folder holds."""
    from RTResponseCAMLib.dicom.tree import as_text, inspect_folder

    found = inspect_folder(options.study, read_options(options), progress=progress)
    close(progress)
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.json else as_text(found))
