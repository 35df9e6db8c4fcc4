"""Small lesions of noise for tests of the convolutional network: texture alone tells the label."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.samples.sample import LesionSample

SIZE = 24


def patch_of(seed: int, *, coarse: bool = False, radius_mm: float = 5.0, spacing_mm: float = 1.0) -> Patch:
    """A ball of radius ``radius_mm`` in the middle, brighter than its surroundings; its texture is fine or coarse."""
    rng = np.random.default_rng(seed)
    grid = Grid((SIZE,) * 3, (spacing_mm,) * 3, (0.0, 0.0, 0.0))
    distance = np.linalg.norm(np.indices((SIZE,) * 3).T - (SIZE - 1) / 2 + 0.3, axis=-1) * spacing_mm
    fraction = np.clip(radius_mm - distance + 0.5, 0, 1).astype(np.float32)
    texture = gaussian_filter(rng.standard_normal((SIZE,) * 3), 1.4 if coarse else 0.5)
    mr = 2 * fraction + 0.5 * texture / texture.std() + 0.1 * rng.standard_normal((SIZE,) * 3)
    return Patch(grid, mr.astype(np.float32), np.ones_like(fraction), fraction, False, (spacing_mm,) * 3)


def samples_of(count: int, *, first_seed: int = 0, **options: float) -> list[LesionSample]:
    """As many lesions, every second one with the coarse texture that is labeled non-response; two of each patient."""
    return [
        LesionSample(
            patch_of(first_seed + n, coarse=bool(n % 2), **options), 0.5, patient=f"P{n // 2}", lesion=f"GTV {n}",
            label=n % 2, index=n + 1,
        )
        for n in range(count)
    ]  # fmt: skip
