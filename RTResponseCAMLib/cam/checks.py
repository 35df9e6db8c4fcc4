"""Checks of evidence maps, for one prediction and for a model; failed checks become warnings.

Checks of one prediction: the map adds up to the prediction (completeness); the map is stable when the MR gets noisier
and when the contour shifts by 0.5 mm (stability); the prediction falls further without the strongest voxels than
without random voxels (deletion test); the map differs from the mean map of all lesions (fixed pattern); the evidence
heads of the ensemble agree. Checks of a model, on lesions that were not used for its training: similarity of the maps
before and after the weights of the evidence heads are randomized (weight-randomization control), and similarity of the
maps of two trainings [criteria of Arun et al., Radiol Artif Intell 2021;3:e200267].
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

SHIFT_MM = 0.5  # uncertainty of the position of a contour
NOISE = 0.1  # SD of the added noise, in inter-quartile ranges of the head intensity
DELETED = 0.3  # fraction of the lesion's volume that is left out
RIM_MM = 2.0
FLAT = 1e-4  # an SD below this fraction of the mean is rounding
ADDS_UP, STEADY, OWN, AGREES = 1e-3, 0.7, 0.7, 0.3
RANDOM_LEFT, ALIKE = 0.7, 0.5
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MapChecks:
    """Results of the checks of one prediction; NaN where the lesion is too small for a check.

    Attributes
    ----------
    gap : |Σ map + bias − total| of the map as written.
    noise : correlation of the map with the map of a noisier MR.
    shift : correlation of the map with the map of a contour shifted by 0.5 mm, mean of six shifts.
    deletion : decrease of the calibrated total, without the part from the volume, when the strongest 30 % of the lesion
        are removed from the contour, minus the decrease when random 30 % are removed. The voxels are removed, not set
        to a constant, because a constant area would be a new texture.
    fixed_pattern : correlation with the mean map of the training lesions.
    rim_share : fraction of Σ|map| within 2 mm of the surface; the map is zero outside the lesion by construction.
    agreement : mean correlation of the map of a head with the mean map of the other heads.
    """

    gap: float
    noise: float
    shift: float
    deletion: float
    fixed_pattern: float
    rim_share: float
    agreement: float

    def as_json(self) -> dict[str, float | None]:
        """Return the values rounded for JSON; NaN becomes None."""
        return {k: round(v, 4) if np.isfinite(v) else None for k, v in asdict(self).items()}


def check_map(model: CalibratedModel, sample: LesionSample, *, seed: int = 0) -> MapChecks:
    """Run the checks of one prediction; this takes thirteen predictions of the lesion and of changed copies.

    Raises
    ------
    ModelError : the model gives no evidence map, or the sample has no patch.
    """
    rng = np.random.default_rng(seed)
    patch = patch_of(sample)
    inside = patch.inside
    noisy = patch.mr + NOISE * rng.standard_normal(patch.mr.shape).astype(np.float32)
    variants = [(patch.mr, patch.fraction), (noisy, patch.fraction)]
    voxel_shift = SHIFT_MM / patch.grid.spacing_mm[0]
    for axis in range(3):
        for sign in (-1, 1):
            variants.append(
                (patch.mr, (1 - voxel_shift) * patch.fraction + voxel_shift * np.roll(patch.fraction, sign, axis))
            )
    predictions = model.predict(_variants(sample, variants))
    maps = [_map_of(prediction) for prediction in predictions]
    (unchanged,) = model.predict([sample], members=True)
    evidence = _local(maps[0], patch.fraction)
    noise = _correlation(evidence[inside], _local(maps[1], patch.fraction)[inside])
    shifted = []
    for map_, (_, fraction) in zip(maps[2:], variants[2:], strict=True):
        inside_both = inside & (fraction > INSIDE)
        shifted.append(_correlation(evidence[inside_both], _local(map_, fraction)[inside_both]))
    member_maps = unchanged.member_maps
    return MapChecks(
        gap=abs(float(_map_of(unchanged).sum(dtype=np.float64)) + unchanged.bias - unchanged.total),
        noise=noise,
        shift=float(np.nanmean(shifted)) if np.isfinite(shifted).any() else np.nan,
        deletion=_deletion(model, sample, evidence, inside, rng),
        fixed_pattern=_fixed(model.fitted.mean_pattern, evidence, patch),
        rim_share=_rim(maps[0], inside, patch.grid.spacing_mm[0]),
        agreement=np.nan if member_maps is None else _agreement(_local(member_maps, patch.fraction)[:, inside]),
    )


def warnings_of(checks: MapChecks) -> tuple[Warning, ...]:
    """Warnings to show beside a map that failed checks."""
    failures = []
    if not checks.gap <= ADDS_UP:
        failures.append(f"does not add up to the prediction (by {checks.gap:.3g})")
    if np.isnan(checks.noise):
        failures.append("shows no location: it is the same everywhere, or the lesion has too few voxels for this check")
    if checks.noise < STEADY:
        failures.append(f"changes with a little noise in the MR (correlation {checks.noise:.2f})")
    if checks.shift < STEADY:
        failures.append(f"changes when the contour is shifted by 0.5 mm (correlation {checks.shift:.2f})")
    if checks.deletion <= 0:
        failures.append(
            "does not show what the prediction depends on: without the strongest voxels the prediction falls no "
            "further than without random voxels"
        )
    if checks.fixed_pattern > OWN:
        failures.append(
            f"resembles the mean map of all lesions (correlation {checks.fixed_pattern:.2f}): a fixed pattern"
        )
    if checks.agreement < AGREES:
        failures.append(f"differs between the evidence heads of the model (correlation {checks.agreement:.2f})")
    return tuple(WarningCode.CAM_CHECK(what=text) for text in failures)


def model_checks(
    model: CalibratedModel, others: Sequence[CalibratedModel], *, samples: Sequence[LesionSample]
) -> dict[str, float]:
    """Checks of a model on lesions that were not used for its training.

    Parameters
    ----------
    others : models of the same training with other seeds, or with other patients.

    Returns
    -------
    ``randomized_abs_rho`` : mean |ρ| between the maps before and after the weights are randomized; NaN where the model
    has no such control.
    ``seed_to_seed`` : mean correlation with the maps of ``others``. Both are computed within lesions.
    """
    randomized = model.fitted.with_random_weights()
    controls = [] if randomized is None else [CalibratedModel(randomized)]
    randomized_rhos, seed_correlations = [], []
    for sample in samples:
        patch = patch_of(sample)
        values, *other_values = (
            _local(_map_of(any_model.predict([sample])[0]), patch.fraction)[patch.inside]
            for any_model in (model, *controls, *others)
        )
        randomized_rhos += [
            abs(_correlation(values, randomized_values, ranks=True))
            for randomized_values in other_values[: len(controls)]
        ]
        seed_correlations += [_correlation(values, other) for other in other_values[len(controls) :]]
    return {"randomized_abs_rho": _mean(randomized_rhos), "seed_to_seed": _mean(seed_correlations)}


def model_warnings_of(checks: dict[str, float]) -> tuple[str, ...]:
    """Sentences for the model card about failed checks."""
    sentences = []
    if checks.get("randomized_abs_rho", 0.0) > RANDOM_LEFT:
        rho = checks["randomized_abs_rho"]
        sentences.append(f"Much of this model's maps is image structure: with random weights |ρ| is still {rho:.2f}.")
    if checks.get("seed_to_seed", 1.0) < ALIKE:
        sentences.append(
            f"The maps of two trainings of this model have a correlation of only {checks['seed_to_seed']:.2f}."
        )
    return tuple(sentences)


def mean_pattern(patches: Sequence[Patch], maps: Sequence[Array32]) -> Array32:
    """Mean evidence map of lesions, each resampled to the same box and scaled to unit SD, ``(12, 12, 12)``."""
    return np.mean([_pattern(_local(m, p.fraction), p.inside) for p, m in zip(patches, maps, strict=True)], axis=0)


def _variants(sample: LesionSample, variants: Sequence[tuple[Array32, Array32]]) -> list[LesionSample]:
    """Copies of a sample with other MR and partial-volume fractions."""
    patch = patch_of(sample)
    return [replace(sample, patch=replace(patch, mr=mr, fraction=fraction)) for mr, fraction in variants]


def _map_of(prediction: LesionPrediction) -> Array32:
    if prediction.map is None:
        raise ModelError("model", "gives no evidence map to check", "Use a model that gives one")
    return prediction.map


def _mean(values: Sequence[float]) -> float:
    """Mean of the finite values; NaN without any."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def _deletion(
    model: CalibratedModel, sample: LesionSample, local: Array32, inside: Mask, rng: np.random.Generator
) -> float:
    """Mean total without random voxels minus total without the strongest voxels of the same volume (deletion test)."""
    patch = patch_of(sample)
    inside_index = np.flatnonzero(inside)
    orders = [
        np.argsort(-local.ravel()[inside_index], kind="stable"),
        *(rng.permutation(len(inside_index)) for _ in range(3)),
    ]
    variants = []
    for order in orders:
        volume = np.cumsum(patch.fraction.ravel()[inside_index][order])
        removed = inside_index[order[: max(int(np.searchsorted(volume, DELETED * volume[-1])), 1)]]
        remaining = patch.fraction.copy()
        remaining.ravel()[removed] = 0
        variants.append((patch.mr, remaining))
    totals = np.asarray(
        [prediction.total - prediction.from_volume for prediction in model.predict(_variants(sample, variants))]
    )
    return float(totals[1:].mean() - totals[0])


