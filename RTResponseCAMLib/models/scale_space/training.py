"""Train the autoencoder-classifier: depth baseline and autoencoder without labels, then the evidence heads.

1. Depth baseline, without labels: linear regression of the features on the depth terms, with equal weight for each
   lesion. The next steps use the residuals.
2. Autoencoder, without labels: it is linear, so its optimum has a closed form, the leading principal components of the
   features over a voxel's surroundings, with equal weight for each lesion [Baldi & Hornik, Neural Networks 2 (1989)
   53].
3. Evidence heads: they learn the response from randomly sampled voxels, with dropout of features; each member is
   trained on its own bootstrap of the patients. The autoencoder is not trained further: with 69 lesions, labels would
   add noise to it.
4. Weight of volume: an out-of-bag estimate [Breiman 1996], on the lesions outside each head's bootstrap, limits the
   weight of volume relative to the evidence, because on its own training lesions even an uninformative volume explains
   something. The weight is never increased: its start at 0 and the few steps limit it where 69 lesions overstate it.
   The coefficient of the evidence counts as at least ``MIN_EVIDENCE_SLOPE``: 69 lesions can fail to show an existing
   effect, and volume alone would decide.

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
from torch.nn import functional

from RTResponseCAMLib.models.scale_space.classifier import Architecture, AutoencoderClassifier
from RTResponseCAMLib.models.scale_space.preparation import PreparedLesion
from RTResponseCAMLib.models.scale_space.stem import DEPTH_TERMS, STEM_CHANNELS, solve_baseline
from RTResponseCAMLib.models.supervision import bootstrap_weights, logit_of, response_loss
from RTResponseCAMLib.progress import Progress, no_progress

MIN_EVIDENCE_SLOPE = 1.0  # least coefficient of the evidence: log odds per standard deviation between lesions
NO_EVIDENCE_SLOPE = 0.05  # replaces a smaller or negative coefficient of the evidence


@dataclass(frozen=True)
class Schedule:
    """How to train; stored in the bundle.

    Attributes
    ----------
    steps : optimization steps of the heads.
    batch : largest number of lesions per step.
    voxels : voxels sampled per lesion and step, by their weight in the pooling.
    dropout : fraction of the features that is dropped at each step of the heads on features.
    n_augmentations : number of augmented copies of each lesion, with another contour and another scan (`preparation`).
    evidence_l2 : weight of the mean squared evidence; keeps evidence small where the response does not require it.
    volume_rate : learning rate of volume slope and offset relative to the heads; at equal rates they do not converge
        within the few steps, and the heads learn the effect of volume.
    """

    seed: int = 7
    steps: int = 240
    batch: int = 64
    voxels: int = 64
    n_augmentations: int = 2
    learning_rate: float = 3e-3
    weight_decay: float = 2.0
    dropout: float = 0.9
    evidence_l2: float = 0.005
    volume_rate: float = 3.0

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``model.json``."""
        return asdict(self)


def fit(
    lesions: Sequence[PreparedLesion],
    architecture: Architecture,
    *,
    schedule: Schedule,
    progress: Progress = no_progress,
) -> AutoencoderClassifier:
    """Train on all given lesions and return the network in evaluation mode.

    Lesions without a label are used for depth baseline and autoencoder only.
    """
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    network = AutoencoderClassifier(architecture)
    _standardize(network, lesions)
    if architecture.autoencoder:
        _fit_autoencoder(network, lesions)
    labeled = [lesion for lesion in lesions if lesion.label is not None]
    weights = bootstrap_weights([lesion.group for lesion in labeled], architecture.heads, rng=rng)
    labeled_voxels = _LabeledVoxels.of(network, labeled)
    _start_at_prevalence(network, float(labeled_voxels.labels.mean()))
    _fit_heads(network, labeled_voxels, weights, schedule, rng, progress)
    _limit_volume_weight(network, labeled_voxels, weights == 0)
    return network.eval()


