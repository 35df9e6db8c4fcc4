"""Prepare the lesions for training, once: features of the voxels of each lesion and of its augmented copies.

Augmented copies vary the contour (shifted by up to half a millimeter, or with a sharper surface, as after conversion to
voxels) and the scan (brightness, noise). Training on them makes the network less sensitive to these variations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.augmentation import recontoured
from RTResponseCAMLib.models.scale_space.classifier import Architecture, dose_feature
from RTResponseCAMLib.models.scale_space.stem import stem_features
from RTResponseCAMLib.models.smoothing import masked_mean, smoothing_weight
from RTResponseCAMLib.samples.sample import LesionSample, patch_of

BRIGHTER, NOISE = 0.05, 0.1  # relative brightness; noise in units of the head's interquartile range
OWN_VOXELS, VIEW_VOXELS = 8000, 1000  # most voxels of a lesion, and of each augmented copy; large lesions need no more


@dataclass(frozen=True)
class PreparedLesion:
    """Voxels of one lesion and its augmented copies, one after the other.

    Attributes
    ----------
    features, surroundings : output of the stem, ``(voxels, STEM_CHANNELS + DEPTH_TERMS)``, and its mean over each
        voxel's surroundings.
    dose : dose feature ``(voxels, 1)``.
    share : cumulative weight of the voxels, 0…1, for sampling them: each voxel's weight is its weight in the pooling
        after smoothing. Lesion and augmented copies have equal weight.
    """

    features: Tensor
    surroundings: Tensor
    dose: Tensor
    share: npt.NDArray[np.float64]
    volume_cc: float
    label: int | None
    group: str
    mr_voxel_volume_ratio: float = 1.0


def prepare(sample: LesionSample, architecture: Architecture, *, n_augmentations: int) -> PreparedLesion:
    """Compute the inputs that training does not change, for the lesion and ``n_augmentations`` augmented copies.

    The copies depend only on the sample's index: a lesion is the same in every fold.

    Raises
    ------
    ModelError : the sample has no patch.
    """
    patch = patch_of(sample)
    rng = np.random.default_rng([sample.index, n_augmentations])
    patches = [patch, *(augment(patch, rng) for _ in range(n_augmentations))]
    voxel_tables = [
        _voxels(augmented, architecture, VIEW_VOXELS if n else OWN_VOXELS, rng) for n, augmented in enumerate(patches)
    ]
    features, surroundings, dose = (torch.cat([tables[k] for tables, _ in voxel_tables]) for k in range(3))
    share = np.concatenate([(n + weights) / len(voxel_tables) for n, (_, weights) in enumerate(voxel_tables)])
    volume = float(patch.fraction.sum()) * architecture.spacing_mm**3 / 1000
    identity = volume, sample.label, sample.patient, patch.mr_voxel_volume_ratio
    return PreparedLesion(features, surroundings, dose, share, *identity)


def augment(patch: Patch, rng: np.random.Generator) -> Patch:
    """Augmented copy of a lesion: another contour and another scan."""
    fraction = recontoured(patch.fraction, spacing_mm=patch.grid.spacing_mm[0], rng=rng)
    mr = patch.mr * rng.uniform(1 - BRIGHTER, 1 + BRIGHTER) + NOISE * rng.standard_normal(patch.mr.shape)
    return replace(patch, mr=mr.astype(np.float32), fraction=fraction)


def _voxels(
    patch: Patch, architecture: Architecture, most: int, rng: np.random.Generator
) -> tuple[list[Tensor], npt.NDArray[np.float64]]:
    mr, fraction, dose = (torch.from_numpy(a)[None, None] for a in (patch.mr, patch.fraction, patch.dose))
    voxel_index = np.flatnonzero(patch.inside)
    if len(voxel_index) > most:
        voxel_index = np.sort(rng.choice(voxel_index, most, replace=False))
    with torch.inference_mode():
        features = stem_features(mr, fraction, architecture.spacing_mm)
        surroundings = masked_mean(features, fraction, architecture.context_mm, architecture.spacing_mm)
        relative_dose = dose_feature(mr, dose if patch.has_dose else None)
        rows = torch.from_numpy(voxel_index)
        tables = [values[0].flatten(1)[:, rows].T.contiguous() for values in (features, surroundings, relative_dose)]
        counts = smoothing_weight(fraction, architecture.context_mm, architecture.spacing_mm)
    weight = counts.numpy().ravel()[voxel_index].astype(np.float64)
    return tables, np.cumsum(weight) / weight.sum()
