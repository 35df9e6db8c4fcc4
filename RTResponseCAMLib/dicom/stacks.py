"""From the slices of a series to one regular stack: other stacks, repeated and missing slices are found and named.

Nothing is compared exactly. Directions and pixels may differ by what orientation and spacing are stated to; two slices
share a place when they are nearer than a tenth of the usual step; positions are fitted by even steps, and may be off by
the rounding of the file's own decimals. Acquisitions are recognized by what they cover, whatever packages they came in.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.dicom.frames import Slice, Wanted
from RTResponseCAMLib.dicom.index import is_part_of_signal
from RTResponseCAMLib.dicom.pixels import stored_frames
from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.warnings import Warning, WarningCode

SPACING_TOLERANCE = 0.01
SAME_PLACE_MM, SAME_PLACE_SHARE, REAL_STEP_MM = 1e-3, 0.1, 0.2
SAME_AXES, SAME_PIXELS = 0.01, 0.005
MAX_GAP_STEPS, MAX_GAP_MM = 2.6, 7.0
DRIFT_MM = 0.05
COARSE_MM, MOST_ROUNDING = 0.02, 0.2  # positions stated no finer; share of a step that rounding may explain
STRONG, MOST_OF_IT = (0, 1, 3), 0.8  # of `frames.KINDS`: echo, phase, kind of image; of the whole length
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
    origin_mm : center of the first pixel of the first slice, LPS; fitted where positions are rounded.
    warnings : what was unusual.
    """

    slices: tuple[Slice, ...]
    along_mm: Array64
    step_mm: float
    drift_mm: Array64
    regular: bool
    gaps_mm: tuple[tuple[float, float], ...]
    origin_mm: Array64
    warnings: tuple[Warning, ...]


