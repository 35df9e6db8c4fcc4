"""Can this map be trusted? Checks of one prediction, and of a model; those that fail become warnings.

Of one prediction: does the map add up; does it stay when the MR gets noisier, or the contour lies half a millimeter
off; does the prediction fall further without the strongest voxels than without others; is the map this lesion's own or
the same for all; how much do the heads agree. Of a model, on lesions it has not seen: how much of a map is left when
the heads' weights are random, and how alike maps of two trainings are [criteria of Arun et al., Radiol Artif Intell
2021;3:e200267].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, zoom

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.imaging.patch import INSIDE, Array32, Patch
from RTResponseCAMLib.models.calibration import CalibratedModel
from RTResponseCAMLib.models.interface import PATTERN, LesionPrediction
from RTResponseCAMLib.samples.sample import LesionSample, patch_of
from RTResponseCAMLib.warnings import Warning, WarningCode

SHIFT_MM = 0.5  # as far as a contour's place is uncertain
NOISE = 0.1  # of the head's inter-quartile range
DELETED = 0.3  # share of the lesion's voxels that are left out
RIM_MM = 2.0
FLAT = 1e-4  # a spread so small beside the mean is rounding
ADDS_UP, STEADY, OWN, AGREES = 1e-3, 0.7, 0.7, 0.3
RANDOM_LEFT, ALIKE = 0.7, 0.5
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MapChecks:
    """Checks of one prediction; NaN where a lesion is too small for one.

    Attributes
    ----------
    gap : |Σ map + bias − total|, as written.
    noise, shift : correlation of the map with that of a noisier MR, and (mean of six) of a contour 0.5 mm off.
    deletion : fall of the calibrated total, the volume's part left out, when the strongest 30 % of the lesion are left
        out of it, less that of random 30 %. They are left out, not blanked: a blank would be a texture of its own.
    fixed_pattern : correlation with the mean map of the training lesions.
    rim_share : share of |map| within 2 mm of the surface; none lies outside the lesion, by construction.
    agreement : mean correlation of a head's map with the mean of the others.
    """

    gap: float
    noise: float
    shift: float
    deletion: float
    fixed_pattern: float
    rim_share: float
    agreement: float

    def as_json(self) -> dict[str, float | None]:
        """Plain values."""
        return {k: round(v, 4) if np.isfinite(v) else None for k, v in asdict(self).items()}


def check_map(model: CalibratedModel, sample: LesionSample, *, seed: int = 0) -> MapChecks:
    """Run the checks of one prediction: thirteen predictions of changed lesions.

    Raises
    ------
    ModelError : the model gives no evidence map, or the sample has no patch.
    """
    rng = np.random.default_rng(seed)
    patch = patch_of(sample)
    inside = patch.inside
    noisy = patch.mr + NOISE * rng.standard_normal(patch.mr.shape).astype(np.float32)
    variants = [(patch.mr, patch.fraction), (noisy, patch.fraction)]
    share = SHIFT_MM / patch.grid.spacing_mm[0]
    for axis in range(3):
        for sign in (-1, 1):
            variants.append((patch.mr, (1 - share) * patch.fraction + share * np.roll(patch.fraction, sign, axis)))
    found = model.predict(_variants(sample, variants))
    maps = [_map_of(each) for each in found]
    (own,) = model.predict([sample], members=True)
    straight = _local(maps[0], patch.fraction)
    noise = _correlation(straight[inside], _local(maps[1], patch.fraction)[inside])
    shifted = []
    for map_, (_, fraction) in zip(maps[2:], variants[2:], strict=True):
        both = inside & (fraction > INSIDE)
        shifted.append(_correlation(straight[both], _local(map_, fraction)[both]))
    heads = own.member_maps
    return MapChecks(
        gap=abs(float(_map_of(own).sum(dtype=np.float64)) + own.bias - own.total),
        noise=noise,
        shift=float(np.nanmean(shifted)) if np.isfinite(shifted).any() else np.nan,
        deletion=_deletion(model, sample, straight, inside, rng),
        fixed_pattern=_fixed(model.fitted.mean_pattern, straight, patch),
        rim_share=_rim(maps[0], inside, patch.grid.spacing_mm[0]),
        agreement=np.nan if heads is None else _agreement(_local(heads, patch.fraction)[:, inside]),
    )


def warnings_of(checks: MapChecks) -> tuple[Warning, ...]:
    """What the clinician must see beside a map that failed a check."""
    found = []
    if not checks.gap <= ADDS_UP:
        found.append(f"does not add up to the prediction (by {checks.gap:.3g})")
    if np.isnan(checks.noise):
        found.append("says nothing of where: it is the same everywhere, or the lesion has too few voxels to tell")
    if checks.noise < STEADY:
        found.append(f"changes with a little noise in the MR (correlation {checks.noise:.2f})")
    if checks.shift < STEADY:
        found.append(f"changes when the contour lies 0.5 mm off (correlation {checks.shift:.2f})")
    if checks.deletion <= 0:
        found.append("does not show what the prediction rests on: without its strongest voxels it changes no more")
    if checks.fixed_pattern > OWN:
        found.append(f"resembles the mean map of all lesions (correlation {checks.fixed_pattern:.2f}): a fixed pattern")
    if checks.agreement < AGREES:
        found.append(f"is not agreed on by the model's heads (correlation {checks.agreement:.2f})")
    return tuple(WarningCode.CAM_CHECK(what=text) for text in found)


def model_checks(
    model: CalibratedModel, others: Sequence[CalibratedModel], *, samples: Sequence[LesionSample]
) -> dict[str, float]:
    """Checks of a model on lesions that it has not seen.

    Parameters
    ----------
    others : the same training with other seeds, or other patients.

    Returns
    -------
    ``randomized_abs_rho`` : mean |ρ| between maps before and after the weights are drawn anew; NaN where the model has
    no such control.
    ``seed_to_seed`` : mean correlation with the maps of ``others``; both within lesions.
    """
    fresh = model.fitted.with_random_weights()
    controls = [] if fresh is None else [CalibratedModel(fresh)]
    left, alike = [], []
    for sample in samples:
        patch = patch_of(sample)
        own, *rest = (
            _local(_map_of(each.predict([sample])[0]), patch.fraction)[patch.inside]
            for each in (model, *controls, *others)
        )
        left += [abs(_correlation(own, random, ranks=True)) for random in rest[: len(controls)]]
        alike += [_correlation(own, other) for other in rest[len(controls) :]]
    return {"randomized_abs_rho": _mean(left), "seed_to_seed": _mean(alike)}


def model_warnings_of(checks: dict[str, float]) -> tuple[str, ...]:
    """Sentences for the card of a model that failed a check."""
    found = []
    if checks.get("randomized_abs_rho", 0.0) > RANDOM_LEFT:
        rho = checks["randomized_abs_rho"]
        found.append(
            f"Much of this model's maps is structure of the image: with random weights |ρ| is still {rho:.2f}."
        )
    if checks.get("seed_to_seed", 1.0) < ALIKE:
        found.append(f"Maps of two trainings of this model correlate by {checks['seed_to_seed']:.2f} only.")
    return tuple(found)


def mean_pattern(patches: Sequence[Patch], maps: Sequence[Array32]) -> Array32:
    """Mean local map of some lesions, each brought to the same box and to unit spread, ``(12, 12, 12)``."""
    return np.mean([_pattern(_local(m, p.fraction), p.inside) for p, m in zip(patches, maps, strict=True)], axis=0)


def _variants(sample: LesionSample, variants: Sequence[tuple[Array32, Array32]]) -> list[LesionSample]:
    """Copies of a sample with other MR and partial-volume fractions."""
    patch = patch_of(sample)
    return [replace(sample, patch=replace(patch, mr=mr, fraction=fraction)) for mr, fraction in variants]


def _map_of(prediction: LesionPrediction) -> Array32:
    if prediction.map is None:
        raise ModelError("model", "gives no evidence map, which there is to check", "Use a model that explains itself")
    return prediction.map


def _mean(values: Sequence[float]) -> float:
    """Mean of the finite values; NaN without any."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def _deletion(
    model: CalibratedModel, sample: LesionSample, local: Array32, inside: Mask, rng: np.random.Generator
) -> float:
    """Totals without some of the lesion: the strongest voxels, and random ones of the same volume."""
    patch = patch_of(sample)
    where = np.flatnonzero(inside)
    orders = [np.argsort(-local.ravel()[where], kind="stable"), *(rng.permutation(len(where)) for _ in range(3))]
    variants = []
    for order in orders:
        volume = np.cumsum(patch.fraction.ravel()[where][order])
        gone = where[order[: max(int(np.searchsorted(volume, DELETED * volume[-1])), 1)]]
        rest = patch.fraction.copy()
        rest.ravel()[gone] = 0
        variants.append((patch.mr, rest))
    totals = np.asarray([found.total - found.from_volume for found in model.predict(_variants(sample, variants))])
    return float(totals[1:].mean() - totals[0])


