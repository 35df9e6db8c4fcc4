"""Options of the registered models as options of a command."""

from __future__ import annotations

import shlex
from dataclasses import field, fields, make_dataclass
from typing import Annotated, Any

from typer import Option

from RTResponseCAMLib.models.registry import entries, entry_of


def model_options() -> type:
    """A dataclass with an option for each option of a registered model; None, where it is not given.

    Models whose options have one name share it.
    """
    found: dict[str, Any] = {}
    for entry in entries():
        for option in fields(entry.options) if entry.options is not None else ():
            flag, text = option.name.replace("_", "-"), option.metadata.get("help", "")
            kind = type(option.default)
            if kind is bool:
                name = f"--no-{flag}" if option.default else f"--{flag}"
                flag_type: Any = Annotated[bool, Option(name, help=text)]
                found.setdefault(option.name, (option.name, flag_type, field(default=False)))
            else:
                shown = f"{text} ({entry.name}; default {option.default})"
                value_type: Any = Annotated[kind | None, Option(f"--{flag}", help=shown)]
                found.setdefault(option.name, (option.name, value_type, field(default=None)))
    return make_dataclass("ModelSettings", found.values(), frozen=True)


def given(settings: Any) -> dict[str, Any]:
    """Options that were given, by name; a flag turns its option's default round."""
    defaults = {
        option.name: option.default
        for entry in entries()
        if entry.options is not None
        for option in fields(entry.options)
    }
    chosen = {name: value for name, value in vars(settings).items() if value is not None and value is not False}
    return {name: not defaults[name] if value is True else value for name, value in chosen.items()}


def train_command(name: str, options: dict[str, Any]) -> str:
    """The command line without its paths: a folder's name may be a person's, and a card is passed on."""
    words = ["rtresponsecam", "train", "COHORT", "--out", "BUNDLE", "--approach", name]
    shape = entry_of(name).options
    for option in fields(shape) if shape is not None else ():
        value = options.get(option.name, option.default)
        flag = option.name.replace("_", "-")
        if isinstance(option.default, bool):
            words += [f"--no-{flag}" if option.default else f"--{flag}"] if value != option.default else []
        else:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)
