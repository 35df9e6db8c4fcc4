"""``dvh``: dose-volume histograms and plan indices of a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import Interpolation, Json, OutOptions, StudyOptions
from RTResponseCAMLib.cli.tables import number, print_table
from RTResponseCAMLib.progress import Progress, subprogress
from RTResponseCAMLib.warnings import labeled


def dvh(
    study: StudyOptions,
    out: OutOptions,
    *,
    interpolation: Annotated[
        Interpolation,
        Option(
            "--interpolation",
            help="interpolation of the dose: linear as in planning systems, cubic or quintic for coarse dose grids",
        ),
    ] = Interpolation.LINEAR,
    json_: Json = False,
    progress: Progress,
) -> None:
    """Write dose-volume histograms and plan indices of a study."""
    from RTResponseCAMLib.workflow.dvh import write_dose
    from RTResponseCAMLib.workflow.output import check_free

    check_free(out.out, out.overwrite)
    loaded = study.load(subprogress(progress, 0.0, 0.4))
    content = write_dose(
        loaded,
        out.out,
        overwrite=out.overwrite,
        interpolation=interpolation.value,
        progress=subprogress(progress, 0.4, 1.0),
    )
    close(progress)
    if json_:
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        _print(content, out.out)


def _print(content: dict[str, Any], out: Path) -> None:
    unit, doses = content["dose_unit"], ("mean_gy", "d98_gy", "d50_gy", "d2_gy")
    print(content["notice"])
    rows = [
        [
            row["structure"],
            number(row["volume_cc"], 3),
            *(number(row[key]) for key in doses),
            f"{100 * row['outside_grid']:.0f} % outside the dose grid" if row["outside_grid"] >= 0.005 else "",
        ]
        for row in content["structures"]
    ]
    print_table(["structure", "cm³", *(f"{name} ({unit})" for name in ("mean", "D98", "D50", "D2")), ""], rows)
    indices = ("coverage", "selectivity", "paddick_ci", "gradient_index")
    targets = [
        [row["name"], number(row["prescription_gy"]), *(number(row[key], 3) for key in indices)]
        for row in content["targets"]
    ]
    if targets:
        print_table(
            ["target", f"prescription ({unit})", "coverage", "selectivity", "Paddick CI", "gradient index"], targets
        )
    for row in content["targets"]:
        print("".join(f"{row['name']} ! {text}\n" for text in row["warnings"]), end="")
    for warning in content["warnings"]:
        print(f"! {labeled(**warning)}")
    print(f"interpolation of the dose: {content['interpolation']}\nwritten: {out}")


COMMANDS = (Command("dvh", "dose-volume histograms of all structures, and plan indices of each target", dvh),)
