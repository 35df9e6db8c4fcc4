"""Protocol of a comparison: models, folds, settings, and the keys that decide whether a run may be resumed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.errors import CohortError, ModelError
from RTResponseCAMLib.models.feature_table import table_entry
from RTResponseCAMLib.models.registry import ModelEntry, entries
from RTResponseCAMLib.samples.build import SampleSettings, why_unavailable

TABLE_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")  # used in file names
LEAST = {"folds": 2, "repeats": 1}
MOST_SEED = 2**31


def default_models() -> tuple[str, ...]:
    """Names of the models that are compared by default."""
    return tuple(entry.name for entry in entries() if entry.compared)


@dataclass(frozen=True)
class Protocol:
    """All settings that define a comparison; stored in ``run.json``.

    Attributes
    ----------
    models : names from the registry; the baselines are always included.
    tables : names of feature tables that the user supplies; each table is a separate model.
    indeterminate : use of lesions whose change may lie on either side of the threshold. "unlabeled": they are used
        only where training needs no label, and are not evaluated. "as-labeled": their label is used.
    options : model options by name; each model takes the options that it has.
    settings : pyradiomics settings; empty for the default settings.
    spacing_mm : voxel spacing of the patches, mm.
    """

    models: tuple[str, ...] = field(default_factory=default_models)
    tables: tuple[str, ...] = ()
    folds: int = 5
    repeats: int = 3
    seed: int = 0
    indeterminate: str = "unlabeled"
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    spacing_mm: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """Return the protocol as plain values for JSON; an option that is a folder by the SHA-256 of its files."""
        values = dict(json.loads(json.dumps(asdict(self))))
        values["options"] = {
            name: content_sha256(Path(value)) if isinstance(value, str) else value
            for name, value in values["options"].items()
        }
        return values

    @property
    def shown_options(self) -> dict[str, Any]:
        """Options with a word instead of a path, which may contain a person's name."""
        return {name: name.upper() if isinstance(value, str) else value for name, value in self.options.items()}

    def check(self) -> None:
        """Check folds, repeats, seed and model options.

        Raises
        ------
        CohortError : too few folds or repeats, or an invalid seed.
        ModelError : an option that no model has, or a value outside its limits.
        """
        for name, least in LEAST.items():
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise CohortError(f"--{name}", f"is {getattr(self, name)}, expected {least} or more", "Correct it")
        if not isinstance(self.seed, int) or not 0 <= self.seed < MOST_SEED:
            raise CohortError("--seed", f"is {self.seed}, expected 0 to {MOST_SEED - 1}", "Choose another seed")
        available_options = {name for entry in entries() for name in entry.known_options(self.options)}
        unknown = sorted(set(self.options) - available_options)
        if unknown:
            raise ModelError("options", f"no model has {', '.join(unknown)}", "Leave it out")
        for entry in entries():
            entry.check_options(entry.known_options(self.options))
        chosen = self.entries()
        for name, value in self.options.items():
            if isinstance(value, str) and not any(entry.known_options({name: value}) for entry in chosen):
                takers = ", ".join(entry.name for entry in entries() if entry.known_options({name: value}))
                raise ModelError(f"--{name}", "is an option of no model that is compared", f"Add --models {takers}")
        for entry in chosen:
            if entry.options is not None:
                entry.model(entry.known_options(self.options))

    def label_of(self, row: CohortRow) -> int | None:
        """Label of a row for training and evaluation; None where the row has no label to use."""
        return row.label if self.indeterminate == "as-labeled" else row.certain_label

    def entries(self) -> tuple[ModelEntry, ...]:
        """Entries of the models in the order of the registry, followed by the entries of the feature tables."""
        tables = tuple(table_entry(name, n) for n, name in enumerate(self.tables))
        return tuple(entry for entry in entries() if entry.name in self.models) + tables

    def entry(self, name: str) -> ModelEntry:
        """Entry of the model with this name."""
        return next(entry for entry in self.entries() if entry.name == name)

    def sampling(self) -> SampleSettings:
        """Sampling settings, with every feature family that the models need and this machine can compute."""
        needed = dict.fromkeys(family for entry in self.entries() for family in entry.requires.families)
        families = tuple(f for f in needed if f not in self.tables and why_unavailable(f) is None)
        return SampleSettings(self.spacing_mm, families=families, radiomics=self.settings or None)


def content_sha256(folder: Path) -> str:
    """SHA-256 of the names and contents of the files in a folder: the same wherever the folder lies."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def chosen_models(names: Sequence[str], tables: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the chosen models in the order of the registry; the baselines are always included.

    Raises
    ------
    CohortError : an unknown name, an invalid table name, or a table with the name of a model, of a feature family or
        of another table.
    """
    if isinstance(names, str):
        raise CohortError("--models", f"is the text '{names}', expected several names", "Give a list of names")
    registered = [entry.name for entry in entries()]
    unknown = [name for name in names if name not in registered]
    if unknown:
        raise CohortError(
            "--models", f"names unknown model(s) {', '.join(unknown)}", f"Choose from {', '.join(registered)}"
        )
    families = {family for entry in entries() for family in entry.requires.families}
    for name in tables:
        if not TABLE_NAME.fullmatch(name):
            raise CohortError("--features", f"names a table '{name}'", "Use letters, digits, - and _ only")
        if name in registered or name in families or list(tables).count(name) > 1:
            raise CohortError("--features", f"two models are called '{name}'", "Give the table another name")
    selected = {*(entry.name for entry in entries() if entry.baseline), *names}
    return tuple(name for name in registered if name in selected)


def row_keys(rows: Sequence[CohortRow], features: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """One key per row: a hash of its cells, its table features, and the names, sizes and change times of its files."""
    file_states: dict[Path, str] = {}
    keys = []
    for row_index, row in enumerate(rows):
        cells = [str(v) for v in asdict(row).values() if not isinstance(v, Path)]
        files = [file_states.setdefault(path, _state(path)) for path in row.images]
        table_features = [json.dumps(features[row_index], sort_keys=True)] if features and features[row_index] else []
        keys.append(_digest(cells + files + table_features))
    return keys


def what_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Reason why a run that started as ``before`` cannot be resumed as ``now``; None when it can."""
    for section in ("program", "libraries", "protocol"):
        if before.get(section) != now[section]:
            return f"was started with another {section}: {_difference(before.get(section), now[section])}"
    for section in ("rows", "external_rows"):
        old, new = before.get(section, []), now.get(section, [])
        if len(old) != len(new):
            return f"was started on a cohort of {len(old)} rows; it has {len(new)} now"
        changed = [line_number for line_number, (a, b) in enumerate(zip(old, new, strict=True), start=2) if a != b]
        if changed:
            lines = ", ".join(str(n) for n in changed[:10]) + (" …" if len(changed) > 10 else "")
            return f"was started on another cohort: cells or files of manifest line(s) {lines} have changed since"
    return None


def _difference(old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        return ", ".join(f"{k} {old.get(k)!r} → {v!r}" for k, v in new.items() if old.get(k) != v)[:300]
    return f"{old!r} → {new!r}"[:300]


def _state(path: Path) -> str:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [(p.name if p == path else p.relative_to(path).as_posix(), p.stat()) for p in files]
    return _digest([f"{name}\t{s.st_size}\t{s.st_mtime_ns}" for name, s in stats])


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
