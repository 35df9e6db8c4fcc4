"""Fit the evidence heads of the convolutional classifier: the body is pre-trained and frozen, a fit takes seconds.

1. Each lesion and its augmented copies (`models.augmentation`) are described once: the features of at most `VOXELS`
   voxels, each with its weight in the pooling after smoothing.
2. Depth baseline and units of the features (means and standard deviations) are those of the lesions, each with the
   same weight. They need no label.
3. The heads minimize the loss of the response over all lesions and copies at once (full batch); each member is trained
   on its own bootstrap of the patients, and at every step on a random half of the features. An L2 penalty on weights
   and slope keeps the evidence small where the response does not require it.

One seed determines all random numbers; held-out lesions are not used in a fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.augmentation import augmented
from RTResponseCAMLib.models.conv.autoencoder import Autoencoder
from RTResponseCAMLib.models.conv.classifier import SMOOTHING_MM, Architecture, ConvClassifier
from RTResponseCAMLib.models.evidence import inputs_of
from RTResponseCAMLib.models.scale_space.stem import DEPTH_TERMS, STEM_CHANNELS, solve_baseline
from RTResponseCAMLib.models.smoothing import smoothing_weight
from RTResponseCAMLib.models.supervision import bootstrap_weights, logit_of, response_loss
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.samples.sample import LesionSample, patch_of

VOXELS = 200  # most voxels of a lesion and of each augmented copy
LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class Schedule:
    """How to fit the heads; stored in the bundle.

    Attributes
    ----------
    steps : optimization steps.
    n_augmentations : augmented copies of each lesion, with another scan and contour (`augmentation`).
    l2 : weight of the squared weights and slopes in the loss.
    dropout : share of the features that a member does not see at a step.
    consistency : weight of the squared differences between the logits of a lesion's copies in the loss.
    """

    seed: int = 7
    steps: int = 250
    n_augmentations: int = 4
    learning_rate: float = 0.03
    l2: float = 3e-3
    dropout: float = 0.5
    consistency: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``model.json``."""
        return asdict(self)


@dataclass(frozen=True)
class DescribedLesion:
    """Voxels of one lesion and of its augmented copies.

    Attributes
    ----------
    rows : features ``(copies, VOXELS, features)``, not standardized; where a copy has fewer voxels, the rest have
        weight 0. The first copy is the lesion itself.
    weight : weight of each voxel in the pooling ``(copies, VOXELS)``; its sum is 1 for every copy.
    """

    rows: Tensor
    weight: Tensor
    label: int | None
    group: str


def describe(network: ConvClassifier, sample: LesionSample, *, n_augmentations: int) -> DescribedLesion:
    """Features of a lesion's voxels, and of those of its augmented copies.

    The copies depend only on the sample's index: a lesion is the same in every fold.

    Raises
    ------
    ModelError : the sample has no patch.
    """
    patch = patch_of(sample)
    rng = np.random.default_rng([sample.index, n_augmentations, 28])
    patches = [patch, *(augmented(patch, rng) for _ in range(n_augmentations))]
    tables = [_voxels(network, copy, rng) for copy in patches]
    rows, weight = (torch.stack([table[k] for table in tables]) for k in range(2))
    return DescribedLesion(rows, weight, sample.label, sample.patient)


