"""The integrated autoencoder-classifier: reconstruction and voxel evidence from one set of features.

A fixed filter bank (the stem) describes every voxel in scale space; the depth baseline, which is the mean feature at a
voxel's depth in a lesion, is subtracted. A linear autoencoder reconstructs these features from a short code per voxel,
computed over the voxel's surroundings; it is trained without labels. Evidence heads (1 × 1 × 1 convolutions), some on
the features and some on the code, give the evidence of each voxel. The prediction is the weighted mean of that evidence
inside the lesion plus a term of the lesion's volume, so that the evidence map adds up to the logit.

The texture of a small lesion is measured on few voxels, and on fewer independent ones the coarser the MR is; it also
depends on where the contour lies. With ``shrinkage_volume_cc`` the evidence is therefore shrunk towards 0 by
V / (V + ``shrinkage_volume_cc`` · r), where r is `Patch.mr_voxel_volume_ratio`: the James–Stein factor where the
variance of a mean is proportional to 1 / n [James & Stein 1961].
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from RTResponseCAMLib.models.evidence import EvidenceNetwork, Output
from RTResponseCAMLib.models.scale_space.stem import DEPTH_TERMS, STEM_CHANNELS, stem_features, without_depth
from RTResponseCAMLib.models.smoothing import masked_mean

ROWS = 2**17  # voxels evaluated at once in inference; all voxels of a liver would need a gigabyte
LIMIT = 5.0  # features and code are clipped at five standard deviations


@dataclass(frozen=True)
class Architecture:
    """Parameters that define the network's shape.

    Attributes
    ----------
    members, code_members : number of evidence heads on the features and on the code; each is trained on its own patient
        bootstrap. The code is computed over surroundings, so many heads on it blur the evidence map.
    width : hidden units of an evidence head.
    code : length of the autoencoder's code per voxel.
    context_mm : standard deviation of the Gaussian surroundings of the code, and of the smoothing of the evidence, mm.
    shrinkage_volume_cc : lesion volume at which the evidence is halved, cm³, for MR voxels as large as those of the
        patch; multiplied by `Patch.mr_voxel_volume_ratio` for larger ones. 0: no shrinkage. Shrinkage makes the
        prediction of a small lesion less sensitive to its contour, and costs AUC where texture alone decides.
    depth, autoencoder, dose, volume : parts that can be left out for an ablation; without ``depth`` the mean over all
        voxels is subtracted instead of the depth baseline.
    spacing_mm : voxel size of the patch, mm.
    """

    members: int = 11
    code_members: int = 1
    width: int = 8
    code: int = 6
    context_mm: float = 2.0
    shrinkage_volume_cc: float = 0.0
    depth: bool = True
    autoencoder: bool = True
    dose: bool = False
    volume: bool = True
    spacing_mm: float = 1.0

    @property
    def heads(self) -> int:
        """Number of all heads: those on the features and those on the code."""
        return self.members + (self.code_members if self.autoencoder else 0)

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``model.json``."""
        return asdict(self)


