"""Shape-based interpolation between contour planes that do not lie on the grid's slices (tilted or wider apart).

In each plane, d is the signed distance to the outline (positive inside) and R its largest value. The function
q = d (2 R - d) is interpolated along the normal. For spheres, and nearly for ellipsoids, q is a parabola along the
normal, so that few planes are sufficient. Dividing q by its gradient magnitude gives distances again, from which the
partial-volume fraction of each voxel is computed.
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
    """Signed distances (mm, positive inside) on a lattice ``[w, v, u]`` in the frame of the planes.

    Attributes
    ----------
    axes : rows u, v, n: orthonormal LPS frame of the planes.
    first_mm : position (u, v, n) of the first lattice point, mm.
    step_mm : lattice step along u, v, n, mm.
    distance_mm : signed distances ``[w, v, u]``, limited to ± `FAR_MM`.
    """

    axes: Array64
    first_mm: Array64
    step_mm: Array64
    distance_mm: npt.NDArray[np.float32]

    def at(self, points_mm: Array64) -> Array64:
        """Return the signed distances at LPS points ``(n, 3)``, mm, limited to ± `FAR_MM`."""
        return self.within(points_mm @ self.axes.T)

    def within(self, local_mm: Array64) -> Array64:
        """Return the same as `at` for points in the frame of the planes (u, v, n), mm."""
        local = (local_mm - self.first_mm) / self.step_mm
        lattice_index = [local[:, 2], local[:, 1], local[:, 0]]
        return np.asarray(map_coordinates(self.distance_mm, lattice_index, order=1, mode="constant", cval=-FAR_MM))


def shape_of(stack: PlaneStack, grid: Grid) -> Shape:
    """Return the interpolated shape of a stack of planes, with a lattice fine enough for ``grid``."""
    return shape_between(stack, min(0.5, min(grid.spacing_mm) / 2))


def shape_between(stack: PlaneStack, step_mm: float) -> Shape:
    """Return the interpolated shape of a stack of planes on a lattice of ``step_mm``.

    The step is larger if the lattice would otherwise exceed `MAX_LATTICE` steps.
    """
    points = np.concatenate([p for polygons in stack.polygons for p in polygons])
    return _interpolated(stack, max(step_mm, float(np.ptp(points, axis=0).max()) / MAX_LATTICE))


@lru_cache(maxsize=2)  # a lesion is sampled on several grids in sequence; for a large lesion, they have the same step
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
    """Return the fraction of each voxel inside the interpolated shape, ``[z, y, x]``.

    Parameters
    ----------
    keep_volume : move the surface until the volume equals that of the contours. This requires that the whole structure
        lies on the grid.
    """
    shape = shape_of(stack, grid)
    coarse = _coarse(shape, grid)
    result = (coarse > 0).astype(np.float64)
    edge, fine, soft_mm = _edge_samples(shape, grid, coarse)
    shift_mm = _shift(stack, grid, result, edge, fine, soft_mm) if keep_volume else 0.0
    result[edge] = _shares(fine, shift_mm, soft_mm)
    return result.reshape(grid.shape).astype(np.float32)


def shape_mask(stack: PlaneStack, grid: Grid, *, keep_volume: bool) -> npt.NDArray[np.bool_]:
    """Return a mask ``[z, y, x]`` of the voxels whose center lies inside the interpolated shape."""
    shape = shape_of(stack, grid)
    coarse = _coarse(shape, grid)
    shift_mm = 0.0
    if keep_volume:
        edge, fine, soft_mm = _edge_samples(shape, grid, coarse)
        shift_mm = _shift(stack, grid, (coarse > 0).astype(np.float64), edge, fine, soft_mm)
    return np.asarray(coarse + shift_mm > 0).reshape(grid.shape)


def _coarse(shape: Shape, grid: Grid) -> Array64:
    """Return the signed distances at all voxel centers ``(n,)``, mm.

    They are computed slice by slice: the points of a whole grid would need ten times its memory.
    """
    j, i = np.indices(grid.shape[1:], dtype=np.float64)
    slice_ = np.column_stack([i.ravel(), j.ravel(), np.zeros(i.size)])
    distances = np.empty((grid.size[2], i.size))
    for k in range(grid.size[2]):
        slice_[:, 2] = k
        distances[k] = shape.at(grid.to_lps(slice_))
    return distances.ravel()


def _edge_samples(shape: Shape, grid: Grid, coarse: Array64) -> tuple[npt.NDArray[np.intp], Array64, float]:
    """Return voxels that the surface may cut, distances at sample points in them, and the sample width, mm."""
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
    """Return the inside fraction of each voxel from the distances at its sample points; ``shift_mm`` is outwards."""
    chunks = [fine[n : n + AT_ONCE] for n in range(0, len(fine), AT_ONCE)]
    return np.concatenate(
        [np.zeros(0), *(np.clip(0.5 + (f + shift_mm) / soft_mm, 0.0, 1.0).mean(axis=1) for f in chunks)]
    )


def _shift(
    stack: PlaneStack, grid: Grid, result: Array64, edge: npt.NDArray[np.intp], fine: Array64, soft_mm: float
) -> float:
    """Return the surface offset, mm outwards, at which the partial-volume fractions add up to the contours' volume."""
    target = stack.volume_mm3 / (1000 * grid.voxel_cc) - (result.sum() - result[edge].sum())

    def surplus(shift: float) -> float:
        return float(_shares(fine, shift, soft_mm).sum() - target)

    reach = float(np.abs(fine).max()) + soft_mm if fine.size else 0.0
    if not surplus(-reach) < 0 < surplus(reach):
        return 0.0
    return float(brentq(surplus, -reach, reach, xtol=1e-4))


