"""What all networks share: from evidence per voxel and member to calibrated predictions, and the fitted model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from RTResponseCAMLib.imaging.patch import Array32, Patch
from RTResponseCAMLib.models.interface import (
    INTERVAL,
    PATTERN,
    UNCALIBRATED,
    Calibration,
    FittedModel,
    LesionPrediction,
)
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.samples.sample import LesionSample, patch_of

BATCH_VOXELS = 8 * 48**3


@dataclass(frozen=True)
class Output:
    """One forward pass of a batch.

    Attributes
    ----------
    maps : evidence per voxel and head, ``(batch, heads, z, y, x)``; zero outside the lesion.
    bias : total minus the voxel sum of the map, ``(batch, heads)``.
    from_volume : part of ``bias`` that results from the lesion's volume, ``(batch, heads)``.
    total : Σ map + bias, ``(batch, heads)``: the logit of non-response.
    """

    maps: Tensor
    bias: Tensor
    from_volume: Tensor
    total: Tensor


class EvidenceNetwork(nn.Module):
    """A network from a patch to evidence per voxel and prediction; each subclass has its own ``architecture``."""

    architecture: Any
    pattern: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Mean evidence map of the training lesions, for the check on fixed patterns; zero while unknown.
        self.register_buffer("pattern", torch.zeros((PATTERN,) * 3))

    @abstractmethod
    def forward(
        self, mr: Tensor, fraction: Tensor, dose: Tensor | None = None, mr_voxel_volume_ratio: float | Tensor = 1.0
    ) -> Output:
        """Run a batch of patches of equal size.

        Parameters
        ----------
        mr : MR in head units, ``(batch, 1, z, y, x)``.
        fraction : partial-volume fraction of the lesion, same shape.
        dose : dose / prescription, same shape; None where unknown.
        mr_voxel_volume_ratio : `Patch.mr_voxel_volume_ratio`, one number or ``(batch,)``.
        """


Network = TypeVar("Network", bound=EvidenceNetwork)


@dataclass(frozen=True)
class FittedNetwork(FittedModel, Generic[Network]):
    """A fitted network, in evaluation mode."""

    network: Network

    def predict(
        self,
        samples: Sequence[LesionSample],
        *,
        calibration: Calibration = UNCALIBRATED,
        members: bool = False,
        progress: Progress = no_progress,
    ) -> list[LesionPrediction]:
        """Run the network on batches of patches of equal size; predictions are in the order of the samples.

        Where the memory of a GPU does not suffice, batches are halved; a single lesion that is too large is run on the
        CPU.
        """
        patches = [patch_of(sample) for sample in samples]
        predictions: dict[int, LesionPrediction] = {}
        left = batches(patches)
        while left:
            batch = left.pop(0)
            done = len(predictions) / len(patches)
            progress(done, f"evidence, lesion {len(predictions) + 1} of {len(patches)}")
            chosen = [patches[i] for i in batch]
            try:
                found = _run(self.network, chosen, calibration=calibration, members=members)
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
                if len(batch) > 1:
                    left[:0] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
                    continue
                progress(done, "the memory of the GPU does not suffice: running on the CPU")
                on_cpu = deepcopy(self.network).to("cpu")
                found = _run(on_cpu, chosen, calibration=calibration, members=members)
            predictions.update(zip(batch, found, strict=True))
        progress(1.0)
        return [predictions[i] for i in range(len(patches))]

    def architecture(self) -> dict[str, Any]:
        """Parameters that define the network's shape."""
        values: dict[str, Any] = self.network.architecture.as_json()
        return values

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The network's state."""
        return arrays_of(self.network)

    @property
    def device(self) -> str:
        """Device on which the network runs."""
        return next(self.network.parameters()).device.type

    def to(self, device: str) -> FittedNetwork[Network]:
        """The network moved to a device."""
        return replace(self, network=self.network.to(torch.device(device)))

    def differentiable_total(self, sample: LesionSample) -> Tensor:
        """Mean logit over the members."""
        patch = patch_of(sample)
        total: Tensor = self.network(*inputs_of([patch], self.device), patch.mr_voxel_volume_ratio).total.mean()
        return total

    @property
    def mean_pattern(self) -> Array32 | None:
        """Mean evidence map of the training lesions; None while it is unknown."""
        pattern = np.asarray(self.network.pattern.cpu().numpy(), dtype=np.float32)
        return pattern if pattern.any() else None

    def with_mean_pattern(self, pattern: Array32) -> FittedNetwork[Network]:
        """A copy of the network that stores the mean map in its state."""
        network = deepcopy(self.network)
        network.pattern.copy_(torch.from_numpy(pattern))
        return replace(self, network=network)


