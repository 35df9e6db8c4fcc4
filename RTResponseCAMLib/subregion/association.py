"""Association of evidence and dose: rank correlation after removal of the radial component, with a spatial null.

Dose falls outwards in every Gamma Knife target, and evidence is often radial too, so both correlate without a causal
relation. Therefore the components explained by distance from the center and by depth below the surface are removed from
both by regression. For the null distribution, the residual map is rotated around the lesion's center: this keeps its
smoothness and changes its position [spatial permutation, after Alexander-Bloch 2018, NeuroImage 178:540].
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
MOST_VOXELS = 2500  # larger lesions: voxels are sampled at random, because neighboring voxels are redundant


@dataclass(frozen=True)
class Association:
    """Rank correlation of evidence and dose within a lesion.

    Attributes
    ----------
    rho : Spearman's ρ.
    rho_beyond_radial : partial correlation of the ranks after removal of the radial component.
    p : two-sided p value of ``rho_beyond_radial``, against rotated maps.
    """

    rho: float
    rho_beyond_radial: float
    p: float


def map_and_dose(voxels: LesionVoxels, seed: int = 0, *, turns: int = TURNS) -> Association | None:
    """Return the correlation of evidence and dose over a lesion's voxels.

    The result is None without dose, with fewer than `LEAST_VOXELS` voxels, or if dose or evidence is constant. The
    correlation beyond the radial component uses at most `MOST_VOXELS` voxels.
    """
    inside = voxels.inside
    if voxels.dose is None or inside.sum() < LEAST_VOXELS:
        return None
    dose, evidence = (_ranks(values[inside].astype(np.float64)) for values in (voxels.dose, voxels.evidence))
    if not dose.any() or not evidence.any():
        return None
    spacing = np.asarray(voxels.grid.spacing_mm[::-1])
    positions = np.argwhere(inside) * spacing
    center = positions.mean(axis=0)
    depth = distance_transform_edt(np.pad(inside, 1), sampling=spacing)[1:-1, 1:-1, 1:-1][inside]
    radius = np.linalg.norm(positions - center, axis=1)
    radial = _orthogonal(radius, depth)
    residual_dose, residual_map = (_unit(values - radial @ (radial.T @ values)) for values in (dose, evidence))
    residual = np.zeros(inside.shape)
    residual[inside] = residual_map
    field = voxels.extended(residual)
    rng, null = np.random.default_rng(seed), np.empty(turns)
    chosen = rng.permutation(len(positions))[:MOST_VOXELS]
    positions, radial = positions[chosen], _orthogonal(radius[chosen], depth[chosen])
    residual_dose, residual_map = (
        _unit(values[chosen] - radial @ (radial.T @ values[chosen])) for values in (residual_dose, residual_map)
    )
    for n, turn in enumerate(Rotation.random(turns, rng=rng)):
        rotated = (turn.apply(positions - center) + center) / spacing
        rotated_map = map_coordinates(field, rotated.T, order=1, mode="nearest")
        null[n] = _unit(rotated_map - radial @ (radial.T @ rotated_map)) @ residual_dose
    rho = float(residual_map @ residual_dose)
    p = (1 + int((np.abs(null) >= abs(rho)).sum())) / (1 + turns)
    return Association(float(evidence @ dose), rho, p)


def _orthogonal(radius: Array64, depth: Array64) -> Array64:
    """Return an orthonormal basis of a constant and cubic polynomials in radius and depth, ``(voxels, ≤ 7)``."""
    columns = [np.ones_like(radius), *(v**k for v in (radius / radius.max(), depth / depth.max()) for k in (1, 2, 3))]
    left, values, _ = np.linalg.svd(np.column_stack(columns), full_matrices=False)
    return np.asarray(left[:, values > 1e-8 * values[0]])


def _ranks(values: Array64) -> Array64:
    """Return the ranks minus their mean, at unit length; the scalar product of two such vectors is Spearman's ρ."""
    ranks = rankdata(values)
    return _unit(ranks - ranks.mean())


def _unit(values: Array64) -> Array64:
    length = float(np.linalg.norm(values))
    return np.asarray(values / length if length > 0 else np.zeros_like(values))
