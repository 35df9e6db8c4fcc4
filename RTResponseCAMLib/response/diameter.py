"""Diameters as RANO-BM takes them: the longest in a slice, and the longest perpendicular to it in the same slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from RTResponseCAMLib.imaging.planes import Array64, stack_planes
from RTResponseCAMLib.study import Structure


@dataclass(frozen=True)
class Diameters:
    """Longest diameter in a contour plane, its perpendicular, mm, and in how many planes the lesion shows."""

    longest_mm: float
    perpendicular_mm: float
    planes: int


def diameters(structure: Structure) -> Diameters:
    """Measure a structure in its own contour planes.

    Raises
    ------
    GeometryError : the structure has no usable contours.
    """
    stack = stack_planes(structure)
    best = (0.0, 0.0)
    for polygons in stack.polygons:
        for polygon in polygons:
            best = max(best, _of_polygon(polygon))
    return Diameters(best[0], best[1], len(stack.polygons))


def _of_polygon(polygon: Array64) -> tuple[float, float]:
    try:
        corners = polygon[ConvexHull(polygon).vertices]
    except QhullError:
        return 0.0, 0.0
    apart = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
    one, other = np.unravel_index(int(np.argmax(apart)), apart.shape)
    along = (corners[other] - corners[one]) / max(float(apart[one, other]), 1e-9)
    across = corners @ np.asarray([-along[1], along[0]])
    return float(apart[one, other]), float(np.ptp(across))
