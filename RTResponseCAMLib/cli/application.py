"""The application: registers all commands, one module for each group of commands."""

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
    "pretrain",
    "train",
    "evaluate",
    "predict",
    "dvh",
    "subregion",
    "align",
    "follow_up",
    "cohort",
)
GROUPS = {"phantom": "synthetic studies with known truth", "cohort": "many studies in one manifest"}
HELP = "Voxel-wise evidence of Gamma Knife response in brain metastases. Research use only."
_ADDED: list[Command] = []


def register(command: Command) -> None:
    """Add a command.

    Raises
    ------
    RTResponseError : its name is already used in its group.
    """
    if any((other.group, other.name) == (command.group, command.name) for other in commands()):
        problem = f"two commands are called '{f'{command.group} {command.name}'.strip()}'"
        raise RTResponseError("command", problem, "Give each its own name")
    _ADDED.append(command)


def unregister(command: Command) -> None:
    """Remove a command that `register` added."""
    _ADDED.remove(command)


def commands() -> tuple[Command, ...]:
    """All commands, in the order in which they are listed."""
    built_in = (command for module in MODULES for command in import_module(f"RTResponseCAMLib.cli.{module}").COMMANDS)
    return (*built_in, *_ADDED)


def application() -> typer.Typer:
    """The Typer application with all commands."""
    app = typer.Typer(help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(_options)
    groups = {}
    for command in commands():
        parent = app
        if command.group:
            if command.group not in groups:
                groups[command.group] = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
                app.add_typer(groups[command.group], name=command.group, help=GROUPS.get(command.group, ""))
            parent = groups[command.group]
        parent.command(command.name, help=command.help)(typer_function(command))
    return app


def _version(asked: bool) -> None:
    if asked:
        print(f"rtresponsecam {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version and exit")]


def _options(
    version: Version = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress bar; place it before the command")] = False,
) -> None:
    QUIET["quiet"] = quiet
