"""Fit the autoencoder-classifier in three steps: reconstruct, judge, and both together.

1. The autoencoder learns to draw lesions; this needs no labels.
2. The heads learn the response from its features and the stem's, which are fixed meanwhile and kept in memory.
3. Reconstruction and response are trained together at a low rate.

Everything is drawn from one seed; no lesion held out is looked at while fitting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.network.classifier import Architecture, AutoencoderClassifier, dose_feature
from RTResponseCAMLib.network.stem import lesion_units, stem_features
from RTResponseCAMLib.progress import Progress, part, silent

INSIDE = 0.05
BLOCK = 24


@dataclass(frozen=True)
class Example:
    """One labelled lesion: 1 non-response, 0 response; ``group`` is the patient."""

    patch: Patch
    label: int
    group: str


@dataclass(frozen=True)
class Schedule:
    """How to train; stored in the bundle.

    Attributes
    ----------
    pretrain_epochs, head_epochs, joint_epochs : length of the three steps.
    voxels : voxels drawn per lesion and step for the heads, by occupancy.
    reconstruction_weight : share of the reconstruction in the joint loss.
    smallness : weight of the mean squared local evidence: it stays small where the response does not ask for it.
    """

    seed: int = 7
    pretrain_epochs: int = 4
    head_epochs: int = 40
    joint_epochs: int = 1
    batch: int = 32
    voxels: int = 512
    learning_rate: float = 3e-3
    joint_rate: float = 3e-4
    weight_decay: float = 2e-2
    reconstruction_weight: float = 0.2
    smallness: float = 0.02
    dropout: float = 0.1
    noise: float = 0.05

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``model.json``."""
        return asdict(self)


@dataclass(frozen=True)
class PreparedLesion:
    """Tensors of one example: the block for the autoencoder, the lesion's voxels for the heads.

    ``fixed`` holds stem (and dose) of the voxels of ``inside``, ``(channels, voxels)``, in array order;
    ``share`` is their cumulative occupancy, 0…1, by which voxels are drawn.
    """

    mr: Tensor
    occupancy: Tensor
    inside: Tensor
    fixed: Tensor
    share: npt.NDArray[np.float64]
    label: int
    group: str


def prepare(
    examples: Sequence[Example], architecture: Architecture, progress: Progress = silent
) -> list[PreparedLesion]:
    """Compute once what no training changes: the stem of every lesion's voxels."""
    lesions = []
    for number, example in enumerate(examples, start=1):
        lesions.append(_prepare(example, architecture))
        progress(number / len(examples), "features")
    return lesions


def fit(
    lesions: Sequence[PreparedLesion],
    architecture: Architecture,
    schedule: Schedule,
    progress: Progress = silent,
) -> AutoencoderClassifier:
    """Train on all lesions given and return the network in evaluation mode."""
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    network = AutoencoderClassifier(architecture)
    _standardise(network, lesions)
    weights = _bootstrap([lesion.group for lesion in lesions], architecture.members, rng)
    _start_at_prevalence(network, float(np.mean([lesion.label for lesion in lesions])))
    if architecture.autoencoder:
        _learn_to_draw(network, lesions, schedule, rng, part(progress, 0.0, 0.5))
    _learn_to_judge(network, lesions, weights, schedule, rng, part(progress, 0.5, 0.75))
    if architecture.autoencoder:
        _learn_both(network, lesions, weights, schedule, rng, part(progress, 0.75, 1.0))
    return network.eval()


def _prepare(example: Example, architecture: Architecture) -> PreparedLesion:
    mr, occupancy, dose = (
        torch.from_numpy(a)[None, None] for a in (example.patch.mr, example.patch.occupancy, example.patch.dose)
    )
    inside = occupancy[0, 0] > INSIDE
    with torch.inference_mode():
        fixed = stem_features(mr, occupancy, architecture.spacing_mm)[0][:, inside]
        if architecture.dose:
            fixed = torch.cat([fixed, dose_feature(mr, dose)[0][:, inside]])
    cut = _training_box(occupancy[0, 0])
    weight = occupancy[0, 0][inside].double().numpy()
    return PreparedLesion(
        mr[0][(slice(None), *cut)].clone(),
        occupancy[0][(slice(None), *cut)].clone(),
        inside[cut].clone(),
        fixed.clone(),
        np.cumsum(weight) / weight.sum(),
        example.label,
        example.group,
    )


