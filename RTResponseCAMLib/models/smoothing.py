"""Gaussian smoothing of voxels, of a whole patch or within a lesion only; shared by the models that read images."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-4


def masked_mean(values: Tensor, inside: Tensor, scale_mm: float, spacing_mm: float) -> Tensor:
    """Gaussian mean over lesion voxels only, ``(batch, channels, z, y, x)``; a constant image stays constant."""
    blurred = blur(torch.cat([values * inside, inside], dim=1), scale_mm, spacing_mm)
    return blurred[:, :-1] / (blurred[:, -1:] + EPSILON)


def smoothing_weight(inside: Tensor, scale_mm: float, spacing_mm: float) -> Tensor:
    """Weight of each voxel's value in the mean of `masked_mean` weighted by ``inside`` (transpose of `masked_mean`)."""
    return inside * blur(inside / (blur(inside, scale_mm, spacing_mm) + EPSILON), scale_mm, spacing_mm)


def blur(values: Tensor, scale_mm: float, spacing_mm: float) -> Tensor:
    """Gaussian blur, zero-padded, truncated at 3 σ; computed by banded matrices, which are fast with every BLAS."""
    batch, channels, depth, height, width = values.shape
    bands = {n: _band(n, scale_mm / spacing_mm, values) for n in {depth, height, width}}
    along_z = bands[depth] @ values.reshape(batch, channels, depth, height * width)
    return bands[height] @ (along_z.reshape(values.shape) @ bands[width])


def _band(count: int, sigma: float, like: Tensor) -> Tensor:
    """Symmetric matrix whose rows hold the coefficients of the Gaussian."""
    radius = max(int(3 * sigma + 0.5), 1)
    position = torch.arange(count, device=like.device)
    distance = (position[:, None] - position[None]).abs()
    total = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=like.device) / sigma) ** 2).sum()
    return (torch.exp(-0.5 * (distance / sigma) ** 2) * (distance <= radius) / total).to(like.dtype)
