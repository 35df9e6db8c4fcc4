"""Commands on many studies: phantoms, cohorts, training, comparison."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from RTResponseCAMLib.commands.bar import close
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.progress import Progress


def phantom_study(options: argparse.Namespace, progress: Progress) -> None:
    """One synthetic patient."""
    from RTResponseCAMLib.phantom.patient import draw_patient
    from RTResponseCAMLib.phantom.write import write_patient
    from RTResponseCAMLib.workflow.output import new_folder

    spec = _spec(options, options.variant)
    with new_folder(options.out, options.overwrite) as folder:
        write_patient(draw_patient(spec), folder, progress)
    close(progress)
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
    close(progress)
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
    ("half_cc", 0, 100),
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
        half_cc=options.half_cc,
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
    close(progress)
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
    close(progress)
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
    said = (*content["cohort"]["cautions"], *content["cohort"]["left_out"])
    return "\n".join(lines + [f"! {text}" for text in said])


def _train_command(options: argparse.Namespace) -> str:
    """The command line without its paths: a folder's name may be a person's, and a card is passed on."""
    heads = ("form", "members", "code_members", "width", "code", "half_cc")
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
    close(progress)
    print(json.dumps(summary, indent=2, ensure_ascii=False) if options.json else _counts_text(summary, options.out))


def cohort_check(options: argparse.Namespace, progress: Progress) -> None:
    """Read every case of a manifest."""
    from RTResponseCAMLib.cohort.importing import check_cohort
    from RTResponseCAMLib.errors import CohortError

    found = check_cohort(options.cohort, progress)
    close(progress)
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
