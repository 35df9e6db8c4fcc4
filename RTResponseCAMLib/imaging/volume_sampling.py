"""Sample points that fill a structure evenly, each with a volume weight, for dose statistics.

A Gamma Knife target covers only a few voxels, and its dose falls by 10 % per millimeter, so the voxels of any grid are
too coarse. The points lie in the frame of the structure's contour planes; their spacing depends on its volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from RTResponseCAMLib.imaging.coverage import pixel_coverage
from RTResponseCAMLib.imaging.planes import Array64, PlaneStack, stack_planes
from RTResponseCAMLib.imaging.shape import Shape, shape_between
from RTResponseCAMLib.study import Structure

POINTS, LAYERS = 20000, 3
MOST_CELLS, LEAST_POINTS = 500_000, 3000
MOST_LATTICE = 4_000_000  # cells of the bounding box: hollow structures get larger cells
FINEST_MM, COARSEST_MM = 0.05, 1.5
LATTICE = 24  # lattice steps across the structure, for the distances to its surface
MAX_PLANES = 64


@dataclass(frozen=True)
class VolumeSamples:
    """Sample points of a structure, with volume weights.

    Attributes
    ----------
    points_mm : points ``(n, 3)``, LPS mm.
    weight_cc : volume of each point, cm³, ``(n,)``; the sum is the volume of the contours.
    step_mm : cell size, mm.
    """

    points_mm: Array64
    weight_cc: Array64
    step_mm: float


def volume_samples(structure: Structure) -> VolumeSamples:
    """Return sample points that fill a structure: at most about `POINTS` cells of `FINEST_MM` to `COARSEST_MM`.

    The shape between the contour planes is interpolated (`imaging.shape`). Contours along voxel edges, structures of
    one or two planes, and structures of more than `MAX_PLANES` planes are treated as slabs, see `stack_planes`.

    Raises
    ------
    GeometryError : the structure has no usable contours, or they are not parallel planes.
    """
    stack = stack_planes(structure)
    samples = [_part_points(part, stack.volume_mm3) for part in stack.each]
    return VolumeSamples(
        np.concatenate([s.points_mm for s in samples]), np.concatenate([s.weight_cc for s in samples]),
        max(s.step_mm for s in samples),
    )  # fmt: skip


def _part_points(stack: PlaneStack, whole_mm3: float) -> VolumeSamples:
    """Return the sample points of one connected part of a structure with volume ``whole_mm3``.

    The number of cells is proportional to the volume of the part, at least `LEAST_POINTS`.
    """
    cells = max(POINTS * stack.volume_mm3 / whole_mm3, min(LEAST_POINTS, POINTS))
    step = float(np.clip((stack.volume_mm3 / cells) ** (1 / 3), FINEST_MM, COARSEST_MM))
    step = max(step, (stack.volume_mm3 / MOST_CELLS) ** (1 / 3), (_box_mm3(stack) / MOST_LATTICE) ** (1 / 3))
    slabs = stack.along_voxels or len(stack.offsets_mm) < 3 or len(stack.offsets_mm) > MAX_PLANES
    local, weight = _slabs(stack, step) if slabs else _smooth(stack, step)
    if not weight.sum() > 0:  # a wall thinner than a cell
        local, weight = _slabs(stack, step)
    return VolumeSamples(local @ stack.axes, weight * (stack.volume_mm3 / 1000 / weight.sum()), step)


def _box_mm3(stack: PlaneStack) -> float:
    """Return the volume of the part's bounding box in the frame of the planes, mm³."""
    corners = np.concatenate([p for polygons in stack.polygons for p in polygons])
    width, height = np.ptp(corners, axis=0)
    return float(width * height * (stack.slabs_mm[-1, 1] - stack.slabs_mm[0, 0]))


def _slabs(stack: PlaneStack, step: float) -> tuple[Array64, Array64]:
    """Return the sample points ``(u, v, w)`` of flat slabs, mm, and their weights."""
    points, weights = [], []
    for polygons, (low, high) in zip(stack.polygons, stack.slabs_mm, strict=True):
        corner = np.concatenate(polygons).min(axis=0)
        columns, rows = np.ceil(np.ptp(np.concatenate(polygons), axis=0) / step).astype(int) + 1
        fraction = pixel_coverage([(p - corner) / step - 0.5 for p in polygons], int(columns), rows=int(rows))
        v, u = np.nonzero(fraction)
        layers = int(np.ceil((high - low) / step))
        depth = low + (np.arange(layers) + 0.5) * (high - low) / layers
        plane = corner + (np.column_stack([u, v]) + 0.5) * step
        points.append(np.column_stack([np.tile(plane, (layers, 1)), np.repeat(depth, len(plane))]))
        weights.append(np.tile(fraction[v, u], layers) * (high - low) / layers)
    return np.concatenate(points), np.concatenate(weights)


def _smooth(stack: PlaneStack, step: float) -> tuple[Array64, Array64]:
    """Return the sample points of the interpolated shape, and their weights; points are denser near its surface."""
    corners = np.concatenate([p for polygons in stack.polygons for p in polygons])
    shape = shape_between(stack, max(float(np.ptp(corners, axis=0).max()) / LATTICE, FINEST_MM))
    low, count = shape.first_mm, (np.asarray(shape.distance_mm.shape[::-1]) - 1) * shape.step_mm / step
    axes = [low[n] + step * (np.arange(int(np.ceil(count[n]))) + 0.5) for n in range(3)]
    v, u = (values.ravel() for values in np.meshgrid(axes[1], axes[0], indexing="ij"))
    layer_points, depths = [], []
    for w in axes[2]:  # layer by layer, because most of the lattice lies outside
        layer = np.column_stack([u, v, np.full(len(u), w)])
        deep = shape.within(layer)
        selected = deep > -step / 2
        layer_points.append(layer[selected])
        depths.append(deep[selected])
    local, depth = np.concatenate(layer_points), np.concatenate(depths)
    rim = (depth > -step / 2) & (depth < step)
    inner = depth >= step
    # Near the surface, the inside part of a cell is divided into layers. A single point could lie outside the
    # structure, or the volume with the lowest dose could have no point.
    thickness = np.minimum(depth[rim] + step / 2, step)
    layers = (np.arange(LAYERS) + 0.5) / LAYERS
    outwards = depth[rim][:, None] + step / 2 - thickness[:, None] * (1 - layers)
    moved = local[rim][:, None] + (outwards - depth[rim][:, None])[..., None] * _slope(shape, local[rim], step)[:, None]
    weight = np.repeat(thickness / step / LAYERS, LAYERS)
    # Two points for each inner cell form a body-centered lattice: the volume within an isodose is counted in smaller
    # steps.
    twice = local[inner][:, None] + step / 4 * np.asarray([[1.0], [-1.0]])
    points = np.concatenate([twice.reshape(-1, 3), moved.reshape(-1, 3)])
    return points, np.concatenate([np.full(2 * int(inner.sum()), 0.5), weight])


def _slope(shape: Shape, local: Array64, step: float) -> Array64:
    """Return unit vectors towards the inside at points ``(n, 3)``."""
    steps = np.eye(3) * step / 2
    gradient = np.stack([shape.within(local + offset) - shape.within(local - offset) for offset in steps], axis=1)
    return np.asarray(gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9))