def _training_box(occupancy: Tensor) -> tuple[slice, slice, slice]:
    """Central part that holds the lesion and 4 voxels more; sides stay multiples of 4."""
    where = torch.nonzero(occupancy > 0)
    size = occupancy.shape[0]
    spare = min(int(where.min()), size - 1 - int(where.max())) - 4
    cut = max(spare, 0) // 4 * 4
    return (slice(cut, size - cut),) * 3


def _standardise(network: AutoencoderClassifier, lesions: Sequence[PreparedLesion]) -> None:
    # Every lesion counts the same, whatever its volume.
    count = len(network.mean)
    mean = torch.stack([lesion.fixed[:count].mean(1) for lesion in lesions]).mean(0)
    square = torch.stack([(lesion.fixed[:count] ** 2).mean(1) for lesion in lesions]).mean(0)
    network.mean.copy_(mean)
    network.deviation.copy_((square - mean**2).clamp_min(1e-4).sqrt())


def _bootstrap(groups: Sequence[str], members: int, rng: np.random.Generator) -> Tensor:
    """How often each lesion counts for each member: patients drawn with replacement, ``(lesions, members)``."""
    names = sorted(set(groups))
    place = np.asarray([names.index(g) for g in groups])
    counts = np.stack(
        [np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names)) for _ in range(members)],
        axis=1,
    )
    return torch.from_numpy(counts[place].astype(np.float32))


def _start_at_prevalence(network: AutoencoderClassifier, prevalence: float) -> None:
    share = min(max(prevalence, 0.02), 0.98)
    start = np.log(share / (1 - share)) if network.architecture.form == "signed" else np.log(-np.log(1 - share))
    with torch.no_grad():
        network.offset.fill_(float(start))


def _learn_to_draw(
    network: AutoencoderClassifier,
    lesions: Sequence[PreparedLesion],
    schedule: Schedule,
    rng: np.random.Generator,
    progress: Progress,
) -> None:
    optimiser = torch.optim.AdamW(network.autoencoder.parameters(), lr=schedule.learning_rate, weight_decay=1e-4)
    for epoch in range(schedule.pretrain_epochs):
        batches = list(_batches_of_equal_size(lesions, rng, 8, BLOCK))
        losses = []
        for number, batch in enumerate(batches):
            loss = _draw_turned(network, [_cut_block(lesions[i], rng) for i in batch], schedule, rng)[1]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
            done = (epoch + number / len(batches)) / schedule.pretrain_epochs
            progress(done, f"reconstruction loss {np.mean(losses):.3f}")


