"""What each command of ``rtresponsecam`` does: read, call the workflow, print. Options are those that `cli` parses."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from RTResponseCAMLib.errors import CohortError, RTResponseError
from RTResponseCAMLib.progress import Progress, part
from RTResponseCAMLib.study import Study


def predict(options: argparse.Namespace, progress: Progress) -> None:
    """Probability and evidence map for each lesion of a study."""
    from RTResponseCAMLib.network.card import default_bundle
    from RTResponseCAMLib.workflow.output import check_free
    from RTResponseCAMLib.workflow.predict import Stages, predict_study
    from RTResponseCAMLib.workflow.write import result_json, write_result, write_scene

    check_free(options.out, options.overwrite)
    stages = Stages()
    stages.begin("load model")
    from RTResponseCAMLib.network.bundle import load_bundle

    bundle = load_bundle(options.model or default_bundle(), options.device)
    stages.begin("read study")
    study = _study_with_dose(options, part(progress, 0.0, 0.3))
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
    _close(progress)
    if options.json:
        content = result_json(result)
        if options.profile:
            content["seconds"] = stages.seconds
        print(json.dumps(content, indent=2))
        return
    print(_table(result.predictions))
    for caution in result.cautions:
        print(f"! {caution.text}")
    print(f"written: {options.out}")
    if options.profile:
        print("\n".join(f"{name:<18} {seconds:7.2f} s" for name, seconds in stages.seconds.items()))


def _study_with_dose(options: argparse.Namespace, progress: Progress) -> Study:
    from RTResponseCAMLib.dicom.load import load_study

    return load_study(
        options.study,
        options.prescription,
        options.isodose,
        options.series,
        tuple(options.roi),
        progress,
        options.course,
        options.dose_fractions,
    )


def dvh(options: argparse.Namespace, progress: Progress) -> None:
    """Dose-volume histograms and plan indices of a study."""
    from RTResponseCAMLib.workflow.dvh import write_dose
    from RTResponseCAMLib.workflow.output import check_free

    check_free(options.out, options.overwrite)
    study = _study_with_dose(options, part(progress, 0.0, 0.4))
    content = write_dose(study, options.out, options.overwrite, options.interpolation, part(progress, 0.4, 1.0))
    _close(progress)
    print(json.dumps(content, indent=2, ensure_ascii=False) if options.json else _dvh_text(content, options.out))


def _dvh_text(content: dict[str, Any], out: Path) -> str:
    lines = [content["notice"], f"{'structure':<20}{'cm³':>9}{'mean':>8}{'D98':>8}{'D50':>8}{'D2':>8}  Gy"]
    for row in content["structures"]:
        doses = "".join(f"{row[key]:8.2f}" for key in ("mean_gy", "d98_gy", "d50_gy", "d2_gy"))
        beyond = f"  ({100 * row['outside_grid']:.0f} % outside the dose)" if row["outside_grid"] >= 0.005 else ""
        lines.append(f"{row['structure']:<20.19}{row['volume_cc']:9.3f}{doses}{beyond}")
    if content["targets"]:
        lines.append(f"{'target':<20}{'Rx/Gy':>8}{'cover':>8}{'select':>8}{'PCI':>8}{'GI':>8}")
    for row in content["targets"]:
        indices = [row[key] for key in ("coverage", "selectivity", "paddick_ci", "gradient_index")]
        words = "".join("       –" if v is None else f"{v:8.3f}" for v in indices)
        lines.append(f"{row['name']:<20.19}{row['prescription_gy']:8.2f}{words}")
        lines += [f"      ! {text}" for text in row["cautions"]]
    lines += [f"! {caution['text']}" for caution in content["cautions"]]
    return "\n".join([*lines, f"dose between grid points: {content['interpolation']}", f"written: {out}"])


def _table(predictions: Sequence[Any]) -> str:
    lines = [f"{'':4}{'ROI':<20}{'cm³':>8}  {'p(response)':<20}{'label':<15}"]
    for p in predictions:
        interval = f"{p.p_response:.2f} ({p.p_response_low:.2f}–{p.p_response_high:.2f})"
        lines.append(f"{p.lesion.id:<4}{p.lesion.structure.name:<20.19}{p.volume_cc:8.3f}  {interval:<20}{p.label:<15}")
        lines += [f"      ! {c.text}" for c in p.cautions]
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
    study = load_study(
        options.study,
        series=options.series,
        rois=tuple(options.roi),
        progress=part(progress, 0.0, 0.2),
        course=options.course,
        with_dose=False,
    )
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
    _close(progress)
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
    lines += [f"! {c['text']}" for c in content["cautions"]]
    for visit in content["visits"]:
        found = visit["registration"]
        how = visit["problem"] or f"registered ({found['method']}), edge correlation {found['edge_correlation']:.2f}"
        when = "unknown day" if visit["days"] is None else f"day {visit['days']}"
        lines.append(f"{visit['visit']} '{visit['description']}', {when}: {how}")
        lines += [f"      ! {c['text']}" for c in visit["cautions"] if not visit["problem"]]
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

    found = inspect_folder(options.study, options.series, progress, options.course)
    _close(progress)
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.json else as_text(found))


def phantom_study(options: argparse.Namespace, progress: Progress) -> None:
    """One synthetic patient."""
    from RTResponseCAMLib.phantom.patient import draw_patient
    from RTResponseCAMLib.phantom.write import write_patient
    from RTResponseCAMLib.workflow.output import new_folder

    spec = _spec(options, options.variant)
    with new_folder(options.out, options.overwrite) as folder:
        write_patient(draw_patient(spec), folder, progress)
    _close(progress)
    print(f"written: {options.out} (dicom/ and truth/)")


def phantom_cohort(options: argparse.Namespace, progress: Progress) -> None:
    """Many synthetic patients and a manifest."""
    from RTResponseCAMLib.phantom.cohort import write_cohort
    from RTResponseCAMLib.phantom.spec import Variant
    from RTResponseCAMLib.workflow.output import new_folder

    variants = tuple(Variant(name) for name in options.variants.split(","))
    with new_folder(options.out, options.overwrite) as folder:
        spec = _spec(options, variants[0].value)
        write_cohort(spec, options.patients, folder, variants, options.workers, progress, options.total_lesions)
    _close(progress)
    print(f"written: {options.out}")


def _spec(options: argparse.Namespace, variant: str) -> Any:
    from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant

    return PhantomSpec(
        seed=options.seed,
        patient=getattr(options, "patient", 1),
        variant=Variant(variant),
        lesions=options.lesions,
        columns=options.matrix[0],
        rows=options.matrix[1],
        slices=options.matrix[2],
        spacing_mm=tuple(options.spacing),
        tilt_deg=options.tilt,
        dose_files=options.dose_files,
        second_series=options.second_series,
        rtplan=not options.no_rtplan,
        follow_up=not options.no_follow_up,
        mid_treatment=options.mid_treatment,
    )


TRAINING_RANGES = (
    ("members", 1, 100),
    ("code_members", 1, 100),
    ("width", 1, 1000),
    ("code", 1, 24),
    ("steps", 10, 1_000_000),
    ("weight_decay", 0, 100),
    ("dropout", 0, 0.95),
    ("views", 0, 20),
    ("smallness", 0, 100),
)


def train(options: argparse.Namespace, progress: Progress) -> None:
    """Fit a model on a cohort."""
    from RTResponseCAMLib.network.classifier import Architecture
    from RTResponseCAMLib.network.training import Schedule
    from RTResponseCAMLib.workflow.train import train_bundle

    for name, low, high in TRAINING_RANGES:
        if not low <= getattr(options, name) <= high:
            option = f"--{name.replace('_', '-')}"
            raise CohortError(
                option, f"is {getattr(options, name)}, expected {low:g} to {high:g}", "Choose another value"
            )
    card = {
        "name": options.name,
        "description": options.description,
        "intended_use": "Research use only. Not a medical device; not for clinical decisions.",
        "cohort": options.cohort_note,
        "command": _train_command(options),
        "cautions": options.caution,
    }
    architecture = Architecture(
        form=options.form,
        members=options.members,
        code_members=options.code_members,
        width=options.width,
        code=options.code,
        dose=options.dose,
        autoencoder=not options.no_autoencoder,
    )
    schedule = Schedule(
        seed=options.seed,
        steps=options.steps,
        weight_decay=options.weight_decay,
        dropout=options.dropout,
        views=options.views,
        smallness=options.smallness,
    )
    figures = train_bundle(options.cohort, options.out, architecture, schedule, card, options.overwrite, progress)
    _close(progress)
    print(json.dumps(figures, indent=2))


def evaluate(options: argparse.Namespace, progress: Progress) -> None:
    """Compare the approaches."""
    from RTResponseCAMLib.evaluation.protocol import Protocol, chosen_arms
    from RTResponseCAMLib.features.radiomics import SETTINGS, read_settings
    from RTResponseCAMLib.network.training import Schedule
    from RTResponseCAMLib.workflow.evaluate import evaluate as compare

    for name in ("folds", "repeats", "workers"):
        if getattr(options, name) < (2 if name == "folds" else 1):
            raise CohortError(f"--{name}", f"is {getattr(options, name)}", "Give a larger number")
    protocol = Protocol(
        arms=chosen_arms(options.arms.split(",") if options.arms else Protocol().arms),
        folds=options.folds,
        repeats=options.repeats,
        seed=options.seed,
        indeterminate=options.indeterminate,
        schedule=Schedule(steps=options.steps),
        settings=read_settings(options.settings or SETTINGS),
    )
    content = compare(
        options.cohort, options.out, protocol, options.external, options.workers, options.overwrite, progress
    )
    _close(progress)
    print(json.dumps(content, indent=2) if options.json else _comparison_text(content, options.out))


def _comparison_text(content: dict[str, Any], out: Path) -> str:
    lines = [f"written: {out}", content["notice"]]
    for name in ("internal", "external"):
        found = content[name]
        if not found:
            continue
        lines.append(f"{name}: {found['lesions']} lesions of {found['patients']} patients")
        for arm in found["arms"].values():
            auc = arm["metrics"]["auc"]
            interval = f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})"
            lines.append(f"  {arm['title']:<36}AUC {interval}  Brier {arm['metrics']['brier']['value']:.3f}")
    lines += [f"! {name} was not run: {reason}" for name, reason in content["not_run"].items()]
    return "\n".join(lines + [f"! {text}" for text in content["cohort"]["left_out"]])


def _train_command(options: argparse.Namespace) -> str:
    """The command line without its paths: a folder's name may be a person's, and a card is passed on."""
    heads = ("form", "members", "code_members", "width", "code")
    kept = (*heads, "steps", "weight_decay", "dropout", "views", "smallness", "seed")
    words = ["rtresponsecam", "train", "COHORT", "--out", "BUNDLE"]
    for name in kept:
        words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    words += [f"--{name.replace('_', '-')}" for name in ("dose", "no_autoencoder") if getattr(options, name)]
    return shlex.join(words)


def cohort_import(options: argparse.Namespace, progress: Progress) -> None:
    """Write a manifest for a data set."""
    from RTResponseCAMLib.cohort.importing import import_cohort
    from RTResponseCAMLib.workflow.output import new_folder

    with new_folder(options.out, options.overwrite) as folder:
        # Paths of the manifest are relative to the folder's final name, which lies beside the temporary one.
        summary = import_cohort(options.data_set, options.source, folder, progress)
    _close(progress)
    print(json.dumps(summary, indent=2, ensure_ascii=False) if options.json else _counts_text(summary, options.out))


def cohort_check(options: argparse.Namespace, progress: Progress) -> None:
    """Read every case of a manifest."""
    from RTResponseCAMLib.cohort.importing import check_cohort
    from RTResponseCAMLib.errors import CohortError

    found = check_cohort(options.cohort, progress)
    _close(progress)
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.json else _counts_text(found, options.cohort))
    if found["problems"]:
        raise CohortError(options.cohort, f"{len(found['problems'])} case(s) or cells cannot be used", "See the list")


def _counts_text(found: dict[str, Any], where: Path) -> str:
    lines = [
        f"{where}: {found['patients']} patients, {found['cases']} cases, {found['lesions']} lesions",
        f"labels: {found['response']} response, {found['non_response']} non-response, {found['unknown']} unknown; "
        f"{found['indeterminate']} indeterminate",
    ]
    lines += [f"PROBLEM {text}" for text in found.get("problems", ())]
    return "\n".join(lines + [f"! {text}" for text in found["remarks"]])


def _close(progress: Progress) -> None:
    """End the bar before anything is printed."""
    close = getattr(progress, "close", None)
    if close is not None:
        close()
