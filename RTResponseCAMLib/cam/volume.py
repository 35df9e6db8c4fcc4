"""Evidence maps on the voxels of the planning MR, resampled from the patches of the lesions.

The displayed value is a weighted mean of the evidence of the voxel and the total of the lesion. The weight of the
voxel's own evidence is the extent to which the voxel, and the neighborhood that blurs its MR signal, lie inside the
lesion. A voxel at the edge, whose MR signal is half brain, therefore cannot be the maximum of a map.
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

RIM_MM = 0.6  # standard deviation of the blur of the MR signal


def local_evidence(patch: Patch, evidence: LesionPrediction) -> Array32:
    """Evidence (logit) of each voxel ``[z, y, x]``: its share divided by its weight, plus the bias.

    This is the total of a lesion whose voxels are all like this one. Voxels outside the lesion take the value of the
    nearest voxel inside (distance transform), so that interpolation to other grids does not mix zeros into the rim.

    Raises
    ------
    ModelError : the model gives no evidence map.
    """
    if evidence.map is None:
        raise ModelError("model", "gives no evidence map", "Use a model that gives one")
    inside = patch.inside
    weight = patch.fraction / patch.fraction.sum()
    local = np.where(inside, evidence.map / np.maximum(weight, 1e-12), 0.0) + evidence.bias
    nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return np.asarray(local[tuple(nearest)], dtype=np.float32)


def shown_evidence(patch: Patch, evidence: LesionPrediction) -> Array32:
    """Displayed evidence map on the grid of the patch."""
    return _shown(local_evidence(patch, evidence), patch.fraction, patch.grid, evidence.total)


def own_evidence_weight(fraction: Array32, grid: Grid) -> Array32:
    """Weight of a voxel's own evidence in the displayed map, ``[z, y, x]``, 0…1: 1 in the middle, less at the rim.

    The weight is the partial-volume fraction times the square root of the smoothed partial-volume fraction, relative to
    the maximum of the latter in the lesion. The formula is our own, chosen on development phantoms
    (``Docs/pages/concepts/method.md``, equation 8).
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
    """Displayed evidence map, and label image with the lesion number where the map exceeds ``subregion_threshold``.

    Both images lie on the voxels of the MR, cropped to the lesions. Where lesions overlap, the later ROI number wins.
    Voxels of a lesion outside its patch stay 0.
    """
    boxes = [structure_box(s, mr) for s in structures]
    starts = np.asarray([mr.start_of(b) for b in boxes])
    ends = starts + np.asarray([b.size for b in boxes])
    low, high = np.maximum(starts.min(axis=0), 0), np.minimum(ends.max(axis=0), mr.size)
    low = np.minimum(low, np.asarray(mr.size) - 1)
    high = np.maximum(high, low + 1)
    crop = mr.crop((int(low[0]), int(low[1]), int(low[2])), tuple((high - low).tolist()))
    cam = np.zeros(crop.shape, dtype=np.float32)
    above = np.zeros(crop.shape, dtype=np.uint8)
    for lesion_number, (structure, box, patch, evidence) in enumerate(
        zip(structures, boxes, patches, evidences, strict=True), start=1
    ):
        progress(lesion_number / len(boxes), f"map of lesion {lesion_number}")
        local = patch.grid.image(local_evidence(patch, evidence))
        resampled = sitk.GetArrayFromImage(
            sitk.Resample(local, box.blank(), sitk.Transform(), sitk.sitkLinear, float("nan"), sitk.sitkFloat32)
        )
        fraction = box_fraction(structure, box)
        inside = stands_for(fraction) & np.isfinite(resampled)
        start = starts[lesion_number - 1] - low
        target, source = _overlap(crop.shape, start[::-1], box.shape)
        shown = _shown(resampled, fraction, box, evidence.total)
        cam[target][inside[source]] = shown[source][inside[source]]
        above[target][inside[source]] = np.where(shown[source][inside[source]] > subregion_threshold, lesion_number, 0)
    return crop.image(cam), crop.image(above)


def _overlap(
    whole: tuple[int, ...], start: np.ndarray[tuple[int, ...], np.dtype[np.int64]], size: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    target, source = [], []
    for first, length, limit in zip(start.tolist(), size, whole, strict=True):
        low, high = min(max(first, 0), limit), max(min(first + length, limit), 0)
        target.append(slice(low, max(high, low)))
        source.append(slice(low - first, max(high, low) - first))
    return tuple(target), tuple(source)
