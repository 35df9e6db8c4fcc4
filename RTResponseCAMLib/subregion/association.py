"""Do map and dose go together? A rank correlation, less what is radial in both, against turned maps.

Dose falls outwards in every Gamma Knife target, and evidence is often radial too: they correlate without any link. So
what distance from the center and depth below the surface explain is taken out of both, and what is left of the map is
turned about the lesion's center: that keeps its smoothness, and breaks where it lies [spatial permutation, after
Alexander-Bloch 2018, NeuroImage 178:540].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.spatial.transform import Rotation
from scipy.stats import rankdata

from RTResponseCAMLib.imaging.planes import Array64
from RTResponseCAMLib.subregion.voxels import LesionVoxels

TURNS = 499
LEAST_VOXELS = 20
MOST_VOXELS = 2500  # neighbors tell the same: of larger lesions, voxels drawn at random


@dataclass(frozen=True)
class Association:
    """Spearman's ρ of map and dose within a lesion; its part beyond what is radial, and the two-sided p of that."""

    rho: float
    rho_beyond_radial: float
    p: float


def map_and_dose(voxels: LesionVoxels, seed: int = 0, *, turns: int = TURNS) -> Association | None:
    """Correlation of evidence and dose over a lesion's voxels; None without dose or below `LEAST_VOXELS` voxels.

    What lies beyond the radial part is taken at `MOST_VOXELS` voxels at most.
    """
    inside = voxels.inside
    if voxels.dose is None or inside.sum() < LEAST_VOXELS:
        return None
    dose, evidence = (_ranks(values[inside].astype(np.float64)) for values in (voxels.dose, voxels.evidence))
    if not dose.any() or not evidence.any():
        return None
    spacing = np.asarray(voxels.grid.spacing_mm[::-1])
    places = np.argwhere(inside) * spacing
    center = places.mean(axis=0)
    depth = distance_transform_edt(np.pad(inside, 1), sampling=spacing)[1:-1, 1:-1, 1:-1][inside]
    radius = np.linalg.norm(places - center, axis=1)
    radial = _orthogonal(radius, depth)
    own_dose, own_map = (_unit(values - radial @ (radial.T @ values)) for values in (dose, evidence))
    rest = np.zeros(inside.shape)
    rest[inside] = own_map
    field = voxels.extended(rest)
    rng, null = np.random.default_rng(seed), np.empty(turns)
    chosen = rng.permutation(len(places))[:MOST_VOXELS]
    places, radial = places[chosen], _orthogonal(radius[chosen], depth[chosen])
    own_dose, own_map = (_unit(values[chosen] - radial @ (radial.T @ values[chosen])) for values in (own_dose, own_map))
    for n, turn in enumerate(Rotation.random(turns, rng=rng)):
        moved = (turn.apply(places - center) + center) / spacing
        turned = map_coordinates(field, moved.T, order=1, mode="nearest")
        null[n] = _unit(turned - radial @ (radial.T @ turned)) @ own_dose
    rho = float(own_map @ own_dose)
    p = (1 + int((np.abs(null) >= abs(rho)).sum())) / (1 + turns)
    return Association(float(evidence @ dose), rho, p)


def _orthogonal(radius: Array64, depth: Array64) -> Array64:
    """Orthonormal columns of a constant and cubics in radius and depth, ``(voxels, 7)``."""
    columns = [np.ones_like(radius), *(v**k for v in (radius / radius.max(), depth / depth.max()) for k in (1, 2, 3))]
    left, values, _ = np.linalg.svd(np.column_stack(columns), full_matrices=False)
    return np.asarray(left[:, values > 1e-8 * values[0]])


def _ranks(values: Array64) -> Array64:
    """Ranks less their mean, of unit length: the product of two is Spearman's ρ."""
    ranks = rankdata(values)
    return _unit(ranks - ranks.mean())


def _unit(values: Array64) -> Array64:
    length = float(np.linalg.norm(values))
    return np.asarray(values / length if length > 0 else np.zeros_like(values))
