"""Fixed, rotation-invariant scale-space features of a lesion: what needs no learning is not learned.

At 69 lesions a network from scratch cannot learn filters; these describe brightness, edges, blobs and texture
at three scales, in head units (is it dark for this head?) and in lesion units (is it dark for this lesion?).
Means and textures are taken over the lesion's core, so that neither the rim nor the voxels that a contour cuts look
like texture: contours of one lesion drawn twice, or turned into a label map, differ in just these.

Beside the features stand terms of how deep a voxel lies, for the network to learn what is usual at that depth: rims
differ from centers in every lesion, whatever its response.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

SCALES_MM = (0.8, 1.6, 3.0)
EPSILON = 1e-4
# Of what varies, in the lesion's standard deviations. A gradient is that of one point, and nearly 0 at some of them.
FAINTEST, FAINTEST_GRADIENT, STRONGEST = 0.003, 0.02, 4.0
# Where the blurred occupancy is above the second a voxel counts fully, below the first hardly (CORE_LEAST).
CORE_BLUR_MM, CORE_FROM, CORE_FULL, CORE_LEAST = 0.6, 0.3, 0.9, 0.05


def stem_features(mr: Tensor, fraction: Tensor, spacing_mm: float) -> Tensor:
    """Features per voxel, then the terms of its depth, ``(batch, STEM_CHANNELS + DEPTH_TERMS, z, y, x)``.

    Parameters
    ----------
    mr : T1c in head units, ``(batch, 1, z, y, x)``.
    fraction : fraction of the voxel inside the lesion, same shape, 0…1.
    """
    whole = fraction.clamp(0, 1)
    inside = core(whole, spacing_mm)
    own = lesion_units(mr, inside)
    raw = (mr / 4).clamp(-3, 3)
    features: list[Tensor] = [raw, own.clamp(-4, 4)]
    fine = own - masked_mean(own, inside, SCALES_MM[0], spacing_mm)
    inner = torch.cat([raw, own, own**2, fine**2], dim=1) * inside
    means, deviations, textures, fullness = [], [], [], []
    for scale in SCALES_MM:
        # One blur for everything of a scale: many small ones cost more than their arithmetic.
        blurred = _blur(torch.cat([inner, inside, own, whole], dim=1), scale, spacing_mm)
        raw_mean, mean, square, fine_square = (blurred[:, :4] / (blurred[:, 4:5] + EPSILON)).split(1, dim=1)
        smooth = blurred[:, 5:6]
        means.append(mean)
        deviations.append(_log_root(square - mean**2))
        textures.append(_log_root(fine_square))
        fullness.append(blurred[:, 6:])
        features += [
            raw_mean,
            mean.clamp(-4, 4),
            deviations[-1],
            textures[-1],
            _log_root(_gradient(smooth, spacing_mm).pow(2).sum(1, keepdim=True) * scale**2, FAINTEST_GRADIENT),
            (_blur(smooth, scale, spacing_mm) - smooth).clamp(-4, 4),
        ]
    # How rough the texture is, whatever its contrast: the fine part of what varies over as much as or more than it.
    pairs = itertools.combinations_with_replacement(range(len(SCALES_MM)), 2)
    features += [textures[low] - deviations[high] for low, high in pairs]
    # The same for coarse texture: the band between two scales.
    for low, high in itertools.pairwise(range(len(SCALES_MM))):
        band = masked_mean((means[low] - means[high]) ** 2, inside, SCALES_MM[high], spacing_mm)
        features.append(_log_root(band) - textures[high])
    # How full of lesion the surroundings are says how deep a voxel lies: a polynomial of second degree. Of the whole
    # lesion, not its core: where a contour cuts voxels hard or softly, the core changes more than what is inside.
    products = [a * b for a, b in itertools.combinations_with_replacement(fullness, 2)]
    return torch.cat([*features, torch.ones_like(mr), *fullness, *products], dim=1)


STEM_CHANNELS = 2 + 6 * len(SCALES_MM) + len(SCALES_MM) * (len(SCALES_MM) + 1) // 2 + len(SCALES_MM) - 1
DEPTH_TERMS = 1 + len(SCALES_MM) + len(SCALES_MM) * (len(SCALES_MM) + 1) // 2


def core(fraction: Tensor, spacing_mm: float) -> Tensor:
    """How much each voxel counts for the features, 0…1: much less near the lesion's surface than inside."""
    depth = (_blur(fraction, CORE_BLUR_MM, spacing_mm) - CORE_FROM) / (CORE_FULL - CORE_FROM)
    return (depth.clamp(0, 1) + CORE_LEAST) * fraction


def lesion_units(mr: Tensor, inside: Tensor) -> Tensor:
    """(value − lesion mean) / lesion standard deviation, weighted by ``inside``; contrast of the lesion removed."""
    dims = (2, 3, 4)
    weight = inside.sum(dims, keepdim=True).clamp_min(EPSILON)
    mean = (mr * inside).sum(dims, keepdim=True) / weight
    variance = ((mr - mean) ** 2 * inside).sum(dims, keepdim=True) / weight
    return (mr - mean) / (variance + EPSILON).sqrt()


def masked_mean(values: Tensor, inside: Tensor, scale_mm: float, spacing_mm: float) -> Tensor:
    """Gaussian mean over lesion voxels only, ``(batch, channels, z, y, x)``; a constant stays a constant."""
    both = _blur(torch.cat([values * inside, inside], dim=1), scale_mm, spacing_mm)
    return both[:, :-1] / (both[:, -1:] + EPSILON)


def smoothing_weight(inside: Tensor, scale_mm: float, spacing_mm: float) -> Tensor:
    """How much a voxel's value counts in the mean, weighted by ``inside``, of `masked_mean`: its transpose."""
    return inside * _blur(inside / (_blur(inside, scale_mm, spacing_mm) + EPSILON), scale_mm, spacing_mm)


def _blur(values: Tensor, scale_mm: float, spacing_mm: float) -> Tensor:
    """Gaussian with zeros beyond the border, cut at 3 σ; products with banded matrices, which every BLAS is fast at."""
    batch, channels, depth, height, width = values.shape
    bands = {n: _band(n, scale_mm / spacing_mm, values) for n in {depth, height, width}}
    along_z = bands[depth] @ values.reshape(batch, channels, depth, height * width)
    return bands[height] @ (along_z.reshape(values.shape) @ bands[width])


def _band(count: int, sigma: float, like: Tensor) -> Tensor:
    """Symmetric matrix whose rows are the Gaussian's taps."""
    radius = max(int(3 * sigma + 0.5), 1)
    place = torch.arange(count, device=like.device)
    distance = (place[:, None] - place[None]).abs()
    whole = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=like.device) / sigma) ** 2).sum()
    return (torch.exp(-0.5 * (distance / sigma) ** 2) * (distance <= radius) / whole).to(like.dtype)


def _log_root(square: Tensor, least: float = FAINTEST) -> Tensor:
    """Logarithm of the root: contrast multiplies what varies, and a difference of logarithms takes it out again."""
    return square.clamp(least**2, STRONGEST**2).log() / 2


def _gradient(values: Tensor, spacing_mm: float) -> Tensor:
    padded = functional.pad(values, (1, 1, 1, 1, 1, 1), mode="replicate")
    core = slice(1, -1)
    z = padded[:, :, 2:, core, core] - padded[:, :, :-2, core, core]
    y = padded[:, :, core, 2:, core] - padded[:, :, core, :-2, core]
    x = padded[:, :, core, core, 2:] - padded[:, :, core, core, :-2]
    return torch.cat([z, y, x], dim=1) / (2 * spacing_mm)