@dataclass(frozen=True)
class _End:
    """Shape beyond the first or last plane: a rounded end, or a flat end at the face of the slab."""

    reach_mm: float
    sign: float
    at: float
    coefficients: tuple[Array64, Array64, Array64]

    def level(self, w: float) -> Array64:
        t = self.sign * (w - self.at)
        constant, linear, quadratic = self.coefficients
        return constant + t * linear + t * t * quadratic


def _end(stack: PlaneStack, q: Array64, side: int) -> _End:
    """Return a rounded end if the extrapolated shape closes within one step; otherwise a flat end at the slab face."""
    sign = -1.0 if side == 0 else 1.0
    at = float(stack.offsets_mm[side])
    flat_mm = abs(float(stack.slabs_mm[side, 0 if side == 0 else 1]) - at)
    zero = np.zeros_like(q[side])
    if len(q) < 3:
        return _End(flat_mm, sign, at, (q[side], zero, zero))
    order = (0, 1, 2) if side == 0 else (-1, -2, -3)
    a, b, c = (q[n] for n in order)
    first_step, second_step = (abs(float(stack.offsets_mm[order[0]] - stack.offsets_mm[n])) for n in order[1:])
    # Parabola through the last three planes, as a function of the distance beyond the last plane.
    quadratic = ((c - a) / second_step - (b - a) / first_step) / (second_step - first_step)
    linear = (a - b) / first_step + quadratic * first_step
    end = _End(first_step, sign, at, (a, linear, quadratic))
    closes = float(end.level(at + sign * first_step).max()) <= 0
    return end if closes else _End(flat_mm, sign, at, (a, zero, zero))


def _along_normal(stack: PlaneStack, q: Array64, w: Array64, ends: list[_End]) -> Array64:
    level = np.empty((len(w), *q.shape[1:]))
    inner = (w >= stack.offsets_mm[0]) & (w <= stack.offsets_mm[-1])
    if len(q) > 1 and inner.any():
        level[inner] = Akima1DInterpolator(stack.offsets_mm, q, axis=0)(w[inner])
    for index in np.flatnonzero(~inner):
        end = ends[0] if w[index] < stack.offsets_mm[0] else ends[1]
        level[index] = end.level(float(w[index]))
    if len(q) == 1:
        level[inner] = q[0]
    return level


def _within(stack: PlaneStack, w: Array64, begin: float, stop: float) -> Array64:
    """Return the distance along the normal to the ends of the structure and to gaps between slabs, mm."""
    within = np.minimum(w - begin, stop - w)
    for below, above in zip(stack.slabs_mm[:-1, 1], stack.slabs_mm[1:, 0], strict=True):
        if above - below > 1e-6:
            within = np.minimum(within, np.maximum(below - w, w - above))
    return within


def _signed_distance(polygons: tuple[Array64, ...], u: Array64, v: Array64) -> Array64:
    """Return the signed distance to the nearest edge, positive inside (even-odd), on the lattice ``(v, u)``, mm."""
    lattice = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    start = np.concatenate(polygons)
    edge = np.concatenate([np.roll(p, -1, axis=0) for p in polygons]) - start
    length = np.linalg.norm(edge, axis=1)
    counts = np.maximum(np.ceil(length / EDGE_STEP_MM).astype(int), 1)
    owner = np.repeat(np.arange(len(start)), counts)
    position = (np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[owner]
    _, nearest = cKDTree(start[owner] + edge[owner] * position[:, None]).query(lattice)
    edge_id = owner[nearest]
    along = np.einsum("ij,ij->i", lattice - start[edge_id], edge[edge_id]) / np.maximum(length[edge_id] ** 2, 1e-12)
    foot = start[edge_id] + edge[edge_id] * np.clip(along, 0.0, 1.0)[:, None]
    distance = np.linalg.norm(lattice - foot, axis=1).reshape(len(v), len(u))
    line, x = crossings(polygons, v)
    inside = np.zeros((len(v), len(u) + 1), dtype=np.int64)
    np.add.at(inside, (line, np.searchsorted(u, x)), 1)
    return np.where(np.cumsum(inside, axis=1)[:, : len(u)] % 2 == 1, distance, -distance)
