"""Conversion of voxels to contours: closed outlines in a pixel plane, by marching squares or along pixel edges.

Even-odd rule: an outline inside another is a hole. Points are continuous pixel indices (i, j); pixel centers are
integers.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.study import FloatArray

Array64 = npt.NDArray[np.float64]
# Corners of a cell, counter-clockwise from (j, i); edge n joins corners n and n + 1.
CORNERS = ((0, 0), (0, 1), (1, 1), (1, 0))
# Per case (bit n set: corner n is inside): pairs of cell edges (entry, exit), with the inside on the left.
CASES: tuple[tuple[tuple[int, int], ...], ...] = (
    (), ((0, 3),), ((1, 0),), ((1, 3),), ((2, 1),), ((0, 3), (2, 1)), ((2, 0),), ((2, 3),),
    ((3, 2),), ((0, 2),), ((1, 0), (3, 2)), ((1, 2),), ((3, 1),), ((0, 1),), ((3, 0),), (),
)  # fmt: skip


def level_lines(plane: npt.NDArray[np.floating[Any]], level: float = 0.0) -> list[Array64]:
    """Return the closed level lines of a plane ``[j, i]``, arrays ``(n, 2)`` of (i, j).

    Marching squares, with linear interpolation between pixel centers. Lines that reach the border are closed along it.
    """
    values = np.pad(np.asarray(plane, dtype=np.float64) - level, 1, constant_values=-1e12)
    inside = values > 0
    case = sum(inside[dj : dj + inside.shape[0] - 1, di : di + inside.shape[1] - 1].astype(int) << n
               for n, (dj, di) in enumerate(CORNERS))  # fmt: skip
    starts, ends = [], []
    for case_index, pairs in enumerate(CASES):
        cells = np.argwhere(case == case_index)
        for first, last in pairs if len(cells) else ():
            starts.append(_edges(cells, first))
            ends.append(_edges(cells, last))
    if not starts:
        return []
    loops = _link(np.concatenate(starts), np.concatenate(ends))
    return [_cross(values, loop) - 1 for loop in loops]


def pixel_edges(mask: npt.NDArray[np.bool_]) -> list[Array64]:
    """Return the outlines of a mask ``[j, i]`` along its pixel edges, arrays ``(n, 2)`` of (i, j), half-integers.

    The outlines enclose exactly the area of the pixels. Only corners are kept.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    across, along = np.diff(padded, axis=0), np.diff(padded, axis=1)  # edges between rows, between columns
    starts, ends = [], []
    for sign in (1, -1):
        j, i = np.nonzero(across == sign)
        left, right = np.column_stack([j, i - 1]), np.column_stack([j, i])
        starts.append(left if sign > 0 else right)
        ends.append(right if sign > 0 else left)
        j, i = np.nonzero(along == sign)
        low, high = np.column_stack([j - 1, i]), np.column_stack([j, i])
        starts.append(high if sign > 0 else low)
        ends.append(low if sign > 0 else high)
    loops = _link(np.concatenate(starts), np.concatenate(ends))
    return [_corners_only(np.asarray(loop, dtype=np.float64)[:, ::-1] - 0.5) for loop in loops]


def keyholed(outlines: list[Array64]) -> list[Array64]:
    """Return pixel outlines in which each hole is joined to its surrounding outline by a keyhole (zero-width channel).

    The channel runs along a pixel edge. Some contour readers fill a hole that is a separate outline; a keyhole gives
    the same area in all of them.
    """
    holes = sorted((o for o in outlines if _signed_area(o) < 0), key=lambda o: float(o[:, 0].min()))
    loops = [o for o in outlines if _signed_area(o) >= 0]
    for hole in holes:
        first = int(np.lexsort((hole[:, 1], hole[:, 0]))[0])
        corner = hole[first]
        best: tuple[float, int, int] | None = None  # position along the row, loop, edge
        for loop_index, loop in enumerate(loops):
            after = np.roll(loop, -1, axis=0)
            upright = (loop[:, 0] == after[:, 0]) & (loop[:, 0] <= corner[0])
            low, high = np.minimum(loop[:, 1], after[:, 1]), np.maximum(loop[:, 1], after[:, 1])
            for edge in np.flatnonzero(upright & (low <= corner[1]) & (corner[1] <= high)).tolist():
                if best is None or loop[edge, 0] > best[0]:
                    best = float(loop[edge, 0]), loop_index, edge
        if best is None:  # no surrounding outline: not an outline of pixels
            loops.append(hole)
            continue
        position, loop_index, edge = best
        channel = np.asarray([[position, corner[1]]])
        inner = np.concatenate([np.roll(hole, -first, axis=0), hole[first][None]])
        loop = loops[loop_index]
        loops[loop_index] = np.concatenate([loop[: edge + 1], channel, inner, channel, loop[edge + 1 :]])
    return loops


def _signed_area(outline: Array64) -> float:
    x, y = outline.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def edge_contours(mask: npt.NDArray[np.bool_], grid: Grid) -> tuple[FloatArray, ...]:
    """Return contours (LPS, mm) that enclose exactly the voxels of a mask ``[z, y, x]``.

    Each slice gives two contour planes, a quarter of a slice from its middle. A structure of one slice, or with a
    missing slice, therefore keeps its thickness.
    """
    contours = []
    for k, plane in enumerate(mask):
        for outline in pixel_edges(plane):
            for shift in (-0.25, 0.25):
                contours.append(grid.to_lps(np.column_stack([outline, np.full(len(outline), k + shift)])))
    return tuple(contours)


def _edges(cells: npt.NDArray[np.intp], edge: int) -> npt.NDArray[np.intp]:
    """Return the key of a cell's edge, (2 j, 2 i) of its midpoint; both cells that share the edge give the same key."""
    (aj, ai), (bj, bi) = CORNERS[edge], CORNERS[(edge + 1) % 4]
    return 2 * cells + np.asarray([aj + bj, ai + bi])


def _cross(values: Array64, loop: list[tuple[int, int]]) -> Array64:
    """Return the point (i, j) where the level is crossed on each edge of a loop."""
    midpoint = np.asarray(loop)
    low = midpoint // 2
    high = low + midpoint % 2
    a, b = values[low[:, 0], low[:, 1]], values[high[:, 0], high[:, 1]]
    fraction = np.clip(a / (a - b), 0.0, 1.0)[:, None]
    return np.asarray(low + fraction * (high - low), dtype=np.float64)[:, ::-1]


def _link(starts: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]) -> list[list[tuple[int, int]]]:
    """Join directed segments into closed loops of keys."""
    after: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for start, end in zip(map(tuple, starts.tolist()), map(tuple, ends.tolist()), strict=True):
        after[start].append(end)
    loops = []
    for first in list(after):
        while after[first]:
            loop, current = [first], after[first].pop()
            while current != first:
                loop.append(current)
                current = after[current].pop()
            loops.append(loop)
    return loops


def _corners_only(loop: Array64) -> Array64:
    turns = np.any(np.roll(loop, -1, axis=0) - loop != loop - np.roll(loop, 1, axis=0), axis=1)
    return loop[turns]
