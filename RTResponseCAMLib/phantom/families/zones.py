"""Level functions that several mechanisms share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from RTResponseCAMLib.phantom.field import Array32, Array64, Field, random_field

LATTICE_MM = 26.0  # largest half extent of a texture's lattice; larger lesions see its edge values


@dataclass(frozen=True)
class Zone:
    """A connected, lobed part of a lesion: a drift along an axis and a smooth field, in units of the radius."""

    axis: Array64
    field: Field
    radius_mm: float

    def at(self, points_mm: Array64) -> Array32:
        """Level function at points ``(…, 3)`` relative to the center, mm."""
        local = points_mm / self.radius_mm
        return np.asarray(local @ self.axis + 0.55 * self.field.at(local * 10.0), dtype=np.float32)


@dataclass(frozen=True)
class Core:
    """Where necrosis lies: deep in the lesion, off its middle, with a ragged border."""

    field: Field
    offset: Array64
    radius_mm: float

    def at(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """Level function, in units of the radius."""
        local = points_mm / self.radius_mm
        eccentric = local @ self.offset
        return np.asarray(depth_mm / self.radius_mm + eccentric + 0.3 * self.field.at(local * 10.0), dtype=np.float32)


def sample_zone(rng: np.random.Generator, radius_mm: float) -> Zone:
    """Return a zone in a random direction."""
    direction = rng.standard_normal(3)
    return Zone(direction / np.linalg.norm(direction), random_field(rng, 20.0, scale_mm=4.0), radius_mm)


def sample_core(rng: np.random.Generator, radius_mm: float) -> Core:
    """Return a core whose middle lies up to half a radius off that of the lesion."""
    direction = rng.standard_normal(3)
    offset = direction / np.linalg.norm(direction) * rng.uniform(0.0, 0.6)
    return Core(random_field(rng, 20.0, scale_mm=float(rng.uniform(2.5, 4.0))), offset, radius_mm)


def texture(rng: np.random.Generator, radius_mm: float, *, scale_mm: float) -> Field:
    """Return a texture of zero mean and unit variance with a correlation length of ``scale_mm``."""
    return random_field(rng, min(2.0 * radius_mm + 2.0, LATTICE_MM), scale_mm=scale_mm)


def grain(field: Array32, amplitude: float) -> Array32:
    """Return a texture as a relative deviation: somewhat skewed to bright spots, and never below −1."""
    return np.asarray(np.clip(amplitude * field, -0.9, None) + amplitude**2 / 2 * (field**2 - 1), dtype=np.float32)
