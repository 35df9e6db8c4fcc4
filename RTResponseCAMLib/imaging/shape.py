"""The body between contour planes that do not lie on the grid's slices: tilted planes, and planes wider than slices.

In each plane, d is the distance to the outline (positive inside) and R its largest value. q = d (2 R - d) is
interpolated along the normal, because for balls and nearly so for ellipsoids it is a parabola there: few planes are
enough. Dividing q by its gradient gives distances again, from which voxels are filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.interpolate import Akima1DInterpolator
from scipy.ndimage import map_coordinates
from scipy.optimize import brentq
from scipy.spatial import cKDTree

from RTResponseCAMLib.imaging.coverage import crossings
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import Array64, PlaneStack

SUBSAMPLES, AT_ONCE = 3, 20_000
EDGE_STEP_MM = 0.1
MAX_LATTICE = 160
FAR_MM = 5.0


@dataclass(frozen=True)
class Shape:
    """Signed distances (mm, positive inside) on a lattice ``[w, v, u]`` of the planes' own frame."""

    axes: Array64
    first_mm: Array64
    step_mm: Array64
    distance_mm: npt.NDArray[np.float32]

    def at(self, points_mm: Array64) -> Array64:
        """Distances at LPS points ``(n, 3)``, mm; never more than `FAR_MM` from zero."""
        return self.within(points_mm @ self.axes.T)

    def within(self, local_mm: Array64) -> Array64:
        """As `at`, of points in the planes' own frame (u, v, n)."""
        local = (local_mm - self.first_mm) / self.step_mm
        place = [local[:, 2], local[:, 1], local[:, 0]]
        return np.asarray(map_coordinates(self.distance_mm, place, order=1, mode="constant", cval=-FAR_MM))


def shape_of(stack: PlaneStack, grid: Grid) -> Shape:
    """Interpolate a stack of planes finely enough for ``grid``."""
    return shape_between(stack, min(0.5, min(grid.spacing_mm) / 2))


def shape_between(stack: PlaneStack, step_mm: float) -> Shape:
    """Interpolate a stack of planes on a lattice of ``step_mm``, or coarser where it would exceed `MAX_LATTICE`."""
    points = np.concatenate([p for polygons in stack.polygons for p in polygons])
    return _interpolated(stack, max(step_mm, float(np.ptp(points, axis=0).max()) / MAX_LATTICE))


@lru_cache(maxsize=2)  # a lesion is sampled on several grids one after the other; those of a large one are equally fine
def _interpolated(stack: PlaneStack, step: float) -> Shape:
    points = np.concatenate([p for polygons in stack.polygons for p in polygons])
    extent = np.ptp(points, axis=0)
    low = points.min(axis=0) - 4 * step
    u, v = (low[axis] + step * np.arange(int(np.ceil(extent[axis] / step)) + 9) for axis in (0, 1))
    distances = np.stack([_signed_distance(polygons, u, v) for polygons in stack.polygons])
    radius = np.maximum(distances.max(axis=(1, 2), keepdims=True), 1e-3)
    q = distances * (2 * radius - distances)

    ends = [_end(stack, q, side) for side in (0, -1)]
    begin, stop = stack.offsets_mm[0] - ends[0].reach_mm, stack.offsets_mm[-1] + ends[1].reach_mm
    gaps = np.diff(stack.offsets_mm)
    depth = min(step, float(np.median(gaps)) / 2) if len(gaps) else step
    depth = max(depth, (stop - begin) / (2 * MAX_LATTICE))
    w = begin - 2 * depth + depth * np.arange(int(np.ceil((stop - begin) / depth)) + 5)
    level = _along_normal(stack, q, w, ends)
    slope = np.gradient(level, depth, step, step)
    norm = np.sqrt(sum(s**2 for s in slope))
    distance = np.clip(level / np.maximum(norm, 1e-6), -FAR_MM, FAR_MM)
    distance = np.minimum(distance, _within(stack, w, begin, stop)[:, None, None])
    return Shape(stack.axes, np.asarray([*low, w[0]]), np.asarray([step, step, depth]), distance.astype(np.float32))


