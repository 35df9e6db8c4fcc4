"""The application: every command is registered here, one module for each group of them."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from RTResponseCAMLib import __version__
from RTResponseCAMLib.cli.command import QUIET, Command, typer_function
from RTResponseCAMLib.errors import RTResponseError

MODULES = (
    "demo",
    "phantom",
    "inspection",
    "train",
    "evaluate",
    "predict",
    "dvh",
    "subregion",
    "align",
    "follow_up",
    "cohort",
)
GROUPS = {"phantom": "synthetic studies with known truth", "cohort": "many studies under one manifest"}
HELP = "Pixel-wise evidence of Gamma Knife response in brain metastases. Research use only."
_ADDED: list[Command] = []


def register(command: Command) -> None:
    """Add a command.

    Raises
    ------
    RTResponseError : another command of its group has its name.
    """
    if any((known.group, known.name) == (command.group, command.name) for known in commands()):
        what = f"two commands are called '{f'{command.group} {command.name}'.strip()}'"
        raise RTResponseError("command", what, "Give each its own name")
    _ADDED.append(command)


def unregister(command: Command) -> None:
    """Take a command away that `register` added."""
    _ADDED.remove(command)


def commands() -> tuple[Command, ...]:
    """All commands, in the order in which they are listed."""
    built_in = (c for name in MODULES for c in import_module(f"RTResponseCAMLib.cli.{name}").COMMANDS)
    return (*built_in, *_ADDED)


def application() -> typer.Typer:
    """The command line with all its commands."""
    found = typer.Typer(help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
    found.callback()(_options)
    groups = {}
    for command in commands():
        parent = found
        if command.group:
            if command.group not in groups:
                groups[command.group] = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
                found.add_typer(groups[command.group], name=command.group, help=GROUPS.get(command.group, ""))
            parent = groups[command.group]
        parent.command(command.name, help=command.help)(typer_function(command))
    return found


def _version(asked: bool) -> None:
    if asked:
        print(f"rtresponsecam {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="of the program")]


def _options(
    version: Version = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress bar; stands before the command")] = False,
) -> None:
    QUIET["quiet"] = quiet