def _run(
    network: EvidenceNetwork, patches: Sequence[Patch], *, calibration: Calibration, members: bool
) -> list[LesionPrediction]:
    mr, fraction, dose = inputs_of(patches, next(network.parameters()).device.type)
    mr_voxel_volume_ratio = mr.new_tensor([patch.mr_voxel_volume_ratio for patch in patches])
    with torch.inference_mode():
        output = network(mr, fraction, dose, mr_voxel_volume_ratio)
        return calibrated(output, fraction, calibration, members)


def arrays_of(network: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """A network's state as arrays in C order, in which files are written, whatever its memory format."""
    return {name: np.ascontiguousarray(value.detach().cpu().numpy()) for name, value in network.state_dict().items()}


def inputs_of(patches: Sequence[Patch], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """MR, fraction and dose of patches of equal size, each ``(batch, 1, z, y, x)``."""
    mr, fraction, dose = (
        torch.from_numpy(np.stack([getattr(patch, name) for patch in patches]))[:, None].to(device)
        for name in ("mr", "fraction", "dose")
    )
    return mr, fraction, dose


def batches(patches: Sequence[Patch]) -> list[list[int]]:
    """Positions of patches of equal size, in batches of at most `BATCH_VOXELS` voxels."""
    by_size: dict[tuple[int, int, int], list[int]] = {}
    for index, patch in enumerate(patches):
        by_size.setdefault(patch.grid.shape, []).append(index)
    batches = []
    for shape, members in by_size.items():
        step = max(1, BATCH_VOXELS // int(np.prod(shape)))
        batches += [members[start : start + step] for start in range(0, len(members), step)]
    return batches


def calibrated(output: Output, fraction: Tensor, line: Calibration, members: bool) -> list[LesionPrediction]:
    """One prediction for each lesion of a batch; probability and map are means over the members' calibrated logits."""
    results = []
    batch = (output.maps, output.total.double(), output.bias.double(), output.from_volume.double(), fraction[:, 0] > 0)
    for maps, total, bias, from_volume, inside in zip(*batch, strict=True):
        member_totals = line.slope * total + line.intercept
        scale = torch.full_like(total, line.slope)
        lesion_voxels = inside.flatten().nonzero()[:, 0]  # most voxels of a patch are outside the lesion, and zero
        scaled = maps.flatten(1).index_select(1, lesion_voxels) * scale[:, None].to(maps.dtype)
        mean = scaled.mean(0)
        ensemble_sd = (scaled - mean).square().mean(0).sqrt()  # `std` over few rows is ten times slower
        overall = member_totals.mean()
        low, high = np.percentile(torch.sigmoid(-member_totals).cpu().numpy(), INTERVAL)
        results.append(
            LesionPrediction(
                float(torch.sigmoid(-overall)),
                float(low),
                float(high),
                float(overall),
                _array(mean, inside),
                _array(ensemble_sd, inside),
                float((line.slope * bias + line.intercept).mean()),
                float((scale * from_volume).mean()),
                np.stack([_array(row, inside) for row in scaled]) if members else None,
            )
        )
    return results


def _array(values: Tensor, inside: Tensor) -> Array32:
    full_map = np.zeros(tuple(inside.shape), dtype=np.float32)
    full_map[inside.cpu().numpy()] = values.float().cpu().numpy()
    return full_map
