"""``inspect``: what a folder holds."""

from __future__ import annotations

import json

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import Json, StudyOptions
from RTResponseCAMLib.progress import Progress


def inspect(study: StudyOptions, *, json_: Json = False, progress: Progress) -> None:
    """List what a folder holds."""
    from RTResponseCAMLib.dicom.inspect import as_text, inspect_folder

    found = inspect_folder(study.study, study.reading(), progress=progress)
    close(progress)
    print(json.dumps(found, indent=2, ensure_ascii=False) if json_ else as_text(found))


COMMANDS = (Command("inspect", "list what a folder holds and what of it would be used", inspect),)
