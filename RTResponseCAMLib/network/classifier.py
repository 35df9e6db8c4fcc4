"""The integrated autoencoder-classifier: reconstruction and voxel evidence from one set of features.

The autoencoder squeezes the patch through a bottleneck at a quarter of the resolution and draws it again. What
it sees, what it draws and what it fails to draw go, with the fixed stem, to a 1 × 1 × 1 head that gives
evidence per voxel. The prediction is a pooling of that evidence inside the lesion, and nothing else: the map
adds up to the prediction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from RTResponseCAMLib.network.stem import STEM_CHANNELS, lesion_units, stem_features

FORMS = ("signed", "hazard")


@dataclass(frozen=True)
class Architecture:
    """Everything that fixes the network's shape.

    Attributes
    ----------
    form : "signed" (logit = Σ map + bias) or "hazard" (−ln p(response) = Σ map).
    members : heads of the ensemble, each trained on its own patient bootstrap.
    width : hidden units of a head.
    channels : autoencoder channels at full, half and quarter resolution.
    autoencoder, dose : parts that can be left out, for comparison.
    """

    form: str = "signed"
    members: int = 6
    width: int = 16
    channels: tuple[int, int, int] = (8, 16, 16)
    autoencoder: bool = True
    dose: bool = False
    spacing_mm: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``model.json``."""
        return asdict(self)


@dataclass(frozen=True)
class Output:
    """One forward pass of a batch.

    Attributes
    ----------
    maps : evidence per voxel and member, ``(batch, members, z, y, x)``; zero outside the lesion.
    bias : what the voxel sum lacks to the total, ``(members,)``.
    total : Σ map + bias, ``(batch, members)``: logit, or cumulative hazard.
    features : input of the head, kept for the gradient maps.
    reconstruction : what the autoencoder drew, lesion units, ``(batch, 1, z, y, x)`` (None without one).
    """

    maps: Tensor
    bias: Tensor
    total: Tensor
    features: Tensor
    reconstruction: Tensor | None


