"""Conversion of contours to voxels: the partial-volume fraction of a structure in each voxel.

Contour planes that lie on the slices, or closer together than the slices, are treated as slabs: exact in-plane coverage
times the overlap of slab and slice. For other planes (between the slices, wider apart or tilted), the shape between the
planes is interpolated (`imaging.shape`). In both cases the fractions add up to the volume of the contours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.coverage import pixel_centers_inside, pixel_coverage
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import Array64, PlaneStack, stack_planes
from RTResponseCAMLib.imaging.shape import shape_fraction, shape_mask
from RTResponseCAMLib.study import Structure

ON_SLICE = 0.1
DENSE = 0.75
MAX_BOX_VOXELS = 2**27
Fraction = npt.NDArray[np.float32]


def fraction_inside(structure: Structure, grid: Grid) -> Fraction:
    """Return the fraction of each voxel inside the structure, ``[z, y, x]``, 0…1, float32.

    Raises
    ------
    GeometryError : the structure has no usable contours, or they are not parallel planes.
    """
    result = np.zeros(grid.shape, dtype=np.float32)
    for stack in stack_planes(structure).each:
        box, start = _bounding_box(structure, stack, grid)
        _paste(result, _part_fraction(stack, box), start, np.add)
    return np.minimum(result, 1.0)


def mask(structure: Structure, grid: Grid) -> npt.NDArray[np.bool_]:
    """Return a mask ``[z, y, x]`` of the voxels whose center lies inside the structure, as other RT software does.

    If all contour planes lie within a tenth of a slice of image planes, each belongs to that slice alone. Otherwise the
    slabs of dense planes or the interpolated shape between the planes determine the mask.
    """
    result = np.zeros(grid.shape, dtype=bool)
    for stack in stack_planes(structure).each:
        box, start = _bounding_box(structure, stack, grid)
        _paste(result, _stack_mask(stack, box), start, np.logical_or)
    return result


def _stack_mask(stack: PlaneStack, box: Grid) -> npt.NDArray[np.bool_]:
    slices = _slices_of(stack, box)
    if slices is not None:
        inside = np.zeros(box.shape, dtype=bool)
        for slice_index, polygons in zip(slices, _polygons_in_index(stack, box), strict=True):
            inside[slice_index] ^= pixel_centers_inside(polygons, box.size[0], rows=box.size[1])
        return inside
    edges = _slab_edges(stack, box)
    if edges is not None:
        return _slab_fraction(stack, box, edges) >= 0.5
    return shape_mask(stack, box, keep_volume=_holds(box, stack))


def structure_box(structure: Structure, grid: Grid) -> Grid:
    """Return the smallest sub-grid that contains the structure; it may extend beyond ``grid``."""
    return _bounding_box(structure, stack_planes(structure), grid)[0]


def box_fraction(structure: Structure, box: Grid) -> Fraction:
    """Return the same as `fraction_inside` for a grid that is already small; what lies beyond the grid is cut off."""
    return stack_fraction(stack_planes(structure), box)


def stack_fraction(stack: PlaneStack, box: Grid) -> Fraction:
    """Return the same as `box_fraction` for sorted planes; each connected part is sampled in its own box."""
    if not stack.parts:
        return _part_fraction(stack, box)
    result = np.zeros(box.shape, dtype=np.float32)
    for part in stack.parts:
        low, high = _reach(part, box)
        low, high = np.maximum(low, 0), np.minimum(high, np.asarray(box.size) - 1)
        if (low > high).any():
            continue
        start = (int(low[0]), int(low[1]), int(low[2]))
        part_box = box.crop(start, (int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1, int(high[2] - low[2]) + 1))
        _paste(result, _part_fraction(part, part_box), start, np.add)
    return np.minimum(result, 1.0)


def _part_fraction(stack: PlaneStack, box: Grid) -> Fraction:
    edges = _slab_edges(stack, box)
    if edges is not None:
        return _slab_fraction(stack, box, edges)
    return shape_fraction(stack, box, keep_volume=_holds(box, stack))


def filled_voxels(structure: Structure, box: Grid) -> npt.NDArray[np.bool_]:
    """Return the mask of a structure on a box by the half-filled rule (`stands_for`)."""
    return stands_for(box_fraction(structure, box))


def stands_for(share: Fraction) -> npt.NDArray[np.bool_]:
    """Return the voxels at least half filled; if there is none, the voxels with the largest fraction."""
    return np.asarray(share >= min(0.5, float(share.max())))


def _bounding_box(structure: Structure, stack: PlaneStack, grid: Grid) -> tuple[Grid, tuple[int, int, int]]:
    low, high = _reach(stack, grid)
    size = high - low + 1
    if np.prod(size, dtype=np.float64) > MAX_BOX_VOXELS:
        problem = f"spreads over {np.ptp(body_corners(stack), axis=0).max():.0f} mm: a contour lies far from the others"
        raise GeometryError(
            f"ROI {structure.number} '{structure.name}'", problem, "Correct the ROI and export it again"
        )
    start = (int(low[0]), int(low[1]), int(low[2]))
    return grid.crop(start, (int(size[0]), int(size[1]), int(size[2]))), start


def _reach(stack: PlaneStack, grid: Grid) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the first and last index (i, j, k) of the voxels that a stack may cover."""
    index = grid.to_index(np.concatenate([body_corners(part) for part in stack.each]))
    return np.floor(index.min(axis=0)).astype(int) - 1, np.ceil(index.max(axis=0)).astype(int) + 1