def choose_stack(slices: list[Slice], wanted: Wanted = dict) -> Stack:
    """Take one stack of a series, and of repeated acquisitions one.

    Parameters
    ----------
    wanted : images that the structures were contoured on; the stack that holds most of them is taken,
        else the largest, and of acquisitions at the same places the last.

    Raises
    ------
    GeometryError : a single slice, slices that share a place and cannot be told apart, or a gap too wide to bridge.
    """
    groups: list[list[Slice]] = []
    for one in slices:
        group = next((g for g in groups if _one_stack(g[0], one)), None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    ranked, warnings = groups, []
    if len(groups) > 1:
        named = wanted()
        ranked = sorted(groups, key=lambda g: (sum(s.is_among(named) for s in g), len(g)))
    best = ranked[-1]
    if len(ranked) > 1:
        sizes = ", ".join(str(len(g)) for g in reversed(ranked))
        warnings.append(WarningCode.SEVERAL_STACKS(count=len(ranked), sizes=sizes))
    best, repeated = _one_per_place(best, wanted)
    return _ordered(best, tuple(warnings) + repeated)


def _one_stack(one: Slice, other: Slice) -> bool:
    """Whether two slices are parallel, of the same pixels, and of the same stack by name."""
    return (
        one.stack == other.stack
        and one.shape == other.shape
        and float(np.abs(one.axes[:2] - other.axes[:2]).max()) <= SAME_AXES
        and all(abs(a / b - 1) <= SAME_PIXELS for a, b in zip(one.steps, other.steps, strict=True))
    )


def _one_per_place(slices: list[Slice], wanted: Wanted) -> tuple[list[Slice], tuple[Warning, ...]]:
    places = _places(slices)
    if len(set(places)) == len(places):
        acquisitions, packages = _between_one_another(slices), 1
        if not acquisitions:
            return slices, ()
    else:
        acquisitions, packages = _acquisitions(slices, places)
    if acquisitions:
        named = wanted()
        hits = [sum(s.is_among(named) for s in part) for part in acquisitions]
        magnitude = [not is_part_of_signal(part[0].entry) for part in acquisitions]
        last = max(range(len(acquisitions)), key=lambda n: (hits[n], magnitude[n], len(acquisitions[n]), n))
        drawn = all(hits[last] > h for n, h in enumerate(hits) if n != last)
        of_several = "the last with magnitude is used" if len(set(magnitude)) > 1 else "the last is used"
        used = "the one that the structures were contoured on is used" if drawn else of_several
        if drawn and sum(hits) > hits[last]:
            used = f"the one that most contours name is used ({hits[last]} of {sum(hits)} of the images that they name)"
        if len(acquisitions[last]) < len(set(places)):
            used = f"{used}, which covers {len(acquisitions[last])} of {len(set(places))} places"
        of = f", each in {packages} packages" if packages > 1 else ""
        warning = WarningCode.SEVERAL_ACQUISITIONS(count=len(acquisitions), packages=of, used=used)
        return acquisitions[last], (warning,)
    twins = [(slices[a], slices[b]) for a, b in _twins(places)]
    decoded: dict[Path, npt.NDArray[np.integer[Any]]] = {}
    for one, other in twins:
        if not _same_pixels(one, other, decoded):
            per_place = len(slices) / len(set(places))
            what = (
                f"lies at the same position as another slice of its series ({len(slices)} slices at {len(set(places))} "
                f"places, {per_place:.3g} each), and no attribute tells the acquisitions apart"
            )
            raise GeometryError(other.path, what, "Export one acquisition (phase, echo) per series")
    dropped = {id(other) for _, other in twins}
    return [one for one in slices if id(one) not in dropped], (WarningCode.REPEATED_SLICES(count=len(twins)),)


def _between_one_another(slices: list[Slice]) -> list[list[Slice]]:
    """Echoes, phases or kinds of image whose slices lie between one another's; none where they are one stack.

    Packages of one scan differ in time and number, which says nothing; echo, phase and kind of image do.
    """
    for attribute in STRONG:
        parts: defaultdict[str, list[Slice]] = defaultdict(list)
        for one in slices:
            parts[one.kinds[attribute]].append(one)
        along = {value: np.sort([s.position @ slices[0].axes[2] for s in part]) for value, part in parts.items()}
        if len(parts) < 2 or min(len(a) for a in along.values()) < 3:
            continue
        whole = max(a[-1] for a in along.values()) - min(a[0] for a in along.values())
        if all(a[-1] - a[0] > MOST_OF_IT * whole for a in along.values()):
            return [parts[value] for value in sorted(parts, key=lambda v: (_as_number(v), v))]
    return []


def _places(slices: Sequence[Slice]) -> list[int]:
    """Number of the place of each slice along the normal; slices far nearer than the usual step share one."""
    along = np.asarray([one.position @ slices[0].axes[2] for one in slices])
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    steps = gaps[gaps > REAL_STEP_MM]
    near = max(SAME_PLACE_MM, SAME_PLACE_SHARE * float(np.median(steps))) if len(steps) else SAME_PLACE_MM
    numbers = np.empty(len(slices), dtype=int)
    numbers[order] = np.concatenate([[0], np.cumsum(gaps > near)])
    return numbers.tolist()


def _acquisitions(slices: list[Slice], places: list[int]) -> tuple[list[list[Slice]], int]:
    """Acquisitions of the same places in order, and in how many packages each came; none that cannot be told apart.

    An attribute tells them apart when no place is there twice under one of its values. Values that cover parts of the
    places are packages: they are put together, in order, until all places are covered once.
    """
    count = len(slices[0].kinds)
    single = [(n,) for n in range(count)]
    for attributes in [*single, *itertools.combinations(range(count), 2)]:
        parts: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, one in enumerate(slices):
            parts[tuple(one.kinds[n] for n in attributes)].append(number)
        if len(parts) < 2 or any(len({places[n] for n in part}) < len(part) for part in parts.values()):
            continue
        ordered = [parts[value] for value in sorted(parts, key=lambda v: [(_as_number(t), t) for t in v])]
        whole = set(places)
        if all({places[n] for n in part} == whole for part in ordered):
            return [[slices[n] for n in part] for part in ordered], 1
        together = _together(ordered, places, whole)
        if together:
            joined = [[slices[n] for part in group for n in part] for group in together]
            return joined, max(len(group) for group in together)
        if _nearly_whole(ordered, places):
            return [[slices[n] for n in part] for part in ordered], 1
    return [], 1


def _together(ordered: list[list[int]], places: list[int], whole: set[int]) -> list[list[list[int]]]:
    """Consecutive packages as acquisitions that each cover every place once; none when they do not come out even."""
    groups: list[list[list[int]]] = []
    covered: set[int] = set(whole)
    for part in ordered:
        own = {places[n] for n in part}
        if covered == whole:
            groups.append([])
            covered = set()
        if covered & own:
            return []
        covered |= own
        groups[-1].append(part)
    return groups if covered == whole else []


def _nearly_whole(ordered: list[list[int]], places: list[int]) -> bool:
    """Whether each part covers most of the places: an acquisition that lost a few slices is still one."""
    return all(len({places[n] for n in part}) > 0.5 * len(set(places)) for part in ordered)


def _twins(places: list[int]) -> list[tuple[int, int]]:
    """Pairs of slices at one place: the first there, and each further one."""
    first: dict[int, int] = {}
    return [(first[place], n) for n, place in enumerate(places) if first.setdefault(place, n) != n]


def _as_number(text: str) -> float:
    """Acquisition 10 comes after 9."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _same_pixels(one: Slice, other: Slice, decoded: dict[Path, npt.NDArray[np.integer[Any]]]) -> bool:
    for s in (one, other):
        if s.path not in decoded:  # a multi-frame file holds many twins
            decoded[s.path] = stored_frames(s.path, s.entry.header)
    pixels = [decoded[s.path][s.frame] for s in (one, other)]
    return one.slope == other.slope and one.intercept == other.intercept and np.array_equal(*pixels)


def _ordered(slices: list[Slice], warnings: tuple[Warning, ...]) -> Stack:
    first = slices[0]
    if len(slices) < 2:
        raise GeometryError(first.path, "is the only slice of its series", "Export the whole series")
    along = np.asarray([one.position @ first.axes[2] for one in slices])
    order = np.argsort(along)
    slices, along = [slices[n] for n in order], along[order]
    steps = np.diff(along)
    step = float(np.median(steps))
    wide = np.flatnonzero(steps > 1.5 * step)
    origin = slices[0].position
    drift = np.asarray([[(s.position - origin) @ first.axes[0], (s.position - origin) @ first.axes[1]] for s in slices])
    reach = float(np.abs(drift).max())
    even, sheared = bool(np.abs(steps / step - 1).max() <= SPACING_TOLERANCE), reach > DRIFT_MM
    rounded = _rounded(slices) if sheared or not even else None
    if rounded is not None:
        origin, step, warning = rounded
        warnings += (warning,)
        along = float(origin @ first.axes[2]) + step * np.arange(len(slices))
        return Stack(
            tuple(slices), np.asarray(along, dtype=np.float64), step, np.zeros_like(drift), True, (), origin, warnings
        )
    if len(wide):
        worst = int(np.argmax(steps))
        if steps[worst] > MAX_GAP_STEPS * step or steps[worst] > MAX_GAP_MM:
            raise GeometryError(
                slices[worst].path,
                f"the step to the next slice is {steps[worst]:.3f} mm, usual is {step:.3f} mm",
                "Slices are missing; export the whole series",
            )
        warnings += (WarningCode.SLICE_GAP(count=len(wide), step=step),)
    elif not even:
        warnings += (WarningCode.UNEVEN_SLICES(low=steps.min(), high=steps.max()),)
    if sheared:
        warnings += (WarningCode.SHEARED_SLICES(reach=reach),)
    gaps = tuple((float(along[n]), float(along[n + 1])) for n in wide)
    if even:
        step = float((along[-1] - along[0]) / (len(along) - 1))
    return Stack(tuple(slices), along, step, drift, even and not sheared, gaps, origin, warnings)


def _rounded(slices: list[Slice]) -> tuple[Array64, float, Warning] | None:
    """Origin, step and warning of an even stack whose positions are this one's but for their rounding.

    None where positions are stated finely (then they are what they are), or are farther from even than their last
    decimal explains. The direction may be rounded as well: over the length of the stack that shifts slices sideways.
    """
    precision = max(s.precision_mm for s in slices)
    turn = max(s.turn_precision for s in slices)
    first, count = slices[0], len(slices)
    places = np.asarray([s.position for s in slices])
    number = np.arange(count)
    centerd = number - number.mean()
    per_step = centerd @ (places - places.mean(axis=0)) / (centerd @ centerd)
    step = float(per_step @ first.axes[2])
    if count < 3 or step <= 0 or (precision < COARSE_MM and turn * step * count < DRIFT_MM):
        return None
    # A coordinate is off by half its last decimal at most, a place by the diagonal of that cube; the fit by less.
    tolerance = min(0.87 * precision, MOST_ROUNDING * step) + SAME_PLACE_MM
    fitted = places.mean(axis=0) + centerd[:, None] * per_step
    sideways = float(np.abs(first.axes[:2] @ per_step).max()) * count
    away = np.linalg.norm(places - fitted, axis=1)
    if float(away.max()) > tolerance or sideways > precision + turn * step * count + DRIFT_MM:
        return None
    straight = places.mean(axis=0) + centerd[:, None] * (step * first.axes[2])
    change = float(np.linalg.norm(places - straight, axis=1).max())
    what = (
        f"positions are stated to {precision:g} mm" if precision >= COARSE_MM else f"directions are stated to {turn:g}"
    )
    return np.asarray(straight[0]), step, WarningCode.ROUNDED_POSITIONS(what=what, change=change)
