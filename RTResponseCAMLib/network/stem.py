"""Fixed, rotation-invariant scale-space features of a lesion: what needs no learning is not learned.

At 69 lesions a network from scratch cannot learn filters; these describe brightness, edges, blobs and texture
at three scales, in head units (is it dark for this head?) and in lesion units (is it dark for this lesion?).
Means and textures are taken over lesion voxels only, so that the rim does not look like texture.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

SCALES_MM = (0.8, 1.6, 3.0)
EPSILON = 1e-4


def stem_features(mr: Tensor, occupancy: Tensor, spacing_mm: float) -> Tensor:
    """Features per voxel, ``(batch, STEM_CHANNELS, z, y, x)``.

    Parameters
    ----------
    mr : T1c in head units, ``(batch, 1, z, y, x)``.
    occupancy : fraction of the voxel inside the lesion, same shape, 0…1.
    """
    inside = occupancy.clamp(0, 1)
    own = lesion_units(mr, inside)
    raw = (mr / 4).clamp(-3, 3)
    features: list[Tensor] = [raw, own.clamp(-4, 4)]
    fine = own - _masked_mean(own, inside, SCALES_MM[0], spacing_mm)
    for scale in SCALES_MM:
        mean = _masked_mean(own, inside, scale, spacing_mm)
        square = _masked_mean(own**2, inside, scale, spacing_mm)
        smooth = _blur(own, scale, spacing_mm)
        features += [
            _masked_mean(raw, inside, scale, spacing_mm),
            mean.clamp(-4, 4),
            ((square - mean**2).clamp_min(0) + EPSILON).sqrt().clamp(0, 4),
            (_masked_mean(fine**2, inside, scale, spacing_mm) + EPSILON).sqrt().clamp(0, 4),
            (_gradient(smooth, spacing_mm).pow(2).sum(1, keepdim=True) + EPSILON).sqrt() * scale,
            (_blur(smooth, scale, spacing_mm) - smooth).clamp(-4, 4),
            _blur(inside, scale, spacing_mm),
        ]
    # Energy of the band between two scales: coarse texture, whatever the overall contrast.
    for low, high in itertools.pairwise(SCALES_MM):
        band = _masked_mean(own, inside, low, spacing_mm) - _masked_mean(own, inside, high, spacing_mm)
        energy = (_masked_mean(band**2, inside, high, spacing_mm) + EPSILON).sqrt()
        fine_energy = (_masked_mean(fine**2, inside, high, spacing_mm) + EPSILON).sqrt()
        features += [energy.clamp(0, 4), (energy / fine_energy).log().clamp(-3, 3)]
    return torch.cat(features, dim=1)


STEM_CHANNELS = 2 + 7 * len(SCALES_MM) + 2 * (len(SCALES_MM) - 1)


def lesion_units(mr: Tensor, inside: Tensor) -> Tensor:
    """(value − lesion mean) / lesion standard deviation, weighted by occupancy; contrast of the lesion removed."""
    dims = (2, 3, 4)
    weight = inside.sum(dims, keepdim=True).clamp_min(EPSILON)
    mean = (mr * inside).sum(dims, keepdim=True) / weight
    variance = ((mr - mean) ** 2 * inside).sum(dims, keepdim=True) / weight
    return (mr - mean) / (variance + EPSILON).sqrt()


def _masked_mean(values: Tensor, inside: Tensor, scale_mm: float, spacing_mm: float) -> Tensor:
    both = _blur(torch.cat([values * inside, inside], dim=1), scale_mm, spacing_mm)
    return both[:, :1] / (both[:, 1:] + EPSILON)


def _blur(values: Tensor, scale_mm: float, spacing_mm: float) -> Tensor:
    sigma = scale_mm / spacing_mm
    radius = max(int(3 * sigma + 0.5), 1)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=values.dtype, device=values.device) / sigma) ** 2)
    taps = taps / taps.sum()
    channels = values.shape[1]
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(taps)
        padding = [0, 0, 0]
        padding[axis] = radius
        kernel = taps.reshape(shape).expand(channels, 1, *shape[2:])
        values = functional.conv3d(values, kernel, padding=tuple(padding), groups=channels)
    return values


def _gradient(values: Tensor, spacing_mm: float) -> Tensor:
    padded = functional.pad(values, (1, 1, 1, 1, 1, 1), mode="replicate")
    core = slice(1, -1)
    z = padded[:, :, 2:, core, core] - padded[:, :, :-2, core, core]
    y = padded[:, :, core, 2:, core] - padded[:, :, core, :-2, core]
    x = padded[:, :, core, core, 2:] - padded[:, :, core, core, :-2]
    return torch.cat([z, y, x], dim=1) / (2 * spacing_mm)
