"""Diameters by RANO-BM: the longest in a slice, and the longest perpendicular to it in the same slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from RTResponseCAMLib.imaging.planes import Array64, PlaneStack, stack_planes
from RTResponseCAMLib.study import Structure


@dataclass(frozen=True)
class Diameters:
    """Longest diameter in a slice, mm, its perpendicular, mm, and the number of slices that contain the lesion."""

    longest_mm: float
    perpendicular_mm: float
    slices: int


def diameters(structure: Structure) -> Diameters:
    """Diameters of a structure, measured in its contour planes.

    Contours along voxel edges are measured between the midpoints of the voxel sides, because the voxel corners lie up
    to half a voxel outside the tumor on both sides.

    Raises
    ------
    GeometryError : the structure has no usable contours.
    """
    stack = stack_planes(structure)
    best = (0.0, 0.0)
    for polygons in stack.polygons:
        for polygon in polygons:
            best = max(best, _of_polygon(_middles(polygon) if stack.along_voxels else polygon))
    return Diameters(best[0], best[1], _slices(stack))


def of_parts(parts: Sequence[Diameters]) -> Diameters:
    """Diameters of a fragmented lesion: the sum of the longest diameters of its parts (as in RECIST 1.1)."""
    largest = max(parts, key=lambda d: d.longest_mm)
    return Diameters(sum(d.longest_mm for d in parts), largest.perpendicular_mm, max(d.slices for d in parts))


def _slices(stack: PlaneStack) -> int:
    """Number of slices; contours along voxel edges have two planes per slice (see `outlines.edge_contours`)."""
    planes = stack.polygons
    pairs = list(zip(planes[::2], planes[1::2], strict=False))
    two_per_slice = (
        stack.along_voxels and len(planes) % 2 == 0 and all(_alike(first, second) for first, second in pairs)
    )
    return len(pairs) if two_per_slice else len(planes)


def _alike(first: tuple[Array64, ...], second: tuple[Array64, ...]) -> bool:
    return len(first) == len(second) and all(
        a.shape == b.shape and np.allclose(a, b, atol=1e-3) for a, b in zip(first, second, strict=True)
    )


def _middles(polygon: Array64) -> Array64:
    """Midpoints ``(m, 2)`` of the voxel sides along a polygon ``(n, 2)`` of voxel corners."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    lengths = np.linalg.norm(edges, axis=1)
    counts = np.maximum(np.rint(lengths / lengths[lengths > 1e-3].min()).astype(int), 1)
    return np.concatenate(
        [p + e * ((np.arange(n) + 0.5) / n)[:, None] for p, e, n in zip(polygon, edges, counts.tolist(), strict=True)]
    )


def _of_polygon(polygon: Array64) -> tuple[float, float]:
    try:
        corners = polygon[ConvexHull(polygon).vertices]
    except QhullError:
        return 0.0, 0.0
    distances = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
    start, end = np.unravel_index(int(np.argmax(distances)), distances.shape)
    along = (corners[end] - corners[start]) / max(float(distances[start, end]), 1e-9)
    across = corners @ np.asarray([-along[1], along[0]])
    return float(distances[start, end]), float(np.ptp(across))
