"""What training needs of every lesion, computed once: features of its voxels, as it is and slightly otherwise.

A contour could as well lie half a millimeter off or be cut into voxels, and a scan be a little brighter or noisier;
a network that has seen each lesion so takes these for what they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import shift
from torch import Tensor

from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.scale_space.classifier import Architecture, dose_feature
from RTResponseCAMLib.models.scale_space.stem import masked_mean, smoothing_weight, stem_features
from RTResponseCAMLib.samples.sample import LesionSample, patch_of

SHIFT_MM = 0.5  # as far as two contours of one lesion lie apart
SHARPEST, WIDER = 2.5, 0.15  # contrast and offset of the occupancy at the surface
BRIGHTER, NOISE = 0.05, 0.1  # relative, and in the head's inter-quartile range
OWN_VOXELS, VIEW_VOXELS = 8000, 1000  # kept of a lesion, and of each other view: large lesions need no more


@dataclass(frozen=True)
class PreparedLesion:
    """Voxels of one lesion in all its views, one view after the other.

    Attributes
    ----------
    features, surroundings : what the stem gives, ``(voxels, STEM_CHANNELS + DEPTH_TERMS)``, and its mean over each
        voxel's surroundings.
    dose : dose feature ``(voxels, 1)``.
    share : cumulative weight of the voxels, 0…1, by which they are drawn: as much as the pooling, after its spreading,
        lets each count. Every view counts the same.
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
    """Compute what training does not change: features of the lesion and of ``n_augmentations`` augmented copies.

    The copies depend on the sample's index alone: a lesion is the same in every fold.

    Raises
    ------
    ModelError : the sample has no patch.
    """
    patch = patch_of(sample)
    rng = np.random.default_rng([sample.index, n_augmentations])
    looks = [patch, *(augment(patch, rng) for _ in range(n_augmentations))]
    parts = [_voxels(look, architecture, VIEW_VOXELS if n else OWN_VOXELS, rng) for n, look in enumerate(looks)]
    features, surroundings, dose = (torch.cat([tables[k] for tables, _ in parts]) for k in range(3))
    share = np.concatenate([(n + own) / len(parts) for n, (_, own) in enumerate(parts)])
    volume = float(patch.fraction.sum()) * architecture.spacing_mm**3 / 1000
    who = volume, sample.label, sample.patient, patch.mr_voxel_volume_ratio
    return PreparedLesion(features, surroundings, dose, share, *who)


def augment(patch: Patch, rng: np.random.Generator) -> Patch:
    """The same lesion, contoured and scanned another time."""
    distance = rng.uniform(-SHIFT_MM, SHIFT_MM, 3) / patch.grid.spacing_mm[0]
    fraction = shift(patch.fraction, distance, order=1, prefilter=False)
    cut = (fraction > 0) & (fraction < 1)
    wider, sharper = rng.uniform(-WIDER, WIDER), rng.uniform(1.0, SHARPEST)
    fraction[cut] = np.clip(0.5 + (fraction[cut] - 0.5 + wider) * sharper, 0, 1)
    if not fraction.any():  # a lesion of a few voxels, cut too sharply
        fraction = patch.fraction
    mr = patch.mr * rng.uniform(1 - BRIGHTER, 1 + BRIGHTER) + NOISE * rng.standard_normal(patch.mr.shape)
    return replace(patch, mr=mr.astype(np.float32), fraction=fraction.astype(np.float32))


def _voxels(
    patch: Patch, architecture: Architecture, most: int, rng: np.random.Generator
) -> tuple[list[Tensor], npt.NDArray[np.float64]]:
    mr, fraction, dose = (torch.from_numpy(a)[None, None] for a in (patch.mr, patch.fraction, patch.dose))
    places = np.flatnonzero(patch.inside)
    if len(places) > most:
        places = np.sort(rng.choice(places, most, replace=False))
    with torch.inference_mode():
        features = stem_features(mr, fraction, architecture.spacing_mm)
        around = masked_mean(features, fraction, architecture.context_mm, architecture.spacing_mm)
        relative = dose_feature(mr, dose if patch.has_dose else None)
        chosen = torch.from_numpy(places)
        tables = [values[0].flatten(1)[:, chosen].T.contiguous() for values in (features, around, relative)]
        counts = smoothing_weight(fraction, architecture.context_mm, architecture.spacing_mm)
    weight = counts.numpy().ravel()[places].astype(np.float64)
    return tables, np.cumsum(weight) / weight.sum()
