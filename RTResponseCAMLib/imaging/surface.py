"""Distances to a surface that a lattice of values describes by their change of sign."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Array64 = npt.NDArray[np.float64]


def distance_from_surface(field: Array64, step_mm: float, *, reach_mm: float) -> Array64:
    """Distances, positive inside, of lattice points to where ``field`` changes sign; infinite beyond ``reach_mm``.

    The surface is known where straight lines between neighbors cross zero; between these points distances are too
    large by less than a step, and by much less where they are some steps long.
    """
    inside = field > 0
    crossings = []
    for axis in range(3):
        at = np.nonzero(np.diff(inside, axis=axis))
        after = tuple(place + (n == axis) for n, place in enumerate(at))
        points = np.stack(at, axis=1).astype(np.float64)
        points[:, axis] += field[at] / (field[at] - field[after])
        crossings.append(points)
    tree = cKDTree(np.concatenate(crossings) * step_mm, balanced_tree=False, compact_nodes=False)  # asked once only
    places = np.indices(field.shape, dtype=np.float64).reshape(3, -1).T * step_mm
    found = tree.query(places, distance_upper_bound=reach_mm + 1e-9)[0].reshape(field.shape)
    return np.where(inside, found, -found)
