"""Sort the slices of a series into one regular stack; report other stacks, repeated slices and missing slices.

All comparisons use tolerances. Orientation and pixel spacing may differ by their stated precision. Two slices share a
position when they are closer than a tenth of the median step. Positions are fitted with even steps and may deviate by
the rounding of the decimals in the file. Acquisitions are recognized by the positions that they cover; a scan that was
acquired in several packages (each covers a part of the positions) is one acquisition.
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
COARSE_MM, MOST_ROUNDING = 0.02, 0.2  # precision of rounded positions; largest share of a step that rounding explains
STRONG, MOST_OF_IT = (0, 1, 3), 0.8  # indices in `frames.KINDS`: echo, phase, kind of image; share of the total length
Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Parallel slices in order along their normal, one per position.

    Attributes
    ----------
    slices : ascending along the normal.
    along_mm : position of each slice along the normal, mm ``(n,)``.
    step_mm : distance between regular slices, mm.
    drift_mm : in-plane shift of each slice relative to the first, (column, row) direction, mm ``(n, 2)``.
    regular : the slices are evenly spaced and not sheared: no resampling is needed.
    gaps_mm : intervals along the normal without a slice.
    origin_mm : center of the first pixel of the first slice, LPS; fitted where positions are rounded.
    warnings : unusual properties of the series and how they were handled.
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
    """Choose one stack of a series, and one of repeated acquisitions.

    Parameters
    ----------
    wanted : returns the images that the structures were contoured on. The stack that contains most of them is used,
        otherwise the largest stack. Of acquisitions at the same positions, the last is used by default.

    Raises
    ------
    GeometryError : a single slice, slices at one position that cannot be distinguished, or a gap too wide to bridge.
    """
    groups: list[list[Slice]] = []
    for slice_ in slices:
        group = next((stack for stack in groups if _one_stack(stack[0], slice_)), None)
        if group is None:
            groups.append([slice_])
        else:
            group.append(slice_)
    ranked, warnings = groups, []
    if len(groups) > 1:
        references = wanted()
        ranked = sorted(groups, key=lambda stack: (sum(s.is_among(references) for s in stack), len(stack)))
    best = ranked[-1]
    if len(ranked) > 1:
        sizes = ", ".join(str(len(stack)) for stack in reversed(ranked))
        warnings.append(WarningCode.SEVERAL_STACKS(count=len(ranked), sizes=sizes))
    best, repeated = _one_per_place(best, wanted)
    return _ordered(best, tuple(warnings) + repeated)


def _one_stack(first: Slice, second: Slice) -> bool:
    """Whether two slices are parallel, have the same matrix and pixel size, and the same stack name."""
    return (
        first.stack == second.stack
        and first.shape == second.shape
        and float(np.abs(first.axes[:2] - second.axes[:2]).max()) <= SAME_AXES
        and all(abs(a / b - 1) <= SAME_PIXELS for a, b in zip(first.steps, second.steps, strict=True))
    )


def _one_per_place(slices: list[Slice], wanted: Wanted) -> tuple[list[Slice], tuple[Warning, ...]]:
    position_indices = _places(slices)
    if len(set(position_indices)) == len(position_indices):
        acquisitions, packages = _between_one_another(slices), 1
        if not acquisitions:
            return slices, ()
    else:
        acquisitions, packages = _acquisitions(slices, position_indices)
    if acquisitions:
        references = wanted()
        hits = [sum(s.is_among(references) for s in acquisition) for acquisition in acquisitions]
        magnitude = [not is_part_of_signal(acquisition[0].entry) for acquisition in acquisitions]
        last = max(
            range(len(acquisitions)), key=lambda index: (hits[index], magnitude[index], len(acquisitions[index]), index)
        )
        contoured = all(hits[last] > count for index, count in enumerate(hits) if index != last)
        of_several = "the last with magnitude is used" if len(set(magnitude)) > 1 else "the last is used"
        used = "the one that the structures were contoured on is used" if contoured else of_several
        if contoured and sum(hits) > hits[last]:
            used = f"the one that most contours name is used ({hits[last]} of {sum(hits)} of the images that they name)"
        if len(acquisitions[last]) < len(set(position_indices)):
            used = f"{used}, which covers {len(acquisitions[last])} of {len(set(position_indices))} places"
        package_text = f", each in {packages} packages" if packages > 1 else ""
        warning = WarningCode.SEVERAL_ACQUISITIONS(count=len(acquisitions), packages=package_text, used=used)
        return acquisitions[last], (warning,)
    twins = [(slices[a], slices[b]) for a, b in _twins(position_indices)]
    decoded: dict[Path, npt.NDArray[np.integer[Any]]] = {}
    for slice_, twin in twins:
        if not _same_pixels(slice_, twin, decoded):
            per_place = len(slices) / len(set(position_indices))
            problem = (
                f"lies at the same position as another slice of its series ({len(slices)} slices at "
                f"{len(set(position_indices))} places, {per_place:.3g} each), and no attribute distinguishes the "
                "acquisitions"
            )
            raise GeometryError(twin.path, problem, "Export one acquisition (phase, echo) per series")
    dropped = {id(twin) for _, twin in twins}
    return [slice_ for slice_ in slices if id(slice_) not in dropped], (WarningCode.REPEATED_SLICES(count=len(twins)),)


def _between_one_another(slices: list[Slice]) -> list[list[Slice]]:
    """Interleaved acquisitions: echoes, phases or kinds of image that each cover most of the length of the stack.

    Returns an empty list when the slices form one acquisition. Time and number are not used, because the packages of
    one scan also differ in them.
    """
    for attribute in STRONG:
        slices_by_value: defaultdict[str, list[Slice]] = defaultdict(list)
        for slice_ in slices:
            slices_by_value[slice_.kinds[attribute]].append(slice_)
        positions_mm = {
            value: np.sort([s.position @ slices[0].axes[2] for s in group]) for value, group in slices_by_value.items()
        }
        if len(slices_by_value) < 2 or min(len(a) for a in positions_mm.values()) < 3:
            continue
        total_mm = max(a[-1] for a in positions_mm.values()) - min(a[0] for a in positions_mm.values())
        if all(a[-1] - a[0] > MOST_OF_IT * total_mm for a in positions_mm.values()):
            return [slices_by_value[value] for value in sorted(slices_by_value, key=lambda v: (_as_number(v), v))]
    return []


def _places(slices: Sequence[Slice]) -> list[int]:
    """Index of the position of each slice along the normal; slices closer than a tenth of the median step share one."""
    along_mm = np.asarray([slice_.position @ slices[0].axes[2] for slice_ in slices])
    order = np.argsort(along_mm, kind="stable")
    gaps = np.diff(along_mm[order])
    steps = gaps[gaps > REAL_STEP_MM]
    same_position_mm = max(SAME_PLACE_MM, SAME_PLACE_SHARE * float(np.median(steps))) if len(steps) else SAME_PLACE_MM
    position_indices = np.empty(len(slices), dtype=int)
    position_indices[order] = np.concatenate([[0], np.cumsum(gaps > same_position_mm)])
    return position_indices.tolist()


def _acquisitions(slices: list[Slice], places: list[int]) -> tuple[list[list[Slice]], int]:
    """Acquisitions of the same positions, in order, and the number of packages of each; empty when indistinguishable.

    An attribute (or pair of attributes) distinguishes acquisitions when no position occurs twice under one of its
    values. Values that cover only a part of the positions are packages: consecutive packages are joined until they
    cover every position once.
    """
    count = len(slices[0].kinds)
    single = [(n,) for n in range(count)]
    for attributes in [*single, *itertools.combinations(range(count), 2)]:
        indices_by_value: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, slice_ in enumerate(slices):
            indices_by_value[tuple(slice_.kinds[n] for n in attributes)].append(index)
        if len(indices_by_value) < 2 or any(
            len({places[n] for n in indices}) < len(indices) for indices in indices_by_value.values()
        ):
            continue
        ordered = [
            indices_by_value[value] for value in sorted(indices_by_value, key=lambda v: [(_as_number(t), t) for t in v])
        ]
        all_positions = set(places)
        if all({places[n] for n in indices} == all_positions for indices in ordered):
            return [[slices[n] for n in indices] for indices in ordered], 1
        joined_packages = _together(ordered, places, all_positions)
        if joined_packages:
            joined = [[slices[n] for indices in group for n in indices] for group in joined_packages]
            return joined, max(len(group) for group in joined_packages)
        if _nearly_whole(ordered, places):
            return [[slices[n] for n in indices] for indices in ordered], 1
    return [], 1


def _together(ordered: list[list[int]], places: list[int], whole: set[int]) -> list[list[list[int]]]:
    """Join consecutive packages into acquisitions that each cover every position once; empty if impossible."""
    groups: list[list[list[int]]] = []
    covered: set[int] = set(whole)
    for indices in ordered:
        package_positions = {places[n] for n in indices}
        if covered == whole:
            groups.append([])
            covered = set()
        if covered & package_positions:
            return []
        covered |= package_positions
        groups[-1].append(indices)
    return groups if covered == whole else []


def _nearly_whole(ordered: list[list[int]], places: list[int]) -> bool:
    """Whether each group covers more than half of the positions: an acquisition may lack a few slices."""
    return all(len({places[n] for n in indices}) > 0.5 * len(set(places)) for indices in ordered)


def _twins(places: list[int]) -> list[tuple[int, int]]:
    """Index pairs of slices at one position: the first slice and each further one."""
    first_at_position: dict[int, int] = {}
    return [
        (first_at_position[position_index], index)
        for index, position_index in enumerate(places)
        if first_at_position.setdefault(position_index, index) != index
    ]


def _as_number(text: str) -> float:
    """Number of a text for sorting (10 after 9); 0 for other text."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _same_pixels(first: Slice, second: Slice, decoded: dict[Path, npt.NDArray[np.integer[Any]]]) -> bool:
    for slice_ in (first, second):
        if slice_.path not in decoded:  # decode a multi-frame file once
            decoded[slice_.path] = stored_frames(slice_.path, slice_.entry.header)
    pixels = [decoded[slice_.path][slice_.frame] for slice_ in (first, second)]
    return first.slope == second.slope and first.intercept == second.intercept and np.array_equal(*pixels)


