"""What tests of a comparison share: short protocols, and cohorts that a test may change."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

from RTResponseCAMLib.evaluation.protocol import Protocol, chosen_models
from RTResponseCAMLib.samples.radiomics import read_settings

SHORT = Protocol(
    models=chosen_models(["gradient", "scale-space"]),
    folds=2,
    repeats=1,
    options={"steps": 20},
    settings=read_settings(),
)
GRADIENT = replace(SHORT, models=chosen_models(["gradient"]))


def own_cohort(folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may change; the studies stay where they are."""
    copy = tmp_path / "cohort"
    copy.mkdir()
    for part in folder.iterdir():
        if part.is_dir():
            (copy / part.name).symlink_to(part)
        else:
            shutil.copy(part, copy)
    return copy


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def write_rows(cohort: Path, rows: list[dict[str, str]]) -> None:
    """Write a manifest."""
    with (cohort / "manifest.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
