"""Outlines in parallel contour planes: removal of repeated outlines, and the connected parts of a structure.

A ROI may contain several metastases across the head. Each connected part is sampled separately, so memory and time
depend on the contoured volume, not on the distance of the parts. The plane spacing of one part does not determine the
thickness of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.imaging.coverage import crossings
from RTResponseCAMLib.study import FloatArray

SAME_OUTLINE_MM = 0.5  # outlines of one plane closer than this everywhere are one outline: no wall is this thin
REACH_PLANES, REACH_MM = 4.0, 3.0  # plane distance up to which overlapping outlines are one part
SURELY_OVER = 0.2  # box overlap, relative to the smaller box, above which single outlines count as overlapping
BACK = 1e-9  # tolerance of 1 + cos(turn angle), up to which an outline runs back on itself
PROBES = 256  # corners of an outline at which its distance from another is measured
MAX_PAIRS = 250_000  # pairs of edges compared at once
Array64 = npt.NDArray[np.float64]


def without_repeats(polygons: Sequence[Array64]) -> tuple[list[Array64], int]:
    """Return the outlines of one plane without repetitions, and the number of repetitions.

    Of repeated outlines, the one with the most points is kept.
    """
    if len(polygons) < 2:
        return list(polygons), 0
    boxes = np.asarray([[*p.min(axis=0), *p.max(axis=0)] for p in polygons])
    order = sorted(range(len(polygons)), key=lambda n: -len(polygons[n]))
    unique: list[int] = []
    for n in order:
        near = [k for k in unique if np.abs(boxes[k] - boxes[n]).max() <= SAME_OUTLINE_MM]
        if not any(_apart_mm(polygons[n], polygons[k]) <= SAME_OUTLINE_MM for k in near):
            unique.append(n)
    return [polygons[n] for n in sorted(unique)], len(polygons) - len(unique)


def without_spikes(points: FloatArray) -> FloatArray:
    """Return a closed outline ``(n, 3)`` without spikes: points at which it turns back on itself."""
    loop, spiked = points, False
    while len(loop) > 2:
        # After a tip is removed, one point is repeated.
        loop = loop[(loop != np.roll(loop, 1, axis=0)).any(axis=1)]
        before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        back = np.einsum("ij,ij->i", before, after) < -(1 - BACK) * lengths
        if not back.any():
            break
        spiked = True
        loop = loop[:0] if back.all() else loop[~(back & ~np.roll(back, 1))]
    return loop if spiked else points


def connected(
    planes: Sequence[Sequence[Array64]], offsets_mm: Array64, *, step_mm: float
) -> list[list[tuple[int, int]]]:
    """Return the connected parts of a structure, each as pairs (plane, polygon), the largest first (union-find).

    Two outlines are connected if they overlap when projected into one plane, and their planes are at most
    `REACH_PLANES` steps or `REACH_MM` apart, whichever is larger. A missing slice therefore does not divide a lesion.
    """
    outline_index: dict[tuple[int, int], int] = {}
    for plane, polygons in enumerate(planes):
        outline_index |= {(plane, n): len(outline_index) + n for n in range(len(polygons))}
    owner = list(range(len(outline_index)))

    def root(n: int) -> int:
        while owner[n] != n:
            owner[n] = owner[owner[n]]
            n = owner[n]
        return n

    boxes = [np.asarray([[*p.min(axis=0), *p.max(axis=0)] for p in polygons]) for polygons in planes]
    reach = max(REACH_PLANES * step_mm, REACH_MM)
    for plane, polygons in enumerate(planes):
        for n, polygon in enumerate(polygons):
            own_index = outline_index[plane, n]
            for other in range(plane, len(planes)):
                if offsets_mm[other] - offsets_mm[plane] > reach:
                    break
                near = [k for k in _boxes_over(boxes[plane][n], boxes[other]) if (other, k) != (plane, n)]
                single = len(polygons) == len(planes[other]) == 1
                hits = [k for k in near if _over(polygon, planes[other][k], boxes[plane][n], boxes[other][k], single)]
                for k in hits:
                    owner[root(outline_index[other, k])] = root(own_index)
                if hits and other > plane:
                    break
    groups: dict[int, list[tuple[int, int]]] = {}
    for plane_polygon, n in outline_index.items():
        groups.setdefault(root(n), []).append(plane_polygon)
    return sorted(groups.values(), key=lambda g: (-len(g), g[0]))


def points_inside(polygons: Sequence[Array64], points: Array64) -> npt.NDArray[np.bool_]:
    """Return a mask of the points ``(n, 2)`` inside the polygons of one plane, by the even-odd rule."""
    order = np.argsort(points[:, 1], kind="stable")
    line, x = crossings(polygons, points[order, 1])
    inside = np.zeros(len(points), dtype=bool)
    left = np.bincount(line[x < points[order, 0][line]], minlength=len(points))
    inside[order] = left % 2 == 1
    return inside


def outer_area(polygons: Sequence[Array64]) -> float:
    """Return the area enclosed by the outermost outlines of a plane, holes included."""
    outer = [p for n, p in enumerate(polygons) if not any(_within(p, q) for k, q in enumerate(polygons) if k != n)]
    return float(sum(net_area(p) for p in outer))


def crosses(polygons: Sequence[Array64]) -> bool:
    """Return True if outlines of one plane cross each other."""
    boxes = np.asarray([[*p.min(axis=0), *p.max(axis=0)] for p in polygons])
    pairs = ((n, n + 1 + k) for n in range(len(polygons)) for k in _boxes_over(boxes[n], boxes[n + 1 :]))
    return any(_cross(polygons[n], polygons[k]) for n, k in pairs)


def _within(inner: Array64, outer: Array64) -> bool:
    if (inner.min(axis=0) < outer.min(axis=0)).any() or (inner.max(axis=0) > outer.max(axis=0)).any():
        return False
    return bool(points_inside([outer], inner[:1])[0])


def net_area(polygon: Array64) -> float:
    """Return the absolute value of the signed area of an outline; loops of opposite orientation are subtracted."""
    x, y = polygon.T
    return abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2


def _boxes_over(box: Array64, others: Array64) -> list[int]:
    overlapping = (others[:, :2] <= box[2:]).all(axis=1) & (others[:, 2:] >= box[:2]).all(axis=1)
    return np.flatnonzero(overlapping).tolist()


def _over(first: Array64, second: Array64, box: Array64, other_box: Array64, single: bool) -> bool:
    """Return True if two outlines overlap in projection; their bounding boxes are known to overlap."""
    if single:  # usual case: one outline in each plane
        common = np.minimum(box[2:], other_box[2:]) - np.maximum(box[:2], other_box[:2])
        smaller = min(float(np.prod(b[2:] - b[:2])) for b in (box, other_box))
        if float(np.prod(common)) > SURELY_OVER * smaller:
            return True
    return bool(points_inside([second], first).any() or points_inside([first], second).any() or _cross(first, second))


def _cross(first: Array64, second: Array64) -> bool:
    """Return True if an edge of one outline crosses an edge of the other.

    This test is needed for outlines without a corner inside each other, such as two crossed bars.
    """
    block = max(MAX_PAIRS // len(second), 1)
    if len(first) > block:
        edges = np.concatenate([first, first[:1]])
        return any(_chain_crosses(edges[n : n + block + 1], second) for n in range(0, len(first), block))
    return _chain_crosses(np.concatenate([first, first[:1]]), second)


def _chain_crosses(points: Array64, other: Array64) -> bool:
    """Return True if an edge of a chain of points crosses an edge of an outline."""
    a, b = points[:-1, None], points[1:, None]
    c, d = other[None], np.roll(other, -1, axis=0)[None]

    def side(p: Array64, q: Array64, r: Array64) -> Array64:
        return np.asarray(
            (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        )

    return bool(((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).any())


def _apart_mm(first: Array64, second: Array64) -> float:
    """Return the largest distance of a corner of either outline from the other outline, mm."""
    return max(float(_distance(_some(first), second).max()), float(_distance(_some(second), first).max()))


def _some(points: Array64) -> Array64:
    """Return at most `PROBES` corners of an outline at regular steps; the run time is quadratic in their number."""
    return points[:: -(-len(points) // PROBES)]


def _distance(points: Array64, outline: Array64) -> Array64:
    """Return the distance of points ``(n, 2)`` from the edges of an outline ``(m, 2)``."""
    edge = np.roll(outline, -1, axis=0) - outline
    length = np.maximum((edge**2).sum(axis=1), 1e-12)
    offset = points[:, None] - outline[None]
    along = np.clip((offset * edge[None]).sum(axis=2) / length, 0.0, 1.0)
    return np.asarray(np.sqrt(((offset - along[..., None] * edge[None]) ** 2).sum(axis=2).min(axis=1)))
