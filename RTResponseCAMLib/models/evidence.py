"""From a network's evidence per voxel and member to calibrated predictions; shared by all networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from RTResponseCAMLib.imaging.patch import Array32, Patch
from RTResponseCAMLib.models.interface import Calibration, LesionPrediction
from RTResponseCAMLib.progress import Progress
from RTResponseCAMLib.samples.sample import LesionSample, patch_of

INTERVAL = (5.0, 95.0)  # percentiles over the members of the ensemble
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


def predict_batches(
    network: Callable[[Tensor, Tensor, Tensor, Tensor], Output],
    samples: Sequence[LesionSample],
    *,
    device: str,
    calibration: Calibration,
    members: bool,
    progress: Progress,
) -> list[LesionPrediction]:
    """Run a network on batches of patches of equal size; predictions are in the order of the samples.

    Parameters
    ----------
    network : MR, fraction, dose ``(batch, 1, z, y, x)`` and MR voxel volume ratio ``(batch,)`` → output.
    calibration, members : see `FittedModel.predict`.

    Raises
    ------
    ModelError : a sample has no patch.
    """
    patches = [patch_of(sample) for sample in samples]
    predictions: dict[int, LesionPrediction] = {}
    groups = batches(patches)
    for number, batch in enumerate(groups):
        progress(number / len(groups), f"evidence, batch {number + 1} of {len(groups)}")
        mr, fraction, dose = inputs_of([patches[i] for i in batch], device)
        mr_voxel_volume_ratio = mr.new_tensor([patches[i].mr_voxel_volume_ratio for i in batch])
        with torch.inference_mode():
            output = network(mr, fraction, dose, mr_voxel_volume_ratio)
            predictions.update(zip(batch, calibrated(output, fraction, calibration, members), strict=True))
    progress(1.0)
    return [predictions[i] for i in range(len(patches))]


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
