"""From contours to voxels: the fraction of each voxel that lies inside a structure.

Three cases, one answer. Planes parallel to the grid's slices: exact in-plane coverage, times the overlap of
slab and slice, so contours on, between, closer or wider than the slices all keep their volume. Tilted planes:
signed distances in the planes' own frame, interpolated between them and sub-sampled on the grid.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates
from scipy.optimize import brentq
from scipy.spatial import cKDTree

from RTResponseCAMLib.imaging.coverage import crossings, pixel_centres_inside, pixel_coverage
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import Array64, PlaneStack, stack_planes, stack_volume_mm3
from RTResponseCAMLib.study import Structure

ON_SLICE = 0.1
SUBSAMPLES = 3
EDGE_STEP_MM = 0.04
Occupancy = npt.NDArray[np.float32]


def occupancy(structure: Structure, grid: Grid) -> Occupancy:
    """Fraction of each voxel inside the structure, ``[z, y, x]``, 0…1, float32.

    Raises
    ------
    GeometryError : the structure has no usable contours, or they are not parallel planes.
    """
    box, start = _bounding_box(structure, grid)
    whole = np.zeros(grid.shape, dtype=np.float32)
    _paste(whole, box_occupancy(structure, box), start)
    return whole


def mask(structure: Structure, grid: Grid) -> npt.NDArray[np.bool_]:
    """Voxels whose centre lies inside the structure, ``[z, y, x]``: the rule of other RT software.

    Contours within a tenth of a slice of an image plane belong to that slice alone. Elsewhere, and for tilted
    planes, a voxel is inside when at least half of it is.
    """
    box, start = _bounding_box(structure, grid)
    stack = stack_planes(structure)
    whole = np.zeros(grid.shape, dtype=bool)
    slices = _slices_of(stack, box)
    if slices is None:
        _paste(whole, box_occupancy(structure, box) >= 0.5, start)
        return whole
    inside = np.zeros(box.shape, dtype=bool)
    for number, polygons in zip(slices, _polygons_in_index(stack, box), strict=True):
        inside[number] ^= pixel_centres_inside(polygons, box.size[0], box.size[1])
    _paste(whole, inside, start)
    return whole


def structure_box(structure: Structure, grid: Grid) -> Grid:
    """Smallest sub-grid (it may reach beyond ``grid``) that holds the structure."""
    return _bounding_box(structure, grid)[0]


def box_occupancy(structure: Structure, box: Grid) -> Occupancy:
    """As `occupancy`, for a grid that is already small; parts of the structure beyond it are cut off."""
    stack = stack_planes(structure)
    if _is_parallel(stack, box):
        return _parallel_occupancy(stack, box)
    return _tilted_occupancy(stack, box)


def filled_voxels(structure: Structure, box: Grid) -> npt.NDArray[np.bool_]:
    """Voxels of a structure's box that stand for it: half filled at least, or the fullest when none is."""
    share = box_occupancy(structure, box)
    return np.asarray(share >= min(0.5, float(share.max())))


def _bounding_box(structure: Structure, grid: Grid) -> tuple[Grid, tuple[int, int, int]]:
    stack = stack_planes(structure)  # raises for a structure without contours
    index = grid.to_index(_corners(stack))
    low = np.floor(index.min(axis=0)).astype(int) - 1
    high = np.ceil(index.max(axis=0)).astype(int) + 1
    size = high - low + 1
    start = (int(low[0]), int(low[1]), int(low[2]))
    return grid.crop(start, (int(size[0]), int(size[1]), int(size[2]))), start


def _paste(whole: npt.NDArray[np.generic], part: npt.NDArray[np.generic], start: tuple[int, int, int]) -> None:
    """Copy ``part`` into ``whole`` (both ``[z, y, x]``) at index ``start`` (i, j, k), cutting what lies outside."""
    into, of = [], []
    for first, length, limit in zip(reversed(start), part.shape, whole.shape, strict=True):
        low, high = max(first, 0), min(first + length, limit)
        if low >= high:
            return
        into.append(slice(low, high))
        of.append(slice(low - first, high - first))
    whole[tuple(into)] = part[tuple(of)]


