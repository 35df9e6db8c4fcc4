"""Turn functions into commands: options from dataclasses, a progress bar, and exit codes by error type."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any, get_type_hints

import typer

from RTResponseCAMLib.cli.bar import Bar
from RTResponseCAMLib.cli.options import OutOptions
from RTResponseCAMLib.errors import ExistsError, OutputError, RTResponseError
from RTResponseCAMLib.progress import Cancelled

DONE, FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 130
GRACE_S = 10.0  # after a request to stop, others are ignored for as long
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
        inputs = [path for value in values.values() for path in _paths(value)]
        with _running(quiet=QUIET["quiet"] or bool(values.get("json_"))) as bar:
            for value in values.values():
                if isinstance(value, OutOptions) and value.overwrite:
                    from RTResponseCAMLib.workflow.output import keep_inputs

                    keep_inputs(value.out, inputs)
            command.run(**values, progress=bar)

    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    run.__name__ = command.name.replace("-", "_")
    run.__annotations__ = {}
    return run


def _paths(value: Any) -> list[Path]:
    """Paths of a value of an option, or of a group of options, that name something to read."""
    if isinstance(value, OutOptions):
        return []
    values = list(vars(value).values()) if is_dataclass(value) else [value]
    return [v for one in values for v in (one if isinstance(one, (list, tuple)) else [one]) if isinstance(v, Path)]


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

    stopped_s = -GRACE_S

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped_s
        if time.monotonic() - stopped_s < GRACE_S:
            return  # the first request is being served: another would interrupt the clean-up
        stopped_s, bar.stopped = time.monotonic(), True
        raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM) if in_main}
    try:
        yield bar
    except (KeyboardInterrupt, Cancelled):
        bar.close()
        if bar.finished:
            print("interrupted while printing; the results are complete", file=sys.stderr)
            raise typer.Exit(DONE) from None
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