def _standardize(network: AutoencoderClassifier, lesions: Sequence[PreparedLesion]) -> None:
    # Every lesion has equal weight, whatever its volume.
    terms = DEPTH_TERMS if network.architecture.depth else 1  # the first term is constant
    depth_products, cross_products = [], []
    for lesion in lesions:
        features, depth = lesion.features.double().split((STEM_CHANNELS, DEPTH_TERMS), dim=1)
        depth = depth[:, :terms]
        depth_products.append(depth.T @ depth / len(depth))
        cross_products.append(depth.T @ features / len(depth))
    network.depth_baseline[:terms].copy_(
        solve_baseline(torch.stack(depth_products).mean(0), torch.stack(cross_products).mean(0))
    )
    square = torch.stack([network.standardized(lesion.features).square().mean(0) for lesion in lesions]).mean(0)
    network.deviation.copy_(square.clamp_min(1e-4).sqrt())
    volume = torch.tensor([lesion.volume_cc for lesion in lesions]).log()
    network.volume_mean.copy_(volume.mean())
    network.volume_deviation.copy_(volume.std(correction=0).clamp_min(0.1))


def _fit_autoencoder(network: AutoencoderClassifier, lesions: Sequence[PreparedLesion]) -> None:
    """Fit the linear autoencoder by principal component analysis of the variation within lesions.

    Channels are scaled by their standard deviation over all lesions, so that a channel with large variance does not
    dominate. The code is scaled to unit standard deviation over all lesions.
    """
    means, squares, covariances = [], [], []
    for lesion in lesions:
        surroundings = network.standardized(lesion.surroundings).double()
        means.append(surroundings.mean(0))
        covariances.append(torch.cov(surroundings.T, correction=0))
        squares.append(surroundings.T @ surroundings / len(surroundings))
    center = torch.stack(means).mean(0)
    total = torch.stack(squares).mean(0) - torch.outer(center, center)
    unit = total.diagonal().clamp_min(1e-6).sqrt()
    within = torch.stack(covariances).mean(0) / torch.outer(unit, unit)
    count = network.architecture.code
    axes = torch.linalg.eigh(within).eigenvectors[:, -count:].flip(1)
    axes = axes * axes[axes.abs().argmax(0), torch.arange(count)].sign()  # fixes the arbitrary sign of a component
    scaled_axes = axes / unit[:, None]
    sd = (scaled_axes.T @ total @ scaled_axes).diagonal().clamp_min(1e-6).sqrt()
    to_code, to_features = axes / unit[:, None] / sd, axes * unit[:, None] * sd
    with torch.no_grad():
        network.encode.weight.copy_(to_code.T[:, :, None, None, None])
        network.encode_offset.copy_(-(center @ to_code))
        network.decode.weight.copy_(to_features[:, :, None, None, None])
        network.decode_offset.copy_(center)


def _start_at_prevalence(network: AutoencoderClassifier, prevalence: float) -> None:
    with torch.no_grad():
        network.offset.fill_(logit_of(prevalence))


