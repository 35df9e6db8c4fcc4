"""Pre-train the autoencoder on lesions without labels: it fills in what is hidden from it.

Of each lesion, a cube of `CUBE` voxels around a random voxel inside it is turned and mirrored at random; blocks of
`BLOCK_MM` that cover `HIDDEN` of it are hidden. The loss is the squared error there, with weight `INSIDE` in the lesion
and `OUTSIDE` around it. Every epoch has its own random numbers: a run that was interrupted goes on after its last whole
epoch and gives the same weights as one that was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.augmentation import as_scanned, sample_scan
from RTResponseCAMLib.models.conv.autoencoder import Autoencoder, Shape, network_units
from RTResponseCAMLib.models.evidence import arrays_of, inputs_of
from RTResponseCAMLib.models.weights import read_weights
from RTResponseCAMLib.progress import Progress, no_progress, subprogress

CUBE = 24
BLOCK_MM, HIDDEN = 4.0, 0.3
INSIDE, OUTSIDE = 1.0, 0.1
SEEN = 0.1  # weight of what is not hidden, relative to what is: the last layer must describe it as well
RESCANNED = 0.5  # share of the lesions that are seen as by another scanner
STATE, STATE_CARD = "state.safetensors", "state.json"
UNIT_LESIONS = 400  # lesions over which the units of the channels are measured
Lesions = Callable[[int, Progress], Sequence[Patch]]  # number of an epoch → its lesions


@dataclass(frozen=True)
class Plan:
    """How to pre-train; stored in the encoder's card.

    Attributes
    ----------
    epochs : passes over the lesions; 0 gives an untrained encoder, a control.
    batch : lesions per step.
    """

    shape: Shape = field(default_factory=Shape)
    epochs: int = 15
    batch: int = 16
    learning_rate: float = 2e-3
    seed: int = 28

    def as_json(self) -> dict[str, Any]:
        """Plain values for a card."""
        return {**asdict(self), "shape": self.shape.as_json()}


@dataclass(frozen=True)
class Pretrained:
    """The result: network in evaluation mode, and the mean loss of every epoch."""

    network: Autoencoder
    losses: tuple[float, ...]


def pretrain(
    lesions: Lesions,
    plan: Plan,
    *,
    state: Path | None = None,
    origin: str = "",
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Pretrained:
    """Train an autoencoder.

    Parameters
    ----------
    lesions : returns the lesions of an epoch, the same or others; reports its progress.
    state : folder for the state after each epoch; training goes on from it. None: none is kept.
    origin : identifies the lesions: the state of other lesions is refused.

    Raises
    ------
    ModelError : the loss became NaN; the state of the last whole epoch remains. ``state`` is of another plan
        or of other lesions.
    """
    torch.manual_seed(plan.seed)
    network = Autoencoder(plan.shape).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate)
    key = hashlib.sha256(json.dumps([plan.as_json(), origin], sort_keys=True).encode()).hexdigest()
    losses = _read_state(state, key, network, optimizer) if state is not None else []
    found: Sequence[Patch] = ()
    for epoch in range(len(losses), plan.epochs):
        found = lesions(epoch, subprogress(progress, epoch / plan.epochs, epoch / plan.epochs))
        rng = np.random.default_rng([plan.seed, epoch])
        order = rng.permutation(len(found))
        steps = [order[k : k + plan.batch] for k in range(0, len(order), plan.batch)]
        total = 0.0
        network.train()
        for step, chosen in enumerate(steps):
            done = epoch + step / len(steps)
            rate = plan.learning_rate * _schedule(done / plan.epochs)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = _loss(network, [found[i] for i in chosen], rng, device)
            if not bool(torch.isfinite(loss)):
                problem = f"the loss became NaN at step {step + 1} of epoch {epoch + 1}"
                raise ModelError("pretrain", problem, "Check the MRs for extreme values, or lower --learning-rate")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(chosen)
            progress(done / plan.epochs, f"epoch {epoch + 1} of {plan.epochs}, loss {float(loss.detach()):.4f}")
        losses.append(total / len(found))
        if state is not None:
            _write_state(state, key, network, optimizer, losses)
    network.eval()
    _measure_units(network, (found or lesions(max(plan.epochs - 1, 0), progress))[:UNIT_LESIONS], device)
    progress(1.0, "pre-trained")
    return Pretrained(network, tuple(losses))


def _schedule(done: float) -> float:
    """Learning rate relative to the highest: a short rise, then a cosine."""
    return min(done / 0.03, 1.0) * (0.5 + 0.5 * float(np.cos(np.pi * done))) + 1e-3


def _loss(network: Autoencoder, patches: Sequence[Patch], rng: np.random.Generator, device: str) -> Tensor:
    cubes = [_cube(patch, rng) for patch in patches]
    mr, fraction, hidden = (
        torch.from_numpy(np.stack([cube[k] for cube in cubes]))[:, None].to(device) for k in range(3)
    )
    error = (network(mr, fraction, hidden) - network_units(mr)) ** 2
    weight = (OUTSIDE + (INSIDE - OUTSIDE) * fraction) * (SEEN + (1 - SEEN) * hidden)
    return (error * weight).sum() / weight.sum()


def _cube(patch: Patch, rng: np.random.Generator) -> list[npt.NDArray[np.float32]]:
    """MR, fraction and hidden blocks of a cube around a random voxel of the lesion, turned and mirrored at random."""
    inside = np.argwhere(patch.fraction > 0.5 * patch.fraction.max())
    middle = inside[rng.integers(len(inside))]
    start = np.clip(middle - CUBE // 2, 0, np.asarray(patch.mr.shape) - CUBE)
    box = tuple(slice(k, k + CUBE) for k in start)
    spacing = patch.grid.spacing_mm[0]
    mr, fraction = patch.mr[box], patch.fraction[box]
    if rng.uniform() < RESCANNED:
        mr = as_scanned(mr, sample_scan(rng), spacing_mm=spacing, rng=rng)
    block = max(round(BLOCK_MM / spacing), 1)
    count = -(-CUBE // block) + 1
    coarse = (rng.uniform(size=(count,) * 3) < HIDDEN).astype(np.float32)
    offset = rng.integers(0, block, 3)
    hidden = np.kron(coarse, np.ones((block,) * 3, np.float32))[tuple(slice(k, k + CUBE) for k in offset)]
    axes, flips = rng.permutation(3), tuple(axis for axis in range(3) if rng.uniform() < 0.5)
    return [np.ascontiguousarray(np.flip(a.transpose(axes), flips), np.float32) for a in (mr, fraction, hidden)]


def _measure_units(network: Autoencoder, lesions: Sequence[Patch], device: str) -> None:
    means, squares = [], []
    for patch in lesions:
        mr, fraction, _ = inputs_of([patch], device)
        with torch.no_grad():
            layer = network.features(mr, fraction)[0].flatten(1)
            weight = fraction.flatten() / fraction.sum().clamp_min(1e-6)
            means.append(layer @ weight)
            squares.append(layer**2 @ weight)
    mean = torch.stack(means).mean(0)
    network.channel_mean.copy_(mean)
    network.channel_deviation.copy_((torch.stack(squares).mean(0) - mean**2).clamp_min(1e-8).sqrt())


def _write_state(
    folder: Path, key: str, network: Autoencoder, optimizer: torch.optim.Adam, losses: Sequence[float]
) -> None:
    """Weights and moments after an epoch; the card is replaced last and names the weights' file, so both fit."""
    import safetensors.numpy

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"network.{name}": array for name, array in arrays_of(network).items()}
    for name, parameter in network.named_parameters():
        entry = optimizer.state[parameter]
        arrays[f"first.{name}"] = np.ascontiguousarray(entry["exp_avg"].cpu().numpy())
        arrays[f"second.{name}"] = np.ascontiguousarray(entry["exp_avg_sq"].cpu().numpy())
        arrays["steps"] = np.asarray([float(entry["step"])], dtype=np.float32)
    weights = folder / f"{len(losses):04d}-{STATE}"
    safetensors.numpy.save_file(arrays, weights)
    partial = folder / f".{STATE_CARD}.partial"
    partial.write_text(json.dumps({"key": key, "losses": list(losses), "weights": weights.name}))
    partial.replace(folder / STATE_CARD)
    for other in folder.glob(f"*-{STATE}"):
        if other != weights:
            other.unlink()


