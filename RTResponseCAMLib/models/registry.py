"""The registry of models: one entry each, with title, color, requirements, and functions that make and restore it.

A new model is one sub-package with its ``ENTRIES``, and its name in ``BUILT_IN``; training, comparison, prediction,
report, panel and command line read the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy.typing as npt

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.models.interface import FittedModel, LesionModel
from RTResponseCAMLib.samples.sample import LesionSample

MISSING_LIMIT = 0.5  # a model is not run if more than this fraction of the lesions lacks its inputs
BUILT_IN = ("baselines", "radiomics", "gradient", "scale_space.entries", "conv.entries", "ensemble")


@dataclass(frozen=True)
class Requirements:
    """Parts of a sample that a model reads.

    Attributes
    ----------
    families : feature families.
    patch, dose : whether it reads the image, and the dose.
    """

    families: tuple[str, ...] = ()
    patch: bool = False
    dose: bool = False


@dataclass(frozen=True)
class ModelEntry:
    """One model, or one variant of it.

    Attributes
    ----------
    name : unique name in lower case, for options and files.
    title : title in reports.
    color : hexadecimal color in figures.
    requires : parts of a sample that the model reads.
    make : options by name → model.
    restore : architecture and arrays → fitted model; raises TypeError, ValueError or KeyError where they do not fit.
    options : dataclass whose fields are the options of ``make``; metadata ``help``, ``low`` and ``high`` of a field
        define its command line option.
    predictors : description of the inputs, for reports.
    describe : options → sentence on the training, for reports; None for no sentence.
    baseline : whether it is part of every comparison.
    reference : whether the differences of a comparison are plotted against it.
    compared : whether it is part of a comparison that names no models.
    explains : whether it gives evidence maps.
    pretrain : function that trains the part of the model that needs no label, see `models.conv.entries`; None for a
        model without such a part.
    """

    name: str
    title: str
    color: str
    requires: Requirements
    make: Callable[[Mapping[str, Any]], LesionModel]
    restore: Callable[[Mapping[str, Any], Mapping[str, npt.NDArray[Any]]], FittedModel]
    options: type | None = None
    predictors: str = ""
    describe: Callable[[Mapping[str, Any]], str] | None = None
    baseline: bool = False
    reference: bool = False
    compared: bool = True
    explains: bool = False
    pretrain: Callable[..., tuple[tuple[float, ...], Callable[[Path], None]]] | None = None

    def lacking(self, sample: LesionSample) -> str:
        """First input that the model needs and the sample lacks: "images", "dose" or a family; "" when it has all."""
        if self.requires.patch and sample.patch is None:
            return "images"
        if self.requires.dose and (sample.patch is None or not sample.patch.has_dose):
            return "dose"
        return next((family for family in self.requires.families if family not in sample.features), "")

    def why_not_runnable(self, samples: Sequence[LesionSample]) -> str | None:
        """Reason why the model cannot be trained on these lesions: too many lack an input; None when it can."""
        lacking = [(sample, name) for sample in samples if (name := self.lacking(sample))]
        if len(lacking) <= MISSING_LIMIT * len(samples):
            return None
        remarks = (sample.missing[name] for sample, name in lacking if name in sample.missing)
        reason = next(remarks, "not measured")
        return f"{len(lacking)} of {len(samples)} lesions lack a required input ({lacking[0][1]}: {reason})"

    def known_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The given options that this model has; others are left out."""
        names = {f.name for f in fields(self.options)} if self.options is not None else set()
        return {name: value for name, value in options.items() if name in names}

    def model(self, options: Mapping[str, Any]) -> LesionModel:
        """Make the model with the given options; raises as `check_options`, and where an input of it is missing."""
        self.check_options(options)
        return self.make(options)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Check names, types and limits of options.

        Raises
        ------
        ModelError : the model does not have an option, or a value is of the wrong type or outside its limits.
        """
        unknown = sorted(set(options) - set(self.known_options(options)))
        if unknown:
            raise ModelError(self.name, f"has no option {', '.join(unknown)}", "Leave it out")
        for option in fields(self.options) if self.options is not None else ():
            low, high = (option.metadata.get(limit) for limit in ("low", "high"))
            value = options.get(option.name, option.default)
            where = f"--{option.name.replace('_', '-')}"
            if isinstance(option.default, str):
                if not isinstance(value, str):
                    raise ModelError(where, f"is {value!r}, expected a path", "Choose another value")
                continue
            fits = isinstance(value, bool) == isinstance(option.default, bool) and isinstance(value, (int, float))
            if not fits or (isinstance(option.default, int) and value != int(value)):
                kind = "a whole number" if isinstance(option.default, int) else "a number"
                kind = "true or false" if isinstance(option.default, bool) else kind
                raise ModelError(where, f"is {value!r}, expected {kind}", "Choose another value")
            if low is not None and high is not None and not low <= value <= high:
                raise ModelError(where, f"is {value}, expected {low:g} to {high:g}", "Choose another value")


@dataclass
class _Registry:
    entries: dict[str, ModelEntry] = field(default_factory=dict)
    complete: bool = False


_REGISTRY = _Registry()


def register(entry: ModelEntry) -> None:
    """Add a model.

    Raises
    ------
    ModelError : its name is already registered.
    """
    entries()
    _add(entry)


def unregister(name: str) -> None:
    """Remove a model that `register` added."""
    _REGISTRY.entries.pop(name, None)


def entries() -> tuple[ModelEntry, ...]:
    """All models, in the order of registration."""
    if not _REGISTRY.complete:
        _REGISTRY.complete = True
        for module in BUILT_IN:
            for entry in import_module(f"RTResponseCAMLib.models.{module}").ENTRIES:
                _add(entry)
    return tuple(_REGISTRY.entries.values())


def entry_of(name: str) -> ModelEntry:
    """Registry entry of the model ``name``.

    Raises
    ------
    ModelError : no model has this name.
    """
    by_name = {entry.name: entry for entry in entries()}
    if name not in by_name:
        raise ModelError("model", f"there is no model '{name}'", f"Choose one of {', '.join(by_name)}")
    return by_name[name]


def default_name() -> str:
    """Name of the model that is trained by default: the first that gives evidence maps."""
    return next(entry.name for entry in entries() if entry.explains)


def _add(entry: ModelEntry) -> None:
    if entry.name in _REGISTRY.entries:
        raise ModelError("model", f"two models are called '{entry.name}'", "Give each its own name")
    _REGISTRY.entries[entry.name] = entry
