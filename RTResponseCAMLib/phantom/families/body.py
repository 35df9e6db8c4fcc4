"""Body of a realistic lesion: shape, rim, necrosis, edema; a mechanism adds the resistant part and its looks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from RTResponseCAMLib.phantom.anatomy import WHITE
from RTResponseCAMLib.phantom.families.properties import Properties
from RTResponseCAMLib.phantom.field import Array32, Array64, Field, random_field
from RTResponseCAMLib.phantom.lesion import RESPONSE_RATIO
from RTResponseCAMLib.phantom.spec import Variant

DARKER = 0.2  # darkening of the resistant part in the variant "darker"
RIM_DEPTH_MM = 1.2  # depth of the brightest shell of the rim
EDGE_MM = 1.6  # width over which enhancement rises at the edge
SOFT_MM = 1.0  # width of borders within the lesion
REACH = 1.9  # extent of the largest lesion shapes, in radii
FITTED = 30  # lattice points across the box on which volume and fractions are fitted


class Mechanism(Protocol):
    """What makes a part of a lesion resistant, and how it looks. Points: mm from the center, at planning size."""

    def resistance(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """Return a level function: the more, the more resistant; the body cuts it at the resistant fraction."""
        ...

    def necrosis(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        """Return a level function: the more, the more necrotic; the body cuts it at the necrotic fraction."""
        ...

    def tissue(self, points_mm: Array64, depth_mm: Array32, *, rim: Array32, weight: Array32) -> Array32:
        """Return the brightness relative to the tumor without rim and texture.

        Parameters
        ----------
        depth_mm : depth below the enhancing edge, mm.
        rim : excess brightness of an even rim.
        weight : 1 in the resistant part, 0 in the rest; 0 everywhere if the part is to be invisible.
        """
        ...


@dataclass(frozen=True)
class RealisticLesion:
    """One synthetic lesion; coordinates relative to ``center_mm`` in the head frame.

    Attributes
    ----------
    stretch : symmetric 3 × 3 matrix of the ellipsoidal part of the shape.
    lobes, ruffles : coarse and fine deviation of the surface from the ellipsoid; lattices in tenths of the radius and
        in mm.
    resistant_level, necrotic_level : where the mechanism's level functions are cut.
    resistant_soft, necrotic_soft : change of these functions across a border of `SOFT_MM`.
    volume_ratio : follow-up volume / planning volume.
    prescription_gy : prescription where the family decides it; None for that of the diameter.
    scale : linear size relative to planning (1 at planning).
    """

    name: str
    variant: Variant
    properties: Properties
    mechanism: Mechanism
    center_mm: Array64
    stretch: Array64
    lobes: Field
    ruffles: Field
    volume_ratio: float
    prescription_gy: float | None = None
    resistant_level: float = 0.0
    necrotic_level: float = 0.0
    resistant_soft: float = 1.0
    necrotic_soft: float = 1.0
    scale: float = 1.0

    @property
    def radius_mm(self) -> float:
        """Radius of the sphere of the same volume at planning, mm."""
        return self.properties.radius_mm

    @property
    def resistant_fraction(self) -> float:
        """Fraction of the viable tumor that is resistant."""
        return self.properties.resistant_fraction

    @property
    def volume_cc(self) -> float:
        """Volume at the present scale, cm³."""
        return self.properties.volume_cc * self.scale**3

    @property
    def non_response(self) -> bool:
        """Label: whether the lesion did not shrink by more than 20 %."""
        return self.volume_ratio >= RESPONSE_RATIO

    @property
    def reach_mm(self) -> float:
        """Distance from the center within which the lesion and its edema change the image, mm."""
        return REACH * self.radius_mm * self.scale + 1.5 * self.properties.edema_mm

    def level(self, points_mm: Array64) -> Array32:
        """Level function: 1 in the middle, 0 on the contour; points ``(…, 3)`` relative to the center, mm."""
        local = points_mm / (self.radius_mm * self.scale)
        distance = np.sqrt(np.einsum("...i,ij,...j->...", local, self.stretch, local))
        lobes = self.properties.roughness * self.lobes.at(local * 10.0, 1)
        ruffles = self.properties.ruffle_mm / self.radius_mm * self.ruffles.at(points_mm / self.scale, 1)
        return np.asarray(1 - distance + lobes + ruffles, dtype=np.float32)

    def resistance(self, points_mm: Array64) -> Array32:
        """Level function of the resistant subregion, positive inside; necrosis is no part of it; see `level`."""
        planned = points_mm / self.scale
        depth = self._depth_mm(planned)
        found = self.mechanism.resistance(planned, depth) - self.resistant_level
        if self.properties.necrotic_fraction > 0:
            found = np.minimum(found, self.necrotic_level - self.mechanism.necrosis(planned, depth))
        return np.asarray(found, dtype=np.float32)

    def later(self, share: float = 1.0) -> RealisticLesion:
        """The same lesion at follow-up, or after the fraction ``share`` of its change in volume."""
        return replace(self, scale=(1 + share * (self.volume_ratio - 1)) ** (1 / 3))

    def paint(self, background: Array32, *, points_mm: Array64, softness_mm: float) -> Array32:
        """Background intensities with the lesion and its edema, at points relative to its center, mm."""
        p = self.properties
        depth = self.level(points_mm) * np.float32(self.radius_mm * self.scale) - np.float32(p.margin_mm)
        far = np.clip(-depth - EDGE_MM / 2, 0.0, None) / p.edema_mm
        edema = p.edema * np.exp(-(far**2)) * _brain_like(background)
        image = np.asarray(background * (1 - edema), dtype=np.float32)
        near = depth > -1.5 * EDGE_MM
        edge = np.clip(0.5 + depth[near] / max(softness_mm, EDGE_MM), 0, 1)
        smooth = np.asarray(edge * edge * (3 - 2 * edge), dtype=np.float32)
        tissue = self._tissue(points_mm[near], depth[near])
        image[near] = image[near] + smooth * (tissue - image[near])
        return image

    def _tissue(self, points_mm: Array64, depth_mm: Array32) -> Array32:
        p = self.properties
        planned = points_mm / self.scale
        depth = depth_mm / np.float32(self.scale)
        rim = p.rim * np.exp(-(((depth_mm - RIM_DEPTH_MM) / p.rim_mm) ** 2))
        weight = np.zeros_like(depth)
        if self.variant is not Variant.NONE:
            above = self.mechanism.resistance(planned, depth) - self.resistant_level
            weight = np.asarray(np.clip(0.5 + above / self.resistant_soft, 0, 1), dtype=np.float32)
        tissue = self.mechanism.tissue(planned, depth, rim=rim.astype(np.float32), weight=weight)
        if self.variant is Variant.DARKER:
            tissue = np.asarray(tissue - DARKER * weight, dtype=np.float32)
        shown = np.clip(tissue, 0.15, None) * (p.brightness * WHITE)
        if p.necrotic_fraction > 0:
            above = self.mechanism.necrosis(planned, depth) - self.necrotic_level
            dead = np.clip(0.5 + above / np.float32(self.necrotic_soft), 0, 1)
            shown = shown + dead * (p.necrosis * WHITE - shown)
        return np.asarray(shown, dtype=np.float32)

    def _depth_mm(self, planned_mm: Array64) -> Array32:
        level = replace(self, scale=1.0).level(planned_mm)
        return level * np.float32(self.radius_mm) - np.float32(self.properties.margin_mm)


def make_lesion(lesion: RealisticLesion) -> RealisticLesion:
    """Return the lesion with its shape scaled to its volume, and its two parts cut at their fractions."""
    axis = np.linspace(-REACH, REACH, FITTED) * lesion.radius_mm
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    cell = (axis[1] - axis[0]) ** 3
    target = 4 / 3 * np.pi * lesion.radius_mm**3
    for _ in range(4):
        volume = float(_soft_count(lesion.level(points)) * cell)
        lesion = replace(lesion, stretch=lesion.stretch * (volume / target) ** (2 / 3))
    inside = points[lesion.level(points) > 0]
    depth = lesion._depth_mm(inside)
    dead = lesion.mechanism.necrosis(inside, depth)
    necrotic_level = float(np.quantile(dead, 1 - lesion.properties.necrotic_fraction))
    viable = dead <= necrotic_level if lesion.properties.necrotic_fraction > 0 else np.ones(len(inside), dtype=bool)
    resistant = lesion.mechanism.resistance(inside[viable], depth[viable])
    resistant_level = float(np.quantile(resistant, 1 - lesion.resistant_fraction))
    # Level functions vary over about a radius: their change over a millimeter follows from their spread.
    share = SOFT_MM / lesion.radius_mm
    return replace(
        lesion,
        necrotic_level=necrotic_level,
        resistant_level=resistant_level,
        necrotic_soft=max(float(dead.std()) * share, 1e-6),
        resistant_soft=max(float(resistant.std()) * share, 1e-6),
    )


def sample_shape(rng: np.random.Generator, properties: Properties) -> tuple[Array64, Field, Field]:
    """Return the ellipsoid's matrix, the lobes and the ruffles of a lesion."""
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    lengths = np.asarray([1.0, properties.elongation, properties.flatness])
    lengths = lengths / lengths.prod() ** (1 / 3)
    finer = float(np.clip((properties.radius_mm - 4.0) / 8.0, 0.0, 1.0))  # large lesions have more lobes
    lobes = random_field(rng, 22.0, scale_mm=float(rng.uniform(3.0 - finer, 5.5 - 1.5 * finer)), fineness=3.0)
    reach_mm = min(2.0 * properties.radius_mm + 2.0, 30.0)
    return axes @ np.diag(lengths**-2) @ axes.T, lobes, random_field(rng, reach_mm, scale_mm=1.4, fineness=3.0)


def _soft_count(level: Array32) -> float:
    """Number of lattice points inside, those near the surface by their share: a small lattice has few points."""
    return float(np.clip(0.5 + level * (FITTED / (2 * REACH)), 0, 1).sum())


def _brain_like(background: Array32) -> Array32:
    """1 where the background has the brightness of brain tissue, 0 in fluid, bone and fat."""
    return np.asarray(np.clip((background - 0.35) / 0.15, 0, 1) * np.clip((0.95 - background) / 0.1, 0, 1), np.float32)
