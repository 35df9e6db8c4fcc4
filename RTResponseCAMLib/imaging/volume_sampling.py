"""Points that fill a structure evenly, with the volume each stands for: what a dose is averaged over.

A target of the Gamma Knife is a handful of voxels, and its dose falls by a tenth per millimeter: voxels of any grid
would be too coarse. The points lie in the frame of the structure's own contour planes, as densely as its size asks.
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
MOST_LATTICE = 4_000_000  # cells of the bounding box: hollow structures get coarser ones
FINEST_MM, COARSEST_MM = 0.05, 1.5
LATTICE = 24  # steps across the structure, for the distances to its surface
MAX_PLANES = 64


@dataclass(frozen=True)
class VolumeSamples:
    """Points ``(n, 3)`` in LPS mm, and the volume of each, cm³ ``(n,)``; the volumes add up to the contours' volume."""

    points_mm: Array64
    weight_cc: Array64
    step_mm: float


def volume_samples(structure: Structure) -> VolumeSamples:
    """Fill a structure with `POINTS` cells or fewer, `FINEST_MM` to `COARSEST_MM` apart.

    Between few planes the body is interpolated (`imaging.shape`). Contours along voxel edges, one or two planes, and
    large structures of many planes are slabs: each plane as thick as its share of the distance to its neighbors.

    Raises
    ------
    GeometryError : the structure has no usable contours, or they are not parallel planes.
    """
    stack = stack_planes(structure)
    found = [_part_points(part, stack.volume_mm3) for part in stack.each]
    return VolumeSamples(
        np.concatenate([f.points_mm for f in found]), np.concatenate([f.weight_cc for f in found]),
        max(f.step_mm for f in found),
    )  # fmt: skip


def _part_points(stack: PlaneStack, whole_mm3: float) -> VolumeSamples:
    """Points of one connected part of a structure of ``whole_mm3``: its share of the cells, `LEAST_POINTS` at least."""
    cells = max(POINTS * stack.volume_mm3 / whole_mm3, min(LEAST_POINTS, POINTS))
    step = float(np.clip((stack.volume_mm3 / cells) ** (1 / 3), FINEST_MM, COARSEST_MM))
    step = max(step, (stack.volume_mm3 / MOST_CELLS) ** (1 / 3), (_box_mm3(stack) / MOST_LATTICE) ** (1 / 3))
    slabs = stack.along_voxels or len(stack.offsets_mm) < 3 or len(stack.offsets_mm) > MAX_PLANES
    local, weight = _slabs(stack, step) if slabs else _smooth(stack, step)
    if not weight.sum() > 0:  # a wall thinner than a cell
        local, weight = _slabs(stack, step)
    return VolumeSamples(local @ stack.axes, weight * (stack.volume_mm3 / 1000 / weight.sum()), step)


def _box_mm3(stack: PlaneStack) -> float:
    """Volume of the part's bounding box in the planes' own frame."""
    corners = np.concatenate([p for polygons in stack.polygons for p in polygons])
    width, height = np.ptp(corners, axis=0)
    return float(width * height * (stack.slabs_mm[-1, 1] - stack.slabs_mm[0, 0]))


def _slabs(stack: PlaneStack, step: float) -> tuple[Array64, Array64]:
    """Points ``(u, v, w)`` of flat slabs, and their weights."""
    points, weights = [], []
    for polygons, (low, high) in zip(stack.polygons, stack.slabs_mm, strict=True):
        corner = np.concatenate(polygons).min(axis=0)
        columns, rows = np.ceil(np.ptp(np.concatenate(polygons), axis=0) / step).astype(int) + 1
        share = pixel_coverage([(p - corner) / step - 0.5 for p in polygons], int(columns), rows=int(rows))
        v, u = np.nonzero(share)
        layers = int(np.ceil((high - low) / step))
        depth = low + (np.arange(layers) + 0.5) * (high - low) / layers
        plane = corner + (np.column_stack([u, v]) + 0.5) * step
        points.append(np.column_stack([np.tile(plane, (layers, 1)), np.repeat(depth, len(plane))]))
        weights.append(np.tile(share[v, u], layers) * (high - low) / layers)
    return np.concatenate(points), np.concatenate(weights)


def _smooth(stack: PlaneStack, step: float) -> tuple[Array64, Array64]:
    """Points of the body between the planes, and their weights; more of them near its surface."""
    corners = np.concatenate([p for polygons in stack.polygons for p in polygons])
    shape = shape_between(stack, max(float(np.ptp(corners, axis=0).max()) / LATTICE, FINEST_MM))
    low, count = shape.first_mm, (np.asarray(shape.distance_mm.shape[::-1]) - 1) * shape.step_mm / step
    axes = [low[n] + step * (np.arange(int(np.ceil(count[n]))) + 0.5) for n in range(3)]
    v, u = (values.ravel() for values in np.meshgrid(axes[1], axes[0], indexing="ij"))
    kept, depths = [], []
    for w in axes[2]:  # layer by layer: most of a lattice lies outside
        layer = np.column_stack([u, v, np.full(len(u), w)])
        deep = shape.within(layer)
        near = deep > -step / 2
        kept.append(layer[near])
        depths.append(deep[near])
    local, depth = np.concatenate(kept), np.concatenate(depths)
    rim = (depth > -step / 2) & (depth < step)
    inner = depth >= step
    # Near the surface a cell becomes layers of the part of it that lies inside: a single point would stand outside, or
    # leave the coldest volume without any.
    thickness = np.minimum(depth[rim] + step / 2, step)
    layers = (np.arange(LAYERS) + 0.5) / LAYERS
    outwards = depth[rim][:, None] + step / 2 - thickness[:, None] * (1 - layers)
    moved = local[rim][:, None] + (outwards - depth[rim][:, None])[..., None] * _slope(shape, local[rim], step)[:, None]
    weight = np.repeat(thickness / step / LAYERS, LAYERS)
    # Two points for each inner cell make the lattice a body-centerd one: what lies within an isodose is counted in
    # smaller portions.
    twice = local[inner][:, None] + step / 4 * np.asarray([[1.0], [-1.0]])
    points = np.concatenate([twice.reshape(-1, 3), moved.reshape(-1, 3)])
    return points, np.concatenate([np.full(2 * int(inner.sum()), 0.5), weight])


def _slope(shape: Shape, local: Array64, step: float) -> Array64:
    """Unit vectors towards the inside at points ``(n, 3)``."""
    ways = np.eye(3) * step / 2
    found = np.stack([shape.within(local + way) - shape.within(local - way) for way in ways], axis=1)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9))
