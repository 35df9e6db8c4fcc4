"""Distances to a surface given by the zero crossings of values on a lattice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Array64 = npt.NDArray[np.float64]


def distance_from_surface(field: Array64, step_mm: float, *, reach_mm: float) -> Array64:
    """Return signed distances of lattice points to the zero crossings of ``field``, positive inside, mm.

    Distances beyond ``reach_mm`` are infinite. The surface is sampled where linear interpolation between neighboring
    lattice points crosses zero. Between these points, distances are too large by less than one step; the error is much
    smaller for distances of several steps.
    """
    inside = field > 0
    crossings = []
    for axis in range(3):
        before = np.nonzero(np.diff(inside, axis=axis))
        after = tuple(index + (n == axis) for n, index in enumerate(before))
        points = np.stack(before, axis=1).astype(np.float64)
        points[:, axis] += field[before] / (field[before] - field[after])
        crossings.append(points)
    # The tree is not balanced, because it is used for one query only.
    tree = cKDTree(np.concatenate(crossings) * step_mm, balanced_tree=False, compact_nodes=False)
    lattice_points = np.indices(field.shape, dtype=np.float64).reshape(3, -1).T * step_mm
    distances = tree.query(lattice_points, distance_upper_bound=reach_mm + 1e-9)[0].reshape(field.shape)
    return np.where(inside, distances, -distances)
