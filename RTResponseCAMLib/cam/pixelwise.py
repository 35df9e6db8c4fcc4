"""Our pixel-wise CAM: the evidence that the classifier pooled, before it was pooled.

One forward pass gives prediction and map. The map is calibrated with the prediction, so that
Σ map + bias = total, where total is the logit of non-response ("signed"), or −ln p(response) ("hazard", bias 0).
This is our reading of a pixel-wise CAM. Maps are raw; larger speaks for non-response.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from RTResponseCAMLib.cam.evidence import Evidence
from RTResponseCAMLib.imaging.patch import Array32, Patch
from RTResponseCAMLib.network.bundle import Bundle
from RTResponseCAMLib.network.classifier import Output, calibrated, probability_of_response
from RTResponseCAMLib.progress import Progress, silent

INTERVAL = (5.0, 95.0)
BATCH_VOXELS = 8 * 48**3


def find_evidence(bundle: Bundle, patches: Sequence[Patch], progress: Progress = silent) -> list[Evidence]:
    """Run the classifier over patches, equal sizes together; the order of the answer is that of the patches."""
    found: dict[int, Evidence] = {}
    batches = _batches(patches)
    for number, batch in enumerate(batches):
        progress(number / len(batches), f"evidence, batch {number + 1} of {len(batches)}")
        mr, occupancy, dose = (
            torch.from_numpy(np.stack([getattr(patches[i], name) for i in batch]))[:, None].to(bundle.device)
            for name in ("mr", "occupancy", "dose")
        )
        coarseness = mr.new_tensor([patches[i].coarseness for i in batch])
        with torch.inference_mode():
            output = bundle.network(mr, occupancy, dose, coarseness)
            found.update(zip(batch, _calibrated(bundle, output, occupancy), strict=True))
    progress(1.0)
    return [found[i] for i in range(len(patches))]


def _batches(patches: Sequence[Patch]) -> list[list[int]]:
    by_size: dict[tuple[int, int, int], list[int]] = {}
    for index, patch in enumerate(patches):
        by_size.setdefault(patch.grid.shape, []).append(index)
    batches = []
    for shape, members in by_size.items():
        step = max(1, BATCH_VOXELS // int(np.prod(shape)))
        batches += [members[start : start + step] for start in range(0, len(members), step)]
    return batches


def _calibrated(bundle: Bundle, output: Output, occupancy: Tensor) -> list[Evidence]:
    slope, intercept = bundle.calibration
    results = []
    parts = (output.maps, output.total.double(), output.bias.double(), output.from_volume.double(), occupancy[:, 0] > 0)
    for maps, total, bias, from_volume, inside in zip(*parts, strict=True):
        members = calibrated(total, slope, intercept, bundle.form)
        if bundle.form == "signed":
            scale = torch.full_like(total, slope)
            bias = slope * bias + intercept
        else:
            scale = members / total.clamp_min(1e-12)
        places = inside.flatten().nonzero()[:, 0]  # most of a patch is not lesion, and zero
        scaled = maps.flatten(1).index_select(1, places) * scale[:, None].to(maps.dtype)
        mean = scaled.mean(0)
        spread = (scaled - mean).square().mean(0).sqrt()  # `std` over so few rows is ten times as slow
        overall = members.mean()
        p = probability_of_response(members, bundle.form).cpu().numpy()
        low, high = np.percentile(p, INTERVAL)
        results.append(
            Evidence(
                _array(mean, inside),
                _array(spread, inside),
                float(bias.mean()),
                float((scale * from_volume).mean()),
                float(overall),
                float(probability_of_response(overall, bundle.form)),
                float(low),
                float(high),
            )
        )
    return results


def _array(values: Tensor, inside: Tensor) -> Array32:
    whole = np.zeros(tuple(inside.shape), dtype=np.float32)
    whole[inside.cpu().numpy()] = values.float().cpu().numpy()
    return whole
