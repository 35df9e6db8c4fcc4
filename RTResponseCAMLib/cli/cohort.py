"""``cohort import`` and ``cohort check``: many studies in one manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from typer import Argument

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import Json, OutOptions
from RTResponseCAMLib.cohort.importers import importer_names
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.progress import Progress


def cohort_import(
    data_set: Annotated[str, Argument(help=f"name of the data set: {', '.join(importer_names())}")],
    source: Annotated[Path, Argument(help="folder of the unpacked data set")],
    out: OutOptions,
    *,
    json_: Json = False,
    progress: Progress,
) -> None:
    """Write a manifest for a data set."""
    from RTResponseCAMLib.cohort.importing import import_cohort
    from RTResponseCAMLib.workflow.output import new_folder

    with new_folder(out.out, out.overwrite) as folder:
        # Paths in the manifest are relative to the final folder, which is next to the temporary one.
        summary = import_cohort(data_set, source, folder=folder, progress=progress)
    close(progress)
    print(json.dumps(summary, indent=2, ensure_ascii=False) if json_ else _counts_text(summary, out.out))


def cohort_check(
    cohort: Annotated[Path, Argument(help="folder with manifest.csv")], *, json_: Json = False, progress: Progress
) -> None:
    """Read every case of a manifest."""
    from RTResponseCAMLib.cohort.importing import check_cohort

    summary = check_cohort(cohort, progress)
    close(progress)
    print(json.dumps(summary, indent=2, ensure_ascii=False) if json_ else _counts_text(summary, cohort))
    if summary["problems"]:
        raise CohortError(cohort, f"{len(summary['problems'])} case(s) or cells cannot be used", "See the list")


def _counts_text(counts: dict[str, Any], where: Path) -> str:
    lines = [
        f"{where}: {counts['patients']} patients, {counts['cases']} cases, {counts['lesions']} lesions",
        f"labels: {counts['response']} response, {counts['non_response']} non-response, {counts['unknown']} unknown; "
        f"{counts['indeterminate']} indeterminate",
    ]
    lines += [f"PROBLEM {text}" for text in counts.get("problems", ())]
    return "\n".join(lines + [f"! {text}" for text in counts["remarks"]])


COMMANDS = (
    Command(
        "import",
        "write a manifest for a public data set, or for a plain folder of image files",
        cohort_import,
        "cohort",
    ),
    Command("check", "read every case of a manifest and list the problems", cohort_check, "cohort"),
)
