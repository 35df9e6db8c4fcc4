"""Fit the autoencoder-classifier: the autoencoder learns to draw lesions, then the heads learn to judge them.

1. What is usual at each depth of a lesion needs no labels: a regression of the features on the depth, each lesion
   counting the same. What follows sees the rest.
2. The autoencoder needs no labels. It is linear, so that the best one is known in closed form: the leading principal
   components of the features over a voxel's surroundings, each lesion counting the same [Baldi & Hornik, Neural
   Networks 2 (1989) 53].
3. The heads learn the response from voxels drawn at random, with features dropped at random; each member sees its own
   bootstrap of the patients. The autoencoder stays as it is: at 69 lesions, labels teach it noise.
4. Volume keeps no more weight, beside the evidence, than lesions show that a head's bootstrap left out [out-of-bag
   estimation, Breiman 1996]: on lesions that taught it, a volume that has nothing to say explains something. It gains
   none: that it began at 0 and had few steps is what holds it where 69 lesions overstate it. Evidence is never taken
   to be worth less than ``LEAST_WORTH``: 69 lesions can fail to show what is there, and volume alone would decide.

Everything is drawn from one seed; no lesion held out is looked at while fitting.
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
from RTResponseCAMLib.models.scale_space.stem import DEPTH_TERMS, STEM_CHANNELS
from RTResponseCAMLib.progress import Progress, no_progress

LEAST_WORTH = 1.0  # of evidence beside volume: log odds for a standard deviation between lesions
NO_WORTH = 0.05  # what stands for none or less
RIDGE = 1e-6  # against depths that the lesions at hand do not tell apart


@dataclass(frozen=True)
class Schedule:
    """How to train; stored in the bundle.

    Attributes
    ----------
    steps : of the heads. batch : most lesions per step. voxels : drawn per lesion and step, by occupancy.
    dropout : share of the features that a step of the heads on features does without.
    n_augmentations : of each lesion, beside the lesion as it is, with another contour and another scan (`preparation`).
    evidence_l2 : weight of the mean squared local evidence: it stays small where the response does not ask for it.
    volume_rate : how much faster the volume's slope and the offset learn than the heads; else the few steps end before
        they have arrived, and the heads explain volume.
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
    """Train on all lesions given and return the network in evaluation mode.

    Lesions without a label teach the autoencoder alone.
    """
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    network = AutoencoderClassifier(architecture)
    _standardize(network, lesions)
    if architecture.autoencoder:
        _fit_autoencoder(network, lesions)
    labeled = [lesion for lesion in lesions if lesion.label is not None]
    weights = bootstrap_weights([lesion.group for lesion in labeled], architecture.heads, rng=rng)
    known = _Known.of(network, labeled)
    _start_at_prevalence(network, float(known.labels.mean()))
    _fit_heads(network, known, weights, schedule, rng, progress)
    _weigh(network, known, weights == 0)
    return network.eval()


def _standardize(network: AutoencoderClassifier, lesions: Sequence[PreparedLesion]) -> None:
    # Every lesion counts the same, whatever its volume.
    terms = DEPTH_TERMS if network.architecture.depth else 1  # the first is constant
    depths, both = [], []
    for lesion in lesions:
        own, depth = lesion.features.double().split((STEM_CHANNELS, DEPTH_TERMS), dim=1)
        depth = depth[:, :terms]
        depths.append(depth.T @ depth / len(depth))
        both.append(depth.T @ own / len(depth))
    kept_small = RIDGE * torch.eye(terms, dtype=torch.float64)
    network.depth_baseline[:terms].copy_(
        torch.linalg.solve(torch.stack(depths).mean(0) + kept_small, torch.stack(both).mean(0))
    )
    square = torch.stack([network.standardized(lesion.features).square().mean(0) for lesion in lesions]).mean(0)
    network.deviation.copy_(square.clamp_min(1e-4).sqrt())
    volume = torch.tensor([lesion.volume_cc for lesion in lesions]).log()
    network.volume_mean.copy_(volume.mean())
    network.volume_deviation.copy_(volume.std(correction=0).clamp_min(0.1))


