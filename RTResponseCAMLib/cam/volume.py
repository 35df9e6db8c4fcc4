"""From patches back to the patient: evidence on the voxels of the planning MR.

A voxel shows its local evidence as far as it, and what its MR is blurred with, lies inside the lesion, and for the
rest what the lesion says as a whole: a voxel that the lesion only grazes, whose MR is half brain, cannot be the hottest
of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt, gaussian_filter

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.imaging.fraction import box_fraction, stands_for, structure_box
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import Array32, Patch
from RTResponseCAMLib.models.interface import LesionPrediction
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.study import Structure

RIM_MM = 0.6  # standard deviation of what a voxel's MR is blurred with


def local_evidence(patch: Patch, evidence: LesionPrediction) -> Array32:
    """Share of a voxel over its weight, plus the bias: what the lesion would total were it all like this voxel.

    Voxels outside the lesion take the value of the nearest voxel inside, so that interpolation to other grids
    does not bleed zeros into the rim.

    Raises
    ------
    ModelError : the model gave no map.
    """
    if evidence.map is None:
        raise ModelError("model", "gives no evidence map", "Use a model that explains itself")
    inside = patch.inside
    weight = patch.fraction / patch.fraction.sum()
    local = np.where(inside, evidence.map / np.maximum(weight, 1e-12), 0.0) + evidence.bias
    nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return np.asarray(local[tuple(nearest)], dtype=np.float32)


def shown_evidence(patch: Patch, evidence: LesionPrediction) -> Array32:
    """The map as it is shown, on the patch's grid."""
    return _shown(local_evidence(patch, evidence), patch.fraction, patch.grid, evidence.total)


def own_evidence_weight(fraction: Array32, grid: Grid) -> Array32:
    """How much of its own evidence a voxel shows, ``[z, y, x]``, 0…1: 1 in the middle of a lesion, less at its rim.

    Occupancy times the root of the occupancy around, relative to the lesion's fullest voxel. Our own form, chosen on
    development phantoms (``Docs/methods.md``).
    """
    around = gaussian_filter(fraction, RIM_MM / np.asarray(grid.spacing_mm)[::-1], mode="constant")
    return np.asarray(fraction * np.sqrt(around / max(float(around.max()), 1e-6)), dtype=np.float32)


def _shown(local: Array32, fraction: Array32, grid: Grid, total: float) -> Array32:
    return np.asarray(total + (local - total) * own_evidence_weight(fraction, grid), dtype=np.float32)


def evidence_volume(
    mr: Grid,
    structures: Sequence[Structure],
    *,
    patches: Sequence[Patch],
    evidences: Sequence[LesionPrediction],
    subregion_threshold: float,
    progress: Progress = no_progress,
) -> tuple[sitk.Image, sitk.Image]:
    """The map as it is shown, and the lesion's number where it exceeds ``subregion_threshold``.

    Both lie on the MR's voxels, cropped to the lesions.

    Where lesions overlap, the later ROI number wins. What of a lesion its patch does not reach stays 0.
    """
    boxes = [structure_box(s, mr) for s in structures]
    starts = np.asarray([mr.start_of(b) for b in boxes])
    ends = starts + np.asarray([b.size for b in boxes])
    low, high = np.maximum(starts.min(axis=0), 0), np.minimum(ends.max(axis=0), mr.size)
    low = np.minimum(low, np.asarray(mr.size) - 1)
    high = np.maximum(high, low + 1)
    whole = mr.crop((int(low[0]), int(low[1]), int(low[2])), tuple((high - low).tolist()))
    cam = np.zeros(whole.shape, dtype=np.float32)
    above = np.zeros(whole.shape, dtype=np.uint8)
    for number, (structure, box, patch, evidence) in enumerate(
        zip(structures, boxes, patches, evidences, strict=True), start=1
    ):
        progress(number / len(boxes), f"map of lesion {number}")
        local = patch.grid.image(local_evidence(patch, evidence))
        moved = sitk.GetArrayFromImage(
            sitk.Resample(local, box.blank(), sitk.Transform(), sitk.sitkLinear, float("nan"), sitk.sitkFloat32)
        )
        share = box_fraction(structure, box)
        inside = stands_for(share) & np.isfinite(moved)
        start = starts[number - 1] - low
        view, own = _overlap(whole.shape, start[::-1], box.shape)
        shown = _shown(moved, share, box, evidence.total)
        cam[view][inside[own]] = shown[own][inside[own]]
        above[view][inside[own]] = np.where(shown[own][inside[own]] > subregion_threshold, number, 0)
    return whole.image(cam), whole.image(above)


def _overlap(
    whole: tuple[int, ...], start: np.ndarray[tuple[int, ...], np.dtype[np.int64]], size: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    into, own = [], []
    for first, length, limit in zip(start.tolist(), size, whole, strict=True):
        low, high = min(max(first, 0), limit), max(min(first + length, limit), 0)
        into.append(slice(low, max(high, low)))
        own.append(slice(low - first, max(high, low) - first))
    return tuple(into), tuple(own)
