"""Family "texture": the resistant part has a coarser texture than the rest, and the same mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from RTResponseCAMLib.phantom.families.properties import Properties
from RTResponseCAMLib.phantom.families.zones import Core, Zone, grain, sample_core, sample_zone, texture
from RTResponseCAMLib.phantom.field import Array32, Array64, Field

COARSER, GAIN = 2.4, 1.3


@dataclass(frozen=True)
class Texture:
    """Two textures and the zone that has the coarse one."""

    zone: Zone
    core: Core
    fine: Field
    coarse: Field
    amplitude: float

    def resistance(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """See `Mechanism`."""
        return self.zone.at(points_mm)

    def necrosis(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """See `Mechanism`."""
        return self.core.at(points_mm, depth_mm)

    def tissue(self, points_mm: Array64, depth_mm: Array32, *, rim: Array32, weight: Array32) -> Array32:
        """See `Mechanism`."""
        fine = grain(self.fine.at(points_mm), self.amplitude)
        coarse = grain(self.coarse.at(points_mm), GAIN * self.amplitude)
        return np.asarray((1 + rim) * (1 + (1 - weight) * fine + weight * coarse), dtype=np.float32)


def sample(rng: np.random.Generator, properties: Properties) -> Texture:
    """Return the mechanism of one lesion."""
    radius, scale = properties.radius_mm, properties.texture_mm
    return Texture(
        sample_zone(rng, radius),
        sample_core(rng, radius),
        texture(rng, radius, scale_mm=scale),
        texture(rng, radius, scale_mm=COARSER * scale),
        properties.texture,
    )
