"""Files of a running comparison: every one appears whole, so that a run that was killed goes on where it was."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from RTResponseCAMLib.cohort.identity import Source
from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.samples.cohort import CohortLesion, certain_label
from RTResponseCAMLib.samples.sample import LesionSample


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name; the file takes its own when the block ends well, and vanishes otherwise.

    Raises
    ------
    OutputError : the disk is full, or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        fix = "Free some space, then resume" if full else "Choose another --out"
        raise OutputError(path, what, fix) from error
    finally:
        with suppress(OSError):  # where there is no such folder there is no such file
            partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Plain values as JSON; whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Content of a file that `write_json` wrote.

    Raises
    ------
    OutputError : it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(path, "is no file of a comparison", "Remove it, or choose another --out") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """NumPy arrays, compressed; whole or not at all."""
    with whole_file(path) as partial, partial.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **dict(arrays))


def write_case(folder: Path, number: int, *, lesions: Sequence[CohortLesion], positions: Sequence[int]) -> None:
    """Sampled lesions of one case; the JSON comes last and says that the case is done."""
    arrays = {
        f"{name}{i}": getattr(lesion.sample.patch, name)
        for i, lesion in enumerate(lesions)
        if lesion.sample.patch is not None
        for name in ("mr", "dose", "fraction")
    }
    write_arrays(folder / f"{number:05d}.npz", arrays)
    content = [
        {
            "row": position,
            "volume_cc": None if np.isnan(lesion.sample.volume_cc) else lesion.sample.volume_cc,
            "patch": None if lesion.sample.patch is None else _patch_json(lesion.sample.patch),
            "features": {
                family: {k: None if np.isnan(v) else v for k, v in values.items()}
                for family, values in lesion.sample.features.items()
            },
            "missing": dict(lesion.sample.missing),
            "scan": lesion.source.scan,
            "person": lesion.source.person,
        }
        for position, lesion in zip(positions, lesions, strict=True)
    ]
    write_json(folder / f"{number:05d}.json", content)


def _patch_json(patch: Patch) -> dict[str, Any]:
    return {
        "origin_mm": patch.grid.origin_mm,
        "spacing_mm": patch.grid.spacing_mm,
        "has_dose": patch.has_dose,
        "mr_spacing_mm": patch.mr_spacing_mm,
    }


def read_cases(
    folder: Path, rows: Sequence[CohortRow], *, label_of: Callable[[CohortRow], int | None] = certain_label
) -> list[CohortLesion]:
    """All sampled lesions, in the order of the manifest; their index counts those that could be sampled, from 1.

    Raises
    ------
    OutputError : a file is damaged.
    """
    found: dict[int, CohortLesion] = {}
    for path in sorted(folder.glob("[0-9]*[0-9].json")):
        with whole(path):
            found |= _read_case(path, rows, label_of)
    return [
        replace(found[position], sample=replace(found[position].sample, index=index))
        for index, position in enumerate(sorted(found), start=1)
    ]


def read_task(path: Path) -> dict[str, Any]:
    """What a task of a comparison found.

    Raises
    ------
    OutputError : the file is damaged.
    """
    with whole(path):
        found = dict(read_json(path))
        if not all(len(found[key]) == len(found["test"]) for key in ("p", "total", "from_volume")):
            raise ValueError("lengths differ")
        float(found["threshold"]), float(found["seconds"]), dict(found["chosen"])
        return found


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Whatever a damaged file makes its reader raise becomes one error.

    Raises
    ------
    OutputError : the reader raises.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise OutputError(path, "is no file of a comparison", "Remove it, or choose another --out") from error


def _read_case(
    path: Path, rows: Sequence[CohortRow], label_of: Callable[[CohortRow], int | None]
) -> dict[int, CohortLesion]:
    found: dict[int, CohortLesion] = {}
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        for i, entry in enumerate(read_json(path)):
            row = rows[entry["row"]]
            features = {
                family: {k: np.nan if v is None else v for k, v in values.items()}
                for family, values in entry["features"].items()
            }
            sample = LesionSample(
                _patch(entry["patch"], {name: arrays[f"{name}{i}"] for name in ("mr", "dose", "fraction")})
                if entry["patch"]
                else None,
                np.nan if entry["volume_cc"] is None else entry["volume_cc"],
                features,
                None,
                row.patient_group,
                row.course,
                row.lesion,
                label_of(row),
                missing=entry["missing"],
            )
            source = Source(row.patient_group, entry["scan"], entry["person"])
            found[entry["row"]] = CohortLesion(row, sample, source)
    if not found:
        raise ValueError("no lesion")
    return found


def _patch(entry: Mapping[str, Any], arrays: Mapping[str, Any]) -> Patch:
    size = arrays["mr"].shape[::-1]
    grid = Grid(size, tuple(entry["spacing_mm"]), tuple(entry["origin_mm"]))
    return Patch(grid, **arrays, has_dose=entry["has_dose"], mr_spacing_mm=tuple(entry["mr_spacing_mm"]))
