"""Family "vessels": tissue far from its vessels is hypoxic and resistant; the farthest of it is necrotic.

Vessels are random walks that enter from the surface. Enhancement falls with the distance to the nearest one, as
contrast agent and oxygen do in the cylinder model [Krogh 1919, J Physiol 52:409]. How many vessels there are, and how
much of the tissue is necrotic, does not depend on the resistant fraction: resistant is the part of the viable tissue
that is farthest from a vessel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from RTResponseCAMLib.phantom.families.properties import Properties
from RTResponseCAMLib.phantom.families.zones import grain, texture
from RTResponseCAMLib.phantom.field import Array32, Array64, Field

STEPS, STEP = 26, 0.14  # of each vessel; length of a step relative to the radius
WANDERING = 0.55
DIM = 0.30  # loss of enhancement in the resistant part


@dataclass(frozen=True)
class Vessels:
    """Points of the vessels, in units of the radius, and the texture of the tissue."""

    tree: cKDTree
    grain: Field
    amplitude: float
    radius_mm: float

    def distance(self, points_mm: Array64) -> Array32:
        """Distance to the nearest vessel, in units of the radius."""
        flat = (points_mm / self.radius_mm).reshape(-1, 3)
        return np.asarray(self.tree.query(flat, workers=-1)[0], dtype=np.float32).reshape(points_mm.shape[:-1])

    def resistance(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """See `Mechanism`."""
        return self.distance(points_mm)

    def necrosis(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """See `Mechanism`."""
        return self.distance(points_mm)

    def tissue(self, points_mm: Array64, depth_mm: Array32, *, rim: Array32, weight: Array32) -> Array32:
        """See `Mechanism`."""
        fine = grain(self.grain.at(points_mm), self.amplitude)
        return np.asarray((1 + rim * (1 - weight)) * (1 + fine) - DIM * weight, dtype=np.float32)


def sample(rng: np.random.Generator, properties: Properties) -> Vessels:
    """Return the mechanism of one lesion."""
    walks = []
    for _ in range(int(rng.integers(5, 13))):
        place = rng.standard_normal(3)
        place /= np.linalg.norm(place)
        heading = -place
        for _ in range(STEPS):
            heading = heading + WANDERING * rng.standard_normal(3)
            heading /= np.linalg.norm(heading)
            walks.append(place)
            place = place + STEP * heading
    radius = properties.radius_mm
    return Vessels(
        cKDTree(np.asarray(walks)), texture(rng, radius, scale_mm=properties.texture_mm), properties.texture, radius
    )
