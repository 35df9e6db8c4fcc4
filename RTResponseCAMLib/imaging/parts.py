"""Contours in parallel planes: outlines that are there twice, and the connected parts that a structure consists of.

A ROI may hold several metastases across the head. Each part is sampled by itself, so that memory and time follow what
is contoured, not how far apart it lies; and the planes of one part say nothing about the thickness of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.imaging.coverage import crossings
from RTResponseCAMLib.study import FloatArray

SAME_OUTLINE_MM = 0.5  # outlines of one plane nearer than this all along are one outline: no wall is so thin
REACH_PLANES, REACH_MM = 4.0, 3.0  # planes apart within which outlines over one another are one part
SURELY_OVER = 0.2  # overlap of two bounding boxes, of the smaller, from which single outlines are over one another
BACK = 1e-9  # 1 + the cosine of a turn, up to which an outline runs back
PROBES = 256  # corners of an outline at which its distance from another is measured
MAX_PAIRS = 250_000  # pairs of edges that are compared at once
Array64 = npt.NDArray[np.float64]


def without_repeats(polygons: Sequence[Array64]) -> tuple[list[Array64], int]:
    """Outlines of one plane, each once (the one with the most points), and how many were repetitions."""
    if len(polygons) < 2:
        return list(polygons), 0
    boxes = np.asarray([[*p.min(axis=0), *p.max(axis=0)] for p in polygons])
    order = sorted(range(len(polygons)), key=lambda n: -len(polygons[n]))
    kept: list[int] = []
    for n in order:
        near = [k for k in kept if np.abs(boxes[k] - boxes[n]).max() <= SAME_OUTLINE_MM]
        if not any(_apart_mm(polygons[n], polygons[k]) <= SAME_OUTLINE_MM for k in near):
            kept.append(n)
    return [polygons[n] for n in sorted(kept)], len(polygons) - len(kept)


def without_spikes(points: FloatArray) -> FloatArray:
    """A closed outline ``(n, 3)`` without the points from which it runs back the way that it came."""
    kept, spiked = points, False
    while len(kept) > 2:
        kept = kept[(kept != np.roll(kept, 1, axis=0)).any(axis=1)]  # behind a tip, one point follows itself
        before, after = kept - np.roll(kept, 1, axis=0), np.roll(kept, -1, axis=0) - kept
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        back = np.einsum("ij,ij->i", before, after) < -(1 - BACK) * lengths
        if not back.any():
            break
        spiked = True
        kept = kept[:0] if back.all() else kept[~(back & ~np.roll(back, 1))]
    return kept if spiked else points


def connected(
    planes: Sequence[Sequence[Array64]], offsets_mm: Array64, *, step_mm: float
) -> list[list[tuple[int, int]]]:
    """Parts of a structure, each as pairs (plane, polygon), the largest first.

    Outlines belong together when one lies over or within the other, in one plane or in planes no farther apart than
    `REACH_PLANES` steps: a lost slice does not cut a lesion in two.
    """
    number: dict[tuple[int, int], int] = {}
    for plane, polygons in enumerate(planes):
        number |= {(plane, n): len(number) + n for n in range(len(polygons))}
    owner = list(range(len(number)))

    def root(n: int) -> int:
        while owner[n] != n:
            owner[n] = owner[owner[n]]
            n = owner[n]
        return n

    boxes = [np.asarray([[*p.min(axis=0), *p.max(axis=0)] for p in polygons]) for polygons in planes]
    reach = max(REACH_PLANES * step_mm, REACH_MM)
    for plane, polygons in enumerate(planes):
        for n, polygon in enumerate(polygons):
            own = number[plane, n]
            for other in range(plane, len(planes)):
                if offsets_mm[other] - offsets_mm[plane] > reach:
                    break
                over = [k for k in _boxes_over(boxes[plane][n], boxes[other]) if (other, k) != (plane, n)]
                sure = len(polygons) == len(planes[other]) == 1
                hits = [k for k in over if _over(polygon, planes[other][k], boxes[plane][n], boxes[other][k], sure)]
                for k in hits:
                    owner[root(number[other, k])] = root(own)
                if hits and other > plane:
                    break
    groups: dict[int, list[tuple[int, int]]] = {}
    for place, n in number.items():
        groups.setdefault(root(n), []).append(place)
    return sorted(groups.values(), key=lambda g: (-len(g), g[0]))


def points_inside(polygons: Sequence[Array64], points: Array64) -> npt.NDArray[np.bool_]:
    """Which points ``(n, 2)`` lie inside polygons of one plane, by the even-odd rule."""
    order = np.argsort(points[:, 1], kind="stable")
    line, x = crossings(polygons, points[order, 1])
    inside = np.zeros(len(points), dtype=bool)
    left = np.bincount(line[x < points[order, 0][line]], minlength=len(points))
    inside[order] = left % 2 == 1
    return inside


def outer_area(polygons: Sequence[Array64]) -> float:
    """Area that the outermost outlines of a plane enclose, holes included."""
    outer = [p for n, p in enumerate(polygons) if not any(_within(p, q) for k, q in enumerate(polygons) if k != n)]
    return float(sum(net_area(p) for p in outer))


def crosses(polygons: Sequence[Array64]) -> bool:
    """Whether outlines of one plane cross one another."""
    boxes = np.asarray([[*p.min(axis=0), *p.max(axis=0)] for p in polygons])
    pairs = ((n, n + 1 + k) for n in range(len(polygons)) for k in _boxes_over(boxes[n], boxes[n + 1 :]))
    return any(_cross(polygons[n], polygons[k]) for n, k in pairs)


def _within(inner: Array64, outer: Array64) -> bool:
    if (inner.min(axis=0) < outer.min(axis=0)).any() or (inner.max(axis=0) > outer.max(axis=0)).any():
        return False
    return bool(points_inside([outer], inner[:1])[0])


def net_area(polygon: Array64) -> float:
    """Signed area of an outline, without its sign: loops of one turn less those of the other."""
    x, y = polygon.T
    return abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2


def _boxes_over(box: Array64, others: Array64) -> list[int]:
    over = (others[:, :2] <= box[2:]).all(axis=1) & (others[:, 2:] >= box[:2]).all(axis=1)
    return np.flatnonzero(over).tolist()


def _over(one: Array64, other: Array64, box: Array64, other_box: Array64, single: bool) -> bool:
    """Whether two outlines, projected into one plane, share ground; their boxes do."""
    if single:  # the usual case: one outline in each plane
        common = np.minimum(box[2:], other_box[2:]) - np.maximum(box[:2], other_box[:2])
        smaller = min(float(np.prod(b[2:] - b[:2])) for b in (box, other_box))
        if float(np.prod(common)) > SURELY_OVER * smaller:
            return True
    return bool(points_inside([other], one).any() or points_inside([one], other).any() or _cross(one, other))


def _cross(one: Array64, other: Array64) -> bool:
    """Whether an edge of one outline crosses an edge of the other: bars that cross have no corner in each other."""
    block = max(MAX_PAIRS // len(other), 1)
    if len(one) > block:
        edges = np.concatenate([one, one[:1]])
        return any(_chain_crosses(edges[n : n + block + 1], other) for n in range(0, len(one), block))
    return _chain_crosses(np.concatenate([one, one[:1]]), other)


def _chain_crosses(points: Array64, other: Array64) -> bool:
    """Whether an edge of a chain of points crosses an edge of an outline."""
    a, b = points[:-1, None], points[1:, None]
    c, d = other[None], np.roll(other, -1, axis=0)[None]

    def side(p: Array64, q: Array64, r: Array64) -> Array64:
        return np.asarray(
            (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        )

    return bool(((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).any())


def _apart_mm(one: Array64, other: Array64) -> float:
    """Largest distance of a corner of either outline from the other outline, mm."""
    return max(float(_distance(_some(one), other).max()), float(_distance(_some(other), one).max()))


def _some(points: Array64) -> Array64:
    """At most `PROBES` corners of an outline, evenly along it: more would take quadratic time."""
    return points[:: -(-len(points) // PROBES)]


def _distance(points: Array64, outline: Array64) -> Array64:
    """Distance of points ``(n, 2)`` from the edges of an outline ``(m, 2)``."""
    edge = np.roll(outline, -1, axis=0) - outline
    length = np.maximum((edge**2).sum(axis=1), 1e-12)
    away = points[:, None] - outline[None]
    along = np.clip((away * edge[None]).sum(axis=2) / length, 0.0, 1.0)
    return np.asarray(np.sqrt(((away - along[..., None] * edge[None]) ** 2).sum(axis=2).min(axis=1)))
