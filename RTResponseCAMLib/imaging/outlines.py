"""Closed outlines in a plane of pixels: level lines, and the edges of a mask's pixels. The way from voxels to contours.

Even-odd: an outline inside another is a hole. Points are continuous pixel indices (i, j), pixel centers are integers.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.study import FloatArray

Array64 = npt.NDArray[np.float64]
# Corners of a cell, counter-clockwise from (j, i); edge n joins corner n and n + 1.
CORNERS = ((0, 0), (0, 1), (1, 1), (1, 0))
# Per case (bit n set: corner n inside): pairs of cell edges, entered and left with the inside on the left.
CASES: tuple[tuple[tuple[int, int], ...], ...] = (
    (), ((0, 3),), ((1, 0),), ((1, 3),), ((2, 1),), ((0, 3), (2, 1)), ((2, 0),), ((2, 3),),
    ((3, 2),), ((0, 2),), ((1, 0), (3, 2)), ((1, 2),), ((3, 1),), ((0, 1),), ((3, 0),), (),
)  # fmt: skip


def level_lines(plane: npt.NDArray[np.floating[Any]], level: float = 0.0) -> list[Array64]:
    """Closed lines where a plane ``[j, i]`` crosses ``level``, linear between pixel centers (marching squares).

    Lines that reach the border are closed along it. Returns arrays ``(n, 2)`` of (i, j).
    """
    values = np.pad(np.asarray(plane, dtype=np.float64) - level, 1, constant_values=-1e12)
    inside = values > 0
    case = sum(inside[dj : dj + inside.shape[0] - 1, di : di + inside.shape[1] - 1].astype(int) << n
               for n, (dj, di) in enumerate(CORNERS))  # fmt: skip
    starts, ends = [], []
    for number, pairs in enumerate(CASES):
        cells = np.argwhere(case == number)
        for first, last in pairs if len(cells) else ():
            starts.append(_edges(cells, first))
            ends.append(_edges(cells, last))
    if not starts:
        return []
    loops = _link(np.concatenate(starts), np.concatenate(ends))
    return [_cross(values, loop) - 1 for loop in loops]


def pixel_edges(mask: npt.NDArray[np.bool_]) -> list[Array64]:
    """Outlines of a mask ``[j, i]`` along the edges of its pixels: they hold exactly the area of its pixels.

    Only corners are kept. Returns arrays ``(n, 2)`` of (i, j), half-integers.
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
    """Outlines of pixels with each hole joined to what surrounds it by a channel of no width, along the pixels' edges.

    Some readers of contours fill a hole that is an outline of its own; a keyhole has the same area for all of them.
    """
    holes = sorted((o for o in outlines if _signed_area(o) < 0), key=lambda o: float(o[:, 0].min()))
    loops = [o for o in outlines if _signed_area(o) >= 0]
    for hole in holes:
        first = int(np.lexsort((hole[:, 1], hole[:, 0]))[0])
        corner = hole[first]
        best: tuple[float, int, int] | None = None  # place along the row, loop, edge
        for number, loop in enumerate(loops):
            after = np.roll(loop, -1, axis=0)
            upright = (loop[:, 0] == after[:, 0]) & (loop[:, 0] <= corner[0])
            low, high = np.minimum(loop[:, 1], after[:, 1]), np.maximum(loop[:, 1], after[:, 1])
            for edge in np.flatnonzero(upright & (low <= corner[1]) & (corner[1] <= high)).tolist():
                if best is None or loop[edge, 0] > best[0]:
                    best = float(loop[edge, 0]), number, edge
        if best is None:  # a hole in nothing: not an outline of pixels
            loops.append(hole)
            continue
        place, number, edge = best
        door = np.asarray([[place, corner[1]]])
        inner = np.concatenate([np.roll(hole, -first, axis=0), hole[first][None]])
        loop = loops[number]
        loops[number] = np.concatenate([loop[: edge + 1], door, inner, door, loop[edge + 1 :]])
    return loops


def _signed_area(outline: Array64) -> float:
    x, y = outline.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def edge_contours(mask: npt.NDArray[np.bool_], grid: Grid) -> tuple[FloatArray, ...]:
    """Contours (LPS, mm) that hold exactly the voxels of a mask ``[z, y, x]``.

    Each slice gives two planes a quarter of a slice off its middle, so that a structure of one slice, or with a slice
    left out, keeps its thickness.
    """
    contours = []
    for k, plane in enumerate(mask):
        for outline in pixel_edges(plane):
            for shift in (-0.25, 0.25):
                contours.append(grid.to_lps(np.column_stack([outline, np.full(len(outline), k + shift)])))
    return tuple(contours)


def _edges(cells: npt.NDArray[np.intp], edge: int) -> npt.NDArray[np.intp]:
    """Key of a cell's edge, the same from both cells that share it: (2 j, 2 i) of its middle."""
    (aj, ai), (bj, bi) = CORNERS[edge], CORNERS[(edge + 1) % 4]
    return 2 * cells + np.asarray([aj + bj, ai + bi])


def _cross(values: Array64, loop: list[tuple[int, int]]) -> Array64:
    """Where the level is crossed on each edge of a loop, (i, j)."""
    middle = np.asarray(loop)
    low = middle // 2
    high = low + middle % 2
    a, b = values[low[:, 0], low[:, 1]], values[high[:, 0], high[:, 1]]
    share = np.clip(a / (a - b), 0.0, 1.0)[:, None]
    return np.asarray(low + share * (high - low), dtype=np.float64)[:, ::-1]


def _link(starts: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]) -> list[list[tuple[int, int]]]:
    """Join directed pieces into closed loops of keys."""
    after: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for start, end in zip(map(tuple, starts.tolist()), map(tuple, ends.tolist()), strict=True):
        after[start].append(end)
    loops = []
    for first in list(after):
        while after[first]:
            loop, here = [first], after[first].pop()
            while here != first:
                loop.append(here)
                here = after[here].pop()
            loops.append(loop)
    return loops


def _corners_only(loop: Array64) -> Array64:
    turns = np.any(np.roll(loop, -1, axis=0) - loop != loop - np.roll(loop, 1, axis=0), axis=1)
    return loop[turns]
