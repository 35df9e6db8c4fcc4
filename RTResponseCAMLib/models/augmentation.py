"""Augmented copies of a lesion, as another scanner, another day and another reader would give them.

A network that sees each lesion once takes the sharpness of the scan for the response: a blur of half a millimeter
changes every texture. Training on copies that are blurred, noisy, resampled, differently bright and differently
contoured teaches it what does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, shift, zoom

from RTResponseCAMLib.imaging.patch import Array32, Patch

SHIFT_MM = 0.5  # typical distance between two contours of one lesion
SHARPEST, WIDER = 2.5, 0.15  # largest contrast and offset of the partial-volume fraction at the surface


@dataclass(frozen=True)
class Scan:
    """How one copy differs from the scan of the lesion.

    Attributes
    ----------
    blur_mm : standard deviation of an additional blur, mm.
    noise : standard deviation of additional noise, head units.
    noise_mm : standard deviation of the kernel that correlates the noise, mm.
    voxel_mm : voxel size in plane and along slices to which the scan is resampled and back, mm; 0: not resampled.
    gain : factor of the intensities around the head's median.
    gradient : relative change of intensity from one side of the lesion's patch to the other, ``(z, y, x)``.
    """

    blur_mm: float = 0.0
    noise: float = 0.0
    noise_mm: float = 0.0
    voxel_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gain: float = 1.0
    gradient: tuple[float, float, float] = (0.0, 0.0, 0.0)


# Ranges from which copies are sampled. A white-matter noise of 6 % is about 0.25 head units.
BLUR_MM, NOISE, NOISE_MM, VOXEL_MM = (0.0, 0.9), (0.0, 0.25), (0.0, 0.7), ((1.0, 1.6), (1.0, 3.0))
GAIN, GRADIENT = (0.9, 1.1), 0.1
RESAMPLED = 0.4  # share of the copies that are resampled


def sample_scan(rng: np.random.Generator) -> Scan:
    """Another scan of the same lesion."""
    voxel = (0.0, 0.0, 0.0)
    if rng.uniform() < RESAMPLED:
        plane = float(rng.uniform(*VOXEL_MM[0]))
        voxel = (float(rng.uniform(*VOXEL_MM[1])), plane, plane)
    gz, gy, gx = rng.uniform(-GRADIENT, GRADIENT, 3).tolist()
    return Scan(
        float(rng.uniform(*BLUR_MM)),
        float(rng.uniform(*NOISE)),
        float(rng.uniform(*NOISE_MM)),
        voxel,
        float(rng.uniform(*GAIN)),
        (gz, gy, gx),
    )


def as_scanned(mr: Array32, scan: Scan, *, spacing_mm: float, rng: np.random.Generator) -> Array32:
    """MR of a patch ``[z, y, x]``, head units, as in another scan: blur, resampling, bias, gain, then noise."""
    image = gaussian_filter(mr, scan.blur_mm / spacing_mm) if scan.blur_mm > 0 else mr
    if any(scan.voxel_mm):
        image = _resampled(image, [max(v, spacing_mm) / spacing_mm for v in scan.voxel_mm], rng)
    ramps = [
        g * np.linspace(-0.5, 0.5, n, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (g, n) in enumerate(zip(scan.gradient, image.shape, strict=True))
    ]
    image = image * (scan.gain * (1 + ramps[0] + ramps[1] + ramps[2]))
    if scan.noise > 0:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        if scan.noise_mm > 0:
            noise = gaussian_filter(noise, scan.noise_mm / spacing_mm)
            noise /= max(float(noise.std()), 1e-6)
        image = image + scan.noise * noise
    return np.asarray(image, dtype=np.float32)


def recontoured(fraction: Array32, *, spacing_mm: float, rng: np.random.Generator) -> Array32:
    """Fraction of a patch as of another contour: moved by up to half a millimeter, sharper, a little wider."""
    moved = shift(fraction, rng.uniform(-SHIFT_MM, SHIFT_MM, 3) / spacing_mm, order=1, prefilter=False)
    at_surface = (moved > 0) & (moved < 1)
    offset, contrast = rng.uniform(-WIDER, WIDER), rng.uniform(1.0, SHARPEST)
    moved[at_surface] = np.clip(0.5 + (moved[at_surface] - 0.5 + offset) * contrast, 0, 1)
    # A lesion of a few voxels can vanish at a sharp surface.
    return np.asarray(moved if moved.any() else fraction, dtype=np.float32)


def augmented(patch: Patch, rng: np.random.Generator) -> Patch:
    """Augmented copy of a lesion, with another scan and another contour."""
    spacing = patch.grid.spacing_mm[0]
    mr = as_scanned(patch.mr, sample_scan(rng), spacing_mm=spacing, rng=rng)
    return replace(patch, mr=mr, fraction=recontoured(patch.fraction, spacing_mm=spacing, rng=rng))


def _resampled(image: Array32, factors: list[float], rng: np.random.Generator) -> Array32:
    """Averaged over larger voxels at a random offset, and interpolated back."""
    offset = rng.uniform(-0.5, 0.5, 3) * (np.asarray(factors) > 1)
    sigma = [0.29 * np.sqrt(max(f * f - 1, 0.0)) for f in factors]  # that of a box, less that of the voxel itself
    moved = shift(gaussian_filter(image, sigma), offset, order=1, mode="nearest", prefilter=False)
    coarse = zoom(moved, [1 / f for f in factors], order=1, mode="nearest", prefilter=False)
    scale: list[float] = [n / m for n, m in zip(image.shape, coarse.shape, strict=True)]
    fine: npt.NDArray[np.float32] = zoom(coarse, scale, order=2, mode="nearest")
    return shift(fine, -offset, order=1, mode="nearest", prefilter=False)
