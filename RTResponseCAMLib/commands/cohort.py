"""Commands on many studies: phantoms, cohorts, training, comparison."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from RTResponseCAMLib.commands.bar import close
from RTResponseCAMLib.errors import CohortError, ModelError
from RTResponseCAMLib.progress import Progress

if TYPE_CHECKING:
    from RTResponseCAMLib.evaluation.results import Comparison

TABLE_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")  # it becomes the name of files


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


def train(options: argparse.Namespace, progress: Progress) -> None:
    """Fit a model on a cohort."""
    from RTResponseCAMLib.models.registry import default_name, entry_of
    from RTResponseCAMLib.workflow.train import train_bundle

    name = options.approach or default_name()
    chosen = model_options(options)
    unknown = sorted(set(chosen) - set(entry_of(name).known_options(chosen)))
    if unknown:
        given = ", ".join(f"--{option.replace('_', '-')}" for option in unknown)
        raise ModelError(name, f"has no option {given}", "Leave it out")
    card = {
        "name": options.name,
        "description": options.description,
        "intended_use": "Research use only. Not a medical device; not for clinical decisions.",
        "cohort": options.cohort_note,
        "command": _train_command(name, chosen),
        "cautions": options.caution,
    }
    figures = train_bundle(
        options.cohort, options.out, name=name, options=chosen, card=card, overwrite=options.overwrite,
        progress=progress,
    )  # fmt: skip
    close(progress)
    print(json.dumps(figures, indent=2))


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """An option for each option of a registered model; those that are not given keep the model's default."""
    from RTResponseCAMLib.models.registry import entries

    known: set[str] = set()
    for entry in entries():
        for option in fields(entry.options) if entry.options is not None else ():
            if option.name in known:
                continue
            known.add(option.name)
            flag, text = option.name.replace("_", "-"), option.metadata.get("help", "")
            if isinstance(option.default, bool):
                flag = f"--no-{flag}" if option.default else f"--{flag}"
                action = "store_false" if option.default else "store_true"
                parser.add_argument(flag, dest=option.name, action=action, default=argparse.SUPPRESS, help=text)
            else:
                kind = type(option.default)
                text = f"{text} ({entry.name}; default {option.default})"
                parser.add_argument(f"--{flag}", dest=option.name, type=kind, default=argparse.SUPPRESS, help=text)


def model_options(options: argparse.Namespace) -> dict[str, Any]:
    """Options of models that were given."""
    from RTResponseCAMLib.models.registry import entries

    names = {option.name for entry in entries() if entry.options is not None for option in fields(entry.options)}
    return {name: value for name, value in vars(options).items() if name in names}


def evaluate(options: argparse.Namespace, progress: Progress) -> None:
    """Compare models."""
    from RTResponseCAMLib.evaluation.protocol import Protocol, chosen_models, default_models
    from RTResponseCAMLib.samples.radiomics import SETTINGS, read_settings
    from RTResponseCAMLib.workflow.evaluate import evaluate as compare

    for name in ("folds", "repeats", "workers"):
        if getattr(options, name) < (2 if name == "folds" else 1):
            raise CohortError(f"--{name}", f"is {getattr(options, name)}", "Give a larger number")
    tables: dict[str, Path] = {}
    for text in options.features:
        name, _, file = text.partition("=")
        if not name or not file or not TABLE_NAME.fullmatch(name):
            fix = "Name the table in letters, digits, - and _"
            raise CohortError("--features", f"is '{text}', expected NAME=table.csv", fix)
        if name in tables:
            raise CohortError("--features", f"two models are called '{name}'", "Give the table another name")
        tables[name] = Path(file)
    names = options.models.split(",") if options.models else default_models()
    protocol = Protocol(
        models=chosen_models(names, tuple(tables)),
        tables=tuple(tables),
        folds=options.folds,
        repeats=options.repeats,
        seed=options.seed,
        indeterminate=options.indeterminate,
        options={"steps": options.steps},
        settings=read_settings(options.settings or SETTINGS),
    )
    comparison = compare(
        options.cohort, options.out, protocol=protocol, external=options.external, tables=tables,
        workers=options.workers, overwrite=options.overwrite, progress=progress,
    )  # fmt: skip
    close(progress)
    print(json.dumps(comparison.as_json(), indent=2) if options.json else _comparison_text(comparison, options.out))


def _comparison_text(comparison: Comparison, out: Path) -> str:
    lines = [f"written: {out}", comparison.notice]
    for name, found in (("internal", comparison.internal), ("external", comparison.external)):
        if found is None:
            continue
        lines.append(f"{name}: {found.lesions} lesions of {found.patients} patients")
        for approach in found.approaches.values():
            auc, brier = approach.metrics["auc"], approach.metrics["brier"]
            interval = f"{_number(auc.value)} ({_number(auc.low)} to {_number(auc.high)})"
            lines.append(f"  {approach.title:<36}AUC {interval}  Brier {_number(brier.value)}")
    lines += [f"! {name} was not run: {reason}" for name, reason in comparison.not_run.items()]
    return "\n".join(lines + [f"! {text}" for text in (*comparison.cohort.cautions, *comparison.cohort.left_out)])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _train_command(name: str, options: dict[str, Any]) -> str:
    """The command line without its paths: a folder's name may be a person's, and a card is passed on."""
    from RTResponseCAMLib.models.registry import entry_of

    words = ["rtresponsecam", "train", "COHORT", "--out", "BUNDLE", "--approach", name]
    shape = entry_of(name).options
    for option in fields(shape) if shape is not None else ():
        value = options.get(option.name, option.default)
        flag = option.name.replace("_", "-")
        if isinstance(option.default, bool):
            words += [f"--no-{flag}" if option.default else f"--{flag}"] if value != option.default else []
        else:
            words += [f"--{flag}", str(value)]
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