def shape_fraction(stack: PlaneStack, grid: Grid, *, keep_volume: bool) -> npt.NDArray[np.float32]:
    """Fraction of each voxel inside, ``[z, y, x]``; ``keep_volume`` moves the surface until the sum is the stack's.

    Moving is right only where the whole structure lies on the grid.
    """
    shape = shape_of(stack, grid)
    coarse = _coarse(shape, grid)
    result = (coarse > 0).astype(np.float64)
    edge, fine, soft_mm = _edge_samples(shape, grid, coarse)
    shift_mm = _shift(stack, grid, result, edge, fine, soft_mm) if keep_volume else 0.0
    result[edge] = _shares(fine, shift_mm, soft_mm)
    return result.reshape(grid.shape).astype(np.float32)


def shape_mask(stack: PlaneStack, grid: Grid, *, keep_volume: bool) -> npt.NDArray[np.bool_]:
    """Voxels whose center lies inside the body between the planes, ``[z, y, x]``."""
    shape = shape_of(stack, grid)
    coarse = _coarse(shape, grid)
    shift_mm = 0.0
    if keep_volume:
        edge, fine, soft_mm = _edge_samples(shape, grid, coarse)
        shift_mm = _shift(stack, grid, (coarse > 0).astype(np.float64), edge, fine, soft_mm)
    return np.asarray(coarse + shift_mm > 0).reshape(grid.shape)


def _coarse(shape: Shape, grid: Grid) -> Array64:
    """Distances at all voxel centers ``(n,)``, slice by slice: points of a whole grid would take ten times its size."""
    j, i = np.indices(grid.shape[1:], dtype=np.float64)
    slice_ = np.column_stack([i.ravel(), j.ravel(), np.zeros(i.size)])
    found = np.empty((grid.size[2], i.size))
    for k in range(grid.size[2]):
        slice_[:, 2] = k
        found[k] = shape.at(grid.to_lps(slice_))
    return found.ravel()


def _edge_samples(shape: Shape, grid: Grid, coarse: Array64) -> tuple[npt.NDArray[np.intp], Array64, float]:
    """Voxels that the surface may cut, distances at points within them, and the width of one such point, mm."""
    edge = np.flatnonzero(np.abs(coarse) < np.linalg.norm(grid.spacing_mm))
    sub = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5
    shifts = np.stack(np.meshgrid(sub, sub, sub, indexing="ij"), axis=-1).reshape(1, -1, 3)
    fine = np.empty((len(edge), SUBSAMPLES**3))
    for first in range(0, len(edge), AT_ONCE):  # a large structure has millions of such points
        k, j, i = np.unravel_index(edge[first : first + AT_ONCE], grid.shape)
        points = (np.column_stack([i, j, k])[:, None] + shifts).reshape(-1, 3)
        fine[first : first + AT_ONCE] = shape.at(grid.to_lps(points)).reshape(-1, SUBSAMPLES**3)
    return edge, fine, max(grid.spacing_mm) / SUBSAMPLES


def _shares(fine: Array64, shift_mm: float, soft_mm: float) -> Array64:
    """Fraction of each voxel inside, of the distances at its points, with the surface moved outwards."""
    each = [fine[n : n + AT_ONCE] for n in range(0, len(fine), AT_ONCE)]
    return np.concatenate(
        [np.zeros(0), *(np.clip(0.5 + (f + shift_mm) / soft_mm, 0.0, 1.0).mean(axis=1) for f in each)]
    )


def _shift(
    stack: PlaneStack, grid: Grid, result: Array64, edge: npt.NDArray[np.intp], fine: Array64, soft_mm: float
) -> float:
    """Offset of the surface, mm outwards, at which the occupancies add up to the volume of the contours."""
    target = stack.volume_mm3 / (1000 * grid.voxel_cc) - (result.sum() - result[edge].sum())

    def surplus(shift: float) -> float:
        return float(_shares(fine, shift, soft_mm).sum() - target)

    reach = float(np.abs(fine).max()) + soft_mm if fine.size else 0.0
    if not surplus(-reach) < 0 < surplus(reach):
        return 0.0
    return float(brentq(surplus, -reach, reach, xtol=1e-4))