def _fit_autoencoder(network: AutoencoderClassifier, lesions: Sequence[PreparedLesion]) -> None:
    """The linear autoencoder that best draws what varies within lesions, its code scaled to unit spread over all.

    Channels count by their spread over all lesions, so that a lively one does not drown the rest.
    """
    means, squares, covariances = [], [], []
    for lesion in lesions:
        drawn = network.standardized(lesion.surroundings).double()
        means.append(drawn.mean(0))
        covariances.append(torch.cov(drawn.T, correction=0))
        squares.append(drawn.T @ drawn / len(drawn))
    center = torch.stack(means).mean(0)
    total = torch.stack(squares).mean(0) - torch.outer(center, center)
    unit = total.diagonal().clamp_min(1e-6).sqrt()
    within = torch.stack(covariances).mean(0) / torch.outer(unit, unit)
    count = network.architecture.code
    axes = torch.linalg.eigh(within).eigenvectors[:, -count:].flip(1)
    axes = axes * axes[axes.abs().argmax(0), torch.arange(count)].sign()  # a component has no sign of its own
    turned = axes / unit[:, None]
    sd = (turned.T @ total @ turned).diagonal().clamp_min(1e-6).sqrt()
    to_code, to_drawing = axes / unit[:, None] / sd, axes * unit[:, None] * sd
    with torch.no_grad():
        network.encode.weight.copy_(to_code.T[:, :, None, None, None])
        network.encode_offset.copy_(-(center @ to_code))
        network.decode.weight.copy_(to_drawing[:, :, None, None, None])
        network.decode_offset.copy_(center)


def bootstrap_weights(groups: Sequence[str], members: int, *, rng: np.random.Generator) -> Tensor:
    """How often each lesion counts for each member: patients drawn with replacement, ``(lesions, members)``."""
    names = sorted(set(groups))
    place = np.asarray([names.index(g) for g in groups])
    counts = np.stack(
        [np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names)) for _ in range(members)],
        axis=1,
    )
    return torch.from_numpy(counts[place].astype(np.float32))


def _start_at_prevalence(network: AutoencoderClassifier, prevalence: float) -> None:
    with torch.no_grad():
        network.offset.fill_(_logit_of(prevalence))


def _logit_of(share: float) -> float:
    """Logit of a share of non-response, kept off 0 and 1."""
    share = min(max(share, 0.02), 0.98)
    return float(np.log(share / (1 - share)))


def _weigh(network: AutoencoderClassifier, known: _Known, unseen: Tensor) -> None:
    """Weigh volume beside evidence as the lesions ask for it that heads were not taught by; volume gains nothing.

    ``unseen`` says which ``(lesions, heads)``. The heads' offsets are not asked: those of heads that a lesion was left
    out of are the further from it for just that.
    """
    slopes = network.volume_slope.detach().double()
    asked = unseen.sum(1) > 0
    if not network.architecture.volume or len(set(known.labels[asked].tolist())) < 2:  # very few lesions, or one head
        return
    volumes = known.volumes.double()
    by_head = known.totals(network) - network.offset.detach() - volumes[:, None] * slopes
    evidence = ((by_head * unseen).sum(1) / unseen.sum(1).clamp_min(1))[asked]
    sd = float(evidence.std().clamp_min(1e-9))
    worth = _worth(torch.stack([evidence / sd, volumes[asked]]), known.labels[asked])
    shown = max(worth[0], NO_WORTH)
    own = float(slopes.mean())
    kept = float(np.clip(worth[1] * sd / shown / own, 0, 1)) if own else 0.0
    least = worth[1] * sd / max(shown, LEAST_WORTH)  # volume's slope beside evidence of the least worth
    raised = max(1.0, kept * own / least) if kept else 1.0
    with torch.no_grad():
        network.volume_slope.mul_(kept)
        network.slope.add_(float(np.log(raised)))
        network.offset.sub_((raised - 1) * by_head.mean(0))  # the mean of all lesions stays where it was