def _paste(
    whole: npt.NDArray[np.generic], part: npt.NDArray[np.generic], start: tuple[int, int, int], combine: np.ufunc
) -> None:
    """Combine ``part`` into ``whole`` (both ``[z, y, x]``) at index ``start`` (i, j, k); voxels outside are ignored."""
    target, source = [], []
    for first, length, limit in zip(reversed(start), part.shape, whole.shape, strict=True):
        low, high = max(first, 0), min(first + length, limit)
        if low >= high:
            return
        target.append(slice(low, high))
        source.append(slice(low - first, high - first))
    whole[tuple(target)] = combine(whole[tuple(target)], part[tuple(source)])


def _is_parallel(stack: PlaneStack, grid: Grid) -> bool:
    """Return True if the planes deviate from the slices by less than a tenth of a slice over the whole structure."""
    normal = np.asarray(grid.direction).reshape(3, 3)[:, 2]
    sine = float(np.linalg.norm(np.cross(stack.axes[2], normal)))
    points, _ = _points_of(stack)
    return sine * float(np.ptp(points, axis=0).max()) < ON_SLICE * grid.spacing_mm[2]


def _slices_of(stack: PlaneStack, grid: Grid) -> npt.NDArray[np.intp] | None:
    """Return the slice index of each plane if all planes lie on adjacent slices, else None."""
    if not _is_parallel(stack, grid):
        return None
    position = _plane_positions(stack, grid, stack.offsets_mm)
    nearest = np.rint(position)
    on_slices = np.abs(position - nearest).max() <= ON_SLICE
    step = np.abs(np.diff(nearest))
    adjacent = len(step) == 0 or (step.min() >= 1 and np.median(step) == 1)
    return nearest.astype(np.intp) if on_slices and adjacent else None


def _slab_edges(stack: PlaneStack, grid: Grid) -> Array64 | None:
    """Return the slab (first and last continuous k) of each plane; None if the shape between planes is needed.

    Slabs are sufficient for planes parallel to the slices that lie on them, are dense, or are fewer than three.
    """
    slices = _slices_of(stack, grid)
    if slices is not None:
        return np.stack([slices - 0.5, slices + 0.5], axis=1).astype(np.float64)
    dense = len(stack.offsets_mm) < 3 or float(np.median(np.diff(stack.offsets_mm))) <= DENSE * grid.spacing_mm[2]
    if not dense or not _is_parallel(stack, grid):
        return None
    return np.sort(np.stack([_plane_positions(stack, grid, stack.slabs_mm[:, n]) for n in (0, 1)], axis=1), axis=1)


def _plane_positions(stack: PlaneStack, grid: Grid, offsets_mm: Array64) -> Array64:
    """Return the slice coordinate (continuous k) of offsets along the planes' normal."""
    middle = _points_of(stack)[0].mean(axis=0)
    points = np.column_stack([np.tile(middle, (len(offsets_mm), 1)), offsets_mm]) @ stack.axes
    return grid.to_index(points)[:, 2]


def _polygons_in_index(stack: PlaneStack, grid: Grid) -> list[list[Array64]]:
    """Return the polygons of each plane in continuous (i, j) of the grid."""
    points, plane = _points_of(stack)
    index = grid.to_index(np.column_stack([points, stack.offsets_mm[plane]]) @ stack.axes)[:, :2]
    ends = np.cumsum([len(p) for polygons in stack.polygons for p in polygons])
    parts = iter(np.split(index, ends[:-1]))
    return [[next(parts) for _ in polygons] for polygons in stack.polygons]


def _points_of(stack: PlaneStack) -> tuple[Array64, npt.NDArray[np.intp]]:
    """Return all contour points in (u, v), mm, and the plane index of each."""
    counts = [sum(len(p) for p in polygons) for polygons in stack.polygons]
    points = np.concatenate([p for polygons in stack.polygons for p in polygons])
    return points, np.repeat(np.arange(len(counts)), counts)


def _slab_fraction(stack: PlaneStack, grid: Grid, edges: Array64) -> Fraction:
    result = np.zeros(grid.shape, dtype=np.float64)
    for (low, high), polygons in zip(edges, _polygons_in_index(stack, grid), strict=True):
        coverage = pixel_coverage(polygons, grid.size[0], rows=grid.size[1])
        for k in range(max(int(np.floor(low + 0.5)), 0), min(int(np.ceil(high + 0.5)), grid.size[2])):
            share = min(high, k + 0.5) - max(low, k - 0.5)
            if share > 0:
                result[k] += share * coverage
    result = np.clip(result, 0.0, 1.0)
    edge = (result > 0) & (result < 1)
    share = float(result[edge].sum())
    if share > 0 and _holds(grid, stack):  # edge voxels take the difference to the contours' volume
        target_sum = stack.volume_mm3 / (1000 * grid.voxel_cc)
        result[edge] = np.minimum(result[edge] * max(1 + (target_sum - float(result.sum())) / share, 0.0), 1.0)
    return result.astype(np.float32)


def _holds(grid: Grid, stack: PlaneStack) -> bool:
    """Return True if the whole structure lies on the grid; otherwise its volume cannot be matched."""
    index = grid.to_index(body_corners(stack))
    return bool((index > -0.5).all() and (index < np.asarray(grid.size) - 0.5).all())


def body_corners(stack: PlaneStack) -> Array64:
    """Return the contour points at both slab faces of each plane, LPS mm.

    The outer faces of the end planes lie a full step outside, because a rounded end may extend that far.
    """
    faces = stack.slabs_mm.copy()
    faces[0, 0] -= stack.offsets_mm[0] - faces[0, 0]
    faces[-1, 1] += faces[-1, 1] - stack.offsets_mm[-1]
    points, plane = _points_of(stack)
    return np.concatenate([np.column_stack([points, side[plane]]) @ stack.axes for side in faces.T])