def _like(parameter: Tensor, array: npt.NDArray[np.float32]) -> Tensor:
    """The array in the memory format and on the device of the parameter."""
    return torch.empty_like(parameter, requires_grad=False).copy_(torch.from_numpy(array))


def _read_state(folder: Path, key: str, network: Autoencoder, optimizer: torch.optim.Adam) -> list[float]:
    path = folder / STATE_CARD
    if not path.is_file():
        return []
    try:
        card = json.loads(path.read_text())
        losses, name = [float(v) for v in card["losses"]], Path(str(card["weights"])).name
        if str(card["key"]) != key:
            problem = "is the state of a pre-training with other settings or other lesions"
            raise ModelError(folder, problem, "Delete it, give the same, or choose another --out")
        arrays = read_weights((folder / name).read_bytes(), folder / name)
        network.load_state_dict(
            {k.removeprefix("network."): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("network.")}
        )
        for parameter_name, parameter in network.named_parameters():
            optimizer.state[parameter] = {
                "step": torch.tensor(float(arrays["steps"][0])),
                "exp_avg": _like(parameter, arrays[f"first.{parameter_name}"]),
                "exp_avg_sq": _like(parameter, arrays[f"second.{parameter_name}"]),
            }
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(path, "is damaged", "Delete the folder, and pre-train from the start") from error
    return losses
