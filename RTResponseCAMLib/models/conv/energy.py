"""Local energies: how strongly each channel fluctuates around a voxel, on a logarithmic scale, inside the lesion only.

For each channel g: its local mean, and the logarithm of the local mean square of what a wider mean leaves of it, for
positive and negative deviations apart. In a linear energy one sharp border outweighs a whole lesion of texture; the
logarithm makes ratios of channels linear, and a contrast factor an offset. All means are over lesion voxels only, so
that neither the surroundings nor the rim's outer flank look like texture.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from RTResponseCAMLib.models.smoothing import masked_mean

NARROW_MM, WIDE_MM = 1.0, 2.0  # standard deviations of the local mean, and of the mean that is subtracted
LEAST = 1e-3  # added to an energy before the logarithm; channels have unit variance over the training lesions
BANDS_MM = (0.6, 1.0, 1.6, 2.5)  # scales between which the fixed bands lie
STEPS = (1, 2, 3)  # voxels between the two of a pair
BRIGHTNESS = 3  # fixed features of brightness: local means, and local contrast


def local_energies(channels: Tensor, fraction: Tensor, spacing_mm: float) -> Tensor:
    """Features ``(batch, 3 · channels, z, y, x)``: local means, then energies of positive and of negative deviations.

    Parameters
    ----------
    channels : ``(batch, channels, z, y, x)``, of about unit variance.
    fraction : partial-volume fraction of the lesion, ``(batch, 1, z, y, x)``; the features mean nothing outside.
    """
    wide = masked_mean(channels, fraction, WIDE_MM, spacing_mm)
    mean, *energies = _mean_and_energies(channels, channels - wide, fraction, spacing_mm)
    return torch.cat([mean, *energies], dim=1)


def fixed_bands(mr: Tensor, fraction: Tensor, spacing_mm: float) -> Tensor:
    """Features of no learned part, ``(batch, FIXED, z, y, x)``: brightness, signed energies of bands, pairs of voxels.

    Parameters
    ----------
    mr : MR in units of the network, ``(batch, 1, z, y, x)``.
    """
    smooth = [mr, *(masked_mean(mr, fraction, scale, spacing_mm) for scale in BANDS_MM)]
    bands = torch.cat([a - b for a, b in itertools.pairwise(smooth)], dim=1)
    _, positive, negative = _mean_and_energies(bands, bands, fraction, spacing_mm)
    contrast = masked_mean((mr - smooth[-1]) ** 2, fraction, WIDE_MM, spacing_mm)
    pairs = torch.cat([_pairs(mr, fraction, step, spacing_mm) for step in STEPS], dim=1)
    return torch.cat([smooth[1], smooth[-1], _logarithm(contrast), positive, negative, pairs], dim=1)


FIXED = BRIGHTNESS + 2 * len(BANDS_MM) + len(STEPS)


def _mean_and_energies(channels: Tensor, deviation: Tensor, fraction: Tensor, spacing_mm: float) -> list[Tensor]:
    """Local mean, and local log-energies of positive and negative deviations: one blur for all."""
    stacked = torch.cat([channels, deviation.clamp_min(0) ** 2, deviation.clamp_max(0) ** 2], dim=1)
    mean, positive, negative = masked_mean(stacked, fraction, NARROW_MM, spacing_mm).chunk(3, dim=1)
    return [mean, _logarithm(positive), _logarithm(negative)]


def _pairs(mr: Tensor, fraction: Tensor, step: int, spacing_mm: float) -> Tensor:
    """Local log mean of squared differences of voxels ``step`` apart, where both of them lie inside the lesion."""
    square, count = torch.zeros_like(mr), torch.zeros_like(mr)
    for axis in (2, 3, 4):
        length = mr.shape[axis] - step
        if length <= 0:
            continue
        low, high = mr.narrow(axis, 0, length), mr.narrow(axis, step, length)
        weight = fraction.narrow(axis, 0, length) * fraction.narrow(axis, step, length)
        for start in (0, step):  # half of a pair's difference belongs to each of its voxels
            square.narrow(axis, start, length).add_(weight * (low - high) ** 2)
            count.narrow(axis, start, length).add_(weight)
    ratio = square / count.clamp_min(1e-6)
    has_pair = (count > 1e-3).to(mr.dtype) * fraction
    return _logarithm(masked_mean(ratio, has_pair, NARROW_MM, spacing_mm))


def _logarithm(energy: Tensor) -> Tensor:
    return (energy.clamp_min(0) + LEAST).log()
