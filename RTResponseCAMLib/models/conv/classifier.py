"""The convolutional autoencoder-classifier: bounded evidence from local energies of the last convolutional layer.

The pre-trained autoencoder describes every voxel by its last full-resolution layer, of which the local energies inside
the lesion are taken, beside the fixed features of `scale_space.stem`, less what is usual at a voxel's depth (the depth
baseline of the training lesions). An evidence head (1 × 1 × 1 convolutions, tanh, sigmoid) gives each
voxel an evidence between -½ and ½. The prediction is its mean over the lesion, scaled and shifted, so that the evidence
map adds up to the logit: Σ map + bias = total. No voxel can outweigh the others: each contributes at most slope / 2,
divided by the number of voxels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from RTResponseCAMLib.models.conv.autoencoder import Autoencoder, Shape
from RTResponseCAMLib.models.conv.energy import local_energies
from RTResponseCAMLib.models.evidence import EvidenceNetwork, Output
from RTResponseCAMLib.models.scale_space.stem import DEPTH_TERMS, STEM_CHANNELS, stem_features, without_depth
from RTResponseCAMLib.models.smoothing import masked_mean

LIMIT = 4.0  # features are clipped at four standard deviations
SMOOTHING_MM = 1.0  # standard deviation of the smoothing of the evidence inside the lesion, mm


@dataclass(frozen=True)
class Architecture:
    """Parameters that define the classifier.

    Attributes
    ----------
    shape : the autoencoder's.
    members : number of evidence heads; each is trained on its own patient bootstrap.
    width : hidden units of a head.
    learned, fixed : whether the heads read the energies of the learned layer, and the fixed features.
    """

    shape: Shape = field(default_factory=Shape)
    members: int = 5
    width: int = 8
    learned: bool = True
    fixed: bool = True

    @property
    def features(self) -> int:
        """Number of features per voxel that the heads read."""
        return 3 * self.shape.channels[0] * self.learned + STEM_CHANNELS * self.fixed

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``model.json``."""
        return {**asdict(self), "shape": self.shape.as_json()}

    @classmethod
    def of(cls, values: dict[str, Any]) -> Architecture:
        """The architecture that `as_json` wrote.

        Raises
        ------
        ValueError : a value is missing, unknown or out of range.
        """
        if set(values) != set(cls().as_json()):
            raise ValueError(f"expected {sorted(cls().as_json())}, found {sorted(values)}")
        rest = {name: value for name, value in values.items() if name != "shape"}
        for name, value in rest.items():
            kind = type(getattr(cls(), name))
            if type(value) is not kind or not 0 <= int(value) <= 1000:
                raise ValueError(f"{name} is {value!r}")
        found = cls(shape=Shape.of(values["shape"]), **rest)
        if min(found.members, found.width, found.features) < 1:
            raise ValueError("the classifier has no heads or no features")
        return found


class ConvClassifier(EvidenceNetwork):
    """Network from a patch to evidence per voxel and prediction."""

    depth_baseline: Tensor
    feature_mean: Tensor
    feature_deviation: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        members, width, count = architecture.members, architecture.width, architecture.features
        self.autoencoder = Autoencoder(architecture.shape)
        self.hidden_weight = nn.Parameter(torch.randn(count, members * width) / count**0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(members * width))
        self.weight = nn.Parameter(torch.randn(members, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(members))
        self.log_slope = nn.Parameter(torch.ones(members))
        self.offset = nn.Parameter(torch.zeros(members))
        # Depth baseline and units of the training lesions; stored with the weights, not trained by gradient descent.
        self.register_buffer("depth_baseline", torch.zeros(DEPTH_TERMS, STEM_CHANNELS))
        self.register_buffer("feature_mean", torch.zeros(count))
        self.register_buffer("feature_deviation", torch.ones(count))

    def forward(
        self, mr: Tensor, fraction: Tensor, dose: Tensor | None = None, mr_voxel_volume_ratio: float | Tensor = 1.0
    ) -> Output:
        """Run a batch of patches of equal size, see `EvidenceNetwork.forward`; the dose is not read."""
        features = self.standardized(self.describe(mr, fraction))
        inside = fraction[:, 0] > 0  # most voxels of a patch are outside the lesion and need no evidence
        evidence = features.new_zeros((*inside.shape, self.architecture.members))
        evidence[inside] = self.evidence(features.movedim(1, -1)[inside])
        spacing = self.architecture.shape.spacing_mm
        return self.pool(masked_mean(evidence.movedim(-1, 1), fraction, SMOOTHING_MM, spacing), fraction)

    def describe(self, mr: Tensor, fraction: Tensor) -> Tensor:
        """Energies of the learned layer, fixed features and their depth terms, ``(batch, …, z, y, x)``, as they are."""
        spacing = self.architecture.shape.spacing_mm
        parts = []
        if self.architecture.learned:
            parts.append(local_energies(self.autoencoder.channels(mr, fraction), fraction, spacing))
        if self.architecture.fixed:
            parts.append(stem_features(mr, fraction, spacing))
        return torch.cat(parts, dim=1)

    def standardized(self, features: Tensor) -> Tensor:
        """What `describe` gives ``(batch, …)``, in standard deviations over the training lesions, clipped.

        Of the fixed features, what is usual at the voxel's depth is taken away; ``(batch, features, …)``.
        """
        features = self.without_depth(features)
        units = (features - _along(self.feature_mean, features)) / _along(self.feature_deviation, features)
        return units.clamp(-LIMIT, LIMIT)

    def without_depth(self, features: Tensor) -> Tensor:
        """Features without the depth baseline and the depth terms, ``(batch, features, …)``."""
        if not self.architecture.fixed:
            return features
        learned, stem = features.tensor_split([self.architecture.features - STEM_CHANNELS], dim=1)
        return torch.cat([learned, without_depth(stem, self.depth_baseline)], dim=1)

    def evidence(self, rows: Tensor, keep: Tensor | None = None) -> Tensor:
        """Evidence ``(…, members)``, -½ to ½, of standardized features ``(…, features)``.

        ``keep``: factor of each feature for each member ``(features, members)``, for dropout.
        """
        weight: Tensor = self.hidden_weight
        if keep is not None:
            weight = weight * keep.repeat_interleave(self.architecture.width, dim=1)
        hidden = torch.tanh(rows @ weight + self.hidden_bias)
        members = hidden.unflatten(-1, self.weight.shape)
        return torch.sigmoid((members * self.weight).sum(-1) + self.bias) - 0.5

    def pool(self, evidence: Tensor, fraction: Tensor) -> Output:
        """Maps and logit from evidence ``(batch, members, z, y, x)``: its scaled mean inside the lesion."""
        weight = fraction / fraction.sum((2, 3, 4), keepdim=True).clamp_min(1e-6)
        slope = self.log_slope.exp()
        maps = evidence * weight * slope[:, None, None, None]
        bias = self.offset.expand(len(fraction), -1)
        return Output(maps, bias, torch.zeros_like(bias), maps.sum((2, 3, 4)) + bias)


def _along(values: Tensor, like: Tensor) -> Tensor:
    """Values per channel, shaped for broadcasting along the second axis of ``like``."""
    return values.reshape((1, -1) + (1,) * (like.dim() - 2))
