"""``pretrain``: train an encoder on lesions without labels."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import Device, OutOptions
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.phantom.families import FAMILIES
from RTResponseCAMLib.progress import Cancelled, Progress

Cohorts = Annotated[list[Path], Argument(metavar="[COHORT]...", help="folders with manifest.csv; no label is read")]


def pretrain(
    out: OutOptions,
    *,
    cohorts: Cohorts = [],  # noqa: B006
    synthetic: Annotated[int, Option("--synthetic", metavar="NUMBER", help="lesions of the phantom's families")] = 0,
    fresh: Annotated[bool, Option("--fresh", help="other synthetic lesions in every epoch; takes longer")] = False,
    families: Annotated[str, Option("--families", metavar="NAMES", help="of the synthetic lesions")] = ",".join(
        FAMILIES
    ),
    synthetic_seed: Annotated[int, Option("--synthetic-seed", help="of the synthetic lesions")] = 9100,
    epochs: Annotated[int, Option("--epochs", help="passes over the lesions; 0: untrained, a control")] = 15,
    learning_rate: Annotated[float, Option("--learning-rate", help="highest rate of Adam")] = 2e-3,
    channels: Annotated[str, Option("--channels", metavar="N,N,…", help="of each level, full resolution first")] = (
        "8,16,32"
    ),
    seed: Annotated[int, Option("--seed", help="of weights, hidden blocks and order")] = 28,
    workers: Annotated[int, Option("--workers", help="processes that make synthetic lesions")] = os.cpu_count() or 1,
    device: Annotated[Device, Option("--device", help="where the training runs")] = Device.AUTO,
    progress: Progress,
) -> None:
    """Train an encoder by masked reconstruction; an interrupted command goes on when it is given again."""
    from RTResponseCAMLib.workflow.pretrain import pretrain_encoder, state_folder

    settings: dict[str, Any] = {
        "epochs": _within("--epochs", epochs, limits=(0, 10_000)),
        "learning_rate": _within("--learning-rate", learning_rate, limits=(1e-6, 0.1)),
        "channels": _channels(channels),
        "seed": _within("--seed", seed, limits=(0, 2**31 - 1)),
    }
    _within("--synthetic", synthetic, limits=(0, 1_000_000))
    try:
        figures = pretrain_encoder(
            cohorts, out.out, synthetic=synthetic, fresh=fresh, families=[f for f in families.split(",") if f],
            settings=settings, synthetic_seed=synthetic_seed, workers=workers, device=device.value,
            overwrite=out.overwrite, progress=progress,
        )  # fmt: skip
    except (KeyboardInterrupt, Cancelled):
        if state_folder(out.out).is_dir():
            name = state_folder(out.out).name
            print(f"{name} holds the finished epochs; the same command goes on from there", file=sys.stderr)
        raise
    close(progress)
    print(json.dumps(figures, indent=2))


def _within(option: str, value: float, *, limits: tuple[float, float]) -> float:
    if not limits[0] <= value <= limits[1]:
        problem = f"is {value:g}, expected {limits[0]:g} to {limits[1]:g}"
        raise RTResponseError(option, problem, "Choose another value")
    return value


def _channels(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not 2 <= len(found) <= 5 or not all(1 <= n <= 256 for n in found):
        problem = f"is '{text}', expected two to five numbers, each 1 to 256"
        raise RTResponseError("--channels", problem, "For example 8,16,32")
    return found


COMMANDS = (Command("pretrain", "train an encoder on lesions without labels", pretrain),)