def _limit_volume_weight(network: AutoencoderClassifier, labeled: _LabeledVoxels, unseen: Tensor) -> None:
    """Reduce the weight of volume relative to the evidence to its out-of-bag estimate; never increase it.

    ``unseen`` marks the out-of-bag pairs ``(lesions, heads)``. The heads' offsets are left out of the estimate: an
    offset is biased against a lesion that is not in the head's bootstrap.
    """
    slopes = network.volume_slope.detach().double()
    out_of_bag = unseen.sum(1) > 0
    # With very few lesions, or one head, there may be no out-of-bag lesions of both classes.
    if not network.architecture.volume or len(set(labeled.labels[out_of_bag].tolist())) < 2:
        return
    volumes = labeled.volumes.double()
    by_head = labeled.totals(network) - network.offset.detach() - volumes[:, None] * slopes
    evidence = ((by_head * unseen).sum(1) / unseen.sum(1).clamp_min(1))[out_of_bag]
    sd = float(evidence.std().clamp_min(1e-9))
    worth = _logistic_slopes(torch.stack([evidence / sd, volumes[out_of_bag]]), labeled.labels[out_of_bag])
    evidence_worth = max(worth[0], NO_EVIDENCE_SLOPE)
    slope = float(slopes.mean())
    kept_fraction = float(np.clip(worth[1] * sd / evidence_worth / slope, 0, 1)) if slope else 0.0
    least_slope = worth[1] * sd / max(evidence_worth, MIN_EVIDENCE_SLOPE)  # for MIN_EVIDENCE_SLOPE
    gain = max(1.0, kept_fraction * slope / least_slope) if kept_fraction else 1.0
    with torch.no_grad():
        network.volume_slope.mul_(kept_fraction)
        network.slope.add_(float(np.log(gain)))
        network.offset.sub_((gain - 1) * by_head.mean(0))  # the mean over all lesions does not change


