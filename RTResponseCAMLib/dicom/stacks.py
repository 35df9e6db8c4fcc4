"""From the slices of a series to one regular stack: other stacks, repeated and missing slices are found and named."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.dicom.frames import Slice
from RTResponseCAMLib.dicom.pixels import stored_frames
from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.study import Caution

SPACING_TOLERANCE = 0.01
SAME_PLACE_MM = 1e-3
MAX_GAP_STEPS, MAX_GAP_MM = 2.6, 7.0
DRIFT_MM = 0.05
Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Parallel slices in order along their normal, one per place.

    Attributes
    ----------
    slices : ascending along the normal.
    along_mm : place of each slice along the normal, mm.
    step_mm : distance of regular slices, mm.
    drift_mm : shift of each slice within its plane against the first, (column, row) direction, mm ``(n, 2)``.
    regular : the slices are evenly spaced and not sheared: no resampling is needed.
    gaps_mm : intervals along the normal without a slice.
    cautions : what was unusual.
    """

    slices: tuple[Slice, ...]
    along_mm: Array64
    step_mm: float
    drift_mm: Array64
    regular: bool
    gaps_mm: tuple[tuple[float, float], ...]
    cautions: tuple[Caution, ...]


def choose_stack(slices: list[Slice], wanted: frozenset[str] = frozenset()) -> Stack:
    """Take one stack of a series, and of repeated acquisitions one.

    Parameters
    ----------
    wanted : SOP Instance UIDs that the structures were drawn on; the stack that holds most of them is taken,
        else the largest, and of acquisitions at the same places the last.

    Raises
    ------
    GeometryError : a single slice, slices that share a place and cannot be told apart, or a gap too wide to bridge.
    """
    groups: defaultdict[tuple[object, ...], list[Slice]] = defaultdict(list)
    for one in slices:
        key = (one.stack, one.shape, *np.round(one.axes[:2].ravel(), 2), *np.round(one.steps, 3))
        groups[key].append(one)
    ranked = sorted(groups.values(), key=lambda g: (sum(s.entry.uid in wanted for s in g), len(g)))
    best, cautions = ranked[-1], []
    if len(ranked) > 1:
        sizes = ", ".join(str(len(g)) for g in reversed(ranked))
        text = f"the series holds {len(ranked)} stacks ({sizes} slices); the first of these is used"
        cautions.append(Caution("several-stacks", text))
    best, repeated = _one_per_place(best, wanted)
    return _ordered(best, tuple(cautions) + repeated)


def _one_per_place(slices: list[Slice], wanted: frozenset[str]) -> tuple[list[Slice], tuple[Caution, ...]]:
    if not _shared_places(slices):
        return slices, ()
    for kind in range(len(slices[0].kinds)):
        parts: defaultdict[str, list[Slice]] = defaultdict(list)
        for one in slices:
            parts[one.kinds[kind]].append(one)
        if len(parts) < 2 or any(_shared_places(part) for part in parts.values()):
            continue
        hits = {value: sum(s.entry.uid in wanted for s in part) for value, part in parts.items()}
        last = max(parts, key=lambda value: (hits[value], len(parts[value]), _as_number(value), value))
        drawn = all(hits[last] > hits[value] for value in parts if value != last)
        text = f"the series holds {len(parts)} acquisitions of the same slices; "
        text += "the one that the structures were drawn on is used" if drawn else "the last is used"
        return parts[last], (Caution("several-acquisitions", text),)
    twins = _shared_places(slices)
    decoded: dict[Path, npt.NDArray[np.integer[Any]]] = {}
    for one, other in twins:
        if not _same_pixels(one, other, decoded):
            what = "lies at the same position as another slice of its series"
            raise GeometryError(other.path, what, "Export one acquisition per series")
    dropped = {id(other) for _, other in twins}
    text = f"{len(twins)} slice(s) of the MR are there twice with the same pixels; each is used once"
    return [one for one in slices if id(one) not in dropped], (Caution("repeated-slices", text),)


def _as_number(text: str) -> float:
    """Acquisition 10 comes after 9."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _shared_places(slices: list[Slice]) -> list[tuple[Slice, Slice]]:
    along = np.asarray([one.position @ slices[0].axes[2] for one in slices])
    order = np.argsort(along, kind="stable")
    close = np.flatnonzero(np.diff(along[order]) < SAME_PLACE_MM)
    return [(slices[order[n]], slices[order[n + 1]]) for n in close]


def _same_pixels(one: Slice, other: Slice, decoded: dict[Path, npt.NDArray[np.integer[Any]]]) -> bool:
    for s in (one, other):
        if s.path not in decoded:  # a multi-frame file holds many twins
            decoded[s.path] = stored_frames(s.path, s.entry.header)
    pixels = [decoded[s.path][s.frame] for s in (one, other)]
    return one.slope == other.slope and one.intercept == other.intercept and np.array_equal(*pixels)


def _ordered(slices: list[Slice], cautions: tuple[Caution, ...]) -> Stack:
    first = slices[0]
    if len(slices) < 2:
        raise GeometryError(first.path, "is the only slice of its series", "Export the whole series")
    along = np.asarray([one.position @ first.axes[2] for one in slices])
    order = np.argsort(along)
    slices, along = [slices[n] for n in order], along[order]
    steps = np.diff(along)
    step = float(np.median(steps))
    wide = np.flatnonzero(steps > 1.5 * step)
    if len(wide):
        worst = int(np.argmax(steps))
        if steps[worst] > max(MAX_GAP_STEPS * step, 0) or steps[worst] > MAX_GAP_MM:
            raise GeometryError(
                slices[worst].path,
                f"the step to the next slice is {steps[worst]:.3f} mm, usual is {step:.3f} mm",
                "Slices are missing; export the whole series",
            )
        text = f"{len(wide)} slice(s) of the MR are missing (usual step {step:.2f} mm); the gap is interpolated"
        cautions += (Caution("slice-gap", text),)
    elif np.abs(steps / step - 1).max() > SPACING_TOLERANCE:
        text = f"the MR's slices are unevenly spaced ({steps.min():.2f} to {steps.max():.2f} mm); they are resampled"
        cautions += (Caution("uneven-slices", text),)
    origin = slices[0].position
    drift = np.asarray([[(s.position - origin) @ first.axes[0], (s.position - origin) @ first.axes[1]] for s in slices])
    sheared = float(np.abs(drift).max()) > DRIFT_MM
    if sheared:
        reach = float(np.abs(drift).max())
        text = f"the MR's slices are shifted against each other by up to {reach:.1f} mm (gantry tilt); resampled"
        cautions += (Caution("sheared-slices", text),)
    even = bool(np.abs(steps / step - 1).max() <= SPACING_TOLERANCE)
    gaps = tuple((float(along[n]), float(along[n + 1])) for n in wide)
    if even:
        step = float((along[-1] - along[0]) / (len(along) - 1))
    return Stack(tuple(slices), along, step, drift, even and not sheared, gaps, cautions)