def _voxels(network: ConvClassifier, patch: Patch, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Features of at most `VOXELS` voxels ``(VOXELS, features)``, and their weight in the pooling."""
    mr, fraction, _ = inputs_of([patch], next(network.parameters()).device.type)
    index: npt.NDArray[np.intp] = np.flatnonzero(patch.fraction > 0)
    with torch.inference_mode():
        features = network.describe(mr, fraction)[0].flatten(1)
        spacing = network.architecture.shape.spacing_mm
        counts = smoothing_weight(fraction, SMOOTHING_MM, spacing).flatten()
    weight = counts.cpu().numpy()[index].astype(np.float64)
    if len(index) > VOXELS:  # sampled systematically by weight: their plain mean then estimates the pooling
        index = index[np.sort(_systematic(weight, VOXELS, rng))]
        weight = np.ones(VOXELS)
    rows, shares = torch.zeros(VOXELS, len(features)), torch.zeros(VOXELS)
    rows[: len(index)] = features[:, torch.from_numpy(index)].T.cpu()
    shares[: len(index)] = torch.from_numpy(weight / weight.sum())
    return rows, shares


def _systematic(weight: npt.NDArray[np.float64], count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    places = (np.arange(count) + rng.uniform()) / count * (1 - 1e-12)
    return np.minimum(np.searchsorted(np.cumsum(weight) / weight.sum(), places), len(weight) - 1)


def fit(
    network: ConvClassifier,
    lesions: Sequence[DescribedLesion],
    *,
    schedule: Schedule,
    progress: Progress = no_progress,
) -> ConvClassifier:
    """Fit units and heads on the given lesions, in place; those without a label serve the units only.

    ``network`` is that of `classifier_of`, with the architecture and autoencoder that described the lesions.

    Raises
    ------
    ModelError : the loss became NaN; the message says at which step.
    """
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    _feature_units(network, lesions)
    labeled = [lesion for lesion in lesions if lesion.label is not None]
    labels = torch.tensor([float(lesion.label or 0) for lesion in labeled])
    members = network.architecture.members
    weights = bootstrap_weights([lesion.group for lesion in labeled], members, rng=rng)
    with torch.no_grad():
        network.offset.fill_(logit_of(float(labels.mean())))
    share = torch.stack([x.weight for x in labeled])
    copies = share.shape[:2]  # (lesions, copies)
    # Small lesions leave most places empty: only the voxels that count are computed.
    used = share.flatten() > 0
    owner = torch.arange(copies.numel()).repeat_interleave(share.shape[2])[used]
    share = share.flatten()[used, None]
    with torch.no_grad():
        rows = network.standardized(torch.stack([x.rows for x in labeled]).flatten(0, 2)[used])
    heads = [network.hidden_weight, network.weight, network.log_slope]
    trained = [*heads, network.hidden_bias, network.bias, network.offset]
    optimizer = torch.optim.Adam(trained, lr=schedule.learning_rate)
    slow = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.steps)
    for step in range(schedule.steps):
        seen = (torch.rand(network.architecture.features, members) >= schedule.dropout).float()
        evidence = network.evidence(rows, seen / (1 - schedule.dropout))
        mean = torch.zeros(copies.numel(), members).index_add(0, owner, evidence * share)
        total = mean.reshape(*copies, members) * network.log_slope.exp() + network.offset
        loss = (response_loss(total, labels[:, None, None]) * weights[:, None]).mean()
        loss = loss + schedule.consistency * (total - total.mean(1, keepdim=True)).square().mean()
        squares = network.hidden_weight.square().sum() + network.weight.square().sum()
        loss = loss + schedule.l2 / members * (squares + network.log_slope.exp().square().sum())
        if not torch.isfinite(loss):
            raise ModelError("conv", f"the loss became NaN at step {step + 1}", "Check the MR for extreme values")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        slow.step()
        if step % 25 == 24:
            progress((step + 1) / schedule.steps, f"response loss {float(loss.detach()):.3f}")
    return network.eval()


def classifier_of(architecture: Architecture, autoencoder: Autoencoder, *, seed: int) -> ConvClassifier:
    """Classifier with a frozen, pre-trained autoencoder and untrained heads."""
    torch.manual_seed(seed)
    network = ConvClassifier(architecture)
    network.autoencoder.load_state_dict(autoencoder.state_dict())
    network.autoencoder.requires_grad_(False)
    return network.eval()


def _feature_units(network: ConvClassifier, lesions: Sequence[DescribedLesion]) -> None:
    weight = torch.stack([x.weight for x in lesions])
    weight = (weight / weight.sum()).flatten()
    used = weight > 0
    rows, weight = torch.stack([x.rows for x in lesions]).flatten(0, 2)[used], weight[used, None]
    if network.architecture.fixed:
        fixed, terms = rows[:, -STEM_CHANNELS - DEPTH_TERMS : -DEPTH_TERMS].double(), rows[:, -DEPTH_TERMS:].double()
        network.depth_baseline.copy_(solve_baseline(terms.T @ (weight * terms), terms.T @ (weight * fixed)))
    rows = network.without_depth(rows)
    mean = (weight * rows).sum(0)
    network.feature_mean.copy_(mean)
    network.feature_deviation.copy_(((weight * rows**2).sum(0) - mean**2).clamp_min(LEAST_DEVIATION**2).sqrt())
