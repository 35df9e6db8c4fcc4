"""Options of the registered models as options of a command."""

from __future__ import annotations

import shlex
from dataclasses import field, fields, make_dataclass
from typing import Annotated, Any

from typer import Option

from RTResponseCAMLib.models.registry import entries, entry_of


def model_options() -> type:
    """A dataclass with one field for each option of a registered model; None where the option is not given.

    Models share options of the same name.
    """
    option_fields: dict[str, Any] = {}
    for entry in entries():
        for option in fields(entry.options) if entry.options is not None else ():
            flag, text = option.name.replace("_", "-"), option.metadata.get("help", "")
            kind = type(option.default)
            if kind is bool:
                name = f"--no-{flag}" if option.default else f"--{flag}"
                flag_type: Any = Annotated[bool, Option(name, help=text)]
                option_fields.setdefault(option.name, (option.name, flag_type, field(default=False)))
            else:
                shown = "" if isinstance(option.default, str) else f"; default {option.default}"
                help_text = f"{text} ({entry.name}{shown})"
                value_type: Any = Annotated[kind | None, Option(f"--{flag}", help=help_text)]
                option_fields.setdefault(option.name, (option.name, value_type, field(default=None)))
    return make_dataclass("ModelSettings", option_fields.values(), frozen=True)


def given(settings: Any) -> dict[str, Any]:
    """Options that the user gave, by name; a flag inverts the default of its option."""
    defaults = {
        option.name: option.default
        for entry in entries()
        if entry.options is not None
        for option in fields(entry.options)
    }
    set_options = {name: value for name, value in vars(settings).items() if value is not None and value is not False}
    return {name: not defaults[name] if value is True else value for name, value in set_options.items()}


def train_command(name: str, options: dict[str, Any]) -> str:
    """Command line without paths, for the card: a folder name may contain a person's name, and cards are shared."""
    arguments = ["rtresponsecam", "train", "COHORT", "--out", "BUNDLE", "--model", name]
    option_class = entry_of(name).options
    for option in fields(option_class) if option_class is not None else ():
        value = options.get(option.name, option.default)
        flag = option.name.replace("_", "-")
        if isinstance(option.default, bool):
            arguments += [f"--no-{flag}" if option.default else f"--{flag}"] if value != option.default else []
        elif isinstance(option.default, str):
            arguments += [f"--{flag}", option.name.upper()] if value else []
        else:
            arguments += [f"--{flag}", str(value)]
    return shlex.join(arguments)