def _is_parallel(stack: PlaneStack, grid: Grid) -> bool:
    """Planes drift less than a tenth of a slice against the slices over the whole structure."""
    normal = np.asarray(grid.direction).reshape(3, 3)[:, 2]
    sine = float(np.linalg.norm(np.cross(stack.axes[2], normal)))
    points = np.concatenate([p for polygons in stack.polygons for p in polygons])
    return sine * float(np.ptp(points, axis=0).max()) < ON_SLICE * grid.spacing_mm[2]


def _slices_of(stack: PlaneStack, grid: Grid) -> npt.NDArray[np.intp] | None:
    """Slice number of each plane when all lie on slices and no slice between them is left out, else None."""
    if not _is_parallel(stack, grid):
        return None
    position = _plane_positions(stack, grid, stack.offsets_mm)
    nearest = np.rint(position)
    on_slices = np.abs(position - nearest).max() <= ON_SLICE
    step = np.abs(np.diff(nearest))
    adjacent = len(step) == 0 or (step.min() >= 1 and np.median(step) == 1)
    return nearest.astype(np.intp) if on_slices and adjacent else None


def _plane_positions(stack: PlaneStack, grid: Grid, offsets_mm: Array64) -> Array64:
    """Slice coordinate (continuous k) of offsets along the planes' normal."""
    middle = np.concatenate([p for polygons in stack.polygons for p in polygons]).mean(axis=0)
    points = np.column_stack([np.tile(middle, (len(offsets_mm), 1)), offsets_mm]) @ stack.axes
    return grid.to_index(points)[:, 2]


def _polygons_in_index(stack: PlaneStack, grid: Grid) -> list[list[Array64]]:
    """Per plane, its polygons in continuous (i, j) of the grid."""
    return [
        [grid.to_index(np.column_stack([p, np.full(len(p), offset)]) @ stack.axes)[:, :2] for p in polygons]
        for polygons, offset in zip(stack.polygons, stack.offsets_mm, strict=True)
    ]


def _parallel_occupancy(stack: PlaneStack, grid: Grid) -> Occupancy:
    slices = _slices_of(stack, grid)
    if slices is None:
        edges = np.sort(
            np.stack([_plane_positions(stack, grid, stack.slabs_mm[:, side]) for side in (0, 1)], axis=1),
            axis=1,
        )
    else:
        edges = np.stack([slices - 0.5, slices + 0.5], axis=1).astype(np.float64)
    result = np.zeros(grid.shape, dtype=np.float64)
    for (low, high), polygons in zip(edges, _polygons_in_index(stack, grid), strict=True):
        coverage = pixel_coverage(polygons, grid.size[0], grid.size[1])
        for k in range(max(int(np.floor(low + 0.5)), 0), min(int(np.ceil(high + 0.5)), grid.size[2])):
            share = min(high, k + 0.5) - max(low, k - 0.5)
            if share > 0:
                result[k] += share * coverage
    return np.clip(result, 0.0, 1.0).astype(np.float32)


def _tilted_occupancy(stack: PlaneStack, grid: Grid) -> Occupancy:
    """Shape from signed distances between the planes, volume from the contours."""
    step = min(0.5, min(grid.spacing_mm) / 2)
    points = np.concatenate([p for polygons in stack.polygons for p in polygons])
    low = points.min(axis=0) - 4 * step
    count = np.ceil((points.max(axis=0) - low) / step).astype(int) + 5
    u, v = (low[axis] + step * np.arange(count[axis]) for axis in (0, 1))
    distances = np.stack([_signed_distance(polygons, u, v) for polygons in stack.polygons])

    def distance_at(index: Array64) -> Array64:
        local = grid.to_lps(index) @ stack.axes.T
        return _interpolate(stack, distances, (local[:, :2] - low) / step, local[:, 2])

    k, j, i = np.indices(grid.shape, dtype=np.float64)
    centres = np.column_stack([i.ravel(), j.ravel(), k.ravel()])
    coarse = distance_at(centres)
    result = (coarse > 0).astype(np.float64)
    edge = np.flatnonzero(np.abs(coarse) < np.linalg.norm(grid.spacing_mm))
    sub = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5
    shifts = np.stack(np.meshgrid(sub, sub, sub, indexing="ij"), axis=-1).reshape(1, -1, 3)
    fine = distance_at((centres[edge, None] + shifts).reshape(-1, 3)).reshape(len(edge), -1)
    soft_mm = max(grid.spacing_mm) / SUBSAMPLES

    # Interpolating distances shaves convex bodies by a few percent; a common offset of the surface restores
    # the volume that the contours themselves enclose.
    target = stack_volume_mm3(stack) / (1000 * grid.voxel_cc) - (result.sum() - result[edge].sum())
    shift_mm = _surface_shift(fine, soft_mm, target) if _holds(grid, stack) else 0.0
    result[edge] = np.clip(0.5 + (fine + shift_mm) / soft_mm, 0.0, 1.0).mean(axis=1)
    return result.reshape(grid.shape).astype(np.float32)


