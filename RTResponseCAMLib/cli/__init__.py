"""``rtresponsecam``: the command line. Exit codes: 0 done, 1 failed, 2 bad input, 130 cancelled."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from RTResponseCAMLib.cli.command import BAD_INPUT, CANCELLED, DONE, FAILED

__all__ = ["BAD_INPUT", "CANCELLED", "DONE", "FAILED", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors are one line on stderr, never a traceback."""
    try:
        from RTResponseCAMLib.cli.application import application

        application()(args=None if arguments is None else list(arguments), prog_name="rtresponsecam")
    except KeyboardInterrupt:  # before a command has begun
        print("cancelled; nothing was written", file=sys.stderr)
        return CANCELLED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else FAILED if ended.code else DONE
    return DONE
