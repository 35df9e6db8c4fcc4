"""Fixed, rotation-invariant scale-space features of a lesion; none of them is learned.

A network cannot learn filters from 69 lesions. These features describe brightness, edges, blobs and texture at three
scales, in head units (relative to the head) and in lesion units (relative to the lesion). Means and textures are
computed over the lesion's core, so that neither the rim nor partial-volume voxels look like texture: two contours of
one lesion, or a contour and its label map, differ mainly there.

Depth terms follow the features; from them the network learns the depth baseline. Rims differ from centers in every
lesion, whatever its response.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

from RTResponseCAMLib.models.smoothing import EPSILON, blur, masked_mean

SCALES_MM = (0.8, 1.6, 3.0)
# Limits of textures and gradients, in standard deviations of the lesion. A gradient is nearly 0 at some points, and
# therefore has a higher lower limit.
FAINTEST, FAINTEST_GRADIENT, STRONGEST = 0.003, 0.02, 4.0
RIDGE = 1e-6  # regularizes depth terms that the given lesions do not separate
# Weight of a voxel by its blurred partial-volume fraction: full above CORE_FULL, CORE_LEAST below CORE_FROM.
CORE_BLUR_MM, CORE_FROM, CORE_FULL, CORE_LEAST = 0.6, 0.3, 0.9, 0.05


def stem_features(mr: Tensor, fraction: Tensor, spacing_mm: float) -> Tensor:
    """Features per voxel, followed by depth terms, ``(batch, STEM_CHANNELS + DEPTH_TERMS, z, y, x)``.

    Parameters
    ----------
    mr : contrast-enhanced T1 in head units, ``(batch, 1, z, y, x)``.
    fraction : partial-volume fraction of the lesion, same shape, 0…1.
    """
    lesion = fraction.clamp(0, 1)
    inside = core(lesion, spacing_mm)
    normalized = lesion_units(mr, inside)
    raw = (mr / 4).clamp(-3, 3)
    features: list[Tensor] = [raw, normalized.clamp(-4, 4)]
    fine = normalized - masked_mean(normalized, inside, SCALES_MM[0], spacing_mm)
    inner = torch.cat([raw, normalized, normalized**2, fine**2], dim=1) * inside
    means, deviations, textures, fractions = [], [], [], []
    for scale in SCALES_MM:
        # One blur for all channels of a scale: the overhead of many small blurs exceeds their arithmetic.
        blurred = blur(torch.cat([inner, inside, normalized, lesion], dim=1), scale, spacing_mm)
        raw_mean, mean, square, fine_square = (blurred[:, :4] / (blurred[:, 4:5] + EPSILON)).split(1, dim=1)
        smooth = blurred[:, 5:6]
        means.append(mean)
        deviations.append(_log_root(square - mean**2))
        textures.append(_log_root(fine_square))
        fractions.append(blurred[:, 6:])
        features += [
            raw_mean,
            mean.clamp(-4, 4),
            deviations[-1],
            textures[-1],
            _log_root(_gradient(smooth, spacing_mm).pow(2).sum(1, keepdim=True) * scale**2, FAINTEST_GRADIENT),
            (blur(smooth, scale, spacing_mm) - smooth).clamp(-4, 4),
        ]
    # Roughness of the texture, whatever its contrast: fine texture relative to the deviation at the same or a larger
    # scale.
    pairs = itertools.combinations_with_replacement(range(len(SCALES_MM)), 2)
    features += [textures[low] - deviations[high] for low, high in pairs]
    # The same for coarse texture: the band between two scales.
    for low, high in itertools.pairwise(range(len(SCALES_MM))):
        band = masked_mean((means[low] - means[high]) ** 2, inside, SCALES_MM[high], spacing_mm)
        features.append(_log_root(band) - textures[high])
    # Depth terms: polynomial of second degree in the smoothed partial-volume fraction, which decreases towards the
    # surface. It uses the whole lesion, not its core: the core changes more between a sharp and a soft surface.
    products = [a * b for a, b in itertools.combinations_with_replacement(fractions, 2)]
    return torch.cat([*features, torch.ones_like(mr), *fractions, *products], dim=1)


STEM_CHANNELS = 2 + 6 * len(SCALES_MM) + len(SCALES_MM) * (len(SCALES_MM) + 1) // 2 + len(SCALES_MM) - 1
DEPTH_TERMS = 1 + len(SCALES_MM) + len(SCALES_MM) * (len(SCALES_MM) + 1) // 2


def without_depth(stem: Tensor, baseline: Tensor) -> Tensor:
    """Features ``(batch, STEM_CHANNELS, …)`` of `stem_features`, less the depth baseline: what is usual at that depth.

    ``baseline`` has a coefficient of each feature for each depth term, ``(DEPTH_TERMS, STEM_CHANNELS)``.
    """
    features, terms = stem.split((STEM_CHANNELS, DEPTH_TERMS), dim=1)
    return features - torch.einsum("bd...,dc->bc...", terms, baseline)


def solve_baseline(products: Tensor, cross_products: Tensor) -> Tensor:
    """Depth baseline by linear regression, from the mean products of terms ``(terms, terms)`` and with the features."""
    ridge = RIDGE * torch.eye(len(products), dtype=products.dtype, device=products.device)
    return torch.linalg.solve(products + ridge, cross_products)


def core(fraction: Tensor, spacing_mm: float) -> Tensor:
    """Weight of each voxel for the features, 0 to 1 + `CORE_LEAST`: much lower near the surface than inside."""
    depth = (blur(fraction, CORE_BLUR_MM, spacing_mm) - CORE_FROM) / (CORE_FULL - CORE_FROM)
    return (depth.clamp(0, 1) + CORE_LEAST) * fraction


def lesion_units(mr: Tensor, inside: Tensor) -> Tensor:
    """(value − lesion mean) / lesion standard deviation, weighted by ``inside``; removes the lesion's contrast."""
    dims = (2, 3, 4)
    weight = inside.sum(dims, keepdim=True).clamp_min(EPSILON)
    mean = (mr * inside).sum(dims, keepdim=True) / weight
    variance = ((mr - mean) ** 2 * inside).sum(dims, keepdim=True) / weight
    return (mr - mean) / (variance + EPSILON).sqrt()


def _log_root(square: Tensor, least: float = FAINTEST) -> Tensor:
    """Logarithm of the square root, clipped: a contrast factor cancels in a difference of logarithms."""
    return square.clamp(least**2, STRONGEST**2).log() / 2


def _gradient(values: Tensor, spacing_mm: float) -> Tensor:
    padded = functional.pad(values, (1, 1, 1, 1, 1, 1), mode="replicate")
    interior = slice(1, -1)
    z = padded[:, :, 2:, interior, interior] - padded[:, :, :-2, interior, interior]
    y = padded[:, :, interior, 2:, interior] - padded[:, :, interior, :-2, interior]
    x = padded[:, :, interior, interior, 2:] - padded[:, :, interior, interior, :-2]
    return torch.cat([z, y, x], dim=1) / (2 * spacing_mm)