def _surface_shift(fine: Array64, soft_mm: float, target: float) -> float:
    """Offset of the surface (mm, outwards) at which the voxels of the edge add up to ``target`` voxels."""

    def surplus(shift: float) -> float:
        return float(np.clip(0.5 + (fine + shift) / soft_mm, 0.0, 1.0).mean(axis=1).sum() - target)

    reach = float(np.abs(fine).max()) + soft_mm if fine.size else 0.0
    if not surplus(-reach) < 0 < surplus(reach):
        return 0.0
    return float(brentq(surplus, -reach, reach, xtol=1e-4))


def _holds(grid: Grid, stack: PlaneStack) -> bool:
    """The whole structure lies on the grid; a part of it says nothing about the whole volume."""
    index = grid.to_index(_corners(stack))
    return bool((index > -0.5).all() and (index < np.asarray(grid.size) - 0.5).all())


def _corners(stack: PlaneStack) -> Array64:
    """All contour points at both faces of their slabs, LPS mm."""
    corners = []
    for polygons, slab in zip(stack.polygons, stack.slabs_mm, strict=True):
        points = np.concatenate(polygons)
        corners += [np.column_stack([points, np.full(len(points), w)]) @ stack.axes for w in slab]
    return np.concatenate(corners)


def _interpolate(stack: PlaneStack, distances: Array64, uv: Array64, w: Array64) -> Array64:
    """Signed distance between planes (linear along the normal), cut flat where no slab stands."""
    plane = np.interp(w, stack.offsets_mm, np.arange(len(stack.offsets_mm), dtype=np.float64))
    distance = map_coordinates(distances, [plane, uv[:, 1], uv[:, 0]], order=1, mode="nearest")
    within = np.minimum(
        w - stack.slabs_mm[np.clip(np.floor(plane).astype(int), 0, None), 0],
        stack.slabs_mm[np.ceil(plane).astype(int), 1] - w,
    )
    for below, above in zip(stack.slabs_mm[:-1, 1], stack.slabs_mm[1:, 0], strict=True):
        if above - below > 1e-6:
            within = np.minimum(within, np.maximum(below - w, w - above))
    return np.minimum(distance, within)


def _signed_distance(polygons: tuple[Array64, ...], u: Array64, v: Array64) -> Array64:
    """Distance to the nearest edge, positive inside (even-odd), on the lattice ``(v, u)``, mm (± 0.02)."""
    lattice = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    distance, _ = cKDTree(np.concatenate([_points_along(polygon) for polygon in polygons])).query(lattice)
    line, x = crossings(polygons, v)
    inside = np.zeros((len(v), len(u) + 1), dtype=np.int64)
    np.add.at(inside, (line, np.searchsorted(u, x)), 1)
    sign = np.where(np.cumsum(inside, axis=1)[:, : len(u)] % 2 == 1, 1.0, -1.0)
    return np.asarray(sign * distance.reshape(len(v), len(u)))


def _points_along(polygon: Array64) -> Array64:
    """Points at most `EDGE_STEP_MM` apart along a closed polygon."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    counts = np.maximum(np.ceil(np.linalg.norm(edges, axis=1) / EDGE_STEP_MM).astype(int), 1)
    start = np.repeat(polygon, counts, axis=0)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(start + np.repeat(edges / counts[:, None], counts, axis=0) * place[:, None])