def _fixed(pattern: Array32 | None, local: Array32, patch: Patch) -> float:
    if pattern is None:
        return np.nan
    own = _pattern(local, patch.inside)
    shared = (own != 0) & (pattern != 0)
    return _correlation(own[shared], pattern[shared])


def _pattern(local: Array32, inside: Mask) -> Array32:
    """Local map in the box of its lesion, brought to 12³ voxels, mean 0 and spread 1 inside; 0 outside."""
    box = tuple(slice(int(w.min()), int(w.max()) + 1) for w in np.nonzero(inside))
    factors = [PATTERN / (s.stop - s.start) for s in box]
    mask = zoom(inside[box].astype(np.float32), factors, order=1, grid_mode=True, mode="nearest") > 0.5
    values = zoom(np.where(inside, local, local[inside].mean())[box], factors, order=1, grid_mode=True, mode="nearest")
    sd = float(values[mask].std()) if mask.any() else 0.0
    scaled = np.where(mask, (values - values[mask].mean()) / sd, 0) if sd > 0 else np.zeros_like(values)
    return scaled.astype(np.float32)


def _local(map_: Array32, fraction: Array32) -> Array32:
    """Evidence of each voxel from its share of the map: shares of cut voxels are small whatever their evidence."""
    return np.asarray(map_ / np.maximum(fraction, 1e-6), dtype=np.float32)


def _rim(map_: Array32, inside: Mask, spacing_mm: float) -> float:
    depth = distance_transform_edt(inside) * spacing_mm
    strength = np.abs(map_)
    return float(strength[inside & (depth <= RIM_MM)].sum() / max(float(strength.sum()), 1e-12))


def _agreement(heads: Array32) -> float:
    """Mean correlation of each row with the mean of the others."""
    if len(heads) < 2:
        return np.nan
    total = heads.sum(axis=0)
    found = [_correlation(row, (total - row) / (len(heads) - 1)) for row in heads]
    return float(np.nanmean(found)) if np.isfinite(found).any() else np.nan


def _correlation(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating], ranks: bool = False) -> float:
    if len(one) < 8:
        return np.nan
    if ranks:
        one, other = (np.argsort(np.argsort(v)).astype(np.float64) for v in (one, other))
    if any(float(v.std()) <= FLAT * float(np.abs(v).mean()) for v in (one, other)):
        return np.nan
    return float(np.corrcoef(one, other)[0, 1])