def _learn_to_judge(
    network: AutoencoderClassifier,
    lesions: Sequence[PreparedLesion],
    weights: Tensor,
    schedule: Schedule,
    rng: np.random.Generator,
    progress: Progress,
) -> None:
    stored = [_stored_features(network, lesion) for lesion in lesions]
    heads = [p for n, p in network.named_parameters() if not n.startswith("autoencoder")]
    optimiser = torch.optim.AdamW(heads, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    steps = schedule.head_epochs * -(-len(lesions) // schedule.batch)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, schedule.learning_rate, total_steps=steps, pct_start=0.2)
    for epoch in range(schedule.head_epochs):
        order = rng.permutation(len(lesions))
        for start in range(0, len(order), schedule.batch):
            batch = [int(i) for i in order[start : start + schedule.batch]]
            picks = [_draw_voxels(lesions[i], schedule.voxels, rng) for i in batch]
            voxels = torch.stack([stored[i][:, pick] for i, pick in zip(batch, picks, strict=True)])
            loss = _response_loss(network, voxels, [lesions[i].label for i in batch], weights[batch], schedule)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
        progress((epoch + 1) / schedule.head_epochs, f"response loss {float(loss.detach()):.3f}")


def _learn_both(
    network: AutoencoderClassifier,
    lesions: Sequence[PreparedLesion],
    weights: Tensor,
    schedule: Schedule,
    rng: np.random.Generator,
    progress: Progress,
) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=schedule.joint_rate, weight_decay=schedule.weight_decay)
    for epoch in range(schedule.joint_epochs):
        batches = list(_batches_of_equal_size(lesions, rng, 8))
        for number, batch in enumerate(batches):
            drawn, reconstruction_loss = _draw_turned(network, [lesions[i] for i in batch], schedule, rng)
            voxels = []
            for place, i in enumerate(batch):
                pick = _draw_voxels(lesions[i], schedule.voxels, rng)
                own = torch.cat([_standard_fixed(network, lesions[i]), drawn[place][:, lesions[i].inside]])
                voxels.append(own[:, pick])
            labels = [lesions[i].label for i in batch]
            loss = _response_loss(network, torch.stack(voxels), labels, weights[batch], schedule)
            loss = loss + schedule.reconstruction_weight * reconstruction_loss
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            progress(
                (epoch + number / len(batches)) / schedule.joint_epochs,
                f"joint loss {float(loss.detach()):.3f}",
            )


def _response_loss(
    network: AutoencoderClassifier, voxels: Tensor, labels: Sequence[int], weights: Tensor, schedule: Schedule
) -> Tensor:
    """Loss of a batch of voxel samples ``(lesions, channels, voxels)``, members weighted by their bootstrap."""
    voxels = functional.dropout(voxels, schedule.dropout, training=True)[..., None, None]
    maps, _, total = network.pool(voxels, torch.ones_like(voxels[:, :1]))
    label = torch.tensor(labels, dtype=torch.float32)[:, None]
    if network.architecture.form == "signed":
        loss = functional.softplus(total) - label * total
    else:
        loss = torch.where(label == 1, -torch.log(-torch.expm1(-total) + 1e-6), total)
    local = maps * maps.shape[2]
    return (loss * weights).mean() + schedule.smallness * (local**2).mean().clamp_max(50)


def _stored_features(network: AutoencoderClassifier, lesion: PreparedLesion) -> Tensor:
    with torch.no_grad():
        parts = [_standard_fixed(network, lesion)]
        if network.architecture.autoencoder:
            drawn = network.drawn_features(lesion.mr[None], lesion.occupancy[None])[0][0]
            parts.append(drawn[:, lesion.inside])
    return torch.cat(parts)


def _standard_fixed(network: AutoencoderClassifier, lesion: PreparedLesion) -> Tensor:
    count = len(network.mean)
    return torch.cat([network.standardised(lesion.fixed[None, :count])[0], lesion.fixed[count:]])


def _draw_voxels(lesion: PreparedLesion, count: int, rng: np.random.Generator) -> Tensor:
    """Voxels drawn by occupancy, so that a plain mean over them is the lesion's mean."""
    return torch.from_numpy(np.minimum(np.searchsorted(lesion.share, rng.random(count)), len(lesion.share) - 1))


def _batches_of_equal_size(
    lesions: Sequence[PreparedLesion], rng: np.random.Generator, most: int, largest: int = 10**6
) -> Iterator[list[int]]:
    by_size: dict[int, list[int]] = {}
    for i in rng.permutation(len(lesions)):
        by_size.setdefault(min(lesions[int(i)].mr.shape[-1], largest), []).append(int(i))
    batches = [members[a : a + most] for members in by_size.values() for a in range(0, len(members), most)]
    for place in rng.permutation(len(batches)):
        yield batches[int(place)]


def _cut_block(lesion: PreparedLesion, rng: np.random.Generator) -> PreparedLesion:
    """A random block of at most 24³ voxels: large lesions teach texture as well by a part."""
    size = lesion.mr.shape[-1]
    if size <= BLOCK:
        return lesion
    start = rng.integers(0, size - BLOCK + 1, 3)
    cut = (slice(None), *(slice(int(s), int(s) + BLOCK) for s in start))
    if float(lesion.occupancy[cut].sum()) < 50:  # a corner without lesion teaches nothing
        cut = (slice(None), *(slice((size - BLOCK) // 2, (size + BLOCK) // 2),) * 3)
    return replace(lesion, mr=lesion.mr[cut], occupancy=lesion.occupancy[cut])


def _draw_turned(
    network: AutoencoderClassifier, batch: Sequence[PreparedLesion], schedule: Schedule, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Autoencoder features of mirrored, turned and noisy blocks, turned back; and the reconstruction loss.

    The stem needs none of this: it does not change with orientation.
    """
    flips = [axis for axis in (2, 3, 4) if rng.random() < 0.5]
    order = [2 + int(a) for a in rng.permutation(3)]
    back = [2 + int(a) for a in np.argsort(order)]
    mr, occupancy = (
        torch.flip(torch.stack([getattr(lesion, name) for lesion in batch]), flips).permute(0, 1, *order)
        for name in ("mr", "occupancy")
    )
    noisy = (mr + schedule.noise * torch.randn_like(mr)).contiguous(memory_format=torch.channels_last_3d)
    drawn, reconstruction = network.drawn_features(noisy, occupancy)
    target = lesion_units(mr, occupancy).clamp(-4, 4)
    near = functional.max_pool3d(occupancy, 5, stride=1, padding=2)
    loss = (((reconstruction - target) ** 2) * near).sum() / near.sum()
    return torch.flip(drawn.permute(0, 1, *back), flips), loss