class Head(nn.Module):
    """Evidence head of several ensemble members on one set of features (a 1 × 1 × 1 convolution)."""

    def __init__(self, inputs: int, members: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, members * width)
        self.at_hidden = nn.Identity()
        self.weight = nn.Parameter(torch.randn(members, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(members))

    def forward(self, features: Tensor) -> Tensor:
        """Evidence ``(…, members)`` from features ``(…, inputs)``."""
        members, width = self.weight.shape
        active = self.at_hidden(functional.gelu(self.hidden(features)))
        return (active.unflatten(-1, (members, width)) * self.weight).sum(-1) + self.bias


class AutoencoderClassifier(EvidenceNetwork):
    """Network from a patch to evidence per voxel and prediction; the heads have no spatial extent (1 × 1 × 1)."""

    depth_baseline: Tensor
    deviation: Tensor
    volume_mean: Tensor
    volume_deviation: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        extra, members, width = int(architecture.dose), architecture.members, architecture.width
        self.stem_head = Head(STEM_CHANNELS + extra, members, width)
        if architecture.autoencoder:
            self.encode = nn.Conv3d(STEM_CHANNELS, architecture.code, 1, bias=False)
            self.encode_offset = nn.Parameter(torch.zeros(architecture.code))
            self.decode = nn.Conv3d(architecture.code, STEM_CHANNELS, 1, bias=False)
            self.decode_offset = nn.Parameter(torch.zeros(STEM_CHANNELS))
            self.code_head = Head(architecture.code + extra, architecture.code_members, width)
        self.slope = nn.Parameter(torch.zeros(architecture.heads))
        self.offset = nn.Parameter(torch.zeros(architecture.heads))
        self.volume_slope = nn.Parameter(torch.zeros(architecture.heads))
        # Hook points for the gradient maps.
        self.at_stem, self.at_code = nn.Identity(), nn.Identity()
        # Depth baseline and units of the training lesions; stored with the weights, not trained by gradient descent.
        self.register_buffer("depth_baseline", torch.zeros(DEPTH_TERMS, STEM_CHANNELS))
        self.register_buffer("deviation", torch.ones(STEM_CHANNELS))
        self.register_buffer("volume_mean", torch.zeros(()))
        self.register_buffer("volume_deviation", torch.ones(()))

    def forward(
        self, mr: Tensor, fraction: Tensor, dose: Tensor | None = None, mr_voxel_volume_ratio: float | Tensor = 1.0
    ) -> Output:
        """Run a batch of patches of equal size, see `EvidenceNetwork.forward`."""
        features, code = self.describe(mr, fraction)
        relative = dose_feature(mr, dose) if self.architecture.dose else None
        evidence = self.evidence(features, code, fraction, relative)
        smoothed = masked_mean(evidence, fraction, self.architecture.context_mm, self.architecture.spacing_mm)
        return self.pool(smoothed, fraction, self.log_volume(fraction), mr_voxel_volume_ratio)

    def describe(self, mr: Tensor, fraction: Tensor) -> tuple[Tensor, Tensor | None]:
        """Depth-normalized features in units of the training lesions, and their code (None without autoencoder)."""
        features = self.standardized(stem_features(mr, fraction, self.architecture.spacing_mm))
        if not self.architecture.autoencoder:
            return features, None
        # Encoding and smoothing are both linear: encoding first means that fewer channels are smoothed.
        context = self.architecture.context_mm, self.architecture.spacing_mm
        code = masked_mean(self.encode(features), fraction, *context)
        return features, code + self.encode_offset[:, None, None, None]

    def reconstruct(self, code: Tensor) -> Tensor:
        """Reconstruction by the autoencoder: the standardized features over each voxel's surroundings."""
        reconstruction: Tensor = self.decode(code)
        return reconstruction + self.decode_offset[:, None, None, None]

    def evidence(self, features: Tensor, code: Tensor | None, fraction: Tensor, dose: Tensor | None = None) -> Tensor:
        """Evidence of every head ``(batch, heads, z, y, x)`` inside the lesions, 0 elsewhere."""
        inside = fraction[:, 0] > 0  # most voxels of a patch are outside the lesion and need no evidence
        extra = [] if dose is None else [dose]
        head_outputs = []
        for head, hook, source in self.head_inputs(features, code):
            inputs = hook(torch.cat([source.clamp(-LIMIT, LIMIT), *extra], dim=1))
            rows = inputs.movedim(1, -1)[inside]
            size = ROWS if torch.is_inference_mode_enabled() else len(rows)
            head_outputs.append(torch.cat([head(chunk) for chunk in rows.split(max(size, 1))]))
        evidence = features.new_zeros((*inside.shape, self.architecture.heads))
        evidence[inside] = torch.cat(head_outputs, dim=1)
        return evidence.movedim(-1, 1)

    def head_inputs(self, features: Tensor, code: Tensor | None) -> list[tuple[Head, nn.Identity, Tensor]]:
        """Each kind of head with the hook point of its input, and its input."""
        stem_inputs = [(self.stem_head, self.at_stem, features)]
        return stem_inputs if code is None else [*stem_inputs, (self.code_head, self.at_code, code)]

    def standardized(self, stem: Tensor) -> Tensor:
        """Depth-normalized features: features minus depth baseline, in standard deviations of the training lesions.

        ``stem`` is the output of the stem: ``(batch, features and depth terms, …)``.
        """
        return without_depth(stem, self.depth_baseline) / self.deviation.reshape((1, -1) + (1,) * (stem.dim() - 2))

    def head_features(self, features: Tensor, surroundings: Tensor) -> tuple[Tensor, Tensor | None]:
        """Inputs of the heads for a prepared lesion: features and code, each ``(voxels, channels)``."""
        clipped = self.standardized(features).clamp(-LIMIT, LIMIT)
        if not self.architecture.autoencoder:
            return clipped, None
        code = self.standardized(surroundings) @ self.encode.weight[:, :, 0, 0, 0].T + self.encode_offset
        return clipped, code.clamp(-LIMIT, LIMIT)

    def log_volume(self, fraction: Tensor) -> Tensor:
        """Logarithm of the lesion's volume ``(batch,)``, standardized by the training lesions."""
        volume_cc = fraction.sum((1, 2, 3, 4)) * self.architecture.spacing_mm**3 / 1000
        return (volume_cc.clamp_min(1e-4).log() - self.volume_mean) / self.volume_deviation

    def pool(
        self, evidence: Tensor, fraction: Tensor, log_volume: Tensor, mr_voxel_volume_ratio: float | Tensor = 1.0
    ) -> Output:
        """Pool evidence ``(batch, heads, z, y, x)`` inside the lesion; ``log_volume`` is that of `log_volume`."""
        weight = fraction / fraction.sum((2, 3, 4), keepdim=True).clamp_min(1e-6)
        volume_cc = (log_volume * self.volume_deviation + self.volume_mean).exp()
        shrinkage = (volume_cc / (volume_cc + self.architecture.shrinkage_volume_cc * mr_voxel_volume_ratio))[:, None]
        from_volume = self.volume_slope * log_volume[:, None] * float(self.architecture.volume)
        maps = evidence * weight * (shrinkage * self.slope.exp())[..., None, None, None]
        bias = self.offset + from_volume
        return Output(maps, bias, from_volume, maps.sum((2, 3, 4)) + bias)


def dose_feature(mr: Tensor, dose: Tensor | None) -> Tensor:
    """Dose / prescription − 1, clipped at 3; 0 (the prescription) where the dose is unknown."""
    return torch.zeros_like(mr) if dose is None else dose.clamp(0, 4) - 1
