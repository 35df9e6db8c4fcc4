"""Distances to a surface that a lattice of values describes by their change of sign."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Array64 = npt.NDArray[np.float64]


def distance_from_surface(field: Array64, step_mm: float, reach_mm: float) -> Array64:
    """Distances, positive inside, of lattice points to where ``field`` changes sign; exact within ``reach_mm``.

    Beyond it plus two steps they are infinite. The surface is taken where straight lines between neighbours cross zero.
    """
    places = np.indices(field.shape, dtype=np.float64)
    crossings = []
    for axis in range(3):
        one, two = (np.take(field, range(n, field.shape[axis] - 1 + n), axis) for n in (0, 1))
        at = np.nonzero((one > 0) != (two > 0))
        points = np.stack([places[n][at] for n in range(3)], axis=1)
        before, after = np.asarray(one)[at], np.asarray(two)[at]
        points[:, axis] += before / (before - after)
        crossings.append(points)
    tree = cKDTree(np.concatenate(crossings) * step_mm)
    points = np.stack([p.ravel() for p in places], axis=1) * step_mm
    found, _ = tree.query(points, distance_upper_bound=reach_mm + 2 * step_mm)
    found = found.reshape(field.shape)
    return np.where(field > 0, found, -found)