class Autoencoder(nn.Module):
    """Encoder–decoder without skips: what passes has gone through the bottleneck."""

    def __init__(self, inputs: int, channels: tuple[int, int, int]) -> None:
        super().__init__()
        a, b, c = channels
        self.first = nn.Sequential(_conv(inputs, a), nn.GELU())
        self.second = nn.Sequential(_conv(a, b), nn.GELU(), _conv(b, b), nn.GELU())
        self.bottleneck = nn.Sequential(_conv(b, c), nn.GELU(), _conv(c, c), nn.GELU())
        self.up_second = nn.Sequential(_conv(c, b), nn.GELU())
        self.narrow = nn.Conv3d(b, a, 1)  # before upsampling: full resolution is where the time goes
        self.up_first = nn.Sequential(_conv(a, a), nn.GELU())
        self.draw = nn.Conv3d(a, 1, 1)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Full-resolution encoder features, decoder features, and the reconstruction."""
        seen = self.first(inputs)
        half = self.second(functional.avg_pool3d(seen, 2))
        deep = self.bottleneck(functional.avg_pool3d(half, 2))
        up = self.up_second(functional.interpolate(deep, scale_factor=2, mode="trilinear", align_corners=False))
        drawn = self.up_first(
            functional.interpolate(self.narrow(up), scale_factor=2, mode="trilinear", align_corners=False)
        )
        return seen, drawn, self.draw(drawn)


class AutoencoderClassifier(nn.Module):
    """Patch in, evidence per voxel and prediction out; ``features → evidence`` is linear in space (1 × 1 × 1)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        if architecture.form not in FORMS:
            raise ValueError(f"form is '{architecture.form}', expected one of {FORMS}")
        self.architecture = architecture
        count = STEM_CHANNELS + (1 if architecture.dose else 0)
        if architecture.autoencoder:
            self.autoencoder = Autoencoder(3, architecture.channels)
            count += 2 * architecture.channels[0] + 3
        members, width = architecture.members, architecture.width
        self.hidden = nn.Conv3d(count, members * width, 1)
        self.evidence = nn.Conv3d(members * width, members, 1, groups=members)
        self.slope = nn.Parameter(torch.zeros(members))
        self.offset = nn.Parameter(torch.zeros(members))
        # Standardisation of the stem over the training lesions; part of the weights, not of the training.
        self.register_buffer("mean", torch.zeros(STEM_CHANNELS))
        self.register_buffer("deviation", torch.ones(STEM_CHANNELS))

    def forward(self, mr: Tensor, occupancy: Tensor, dose: Tensor | None = None, stem: Tensor | None = None) -> Output:
        """Run a batch of equal patches ``(batch, 1, z, y, x)``; sides are multiples of 4.

        ``stem`` may carry the features of `stem_features` computed before.
        """
        features, reconstruction = self.features(mr, occupancy, dose, stem)
        maps, bias, total = self.pool(features, occupancy)
        return Output(maps, bias, total, features, reconstruction)

    def features(
        self, mr: Tensor, occupancy: Tensor, dose: Tensor | None = None, stem: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Full-resolution features that the head reads, and the reconstruction."""
        fixed = stem_features(mr, occupancy, self.architecture.spacing_mm) if stem is None else stem
        parts = [self.standardised(fixed)]
        reconstruction = None
        if self.architecture.autoencoder:
            drawn, reconstruction = self.drawn_features(mr, occupancy)
            parts.append(drawn)
        if self.architecture.dose:
            parts.append(dose_feature(mr, dose))
        return torch.cat(parts, dim=1), reconstruction

    def standardised(self, stem: Tensor) -> Tensor:
        """Stem features ``(batch, channels, …)`` in units of the training lesions' spread."""
        shape = (1, -1) + (1,) * (stem.dim() - 2)
        return (stem - self.mean.reshape(shape)) / self.deviation.reshape(shape)

    def drawn_features(self, mr: Tensor, occupancy: Tensor) -> tuple[Tensor, Tensor]:
        """What the autoencoder sees, draws and misses, ``(batch, 2 a + 3, z, y, x)``, and its reconstruction."""
        own = lesion_units(mr, occupancy).clamp(-4, 4)
        seen, drawn, reconstruction = self.autoencoder(torch.cat([own, (mr / 4).clamp(-3, 3), occupancy], dim=1))
        residual = own - reconstruction
        energy = functional.avg_pool3d(residual**2, 5, stride=1, padding=2)
        return torch.cat([seen, drawn, reconstruction, residual, (energy + 1e-4).sqrt()], dim=1), reconstruction

    def pool(self, features: Tensor, occupancy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evidence of features, pooled inside the lesion: maps, bias, total."""
        value = self.evidence(functional.gelu(self.hidden(features)))
        weight = occupancy / occupancy.sum((2, 3, 4), keepdim=True).clamp_min(1e-6)
        if self.architecture.form == "signed":
            maps = value * weight * self.slope.exp().reshape(1, -1, 1, 1, 1)
            return maps, self.offset, maps.sum((2, 3, 4)) + self.offset
        share = functional.softplus(value) * weight
        mean = share.sum((2, 3, 4)) + 1e-6
        total = (self.offset + self.slope.exp() * mean.log()).exp()
        return share * (total / mean)[..., None, None, None], torch.zeros_like(self.offset), total


def probability_of_response(total: Tensor, form: str) -> Tensor:
    """p(response) of a total: 1 − sigmoid(logit), or exp(−cumulative hazard) (Poisson TCP)."""
    return torch.sigmoid(-total) if form == "signed" else torch.exp(-total)


def dose_feature(mr: Tensor, dose: Tensor | None) -> Tensor:
    """Dose / prescription, cut at 4; 1 (the prescription) where no dose is known."""
    return torch.ones_like(mr) if dose is None else dose.clamp(0, 4)


def _conv(inputs: int, outputs: int) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 3, padding=1, padding_mode="replicate")
