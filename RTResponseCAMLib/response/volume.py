"""Volumes with the 95 % interval from the uncertainty of the boundary, and the change between two volumes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import PlaneStack, stack_planes
from RTResponseCAMLib.imaging.shape import shape_between
from RTResponseCAMLib.imaging.surface import distance_from_surface
from RTResponseCAMLib.study import Structure

BOUNDARY_MM = 0.5
FINE_MM = (0.15, 0.5)
VOXELS_PER_RADIUS = 14
MOST_VOXELS = 8_000_000  # larger boxes use coarser voxels


@dataclass(frozen=True)
class Volume:
    """A volume in cm³ with the 95 % interval from the uncertainty of its boundary."""

    cc: float
    low_cc: float
    high_cc: float


@dataclass(frozen=True)
class Change:
    """Relative change of a volume or diameter (−0.2: 20 % smaller) with its 95 % interval."""

    value: float
    low: float
    high: float


def volume_interval(structure: Structure, boundary_mm: float = BOUNDARY_MM) -> Volume:
    """Volume of a structure; its interval: the volumes with the surface moved in and out by ``boundary_mm``.

    Parameters
    ----------
    boundary_mm : 95 % half-width of the surface position, mm: contouring, voxel size and distortion combined.

    Raises
    ------
    GeometryError : the structure has no usable contours.
    """
    return together([_part_interval(part, boundary_mm) for part in stack_planes(structure).each])


def _part_interval(stack: PlaneStack, boundary_mm: float) -> Volume:
    """Volume interval of one connected part."""
    volume_mm3 = stack.volume_mm3
    radius = (volume_mm3 * 3 / (4 * math.pi)) ** (1 / 3)
    step = float(np.clip(radius / VOXELS_PER_RADIUS, *FINE_MM))
    points = np.concatenate(
        [np.column_stack([p, np.full(len(p), w)]) for w, plane in zip(stack.offsets_mm, stack.polygons, strict=True)
         for p in plane]
    ) @ stack.axes  # fmt: skip
    margin = boundary_mm + 2 * float(np.max(stack.slabs_mm[:, 1] - stack.slabs_mm[:, 0])) + 2 * step
    low = points.min(axis=0) - margin
    step = max(step, float(np.prod(points.max(axis=0) + margin - low) / MOST_VOXELS) ** (1 / 3))
    size = np.ceil((points.max(axis=0) + margin - low) / step).astype(int) + 1
    x, y, z = low.tolist()
    grid = Grid((int(size[0]), int(size[1]), int(size[2])), (step,) * 3, (x, y, z))
    shape = shape_between(stack, step)
    distance = shape.at(grid.points().reshape(-1, 3)).reshape(grid.shape)
    # Use the level that encloses the volume of the structure; distances are then measured from its surface.
    descending = np.sort(distance.ravel())[::-1]
    count = min(max(round(volume_mm3 / step**3), 1), descending.size - 1)
    surface_distance = distance_from_surface(
        distance - (descending[count - 1] + descending[count]) / 2, step, reach_mm=boundary_mm + step
    )

    def moved_mm3(offset_mm: float) -> float:
        return float(np.clip(0.5 + (surface_distance + offset_mm) / step, 0.0, 1.0).sum())

    scale = volume_mm3 / max(moved_mm3(0.0), 1e-9)
    low_cc, high_cc = (moved_mm3(offset) * scale / 1000 for offset in (-boundary_mm, boundary_mm))
    return Volume(volume_mm3 / 1000, low_cc, high_cc)


def absent_volume(boundary_mm: float = BOUNDARY_MM) -> Volume:
    """Volume of a lesion that is no longer visible: zero; the upper limit is a ball with radius ``boundary_mm``."""
    return Volume(0.0, 0.0, 4 / 3 * math.pi * boundary_mm**3 / 1000)


def together(volumes: list[Volume]) -> Volume:
    """Sum of volumes with fully correlated boundary errors (same reader, same scan)."""
    return Volume(*(float(sum(getattr(v, k) for v in volumes)) for k in ("cc", "low_cc", "high_cc")))


def change_interval(before: Volume, after: Volume) -> Change:
    """Relative change with its 95 % interval, from independent boundary errors in the logarithm of the volumes."""
    if before.cc <= 0:
        return Change(math.nan, math.nan, math.nan)
    if after.cc <= 0:
        high = after.high_cc / max(before.low_cc, 1e-9) - 1
        return Change(-1.0, -1.0, min(high, 0.0))
    up = math.hypot(_log_ratio(after.high_cc, after.cc), _log_ratio(before.cc, before.low_cc))
    down = math.hypot(_log_ratio(after.cc, after.low_cc), _log_ratio(before.high_cc, before.cc))
    ratio = after.cc / before.cc
    return Change(ratio - 1, ratio * math.exp(-down) - 1, ratio * math.exp(up) - 1)


def _log_ratio(larger: float, smaller: float) -> float:
    """Logarithm of a ratio, at most that of 100: the limit when the boundary uncertainty is as large as the lesion."""
    return math.log(larger / smaller) if smaller > larger / 100 else math.log(100)
