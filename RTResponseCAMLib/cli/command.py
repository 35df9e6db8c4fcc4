"""Turn functions into commands: options from dataclasses, a progress bar, and exit codes by error type."""

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
QUIET = {"quiet": False}  # option of the application, given before the command


@dataclass(frozen=True)
class Command:
    """A command of the application; ``group`` is its parent command, "" for none."""

    name: str
    help: str
    run: Callable[..., None]
    group: str = ""


def typer_function(command: Command) -> Callable[..., None]:
    """Function with a flat signature, as Typer needs it, that runs the command.

    A dataclass parameter becomes one option for each of its fields; the application provides ``progress``.
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
    parameters = []
    for field in fields(group):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(field.name, kind, default=default, annotation=hints[field.name]))
    return parameters


@contextmanager
def _running(*, quiet: bool) -> Iterator[Bar]:
    """Run a command; errors become one line and an exit code."""
    warnings.filterwarnings("ignore", module="pydicom")  # relevant problems of files are reported as warnings
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
        print("cancelled; no partly written files remain", file=sys.stderr)
        raise typer.Exit(CANCELLED) from None
    except RTResponseError as error:
        bar.close()
        print(f"error: {error}", file=sys.stderr)
        output_failed = isinstance(error, OutputError) and not isinstance(error, ExistsError)
        raise typer.Exit(FAILED if output_failed else BAD_INPUT) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except typer.Exit:
        raise
    except Exception as error:  # any error of a library: the user gets one line
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