def _worth(terms: Tensor, labels: Tensor) -> tuple[float, float]:
    """Coefficients of two terms ``(2, lesions)`` that explain the labels best, under a normal prior of unit spread."""
    start = _logit_of(float(labels.mean()))
    line = torch.tensor([0.0, 0.0, start], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = line[:2] @ terms + line[2]
        each = response_loss(total, labels.double())
        value = each.sum() + line[:2].square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    first, second, _ = line.detach().tolist()
    return first, second


def _fit_heads(
    network: AutoencoderClassifier,
    known: _Known,
    weights: Tensor,
    schedule: Schedule,
    rng: np.random.Generator,
    progress: Progress,
) -> None:
    optimizer = _optimizer(network, schedule)
    highest = [group["lr"] for group in optimizer.param_groups]
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, total_steps=schedule.steps, pct_start=0.2)
    for step in range(schedule.steps):
        chosen = rng.permutation(len(known.labels))[: schedule.batch]
        loss = _loss(
            network,
            known.reconstruct(chosen, schedule.voxels, rng=rng),
            known.volumes[chosen],
            known.mr_voxel_volume_ratio[chosen],
            known.labels[chosen],
            weights[chosen],
            schedule,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        if step % 10 == 9:
            progress((step + 1) / schedule.steps, f"response loss {float(loss.detach()):.3f}")


@dataclass(frozen=True)
class _Known:
    """The labeled lesions: all their voxels, one after the other, as the heads read them ``(voxels, channels)``.

    ``volumes`` are logarithms in units of the training lesions' spread, ``ends`` where each lesion's voxels end.
    """

    features: Tensor
    code: Tensor | None
    share: npt.NDArray[np.float64]
    ends: list[int]
    volumes: Tensor
    mr_voxel_volume_ratio: Tensor
    labels: Tensor

    @classmethod
    def of(cls, network: AutoencoderClassifier, lesions: Sequence[PreparedLesion]) -> _Known:
        with torch.no_grad():
            tables = [torch.cat([getattr(x, name) for x in lesions]) for name in ("features", "surroundings")]
            features, code = network.head_features(*tables)
            if network.architecture.dose:
                dose = torch.cat([lesion.dose for lesion in lesions])
                features = torch.cat([features, dose], dim=1)
                code = None if code is None else torch.cat([code, dose], dim=1)
        # Of lesion n, from n to n + 1: one search finds voxels of every lesion.
        share = np.concatenate([number + lesion.share for number, lesion in enumerate(lesions)])
        ends = np.cumsum([len(lesion.share) for lesion in lesions]).tolist()
        volumes = torch.tensor([lesion.volume_cc for lesion in lesions]).log()
        volumes = (volumes - network.volume_mean) / network.volume_deviation
        mr_voxel_volume_ratio = torch.tensor([lesion.mr_voxel_volume_ratio for lesion in lesions])
        labels = torch.tensor([float(lesion.label or 0) for lesion in lesions])
        return cls(features, code, share, ends, volumes, mr_voxel_volume_ratio, labels)

    def reconstruct(
        self, lesions: npt.NDArray[np.intp], count: int, *, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Voxels drawn by occupancy ``(lesions, count, channels)``, so that a plain mean is the lesion's mean."""
        place = np.searchsorted(self.share, lesions[:, None] + rng.random((len(lesions), count)) * (1 - 1e-9))
        rows = torch.from_numpy(place.ravel())
        shape = (len(lesions), count, -1)
        return self.features[rows].reshape(shape), None if self.code is None else self.code[rows].reshape(shape)

    def totals(self, network: AutoencoderClassifier) -> Tensor:
        """Logit of each lesion by each head ``(lesions, heads)``, all voxels and views together."""
        weight = torch.from_numpy(np.diff(self.share, prepend=0.0)).float()
        found = []
        with torch.no_grad():
            for number, end in enumerate(self.ends):
                rows = slice(self.ends[number - 1] if number else 0, end)
                evidence = _evidence(network, self.features[rows], None if self.code is None else self.code[rows])
                one = evidence.T[None, :, :, None, None], weight[rows][None, None, :, None, None]
                found.append(network.pool(*one, self.volumes[[number]], self.mr_voxel_volume_ratio[[number]]).total[0])
        return torch.stack(found).double()


def _evidence(network: AutoencoderClassifier, features: Tensor, code: Tensor | None) -> Tensor:
    """Evidence of all heads, ``(…, heads)``."""
    evidence = network.stem_head(features)
    if code is not None:
        evidence = torch.cat([evidence, network.code_head(code)], dim=-1)
    return evidence


def _optimizer(network: AutoencoderClassifier, schedule: Schedule) -> torch.optim.Optimizer:
    """Weights of the heads decay, offsets and scales hardly; the autoencoder stays as it is."""
    few = ("offset", "volume_slope")
    learning = [(n, p) for n, p in network.named_parameters() if not n.startswith(("encode", "decode"))]
    decaying = [p for n, p in learning if n.endswith("weight")]
    plain = [p for n, p in learning if not n.endswith("weight") and n not in few]
    fast = [p for n, p in learning if n in few]
    slow, quick = schedule.learning_rate, schedule.learning_rate * schedule.volume_rate
    groups = [
        {"params": decaying, "lr": slow, "weight_decay": schedule.weight_decay},
        {"params": plain, "lr": slow, "weight_decay": 1e-3},
        {"params": fast, "lr": quick, "weight_decay": 1e-3},
    ]
    return torch.optim.AdamW(groups)


def _loss(
    network: AutoencoderClassifier,
    drawn: tuple[Tensor, Tensor | None],
    volumes: Tensor,
    mr_voxel_volume_ratio: Tensor,
    labels: Tensor,
    weights: Tensor,
    schedule: Schedule,
) -> Tensor:
    """Loss of drawn voxels, members weighted by their bootstrap."""
    features, code = drawn
    evidence = _evidence(network, functional.dropout(features, schedule.dropout, training=True), code)
    evidence = evidence.transpose(1, 2)[..., None, None]
    output = network.pool(evidence, torch.ones_like(evidence[:, :1]), volumes, mr_voxel_volume_ratio)
    loss = response_loss(output.total, labels[:, None])
    local = output.maps * output.maps.shape[2]
    return (loss * weights).mean() + schedule.evidence_l2 * (local**2).mean().clamp_max(50)


def response_loss(total: Tensor, label: Tensor) -> Tensor:
    """Negative log-likelihood of each label, 1 for non-response, by its logit."""
    return functional.softplus(total) - label * total
