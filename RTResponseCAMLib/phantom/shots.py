"""Gamma Knife dose of a phantom: shots packed into the target, prescribed to a 30–60 % isodose.

A shot is a smooth sphere, D(r) = 1 / (1 + (r / r50)⁴), with a half-dose radius between those of the 4 mm and 16 mm
collimators. The dose has plausible gradients; it does not come from a beam model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from RTResponseCAMLib.phantom.families import Lesion
from RTResponseCAMLib.phantom.field import Array32, Array64
from RTResponseCAMLib.phantom.spec import PhantomSpec

WIDEST = 4.0  # radius of the shots, in units of their share of the target
COVERED = 0.98


@dataclass(frozen=True)
class TargetDose:
    """Shots of one target: positions in the head frame (mm), half-dose radii (mm), peak scaled to Gy."""

    centers_mm: Array64
    r50_mm: Array64
    scale_gy: float
    prescription_gy: float
    isodose_percent: float

    def at(self, points_mm: Array64) -> Array32:
        """Dose in Gy at head-frame points ``(…, 3)``."""
        total = np.zeros(points_mm.shape[:-1], dtype=np.float64)
        for center, r50 in zip(self.centers_mm, self.r50_mm, strict=True):
            total += _shot(points_mm, center, r50)
        return np.asarray(self.scale_gy * total, dtype=np.float32)


def _shot(points_mm: Array64, center: Array64, r50: float) -> Array64:
    squared = ((points_mm - center) ** 2).sum(axis=-1) / r50**2
    return np.asarray(1 / (1 + squared**2))


def plan_target(spec: PhantomSpec, lesion: Lesion, *, number: int) -> TargetDose:
    """Pack shots so that the sampled isodose covers 98 % of the target.

    Prescription by diameter as in RTOG 90-05 (24, 18 and 15 Gy up to 20, 30 and 40 mm), unless the lesion states it.
    """
    rng = spec.rng(500 + number)
    axis = np.linspace(-1.9, 1.9, 34) * lesion.radius_mm
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    level = lesion.level(points)
    inside = points[level > 0]
    count = int(np.clip(round(1 + 2.2 * np.log2(1 + lesion.volume_cc)), 1, 9))
    seeds = points[level > 0.25] if level.max() > 0.25 else inside
    centers = [seeds.mean(axis=0)]
    while len(centers) < count:
        gaps = np.min([((seeds - c) ** 2).sum(axis=1) for c in centers], axis=0)
        centers.append(seeds[int(np.argmax(gaps))])
    isodose = float(rng.uniform(0.32, 0.58))
    base = lesion.radius_mm / count ** (1 / 3)
    factors = rng.uniform(0.85, 1.15, count)

    def covering_isodose(stretch: float) -> float:
        dose = np.sum([_shot(inside, c, stretch * base * w) for c, w in zip(centers, factors, strict=True)], axis=0)
        return float(np.quantile(dose, 1 - COVERED) / dose.max())

    widest = WIDEST
    while covering_isodose(widest) < isodose:  # a long or lobed target; the widest shots are flat over any target
        widest *= 1.5
    stretch = float(brentq(lambda s: covering_isodose(s) - isodose, 0.2, widest, xtol=1e-3))
    radii = stretch * base * factors
    peak = float(np.max(np.sum([_shot(inside, c, r) for c, r in zip(centers, radii, strict=True)], axis=0)))
    diameter = 2 * lesion.radius_mm
    by_diameter = 24.0 if diameter <= 20 else 18.0 if diameter <= 30 else 15.0
    prescription = by_diameter if lesion.prescription_gy is None else lesion.prescription_gy
    return TargetDose(
        np.asarray(centers) + lesion.center_mm,
        radii,
        prescription / isodose / peak,
        prescription,
        100 * isodose,
    )
