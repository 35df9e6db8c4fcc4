"""Distances to a surface that a lattice of values describes by their change of sign."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

Array64 = npt.NDArray[np.float64]


def distance_from_surface(field: Array64, step_mm: float, reach_mm: float) -> Array64:
    """Distances, positive inside, of lattice points to where ``field`` changes sign; exact within ``reach_mm``.

    Farther away they may be infinite. The surface is taken where straight lines between neighbours cross zero.
    """
    places = np.indices(field.shape, dtype=np.float64)
    inside = field > 0
    crossings = []
    for axis in range(3):
        one, two = (np.take(field, range(n, field.shape[axis] - 1 + n), axis) for n in (0, 1))
        at = np.nonzero(np.diff(inside, axis=axis))
        points = np.stack([places[n][at] for n in range(3)], axis=1)
        before, after = np.asarray(one)[at], np.asarray(two)[at]
        points[:, axis] += before / (before - after)
        crossings.append(points)
    tree = cKDTree(np.concatenate(crossings) * step_mm)
    # The nearest voxel of the other side is at most a step farther than the surface: most voxels need no search.
    apart = np.where(inside, distance_transform_edt(inside), distance_transform_edt(~inside)) * step_mm
    near = apart <= reach_mm + 1.5 * step_mm
    distances, _ = tree.query(places[:, near].T * step_mm)
    found = np.full(field.shape, np.inf)
    found[near] = distances
    return np.where(inside, found, -found)
