"""Area coverage of pixels by polygons (scan-line method, even-odd rule).

The even-odd rule handles holes and keyhole contours correctly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_STRIPS = 2000
Array64 = npt.NDArray[np.float64]


def pixel_coverage(polygons: Sequence[Array64], columns: int, *, rows: int, samples: int = 16) -> Array64:
    """Return the covered fraction of each pixel, ``(rows, columns)``, 0…1.

    Coverage is exact along each scan line. Across a pixel row, the midpoint rule over ``samples`` scan lines is used;
    its error is under 0.1 % for a 0.1 cm³ target at 16 lines.

    Parameters
    ----------
    polygons : closed polygons ``(n, 2)`` in continuous pixel indices (column, row); pixel centers are integers.
    columns, rows : size of the pixel grid.
    samples : number of scan lines per pixel row.
    """
    lines = (np.arange(rows * samples) + 0.5) / samples - 0.5
    line, x = crossings(polygons, lines)
    row = line // samples
    sign = np.where(np.arange(len(x)) % 2 == 0, -1.0, 1.0)
    position = np.clip(x + 0.5, 0.0, columns)
    column = np.minimum(position.astype(np.intp), columns)
    flat_index = row * (columns + 2) + column
    size, shape = rows * (columns + 2), (rows, columns + 2)
    # A crossing at x fills all pixels to its left and a fraction of its own pixel. The covered interval between two
    # crossings is the difference of their fills.
    left = column > 0
    filled_left = np.bincount(flat_index[left] - 1, sign[left], size).reshape(shape)
    filled_own = np.bincount(flat_index, sign * (position - column), size).reshape(shape) + filled_left
    filled_right = np.cumsum(filled_left[:, ::-1], axis=1)[:, ::-1] - filled_left
    return np.clip((filled_own + filled_right)[:, :columns] / samples, 0.0, 1.0)


def pixel_centers_inside(polygons: Sequence[Array64], columns: int, *, rows: int) -> npt.NDArray[np.bool_]:
    """Return a mask ``(rows, columns)`` of the pixel centers inside the polygons, by the even-odd rule."""
    line, x = crossings(polygons, np.arange(rows, dtype=np.float64))
    toggles = np.zeros((rows, columns + 1), dtype=np.int64)
    first = np.clip(np.ceil(x), 0, columns).astype(np.intp)
    np.add.at(toggles, (line, first), 1)
    return np.asarray(np.cumsum(toggles, axis=1)[:, :columns] % 2 == 1)


def even_odd_area(polygons: Sequence[Array64]) -> float:
    """Return the even-odd area of closed polygons, in the square of their unit; overlaps count as holes.

    The polygons are divided into strips between successive corners. Each strip consists of trapezoids, so the inside
    length along its midline times its height is its area. The result is exact unless edges cross within a strip. With
    more than `MAX_STRIPS` corners, strips of equal height are used (error under 1e-4).
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
    """Return the crossings of polygon edges with horizontal lines: line indices and x.

    The crossings are sorted by line, then by x. Their number per line is even.
    """
    start = np.concatenate(polygons, dtype=np.float64)
    end = np.concatenate([points for p in polygons for points in (p[1:], p[:1])], dtype=np.float64)
    low = np.searchsorted(lines, np.minimum(start[:, 1], end[:, 1]), side="left")
    high = np.searchsorted(lines, np.maximum(start[:, 1], end[:, 1]), side="left")
    count = high - low
    edge = np.repeat(np.arange(len(start)), count)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
    a, b = start[edge], end[edge]
    x = a[:, 0] + (lines[line] - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
    order = np.lexsort((x, line))
    return line[order].astype(np.intp), x[order]
