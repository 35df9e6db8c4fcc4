"""Registry of importers by name: one module for each data set, imported when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.progress import Progress

Importer = Callable[[Path, Progress], tuple[list[CohortRow], list[str]]]  # folder → rows of the manifest, remarks
_IMPORTERS: dict[str, str | Importer] = {
    "proteas": "proteas:import_proteas",
    "brain-tr-gk": "brain_tr_gk:import_brain_tr_gk",
    "vs-seg": "vs_seg:import_vs_seg",
    "ucsf-bmsr": "ucsf_bmsr:import_ucsf_bmsr",
    "openbtai": "openbtai:import_openbtai",
    "plain": "plain:import_plain",
}


def importer_names() -> tuple[str, ...]:
    """Names of the data sets that can be imported."""
    return tuple(_IMPORTERS)


def importer_of(name: str) -> Importer:
    """The importer of a data set.

    Raises
    ------
    CohortError : there is no importer of this name.
    """
    if name not in _IMPORTERS:
        raise CohortError(name, f"is not a known data set; known are {', '.join(_IMPORTERS)}", "Correct the name")
    entry = _IMPORTERS[name]
    if isinstance(entry, str):
        module, _, function = entry.partition(":")
        importer: Importer = getattr(import_module(f"RTResponseCAMLib.cohort.{module}"), function)
        return importer
    return entry


def register_importer(name: str, importer: Importer) -> None:
    """Add an importer.

    Raises
    ------
    CohortError : another importer has this name.
    """
    if name in _IMPORTERS:
        raise CohortError(name, "two importers have this name", "Give each its own name")
    _IMPORTERS[name] = importer


def unregister_importer(name: str) -> None:
    """Remove an importer that `register_importer` added."""
    _IMPORTERS.pop(name, None)
