"""``demo``: write a phantom study and predict the response of its lesions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import CANCELLED, DONE, QUIET, Command
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.progress import Cancelled, Progress


def demo(
    *,
    seed: Annotated[int, Option("--seed", help="of the phantom")] = 11,
    out: Annotated[Path, Option("--out", metavar="DIR", help="folder of study and results")] = Path("demo"),
    overwrite: Annotated[bool, Option("--overwrite", help="replace an existing DIR")] = False,
    progress: Progress,
) -> None:
    """Write a phantom study and predict the response of its lesions."""
    from RTResponseCAMLib.cli import main

    study, result = out / "study", out / "result"
    replace = ["--overwrite"] if overwrite else []
    quiet = ["--quiet"] if QUIET["quiet"] else []
    phantom = [*quiet, "phantom", "study", "--seed", str(seed), "--lesions", "4", "--out", str(study), *replace]
    predict = [*quiet, "predict", str(study / "dicom"), "--out", str(result), "--pictures", "--profile", *replace]
    close(progress)
    for step in (phantom, predict):
        print("$ rtresponsecam " + " ".join(step), flush=True)
        code = main(step)
        if code == CANCELLED:
            raise Cancelled
        if code != DONE:
            raise RTResponseError("demo", "a step failed", "See the message above")
    print(f"\nOpen {result / 'report.html'} in a browser and {result / 'scene.mrb'} in 3D Slicer.")
    print(f"The true responses and resistant subregions of the lesions are in {study / 'truth' / 'truth.json'}.")


COMMANDS = (Command("demo", "write a phantom study and predict the response of its lesions", demo),)
