"""Family "perfusion": sectors whose rim does not enhance are resistant; a broken rim is what can be seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from RTResponseCAMLib.phantom.families.properties import Properties
from RTResponseCAMLib.phantom.families.zones import Core, grain, sample_core, texture
from RTResponseCAMLib.phantom.field import Array32, Array64, Field, random_field

DIM = 0.12  # loss of enhancement below a defect of the rim
LEAST_RIM = 0.25  # excess brightness of the rim where it is whole, at least


@dataclass(frozen=True)
class Perfusion:
    """A field over the directions from the center; its high sectors are defects."""

    sectors: Field
    core: Core
    grain: Field
    amplitude: float
    radius_mm: float

    def resistance(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """See `Mechanism`."""
        distance = np.maximum(np.linalg.norm(points_mm, axis=-1, keepdims=True), 1e-3)
        # Sectors widen outwards; in the middle, where all of them meet, the field turns smoothly.
        reach = np.minimum(distance / self.radius_mm, 1.0) ** 0.5
        return self.sectors.at(points_mm / distance * reach * 10.0)

    def necrosis(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """See `Mechanism`."""
        return self.core.at(points_mm, depth_mm)

    def tissue(self, points_mm: Array64, depth_mm: Array32, *, rim: Array32, weight: Array32) -> Array32:
        """See `Mechanism`."""
        fine = grain(self.grain.at(points_mm), self.amplitude)
        shell = np.exp(-(((depth_mm - 1.2) / 1.4) ** 2))
        whole = np.maximum(rim, LEAST_RIM * shell)
        return np.asarray((1 + whole * (1 - weight)) * (1 + fine) - DIM * weight, dtype=np.float32)


def sample(rng: np.random.Generator, properties: Properties) -> Perfusion:
    """Return the mechanism of one lesion."""
    radius = properties.radius_mm
    return Perfusion(
        random_field(rng, 13.0, scale_mm=float(rng.uniform(4.0, 6.5))),
        sample_core(rng, radius),
        texture(rng, radius, scale_mm=properties.texture_mm),
        properties.texture,
        radius,
    )