@dataclass(frozen=True)
class _End:
    """What lies beyond the first or last plane: a rounded end, or a flat one half a step away."""

    reach_mm: float
    sign: float
    at: float
    coefficients: tuple[Array64, Array64, Array64]

    def level(self, w: float) -> Array64:
        t = self.sign * (w - self.at)
        constant, linear, quadratic = self.coefficients
        return constant + t * linear + t * t * quadratic


def _end(stack: PlaneStack, q: Array64, side: int) -> _End:
    """A body whose trend closes within one step ends there; otherwise it is cut flat at the slab's face."""
    sign = -1.0 if side == 0 else 1.0
    at = float(stack.offsets_mm[side])
    flat_mm = abs(float(stack.slabs_mm[side, 0 if side == 0 else 1]) - at)
    zero = np.zeros_like(q[side])
    if len(q) < 3:
        return _End(flat_mm, sign, at, (q[side], zero, zero))
    order = (0, 1, 2) if side == 0 else (-1, -2, -3)
    a, b, c = (q[n] for n in order)
    one, two = (abs(float(stack.offsets_mm[order[0]] - stack.offsets_mm[n])) for n in order[1:])
    # The parabola through the three last planes, as a function of the distance beyond the last.
    quadratic = ((c - a) / two - (b - a) / one) / (two - one)
    linear = (a - b) / one + quadratic * one
    end = _End(one, sign, at, (a, linear, quadratic))
    closes = float(end.level(at + sign * one).max()) <= 0
    return end if closes else _End(flat_mm, sign, at, (a, zero, zero))


def _along_normal(stack: PlaneStack, q: Array64, w: Array64, ends: list[_End]) -> Array64:
    level = np.empty((len(w), *q.shape[1:]))
    inner = (w >= stack.offsets_mm[0]) & (w <= stack.offsets_mm[-1])
    if len(q) > 1 and inner.any():
        level[inner] = Akima1DInterpolator(stack.offsets_mm, q, axis=0)(w[inner])
    for number in np.flatnonzero(~inner):
        end = ends[0] if w[number] < stack.offsets_mm[0] else ends[1]
        level[number] = end.level(float(w[number]))
    if len(q) == 1:
        level[inner] = q[0]
    return level


def _within(stack: PlaneStack, w: Array64, begin: float, stop: float) -> Array64:
    """Distance to where the structure ends along the normal, and to gaps that no plane stands for."""
    within = np.minimum(w - begin, stop - w)
    for below, above in zip(stack.slabs_mm[:-1, 1], stack.slabs_mm[1:, 0], strict=True):
        if above - below > 1e-6:
            within = np.minimum(within, np.maximum(below - w, w - above))
    return within


def _signed_distance(polygons: tuple[Array64, ...], u: Array64, v: Array64) -> Array64:
    """Distance to the nearest edge, positive inside (even-odd), on the lattice ``(v, u)``, mm."""
    lattice = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    start = np.concatenate(polygons)
    edge = np.concatenate([np.roll(p, -1, axis=0) for p in polygons]) - start
    length = np.linalg.norm(edge, axis=1)
    counts = np.maximum(np.ceil(length / EDGE_STEP_MM).astype(int), 1)
    owner = np.repeat(np.arange(len(start)), counts)
    place = (np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[owner]
    _, nearest = cKDTree(start[owner] + edge[owner] * place[:, None]).query(lattice)
    own = owner[nearest]
    along = np.einsum("ij,ij->i", lattice - start[own], edge[own]) / np.maximum(length[own] ** 2, 1e-12)
    foot = start[own] + edge[own] * np.clip(along, 0.0, 1.0)[:, None]
    distance = np.linalg.norm(lattice - foot, axis=1).reshape(len(v), len(u))
    line, x = crossings(polygons, v)
    inside = np.zeros((len(v), len(u) + 1), dtype=np.int64)
    np.add.at(inside, (line, np.searchsorted(u, x)), 1)
    return np.where(np.cumsum(inside, axis=1)[:, : len(u)] % 2 == 1, distance, -distance)
