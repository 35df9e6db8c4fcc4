"""Family "necrosis": necrotic tissue and the hypoxic tissue around it are resistant; texture is a distractor.

The necrotic fraction follows the resistant fraction, so that how much is dark, and where, drives the response. A zone
of coarse texture lies elsewhere and means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from RTResponseCAMLib.phantom.families.properties import Properties
from RTResponseCAMLib.phantom.families.zones import Core, Zone, grain, sample_core, sample_zone, texture
from RTResponseCAMLib.phantom.field import Array32, Array64, Field

DEPTH = 0.45  # loss of enhancement in the resistant part
COARSER, GAIN = 2.4, 1.3


@dataclass(frozen=True)
class Necrosis:
    """The core that drives the response, and the textures that do not."""

    core: Core
    distractor: Zone
    fine: Field
    coarse: Field
    amplitude: float

    def resistance(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """See `Mechanism`."""
        return self.core.at(points_mm, depth_mm)

    def necrosis(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """See `Mechanism`; not used, because `Properties.necrotic_fraction` is 0: what is resistant is the core."""
        return self.core.at(points_mm, depth_mm)

    def tissue(self, points_mm: Array64, depth_mm: Array32, *, rim: Array32, weight: Array32) -> Array32:
        """See `Mechanism`."""
        misleading = np.clip(0.5 + 2.0 * self.distractor.at(points_mm), 0, 1)
        fine = grain(self.fine.at(points_mm), self.amplitude)
        coarse = grain(self.coarse.at(points_mm), GAIN * self.amplitude)
        even = (1 + rim) * (1 + (1 - misleading) * fine + misleading * coarse)
        return np.asarray(even * (1 - DEPTH * weight), dtype=np.float32)


def sample(rng: np.random.Generator, properties: Properties) -> Necrosis:
    """Return the mechanism of one lesion."""
    radius, scale = properties.radius_mm, properties.texture_mm
    return Necrosis(
        sample_core(rng, radius),
        sample_zone(rng, radius),
        texture(rng, radius, scale_mm=scale),
        texture(rng, radius, scale_mm=COARSER * scale),
        properties.texture,
    )
