"""``follow-up``: register follow-ups, measure lesions, and determine the response."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import FolderOptions, Json, OutOptions
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.progress import Progress, subprogress
from RTResponseCAMLib.response.conventions import CONVENTIONS, with_thresholds
from RTResponseCAMLib.response.trajectory import TARGET_DAYS, WINDOW_DAYS
from RTResponseCAMLib.response.volume import BOUNDARY_MM
from RTResponseCAMLib.warnings import labeled

Convention = Enum("Convention", {name.upper().replace("-", "_"): name for name in CONVENTIONS}, type=str)  # type: ignore[misc]


def follow_up(
    study: FolderOptions,
    out: OutOptions,
    *,
    transform: Annotated[
        list[str],
        Option(
            "--transform",
            metavar="F1=FILE",
            help="rigid transform to use instead of registration (planning points to follow-up points; repeatable)",
        ),
    ] = [],  # noqa: B006
    mask: Annotated[
        list[str],
        Option(
            "--mask",
            metavar="F1=FILE",
            help="label map of the lesions of a follow-up, on its grid or the planning MR's grid (repeatable)",
        ),
    ] = [],  # noqa: B006
    mask_values: Annotated[
        str, Option("--mask-values", metavar="N+N", help="labels of --mask that form the lesions together (1+3)")
    ] = "",
    boundary_mm: Annotated[
        float, Option("--boundary-mm", help="95 % half-width of contour position, mm")
    ] = BOUNDARY_MM,
    no_proposals: Annotated[bool, Option("--no-proposals", help="propose no contours where none exist")] = False,
    convention: Annotated[Convention, Option("--convention", help="convention of the label")] = Convention("volume-20"),  # noqa: B008
    response_below: Annotated[
        float | None,
        Option("--response-below", metavar="PERCENT", help="change below which it is a response, e.g. -30"),
    ] = None,
    progression_above: Annotated[
        float | None,
        Option("--progression-above", metavar="PERCENT", help="change above which it is progression, e.g. 40"),
    ] = None,
    target_day: Annotated[
        int, Option("--target-day", metavar="DAY", help="preferred day of the label's visit")
    ] = TARGET_DAYS,
    window: Annotated[
        tuple[int, int], Option("--window", metavar="DAY DAY", help="first and last day of the label's visit")
    ] = WINDOW_DAYS,
    json_: Json = False,
    progress: Progress,
) -> None:
    """Register follow-ups, measure lesions, and determine the response."""
    from RTResponseCAMLib.dicom.load import load_study
    from RTResponseCAMLib.workflow.follow_up import follow_study
    from RTResponseCAMLib.workflow.output import check_free
    from RTResponseCAMLib.workflow.write_follow_up import write_follow_up

    check_free(out.out, out.overwrite)
    chosen = with_thresholds(CONVENTIONS[convention.value], response_below, progression=progression_above)
    if not 0 <= window[0] <= target_day <= window[1]:
        problem = f"is day {target_day} within days {window[0]} to {window[1]}, expected 0 <= first <= target <= last"
        raise RTResponseError("the label's visit", problem, "Correct --target-day or --window FIRST LAST")
    reading = vars(study.reading()) | {"with_dose": False}
    loaded = load_study(study.study, progress=subprogress(progress, 0.0, 0.2), **reading)
    followed = follow_study(
        loaded,
        _named_files(transform, "--transform"),
        masks=_named_files(mask, "--mask"),
        boundary_mm=boundary_mm,
        propose=not no_proposals,
        progress=subprogress(progress, 0.2, 0.9),
        mask_values=_labels(mask_values),
    )
    content = write_follow_up(
        followed,
        out.out,
        overwrite=out.overwrite,
        label_convention=chosen,
        window_days=window,
        target_days=target_day,
        progress=subprogress(progress, 0.9, 1.0),
    )
    close(progress)
    print(json.dumps(content, indent=2, ensure_ascii=False) if json_ else _follow_up_text(content, out.out))


def _labels(text: str) -> tuple[int, ...] | None:
    """Parse label numbers such as ``1+3``, as in the column mask_values of a manifest."""
    if not text:
        return None
    values = text.split("+")
    if not all(value.isascii() and value.isdigit() for value in values):
        raise RTResponseError("--mask-values", f"is '{text}', expected label numbers joined by +", "Write 1+3")
    return tuple(int(value) for value in values)


def _named_files(given: list[str], option: str) -> dict[str, Path]:
    """Parse ``F1=file`` pairs."""
    pairs = [text.partition("=") for text in given]
    if any(not (name and file) for name, _, file in pairs):
        raise RTResponseError(option, "expects F1=FILE", "Name the follow-up and the file")
    names = [name for name, _, _ in pairs]
    if len(set(names)) < len(names):
        raise RTResponseError(option, "names a follow-up twice", "Give one file for each")
    return {name: Path(file) for name, _, file in pairs}


def _follow_up_text(content: dict[str, Any], out: Path) -> str:
    lines = [f"written: {out}", content["notice"]]
    lines += [f"! {labeled(**warning)}" for warning in content["warnings"]]
    if content["day_zero"]:
        lines.append(f"days count from {content['day_zero']}")
    for visit in content["visits"]:
        registration = visit["registration"]
        outcome = (
            visit["problem"]
            or f"registered ({registration['method']}), edge correlation {registration['edge_correlation']:.2f}"
        )
        when = "unknown day" if visit["days"] is None else f"day {visit['days']}"
        source = f" by {visit['date_source']}" if visit["date_source"] else ""
        lines.append(f"{visit['visit']} '{visit['description']}', {when}{source}: {outcome}")
        lines += [f"      ! {labeled(**warning)}" for warning in visit["warnings"] if not visit["problem"]]
    for lesion in content["lesions"]:
        label = lesion["label"]
        change = ""
        if label["change"] is not None:
            low, high = label["change_interval"]
            change = f"  {100 * label['change']:+.0f} % ({100 * low:+.0f} … {100 * high:+.0f} %) at {label['visit']}"
        lines.append(f"{lesion['id']:<4}{lesion['name']:<20}{label['category']:<15}{change}  {label['reason']}")
    lines += [f"! {text}" for text in content["remarks"]]
    return "\n".join(lines)


COMMANDS = (
    Command(
        "follow-up", "register the follow-ups of a study, measure its lesions, and determine the response", follow_up
    ),
)
