"""``dvh``: dose-volume histograms and plan indices of a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import Interpolation, Json, OutOptions, StudyOptions
from RTResponseCAMLib.progress import Progress, part
from RTResponseCAMLib.warnings import labeled


def dvh(
    study: StudyOptions,
    out: OutOptions,
    *,
    interpolation: Annotated[
        Interpolation,
        Option(
            "--interpolation",
            help="of the dose between grid points: linear as planning systems do, the others for coarse grids",
        ),
    ] = Interpolation.LINEAR,
    json_: Json = False,
    progress: Progress,
) -> None:
    """Dose-volume histograms and plan indices of a study."""
    from RTResponseCAMLib.workflow.dvh import write_dose
    from RTResponseCAMLib.workflow.output import check_free

    check_free(out.out, out.overwrite)
    loaded = study.load(part(progress, 0.0, 0.4))
    content = write_dose(
        loaded, out.out, overwrite=out.overwrite, interpolation=interpolation.value, progress=part(progress, 0.4, 1.0)
    )
    close(progress)
    print(json.dumps(content, indent=2, ensure_ascii=False) if json_ else _dvh_text(content, out.out))


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


COMMANDS = (Command("dvh", "dose-volume histograms of all structures, and indices of the plan for each target", dvh),)
