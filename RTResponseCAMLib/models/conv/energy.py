"""Local energies: how strongly each channel fluctuates around a voxel, on a logarithmic scale, inside the lesion only.

For each channel g: its local mean, and the logarithm of the local mean square of what a wider mean leaves of it, for
positive and negative deviations apart. In a linear energy one sharp border outweighs a whole lesion of texture; the
logarithm makes ratios of channels linear, and a contrast factor an offset. All means are over lesion voxels only, so
that neither the surroundings nor the rim's outer flank look like texture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from RTResponseCAMLib.models.smoothing import masked_mean

NARROW_MM, WIDE_MM = 1.0, 2.0  # standard deviations of the local mean, and of the mean that is subtracted
LEAST = 1e-3  # added to an energy before the logarithm; channels have unit variance over the training lesions


def local_energies(channels: Tensor, fraction: Tensor, spacing_mm: float) -> Tensor:
    """Features ``(batch, 3 · channels, z, y, x)``: local means, then energies of positive and of negative deviations.

    Parameters
    ----------
    channels : ``(batch, channels, z, y, x)``, of about unit variance.
    fraction : partial-volume fraction of the lesion, ``(batch, 1, z, y, x)``; the features mean nothing outside.
    """
    deviation = channels - masked_mean(channels, fraction, WIDE_MM, spacing_mm)
    stacked = torch.cat([channels, deviation.clamp_min(0) ** 2, deviation.clamp_max(0) ** 2], dim=1)
    mean, *squares = masked_mean(stacked, fraction, NARROW_MM, spacing_mm).chunk(3, dim=1)
    return torch.cat([mean, *((square.clamp_min(0) + LEAST).log() for square in squares)], dim=1)
