"""Family "mixture": two compartments of equal mean and variance that differ in autocorrelation and its direction.

The resistant compartment is streaky: its texture is long along one axis. Variance, histogram and mean do not tell the
compartments apart on an ideal scan; a scanner's blur takes more from the finer of them, which is why their correlation
lengths have one geometric mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from RTResponseCAMLib.phantom.families.properties import Properties
from RTResponseCAMLib.phantom.families.zones import Core, Zone, grain, sample_core, sample_zone, texture
from RTResponseCAMLib.phantom.field import Array32, Array64, Field

STRETCH = 2.6  # of the streaks along their axis; across it, they are finer by its square root


@dataclass(frozen=True)
class Mixture:
    """Two textures; the second is read at points that are compressed along an axis."""

    zone: Zone
    core: Core
    even: Field
    streaky: Field
    compress: Array64
    amplitude: float

    def resistance(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """See `Mechanism`."""
        return self.zone.at(points_mm)

    def necrosis(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """See `Mechanism`."""
        return self.core.at(points_mm, depth_mm)

    def tissue(self, points_mm: Array64, depth_mm: Array32, *, rim: Array32, weight: Array32) -> Array32:
        """See `Mechanism`."""
        even = self.even.at(points_mm)
        streaky = self.streaky.at(points_mm @ self.compress)
        # The sum of squares of the weights stays 1: the variance does not fall at the border.
        mixed = np.sin(weight * np.pi / 2) * streaky + np.cos(weight * np.pi / 2) * even
        return np.asarray((1 + rim) * (1 + grain(np.asarray(mixed, np.float32), self.amplitude)), dtype=np.float32)


def sample(rng: np.random.Generator, properties: Properties) -> Mixture:
    """Return the mechanism of one lesion."""
    radius, scale = properties.radius_mm, properties.texture_mm
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    compress = axes @ np.diag([1 / STRETCH, STRETCH**0.5, STRETCH**0.5]) @ axes.T
    return Mixture(
        sample_zone(rng, radius),
        sample_core(rng, radius),
        texture(rng, radius, scale_mm=scale),
        texture(rng, radius, scale_mm=scale),
        compress,
        1.2 * properties.texture,
    )