def _ordered(slices: list[Slice], warnings: tuple[Warning, ...]) -> Stack:
    first = slices[0]
    if len(slices) < 2:
        raise GeometryError(first.path, "is the only slice of its series", "Export the whole series")
    along_mm = np.asarray([slice_.position @ first.axes[2] for slice_ in slices])
    order = np.argsort(along_mm)
    slices, along_mm = [slices[n] for n in order], along_mm[order]
    steps = np.diff(along_mm)
    step = float(np.median(steps))
    wide = np.flatnonzero(steps > 1.5 * step)
    origin = slices[0].position
    drift_mm = np.asarray(
        [[(s.position - origin) @ first.axes[0], (s.position - origin) @ first.axes[1]] for s in slices]
    )
    max_drift_mm = float(np.abs(drift_mm).max())
    even, sheared = bool(np.abs(steps / step - 1).max() <= SPACING_TOLERANCE), max_drift_mm > DRIFT_MM
    rounded = _rounded(slices) if sheared or not even else None
    if rounded is not None:
        origin, step, warning = rounded
        warnings += (warning,)
        along_mm = float(origin @ first.axes[2]) + step * np.arange(len(slices))
        return Stack(
            tuple(slices),
            np.asarray(along_mm, dtype=np.float64),
            step,
            np.zeros_like(drift_mm),
            True,
            (),
            origin,
            warnings,
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
        warnings += (WarningCode.SHEARED_SLICES(reach=max_drift_mm),)
    gaps = tuple((float(along_mm[n]), float(along_mm[n + 1])) for n in wide)
    if even:
        step = float((along_mm[-1] - along_mm[0]) / (len(along_mm) - 1))
    return Stack(tuple(slices), along_mm, step, drift_mm, even and not sheared, gaps, origin, warnings)


def _rounded(slices: list[Slice]) -> tuple[Array64, float, Warning] | None:
    """Origin (LPS, mm), step (mm) and warning of the even stack that explains the positions by rounding alone.

    Even steps are fitted by linear least squares; the returned stack runs along the normal. Returns None when the
    positions are stated with high precision, or deviate from the fit by more than rounding explains. The direction
    cosines may be rounded as well; over the length of the stack, this shifts slices in-plane.
    """
    precision = max(s.precision_mm for s in slices)
    turn_precision = max(s.turn_precision for s in slices)
    first, count = slices[0], len(slices)
    positions = np.asarray([s.position for s in slices])
    index = np.arange(count)
    centered = index - index.mean()
    per_step = centered @ (positions - positions.mean(axis=0)) / (centered @ centered)
    step = float(per_step @ first.axes[2])
    if count < 3 or step <= 0 or (precision < COARSE_MM and turn_precision * step * count < DRIFT_MM):
        return None
    # A coordinate deviates by at most half its last decimal, a position by √3/2 (0.87) of it; the fit deviates less.
    tolerance = min(0.87 * precision, MOST_ROUNDING * step) + SAME_PLACE_MM
    fitted = positions.mean(axis=0) + centered[:, None] * per_step
    sideways_mm = float(np.abs(first.axes[:2] @ per_step).max()) * count
    residuals_mm = np.linalg.norm(positions - fitted, axis=1)
    if float(residuals_mm.max()) > tolerance or sideways_mm > precision + turn_precision * step * count + DRIFT_MM:
        return None
    straight = positions.mean(axis=0) + centered[:, None] * (step * first.axes[2])
    change_mm = float(np.linalg.norm(positions - straight, axis=1).max())
    stated = (
        f"positions are stated to {precision:g} mm"
        if precision >= COARSE_MM
        else f"directions are stated to {turn_precision:g}"
    )
    return np.asarray(straight[0]), step, WarningCode.ROUNDED_POSITIONS(what=stated, change=change_mm)
