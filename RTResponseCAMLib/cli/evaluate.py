"""``evaluate``: compare models on a cohort."""

from __future__ import annotations

import json
import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import Json, OutOptions
from RTResponseCAMLib.cli.tables import number, print_table
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.progress import Progress

if TYPE_CHECKING:
    from RTResponseCAMLib.evaluation.results import Comparison


class Indeterminate(str, Enum):
    """Treatment of lesions whose change may lie on either side of the threshold."""

    UNLABELED = "unlabeled"
    AS_LABELED = "as-labeled"


def evaluate(
    cohort: Annotated[Path, Argument(help="folder with manifest.csv")],
    out: OutOptions,
    *,
    external: Annotated[
        Path | None,
        Option("--external", metavar="COHORT", help="cohort of other patients, on which every model is evaluated"),
    ] = None,
    models: Annotated[str, Option("--models", help="comma-separated model names; the baselines always run")] = "",
    features: Annotated[
        list[str],
        Option(
            "--features",
            metavar="NAME=TABLE",
            help="CSV of features by patient_group_id, course and lesion, as an additional model (repeatable)",
        ),
    ] = [],  # noqa: B006
    folds: Annotated[int, Option("--folds", help="of the cross-validation, grouped by patient")] = 5,
    repeats: Annotated[int, Option("--repeats", help="of the cross-validation")] = 3,
    steps: Annotated[int, Option("--steps", help="optimization steps, for models that have them")] = 240,
    encoder: Annotated[
        Path | None,
        Option("--encoder", metavar="ENCODER", help="pre-trained encoder of conv and ensemble"),
    ] = None,
    indeterminate: Annotated[
        Indeterminate,
        Option("--indeterminate", help="use of lesions whose change may lie on either side of the threshold"),
    ] = Indeterminate.UNLABELED,
    settings: Annotated[Path | None, Option("--settings", metavar="JSON", help="settings of pyradiomics")] = None,
    workers: Annotated[int, Option("--workers", help="parallel processes", show_default="all cores")] = os.cpu_count()
    or 1,
    seed: Annotated[int, Option("--seed", help="of folds and training")] = 0,
    json_: Json = False,
    progress: Progress,
) -> None:
    """Compare models on a cohort."""
    from RTResponseCAMLib.evaluation.protocol import Protocol, chosen_models, default_models
    from RTResponseCAMLib.samples.radiomics import SETTINGS, read_settings
    from RTResponseCAMLib.workflow.evaluate import evaluate as compare

    tables = _tables(features)
    names = [name.strip() for name in models.split(",") if name.strip()]
    protocol = Protocol(
        models=chosen_models(names or default_models(), tuple(tables)),
        tables=tuple(tables),
        folds=folds,
        repeats=repeats,
        seed=seed,
        indeterminate=indeterminate.value,
        options={"steps": steps, **({"encoder": str(encoder)} if encoder else {})},
        settings=read_settings(settings or SETTINGS),
    )
    comparison = compare(
        cohort,
        out.out,
        protocol=protocol,
        external=external,
        tables=tables,
        workers=workers,
        overwrite=out.overwrite,
        progress=progress,
    )
    close(progress)
    if json_:
        print(json.dumps(comparison.as_json(), indent=2))
    else:
        _print(comparison, out.out)


def _tables(pairs: list[str]) -> dict[str, Path]:
    """Parse ``NAME=TABLE`` pairs."""
    tables: dict[str, Path] = {}
    for text in pairs:
        name, _, file = text.partition("=")
        if not name or not file:
            raise CohortError("--features", f"is '{text}', expected NAME=table.csv", "Name the table, and its file")
        if name in tables:
            raise CohortError("--features", f"two models are called '{name}'", "Give the table another name")
        tables[name] = Path(file)
    return tables


def _print(comparison: Comparison, out: Path) -> None:
    print(f"written: {out}\n{comparison.notice}")
    for name, evaluation in (("internal", comparison.internal), ("external", comparison.external)):
        if evaluation is None:
            continue
        print(f"{name}: {evaluation.lesions} lesions of {evaluation.patients} patients")
        rows = []
        for approach in evaluation.approaches.values():
            auc, brier = approach.metrics["auc"], approach.metrics["brier"]
            interval = f"{number(auc.low, 3)} to {number(auc.high, 3)}"
            rows.append([approach.title, number(auc.value, 3), interval, number(brier.value, 3)])
        print_table(["approach", "AUC", "95 % interval", "Brier"], rows)
    for name, reason in comparison.not_run.items():
        print(f"! {name} was not run: {reason}")
    for text in (*comparison.cohort.warnings, *comparison.cohort.left_out):
        print(f"! {text}")


COMMANDS = (
    Command("evaluate", "compare models on a cohort without data leakage; resume an interrupted run", evaluate),
)
