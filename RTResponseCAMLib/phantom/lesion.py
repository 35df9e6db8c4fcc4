"""Synthetic metastasis with a resistant subregion: its shape, its appearance, and its response to radiation.

The response follows a simple rule: the sensitive part shrinks, the resistant part grows a little. The resistant
*fraction* therefore determines the volume ratio at three months, and with it the label.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from RTResponseCAMLib.phantom.field import Array32, Array64, Field, random_field
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant

RESPONSE_RATIO = 0.8  # more than 20 % shrinkage is a response
FINE_MM, COARSE_MM = 0.7, 2.2  # correlation lengths of the textures
DARKER = 0.27
COARSE_GAIN = 1.5


@dataclass(frozen=True)
class PhantomLesion:
    """Ground truth of one lesion of the family "coarse"; coordinates relative to ``center_mm`` in the head frame.

    Attributes
    ----------
    radius_mm : radius of the sphere of the same volume, mm.
    stretch : symmetric 3 × 3 matrix of the ellipsoidal part of the shape.
    resistant_fraction : fraction of the volume that is resistant.
    volume_ratio : follow-up volume / planning volume.
    scale : linear size relative to planning (1 at planning).
    """

    name: str
    variant: Variant
    center_mm: Array64
    radius_mm: float
    stretch: Array64
    bumps: Field
    zone: Field
    zone_axis: Array64
    zone_level: float
    fine: Field
    coarse: Field
    rim: float
    core: float
    texture: float
    resistant_fraction: float
    volume_ratio: float
    scale: float = 1.0

    @property
    def volume_cc(self) -> float:
        """Volume at the present scale, cm³."""
        return float(4 / 3 * np.pi * (self.radius_mm * self.scale) ** 3 / 1000)

    @property
    def non_response(self) -> bool:
        """Label: whether the lesion did not shrink by more than 20 %."""
        return self.volume_ratio >= RESPONSE_RATIO

    @property
    def reach_mm(self) -> float:
        """Distance from the center within which the lesion changes the image, mm."""
        return 1.9 * self.radius_mm * self.scale

    @property
    def prescription_gy(self) -> float | None:
        """None: the prescription follows the diameter."""
        return None

    def paint(self, background: Array32, *, points_mm: Array64, softness_mm: float) -> Array32:
        """See `paint`."""
        return paint(self, background, points_mm=points_mm, softness_mm=softness_mm)

    def level(self, points_mm: Array64) -> Array32:
        """Level function: 1 in the middle, 0 on the surface; points ``(…, 3)`` relative to the center, mm."""
        local = points_mm / (self.radius_mm * self.scale)
        distance = np.sqrt(np.einsum("...i,ij,...j->...", local, self.stretch, local))
        return np.asarray(1 - distance + 0.13 * self.bumps.at(local * 10.0), dtype=np.float32)

    def resistance(self, points_mm: Array64) -> Array32:
        """Level function of the resistant subregion: positive inside; valid within the lesion; points as in `level`."""
        local = points_mm / (self.radius_mm * self.scale)
        drift = local @ self.zone_axis
        return np.asarray(drift + 0.55 * self.zone.at(local * 10.0) - self.zone_level, dtype=np.float32)

    def later(self, share: float = 1.0) -> PhantomLesion:
        """The same lesion at follow-up, or after the fraction ``share`` of its change in volume."""
        return replace(self, scale=(1 + share * (self.volume_ratio - 1)) ** (1 / 3))


def sample_lesion(
    spec: PhantomSpec, number: int, *, center_mm: Array64, volume_cc: float, rng: np.random.Generator
) -> PhantomLesion:
    """Sample shape, subregion, appearance and response of one lesion of a given volume."""
    radius = (volume_cc * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    stretch = axes @ np.diag(rng.uniform(0.8, 1.25, 3) ** 2) @ axes.T
    direction = rng.standard_normal(3)
    # Lattices are in units of a tenth of the radius (shape, zone) or in mm (textures).
    lesion = PhantomLesion(
        name=f"GTV {number}",
        variant=spec.variant,
        center_mm=center_mm,
        radius_mm=radius,
        stretch=stretch,
        bumps=random_field(rng, 16.0, scale_mm=5.0),
        zone=random_field(rng, 16.0, scale_mm=4.0),
        zone_axis=direction / np.linalg.norm(direction),
        zone_level=0.0,
        fine=random_field(rng, min(1.7 * radius, 30.0), scale_mm=FINE_MM),
        coarse=random_field(rng, min(1.7 * radius, 30.0), scale_mm=COARSE_MM),
        rim=float(rng.uniform(1.15, 1.45)),
        core=float(rng.uniform(0.70, 1.10)),
        texture=float(rng.uniform(0.15, 0.20)),
        resistant_fraction=float(rng.uniform(0.02, 0.78)),
        volume_ratio=1.0,
    )
    lesion = _fit_volume_and_zone(lesion)
    grow, shrink = rng.normal(1.22, 0.08), rng.normal(0.46, 0.08)
    ratio = lesion.resistant_fraction * grow + (1 - lesion.resistant_fraction) * shrink
    if spec.variant is Variant.VOLUME:
        ratio += 0.16 * np.log(volume_cc)
    return replace(lesion, volume_ratio=float(np.clip(ratio, 0.05, 2.5)))


def paint(lesion: PhantomLesion, background: Array32, *, points_mm: Array64, softness_mm: float) -> Array32:
    """Background intensities with the lesion added, at head-frame points relative to its center, mm."""
    level = lesion.level(points_mm)
    edge = np.clip(0.5 + level * lesion.radius_mm * lesion.scale / softness_mm, 0, 1)
    rim_width = 0.12 + 0.8 / max(lesion.radius_mm, 2.0)
    rim = np.clip(1.5 - level / rim_width, 0, 1)
    profile = lesion.core + (lesion.rim - lesion.core) * rim
    resistant_weight = np.clip(0.5 + lesion.resistance(points_mm) * lesion.radius_mm / 1.0, 0, 1)
    if lesion.variant is Variant.NONE:
        resistant_weight = np.zeros_like(resistant_weight)
    amplitude = lesion.texture * (0.75 if lesion.variant is Variant.VOLUME else 1.0)
    fine = amplitude * lesion.fine.at(points_mm)
    coarse = _without_mean(lesion.coarse.at(points_mm), resistant_weight * (level > 0))
    resistant = COARSE_GAIN * amplitude * coarse - (DARKER if lesion.variant is Variant.DARKER else 0.0)
    tissue = profile * (1 + (1 - resistant_weight) * fine + resistant_weight * resistant)
    return np.asarray(background + edge * (tissue - background), dtype=np.float32)


def _without_mean(field: Array32, weight: Array32) -> Array32:
    """Texture minus its weighted mean: its region must not differ from the rest in mean brightness."""
    total = float(weight.sum())
    return field - np.float32((field * weight).sum() / total) if total > 0 else field


def _fit_volume_and_zone(lesion: PhantomLesion) -> PhantomLesion:
    """Scale the shape to its volume, and set the level of the subregion to its fraction (on a 44³ lattice)."""
    axis = np.linspace(-1.9, 1.9, 44) * lesion.radius_mm
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    cell_volume = (axis[1] - axis[0]) ** 3
    target_volume = 4 / 3 * np.pi * lesion.radius_mm**3
    stretch = lesion.stretch
    for _ in range(4):
        volume = float((replace(lesion, stretch=stretch).level(points) > 0).sum() * cell_volume)
        stretch = stretch * (volume / target_volume) ** (2 / 3)
    lesion = replace(lesion, stretch=stretch)
    inside = points[lesion.level(points) > 0]
    threshold = float(np.quantile(lesion.resistance(inside), 1 - lesion.resistant_fraction))
    return replace(lesion, zone_level=threshold)
