"""Files of a running comparison: each is written atomically, so that an interrupted run can be resumed."""

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
    """Yield a temporary path; the file is renamed to ``path`` when the block succeeds, and deleted otherwise.

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
        problem = f"cannot be written ({error.strerror or error})"
        disk_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        fix = "Free some space, then resume" if disk_full else "Choose another --out"
        raise OutputError(path, problem, fix) from error
    finally:
        with suppress(OSError):  # the folder may not exist
            partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as JSON, atomically."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Content of a file that `write_json` wrote.

    Raises
    ------
    OutputError : the file is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(path, "is not a valid file of a comparison", "Remove it, or choose another --out") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write NumPy arrays, compressed, atomically."""
    with whole_file(path) as partial, partial.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **dict(arrays))


def write_case(folder: Path, number: int, *, lesions: Sequence[CohortLesion], positions: Sequence[int]) -> None:
    """Write the sampled lesions of one case; the JSON file is written last and marks the case as done."""
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
    """All sampled lesions in the order of the manifest; ``index`` numbers the sampled lesions from 1.

    Raises
    ------
    OutputError : a file is damaged.
    """
    lesions: dict[int, CohortLesion] = {}
    for path in sorted(folder.glob("[0-9]*[0-9].json")):
        with whole(path):
            lesions |= _read_case(path, rows, label_of)
    return [
        replace(lesions[position], sample=replace(lesions[position].sample, index=index))
        for index, position in enumerate(sorted(lesions), start=1)
    ]


def read_task(path: Path) -> dict[str, Any]:
    """Result of one task of a comparison.

    Raises
    ------
    OutputError : the file is damaged.
    """
    with whole(path):
        result = dict(read_json(path))
        if not all(len(result[key]) == len(result["test"]) for key in ("p", "total", "from_volume")):
            raise ValueError("lengths differ")
        float(result["threshold"]), float(result["seconds"]), dict(result["chosen"])
        return result


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Convert the errors that a damaged file causes in its reader to one error.

    Raises
    ------
    OutputError : the reader raises.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise OutputError(path, "is not a valid file of a comparison", "Remove it, or choose another --out") from error


def _read_case(
    path: Path, rows: Sequence[CohortRow], label_of: Callable[[CohortRow], int | None]
) -> dict[int, CohortLesion]:
    lesions: dict[int, CohortLesion] = {}
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
            lesions[entry["row"]] = CohortLesion(row, sample, source)
    if not lesions:
        raise ValueError("no lesion")
    return lesions


def _patch(entry: Mapping[str, Any], arrays: Mapping[str, Any]) -> Patch:
    size = arrays["mr"].shape[::-1]
    grid = Grid(size, tuple(entry["spacing_mm"]), tuple(entry["origin_mm"]))
    return Patch(grid, **arrays, has_dose=entry["has_dose"], mr_spacing_mm=tuple(entry["mr_spacing_mm"]))
