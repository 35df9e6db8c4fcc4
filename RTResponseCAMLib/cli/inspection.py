"""``inspect``: list the objects in a folder."""

from __future__ import annotations

import json

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import Json, StudyOptions
from RTResponseCAMLib.progress import Progress


def inspect(study: StudyOptions, *, json_: Json = False, progress: Progress) -> None:
    """List the objects in a folder."""
    from RTResponseCAMLib.dicom.inspect import as_text, inspect_folder

    contents = inspect_folder(study.study, study.reading(), progress=progress)
    close(progress)
    print(json.dumps(contents, indent=2, ensure_ascii=False) if json_ else as_text(contents))


COMMANDS = (Command("inspect", "list the objects in a folder, and which of them would be used", inspect),)
