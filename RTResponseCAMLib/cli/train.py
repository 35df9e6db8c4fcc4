"""``train``: fit a model on a cohort and write a bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.model_options import given, model_options, train_command
from RTResponseCAMLib.cli.options import OutOptions
from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.models.registry import default_name, entry_of
from RTResponseCAMLib.progress import Progress

ModelSettings: Any = model_options()


def train(
    cohort: Annotated[Path, Argument(help="folder with manifest.csv")],
    out: OutOptions,
    settings: ModelSettings,
    *,
    approach: Annotated[str, Option("--model", metavar="MODEL", help="name of a registered model")] = default_name(),
    name: Annotated[str, Option("--name", help="of the model, for its card")] = "unnamed model",
    description: Annotated[str, Option("--description", help="of the model, for its card")] = "",
    warning: Annotated[list[str], Option("--warning", help="sentence shown with every result (repeatable)")] = [],  # noqa: B006
    cohort_note: Annotated[str, Option("--cohort-note", help="how the cohort was made, for the card")] = "",
    progress: Progress,
) -> None:
    """Fit a model on a cohort and write a bundle."""
    from RTResponseCAMLib.workflow.train import train_bundle

    given_options = given(settings)
    unknown = sorted(set(given_options) - set(entry_of(approach).known_options(given_options)))
    if unknown:
        flags = ", ".join(f"--{option.replace('_', '-')}" for option in unknown)
        raise ModelError(approach, f"has no option {flags}", "Leave it out")
    card = {
        "name": name,
        "description": description,
        "intended_use": "Research use only. Not a medical device; not for clinical decisions.",
        "cohort": cohort_note,
        "command": train_command(approach, given_options),
        "warnings": list(warning),
    }
    figures = train_bundle(
        cohort, out.out, name=approach, options=given_options, card=card, overwrite=out.overwrite, progress=progress
    )
    close(progress)
    print(json.dumps(figures, indent=2))
    if not entry_of(approach).explains:
        print("! this model gives no evidence map: use it in evaluate, not in predict", file=sys.stderr)


COMMANDS = (Command("train", "fit a model on a cohort and write a bundle", train),)
