"""What makes a function a command: options from dataclasses, a progress bar, and exit codes by the type of an error."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import FrameType
from typing import Any, get_type_hints

import typer

from RTResponseCAMLib.cli.bar import Bar
from RTResponseCAMLib.errors import ExistsError, OutputError, RTResponseError
from RTResponseCAMLib.progress import Cancelled

DONE, FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 130
QUIET = {"quiet": False}  # of the application, before the command


@dataclass(frozen=True)
class Command:
    """A command of the application: ``group`` is the command it stands under, "" for none."""

    name: str
    help: str
    run: Callable[..., None]
    group: str = ""


def typer_function(command: Command) -> Callable[..., None]:
    """The command as Typer wants it: a flat signature.

    Parameters of the function that are dataclasses become one option for each of their fields; ``progress`` is given by
    the application.
    """
    hints = get_type_hints(command.run, include_extras=True)
    flat: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    for parameter in inspect.signature(command.run).parameters.values():
        kind = hints[parameter.name]
        if parameter.name == "progress":
            continue
        if is_dataclass(kind) and isinstance(kind, type):
            groups[parameter.name] = kind
            flat += _parameters(kind)
        else:
            flat.append(parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY))

    def run(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        with _running(quiet=QUIET["quiet"] or bool(values.get("json_"))) as bar:
            command.run(**values, progress=bar)

    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    run.__name__ = command.name.replace("-", "_")
    run.__annotations__ = {}
    return run


def _parameters(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    found = []
    for field in fields(group):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        kind = inspect.Parameter.KEYWORD_ONLY
        found.append(inspect.Parameter(field.name, kind, default=default, annotation=hints[field.name]))
    return found


@contextmanager
def _running(*, quiet: bool) -> Iterator[Bar]:
    """Run a command: its errors become one line and an exit code."""
    warnings.filterwarnings("ignore", module="pydicom")  # remarks on others' files; what matters is a warning
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    bar = Bar(quiet=quiet)

    def stop(number: int, frame: FrameType | None) -> None:
        bar.stopped = True
        raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM) if in_main}
    try:
        yield bar
    except (KeyboardInterrupt, Cancelled):
        bar.close()
        print("cancelled; nothing half-written remains", file=sys.stderr)
        raise typer.Exit(CANCELLED) from None
    except RTResponseError as error:
        bar.close()
        print(f"error: {error}", file=sys.stderr)
        written = isinstance(error, OutputError) and not isinstance(error, ExistsError)
        raise typer.Exit(FAILED if written else BAD_INPUT) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except typer.Exit:
        raise
    except Exception as error:  # whatever a library raises: a user reads one line
        if os.environ.get("RTRESPONSECAM_DEBUG"):
            raise
        bar.close()
        print(
            f"failed: {type(error).__name__}: {error} (set RTRESPONSECAM_DEBUG=1 for details)",
            file=sys.stderr,
        )
        raise typer.Exit(FAILED) from None
    finally:
        bar.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