def _fixed(pattern: Array32 | None, local: Array32, patch: Patch) -> float:
    if pattern is None:
        return np.nan
    lesion_pattern = _pattern(local, patch.inside)
    shared = (lesion_pattern != 0) & (pattern != 0)
    return _correlation(lesion_pattern[shared], pattern[shared])


def _pattern(local: Array32, inside: Mask) -> Array32:
    """Evidence map in the box of its lesion, resampled to 12³ voxels; mean 0 and SD 1 inside, 0 outside."""
    box = tuple(slice(int(w.min()), int(w.max()) + 1) for w in np.nonzero(inside))
    factors = [PATTERN / (s.stop - s.start) for s in box]
    mask = zoom(inside[box].astype(np.float32), factors, order=1, grid_mode=True, mode="nearest") > 0.5
    values = zoom(np.where(inside, local, local[inside].mean())[box], factors, order=1, grid_mode=True, mode="nearest")
    sd = float(values[mask].std()) if mask.any() else 0.0
    scaled = np.where(mask, (values - values[mask].mean()) / sd, 0) if sd > 0 else np.zeros_like(values)
    return scaled.astype(np.float32)


def _local(map_: Array32, fraction: Array32) -> Array32:
    """Evidence (logit) of each voxel: its share divided by its partial-volume fraction.

    The share of a partly filled voxel is small whatever its evidence.
    """
    return np.asarray(map_ / np.maximum(fraction, 1e-6), dtype=np.float32)


def _rim(map_: Array32, inside: Mask, spacing_mm: float) -> float:
    depth = distance_transform_edt(inside) * spacing_mm
    strength = np.abs(map_)
    return float(strength[inside & (depth <= RIM_MM)].sum() / max(float(strength.sum()), 1e-12))


def _agreement(heads: Array32) -> float:
    """Mean correlation of each row with the mean of the other rows."""
    if len(heads) < 2:
        return np.nan
    total = heads.sum(axis=0)
    correlations = [_correlation(row, (total - row) / (len(heads) - 1)) for row in heads]
    return float(np.nanmean(correlations)) if np.isfinite(correlations).any() else np.nan


def _correlation(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating], ranks: bool = False) -> float:
    if len(first) < 8:
        return np.nan
    if ranks:
        first, second = (np.argsort(np.argsort(v)).astype(np.float64) for v in (first, second))
    if any(float(v.std()) <= FLAT * float(np.abs(v).mean()) for v in (first, second)):
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])
