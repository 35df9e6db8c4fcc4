"""How much of each pixel a set of polygons covers, by the even-odd rule: holes and keyholes come out right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_STRIPS = 2000
Array64 = npt.NDArray[np.float64]


def pixel_coverage(polygons: Sequence[Array64], columns: int, *, rows: int, samples: int = 16) -> Array64:
    """Covered fraction of each pixel, ``(rows, columns)``, 0…1.

    Each pixel row is cut by ``samples`` scan lines; along a line the coverage is exact, so the error is that
    of a midpoint rule across the row (under 0.1 % of a 0.1 cm³ target at 16 lines).

    Parameters
    ----------
    polygons : closed polygons ``(n, 2)`` in continuous pixel indices (column, row); pixel centers are integers.
    """
    lines = (np.arange(rows * samples) + 0.5) / samples - 0.5
    line, x = crossings(polygons, lines)
    row = line // samples
    sign = np.where(np.arange(len(x)) % 2 == 0, -1.0, 1.0)
    position = np.clip(x + 0.5, 0.0, columns)
    column = np.minimum(position.astype(np.intp), columns)
    place = row * (columns + 2) + column
    size, shape = rows * (columns + 2), (rows, columns + 2)
    # A crossing at x fills all pixels left of it and a share of its own; an interval is the difference of two.
    left = column > 0
    whole = np.bincount(place[left] - 1, sign[left], size).reshape(shape)
    fill = np.bincount(place, sign * (position - column), size).reshape(shape) + whole
    tail = np.cumsum(whole[:, ::-1], axis=1)[:, ::-1] - whole
    return np.clip((fill + tail)[:, :columns] / samples, 0.0, 1.0)


def pixel_centers_inside(polygons: Sequence[Array64], columns: int, *, rows: int) -> npt.NDArray[np.bool_]:
    """Tell which pixel centers lie inside, ``(rows, columns)``, by the even-odd rule."""
    line, x = crossings(polygons, np.arange(rows, dtype=np.float64))
    toggles = np.zeros((rows, columns + 1), dtype=np.int64)
    first = np.clip(np.ceil(x), 0, columns).astype(np.intp)
    np.add.at(toggles, (line, first), 1)
    return np.asarray(np.cumsum(toggles, axis=1)[:, :columns] % 2 == 1)


def even_odd_area(polygons: Sequence[Array64]) -> float:
    """Area of the even-odd union of closed polygons, in the square of their unit; overlaps count as holes.

    Strips between successive corners are trapezoids, so the length inside along their middle gives their area: exact
    unless edges cross within a strip. Over `MAX_STRIPS` corners, even strips (error under 1e-4).
    """
    edges = np.unique(np.concatenate(polygons, dtype=np.float64)[:, 1])
    if len(edges) > MAX_STRIPS:
        edges = np.linspace(edges[0], edges[-1], MAX_STRIPS)
    if len(edges) < 2:
        return 0.0
    line, x = crossings(polygons, (edges[1:] + edges[:-1]) / 2)
    inside = x[1::2] - x[::2]
    return float(inside @ np.diff(edges)[line[::2]])


def crossings(polygons: Sequence[Array64], lines: Array64) -> tuple[npt.NDArray[np.intp], Array64]:
    """Where edges cut horizontal lines: line numbers and x, sorted by line then x (an even number per line)."""
    start = np.concatenate(polygons, dtype=np.float64)
    end = np.concatenate([part for p in polygons for part in (p[1:], p[:1])], dtype=np.float64)
    low = np.searchsorted(lines, np.minimum(start[:, 1], end[:, 1]), side="left")
    high = np.searchsorted(lines, np.maximum(start[:, 1], end[:, 1]), side="left")
    count = high - low
    edge = np.repeat(np.arange(len(start)), count)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
    a, b = start[edge], end[edge]
    x = a[:, 0] + (lines[line] - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
    order = np.lexsort((x, line))
    return line[order].astype(np.intp), x[order]
