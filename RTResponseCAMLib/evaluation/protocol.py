"""What is compared and how: the arms, the folds, and the key that tells whether a run may be resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.network.classifier import Architecture
from RTResponseCAMLib.network.training import Schedule


@dataclass(frozen=True)
class Arm:
    """One approach: the families of features it reads, or the network (``families`` empty).

    ``keep`` names the features it is limited to, by a part of their names ("" keeps all).
    """

    name: str
    title: str
    families: tuple[str, ...] = ()
    keep: str = ""
    dose: bool = False


ARMS = (
    Arm("volume", "Volume only", ("volume",)),
    Arm("clinical", "Clinical only", ("clinical",)),
    Arm("radiomics", "Radiomics, original", ("radiomics",), keep="_original_"),
    Arm("radiomics-filters", "Radiomics, with LoG and wavelet", ("radiomics",)),
    Arm("dosiomics", "Dosiomics", ("dosiomics",)),
    Arm("delta", "Delta radiomics", ("delta",)),
    Arm("gradient", "Image gradients", ("gradient",)),
    Arm("network", "Autoencoder-classifier, MR"),
    Arm("network-dose", "Autoencoder-classifier, MR and dose", dose=True),
)
BASELINES = ("volume", "clinical")


@dataclass(frozen=True)
class Protocol:
    """Everything that fixes a comparison; stored in ``run.json``.

    Attributes
    ----------
    arms : names of `ARMS`; the baselines are always among them.
    indeterminate : "unlabelled" (lesions whose change may lie on either side teach the autoencoder alone, and are not
        judged) or "as-labelled".
    settings : of pyradiomics.
    """

    arms: tuple[str, ...] = tuple(arm.name for arm in ARMS)
    folds: int = 5
    repeats: int = 3
    seed: int = 0
    indeterminate: str = "unlabelled"
    architecture: Architecture = field(default_factory=Architecture)
    schedule: Schedule = field(default_factory=Schedule)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(json.loads(json.dumps(asdict(self))))

    def label_of(self, row: CohortRow) -> int | None:
        """Label by which a row is learnt from and judged; None: neither."""
        return row.label if self.indeterminate == "as-labelled" else row.certain_label


def chosen_arms(names: Sequence[str]) -> tuple[str, ...]:
    """Names of arms in the order of `ARMS`, the baselines always with them.

    Raises
    ------
    CohortError : an unknown name.
    """
    known = [arm.name for arm in ARMS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CohortError("--arms", f"names {', '.join(unknown)}", f"Choose of {', '.join(known)}")
    wanted = {*BASELINES, *names}
    return tuple(name for name in known if name in wanted)


def row_keys(rows: Sequence[CohortRow]) -> list[str]:
    """One key per row: its cells, and the names, sizes and times of its files."""
    seen: dict[Path, str] = {}
    keys = []
    for row in rows:
        cells = [str(v) for v in asdict(row).values() if not isinstance(v, Path)]
        files = [seen.setdefault(path, _state(path)) for path in row.images]
        keys.append(_digest(cells + files))
    return keys


def what_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Why a run that was begun as ``before`` must not go on as ``now``; None when it may."""
    for part in ("program", "libraries", "protocol"):
        if before.get(part) != now[part]:
            return f"was begun with another {part}: {_difference(before.get(part), now[part])}"
    for part in ("rows", "external_rows"):
        old, new = before.get(part, []), now.get(part, [])
        if len(old) != len(new):
            return f"was begun on a cohort of {len(old)} rows; it has {len(new)} now"
        changed = [number for number, (a, b) in enumerate(zip(old, new, strict=True), start=2) if a != b]
        if changed:
            lines = ", ".join(str(n) for n in changed[:10]) + (" …" if len(changed) > 10 else "")
            return f"was begun on another cohort: cells or files of manifest line(s) {lines} have changed since"
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
