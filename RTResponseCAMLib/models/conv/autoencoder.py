"""A small 3-D convolutional autoencoder that reconstructs what is hidden from it.

Parts of a patch are hidden in blocks, and the network fills them in from their surroundings [masked autoencoders: He et
al. 2022, arXiv 2111.06377]. It learns from lesions without labels; the classifier reads its last full-resolution layer.
The encoder halves the resolution between levels, the decoder doubles it and sees the encoder's layer of its level.
There is no normalization over the patch: a voxel's features depend on its surroundings only, not on the patch's size.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUTS = 3  # MR, fraction of the lesion, whether the voxel is hidden
MR_UNIT = 4.0  # head units per unit of the network: lesions are then of order 1
MR_LIMIT = 3.0


@dataclass(frozen=True)
class Shape:
    """Parameters that define the autoencoder.

    Attributes
    ----------
    channels : channels of each level, from full resolution down; as many levels as channels, at least two.
    spacing_mm : voxel size of the patches, mm.
    """

    channels: tuple[int, ...] = (8, 16, 32)
    spacing_mm: float = 1.0

    @property
    def multiple(self) -> int:
        """Sides of a patch are padded to a multiple of this number of voxels."""
        return 2 ** (len(self.channels) - 1)

    def as_json(self) -> dict[str, Any]:
        """Plain values for a card."""
        return {**asdict(self), "channels": list(self.channels)}

    @classmethod
    def of(cls, values: dict[str, Any]) -> Shape:
        """The shape that `as_json` wrote.

        Raises
        ------
        ValueError : a value is missing, unknown or out of range.
        """
        if set(values) != {"channels", "spacing_mm"}:
            raise ValueError(f"expected channels and spacing_mm, found {sorted(values)}")
        channels, spacing = values["channels"], values["spacing_mm"]
        if not isinstance(channels, list) or not 2 <= len(channels) <= 5:
            raise ValueError(f"channels is {channels!r}")
        if any(not isinstance(n, int) or not 1 <= n <= 256 for n in channels):
            raise ValueError(f"channels is {channels!r}")
        if isinstance(spacing, bool) or not isinstance(spacing, (int, float)) or not 0.1 <= spacing <= 10:
            raise ValueError(f"spacing_mm is {spacing!r}")
        return cls(tuple(channels), float(spacing))


class Autoencoder(nn.Module):
    """The network; inputs and outputs ``(batch, channels, z, y, x)``.

    ``at_encoder``, ``at_bottleneck`` and ``at_decoder`` are hook points for gradient maps: the encoder's last layer
    before the deepest, the deepest layer, and the last full-resolution layer, which the classifier reads.
    ``channel_mean`` and ``channel_deviation`` are the units of the last full-resolution layer: over the lesions of the
    pre-training, each with the same weight. They are stored with the weights, not trained by gradient descent.
    """

    channel_mean: Tensor
    channel_deviation: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        sizes = shape.channels
        self.first = nn.Conv3d(INPUTS, sizes[0], 3, padding=1)
        self.down = nn.ModuleList(_block(a, b) for a, b in itertools.pairwise(sizes))
        self.narrow = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in itertools.pairwise(sizes))
        self.up = nn.ModuleList(nn.Conv3d(2 * n, n, 3, padding=1) for n in sizes[:-1])
        self.last = nn.Conv3d(sizes[0], sizes[0], 3, padding=1)
        self.output = nn.Conv3d(sizes[0], 1, 1)
        self.at_encoder, self.at_bottleneck, self.at_decoder = nn.Identity(), nn.Identity(), nn.Identity()
        self.register_buffer("channel_mean", torch.zeros(sizes[0]))
        self.register_buffer("channel_deviation", torch.ones(sizes[0]))
        for parameter in self.parameters():
            if parameter.dim() == 5:  # with few channels, convolutions of this memory format take half of the time
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)

    def forward(self, mr: Tensor, fraction: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Reconstruct the MR, in units of the network, from what is not hidden.

        Parameters
        ----------
        mr, fraction : as for `features`.
        hidden : 1 where the MR is hidden; None: nowhere.
        """
        reconstruction: Tensor = self.output(self.features(mr, fraction, hidden))
        return reconstruction

    def features(self, mr: Tensor, fraction: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Last full-resolution layer, ``(batch, channels[0], z, y, x)``.

        Parameters
        ----------
        mr : MR in head units, ``(batch, 1, z, y, x)``.
        fraction : partial-volume fraction of the lesion, same shape.
        """
        hidden = torch.zeros_like(mr) if hidden is None else hidden
        size = mr.shape[2:]
        x = torch.cat([network_units(mr) * (1 - hidden), fraction, hidden], dim=1)
        missing = [-n % self.shape.multiple for n in size]
        if any(missing):
            x = functional.pad(x, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
        x = functional.gelu(self.first(x))
        levels = []
        for level, block in enumerate(self.down):
            x = self.at_encoder(x) if level == len(self.down) - 1 else x
            levels.append(x)
            x = block(functional.avg_pool3d(x, 2))
        x = self.at_bottleneck(x)
        for narrow, up in zip(reversed(self.narrow), reversed(self.up), strict=True):
            x = functional.interpolate(narrow(x), scale_factor=2.0, mode="nearest")
            x = functional.gelu(up(torch.cat([levels.pop(), x], dim=1)))
        features: Tensor = self.at_decoder(self.last(x)[..., : size[0], : size[1], : size[2]])
        return features

    def channels(self, mr: Tensor, fraction: Tensor) -> Tensor:
        """Last full-resolution layer in its units, ``(batch, channels[0], z, y, x)``; parameters as for `features`."""
        mean, deviation = (v[:, None, None, None] for v in (self.channel_mean, self.channel_deviation))
        return (self.features(mr, fraction) - mean) / deviation


def network_units(mr: Tensor) -> Tensor:
    """MR in units of the network, clipped: one bright vessel must not outweigh a lesion."""
    return (mr / MR_UNIT).clamp(-MR_LIMIT, MR_LIMIT)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1), nn.GELU(), nn.Conv3d(outputs, outputs, 3, padding=1), nn.GELU()
    )