def _logistic_slopes(terms: Tensor, labels: Tensor) -> tuple[float, float]:
    """Coefficients of two terms ``(2, lesions)``: logistic regression of the labels with a standard normal prior."""
    start = logit_of(float(labels.mean()))
    line = torch.tensor([0.0, 0.0, start], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = line[:2] @ terms + line[2]
        losses = response_loss(total, labels.double())
        value = losses.sum() + line[:2].square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    first, second, _ = line.detach().tolist()
    return first, second


def _fit_heads(
    network: AutoencoderClassifier,
    labeled: _LabeledVoxels,
    weights: Tensor,
    schedule: Schedule,
    rng: np.random.Generator,
    progress: Progress,
) -> None:
    optimizer = _optimizer(network, schedule)
    highest = [group["lr"] for group in optimizer.param_groups]
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, total_steps=schedule.steps, pct_start=0.2)
    for step in range(schedule.steps):
        batch = rng.permutation(len(labeled.labels))[: schedule.batch]
        loss = _loss(
            network,
            labeled.sample(batch, schedule.voxels, rng=rng),
            labeled.volumes[batch],
            labeled.mr_voxel_volume_ratio[batch],
            labeled.labels[batch],
            weights[batch],
            schedule,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        if step % 10 == 9:
            progress((step + 1) / schedule.steps, f"response loss {float(loss.detach()):.3f}")


@dataclass(frozen=True)
class _LabeledVoxels:
    """Labeled lesions as inputs of the heads: their voxels, one lesion after the other, ``(voxels, channels)``.

    ``share`` is `PreparedLesion.share` plus the lesion's index, ``ends`` the end of each lesion's voxels, ``volumes``
    the standardized logarithms of the volumes.
    """

    features: Tensor
    code: Tensor | None
    share: npt.NDArray[np.float64]
    ends: list[int]
    volumes: Tensor
    mr_voxel_volume_ratio: Tensor
    labels: Tensor

    @classmethod
    def of(cls, network: AutoencoderClassifier, lesions: Sequence[PreparedLesion]) -> _LabeledVoxels:
        with torch.no_grad():
            tables = [torch.cat([getattr(x, name) for x in lesions]) for name in ("features", "surroundings")]
            features, code = network.head_features(*tables)
            if network.architecture.dose:
                dose = torch.cat([lesion.dose for lesion in lesions])
                features = torch.cat([features, dose], dim=1)
                code = None if code is None else torch.cat([code, dose], dim=1)
        # Cumulative weights of lesion n run from n to n + 1: one search samples the voxels of all lesions.
        share = np.concatenate([lesion_index + lesion.share for lesion_index, lesion in enumerate(lesions)])
        ends = np.cumsum([len(lesion.share) for lesion in lesions]).tolist()
        volumes = torch.tensor([lesion.volume_cc for lesion in lesions]).log()
        volumes = (volumes - network.volume_mean) / network.volume_deviation
        mr_voxel_volume_ratio = torch.tensor([lesion.mr_voxel_volume_ratio for lesion in lesions])
        labels = torch.tensor([float(lesion.label or 0) for lesion in lesions])
        return cls(features, code, share, ends, volumes, mr_voxel_volume_ratio, labels)

    def sample(
        self, lesions: npt.NDArray[np.intp], count: int, *, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Sample voxels by their weight, ``(lesions, count, channels)``; their plain mean estimates the pooling."""
        voxel_index = np.searchsorted(self.share, lesions[:, None] + rng.random((len(lesions), count)) * (1 - 1e-9))
        rows = torch.from_numpy(voxel_index.ravel())
        shape = (len(lesions), count, -1)
        return self.features[rows].reshape(shape), None if self.code is None else self.code[rows].reshape(shape)

    def totals(self, network: AutoencoderClassifier) -> Tensor:
        """Logit of each lesion by each head ``(lesions, heads)``, over its voxels and augmented copies."""
        weight = torch.from_numpy(np.diff(self.share, prepend=0.0)).float()
        lesion_totals = []
        with torch.no_grad():
            for index, end in enumerate(self.ends):
                rows = slice(self.ends[index - 1] if index else 0, end)
                evidence = _evidence(network, self.features[rows], None if self.code is None else self.code[rows])
                pooled = evidence.T[None, :, :, None, None], weight[rows][None, None, :, None, None]
                lesion_totals.append(
                    network.pool(*pooled, self.volumes[[index]], self.mr_voxel_volume_ratio[[index]]).total[0]
                )
        return torch.stack(lesion_totals).double()


def _evidence(network: AutoencoderClassifier, features: Tensor, code: Tensor | None) -> Tensor:
    """Evidence of all heads, ``(…, heads)``."""
    evidence = network.stem_head(features)
    if code is not None:
        evidence = torch.cat([evidence, network.code_head(code)], dim=-1)
    return evidence


def _optimizer(network: AutoencoderClassifier, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW: strong weight decay for the heads' weights, weak for offsets and scales; excludes the autoencoder."""
    fast_names = ("offset", "volume_slope")
    trained = [(n, p) for n, p in network.named_parameters() if not n.startswith(("encode", "decode"))]
    decaying = [p for n, p in trained if n.endswith("weight")]
    plain = [p for n, p in trained if not n.endswith("weight") and n not in fast_names]
    fast = [p for n, p in trained if n in fast_names]
    rate, fast_rate = schedule.learning_rate, schedule.learning_rate * schedule.volume_rate
    groups = [
        {"params": decaying, "lr": rate, "weight_decay": schedule.weight_decay},
        {"params": plain, "lr": rate, "weight_decay": 1e-3},
        {"params": fast, "lr": fast_rate, "weight_decay": 1e-3},
    ]
    return torch.optim.AdamW(groups)


def _loss(
    network: AutoencoderClassifier,
    sampled: tuple[Tensor, Tensor | None],
    volumes: Tensor,
    mr_voxel_volume_ratio: Tensor,
    labels: Tensor,
    weights: Tensor,
    schedule: Schedule,
) -> Tensor:
    """Loss on sampled voxels, with members weighted by their bootstrap, plus the penalty on squared evidence."""
    features, code = sampled
    evidence = _evidence(network, functional.dropout(features, schedule.dropout, training=True), code)
    evidence = evidence.transpose(1, 2)[..., None, None]
    output = network.pool(evidence, torch.ones_like(evidence[:, :1]), volumes, mr_voxel_volume_ratio)
    loss = response_loss(output.total, labels[:, None])
    local = output.maps * output.maps.shape[2]
    return (loss * weights).mean() + schedule.evidence_l2 * (local**2).mean().clamp_max(50)
