"""Can this map be trusted? Checks of one prediction, and of a model; those that fail become warnings.

Of one prediction: does the map add up; does it stay when the MR gets noisier, or the contour lies half a millimetre
off; does the prediction fall further without the strongest voxels than without others; is the map this lesion's own or
the same for all; how much do the heads agree. Of a model, on lesions it has not seen: how much of a map is left when
the heads' weights are random, and how alike maps of two trainings are [criteria of Arun et al., Radiol Artif Intell
2021;3:e200267].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt, zoom

from RTResponseCAMLib.cam.pixelwise import BATCH_VOXELS, find_evidence
from RTResponseCAMLib.imaging.patch import INSIDE, Array32, Patch
from RTResponseCAMLib.network.bundle import Bundle
from RTResponseCAMLib.network.classifier import PATTERN, AutoencoderClassifier
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


def check_map(bundle: Bundle, patch: Patch, seed: int = 0) -> MapChecks:
    """Run the checks of one prediction: thirteen passes of the network."""
    rng = np.random.default_rng(seed)
    inside = patch.inside
    noisy = patch.mr + NOISE * rng.standard_normal(patch.mr.shape).astype(np.float32)
    variants = [(patch.mr, patch.occupancy), (noisy, patch.occupancy)]
    share = SHIFT_MM / patch.grid.spacing_mm[0]
    for axis in range(3):
        for sign in (-1, 1):
            variants.append((patch.mr, (1 - share) * patch.occupancy + share * np.roll(patch.occupancy, sign, axis)))
    maps, _, heads = _passes(bundle, patch, variants)
    straight = _local(maps[0], patch.occupancy)
    noise = _correlation(straight[inside], _local(maps[1], patch.occupancy)[inside])
    shifted = []
    for map_, (_, occupancy) in zip(maps[2:], variants[2:], strict=True):
        both = inside & (occupancy > INSIDE)
        shifted.append(_correlation(straight[both], _local(map_, occupancy)[both]))
    (evidence,) = find_evidence(bundle, [patch])
    return MapChecks(
        gap=abs(float(evidence.map.sum(dtype=np.float64)) + evidence.bias - evidence.total),
        noise=noise,
        shift=float(np.nanmean(shifted)) if np.isfinite(shifted).any() else np.nan,
        deletion=_deletion(bundle, patch, straight, inside, rng),
        fixed_pattern=_fixed(bundle, straight, patch),
        rim_share=_rim(maps[0], inside, patch.grid.spacing_mm[0]),
        agreement=_agreement(_local(heads, patch.occupancy)[:, inside]),
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


def model_checks(bundle: Bundle, others: Sequence[Bundle], patches: Sequence[Patch]) -> dict[str, float]:
    """Checks of a model on lesions that it has not seen.

    Parameters
    ----------
    others : the same training with other seeds, or other patients.

    Returns
    -------
    ``randomised_abs_rho`` : mean |ρ| between maps before and after the heads' weights are drawn anew.
    ``seed_to_seed`` : mean correlation with the maps of ``others``; both within lesions.
    """
    fresh = with_random_heads(bundle)
    left, alike = [], []
    for patch in patches:
        inside = patch.inside
        variants = [(patch.mr, patch.occupancy)]
        own, random, *rest = (
            _local(_passes(each, patch, variants)[0][0], patch.occupancy)[inside] for each in (bundle, fresh, *others)
        )
        left.append(abs(_correlation(own, random, ranks=True)))
        alike += [_correlation(own, other) for other in rest]
    return {"randomised_abs_rho": float(np.nanmean(left)), "seed_to_seed": float(np.nanmean(alike))}


def model_warnings_of(checks: dict[str, float]) -> tuple[str, ...]:
    """Sentences for the card of a model that failed a check."""
    found = []
    if checks.get("randomised_abs_rho", 0.0) > RANDOM_LEFT:
        rho = checks["randomised_abs_rho"]
        found.append(
            f"Much of this model's maps is structure of the image: with random weights |ρ| is still {rho:.2f}."
        )
    if checks.get("seed_to_seed", 1.0) < ALIKE:
        found.append(f"Maps of two trainings of this model correlate by {checks['seed_to_seed']:.2f} only.")
    return tuple(found)


def mean_pattern(patches: Sequence[Patch], maps: Sequence[Array32]) -> Array32:
    """Mean local map of some lesions, each brought to the same box and to unit spread, ``(12, 12, 12)``."""
    return np.mean([_pattern(_local(m, p.occupancy), p.inside) for p, m in zip(patches, maps, strict=True)], axis=0)


def _passes(
    bundle: Bundle, patch: Patch, variants: Sequence[tuple[Array32, Array32]]
) -> tuple[Array32, npt.NDArray[np.float64], Array32]:
    """Mean maps, and totals without the volume's part, of variants of a patch; the heads' maps of the first."""
    maps: list[Array32] = []
    totals: list[float] = []
    heads: Array32 | None = None
    step = max(1, BATCH_VOXELS // patch.mr.size)
    for start in range(0, len(variants), step):
        some = variants[start : start + step]
        mr, occupancy = (torch.from_numpy(np.stack([v[k] for v in some]))[:, None].to(bundle.device) for k in (0, 1))
        dose = torch.from_numpy(patch.dose)[None, None].expand_as(mr).to(bundle.device)
        with torch.inference_mode():
            output = bundle.network(mr, occupancy, dose, patch.coarseness)
        maps += list(output.maps.mean(1).cpu().numpy())
        totals += (output.total - output.from_volume).double().mean(1).tolist()
        heads = output.maps[0].cpu().numpy() if heads is None else heads
    assert heads is not None
    return np.stack(maps), np.asarray(totals), heads


def _deletion(bundle: Bundle, patch: Patch, local: Array32, inside: Mask, rng: np.random.Generator) -> float:
    """Totals without some of the lesion: the strongest voxels, and random ones of the same volume."""
    where = np.flatnonzero(inside)
    orders = [np.argsort(-local.ravel()[where], kind="stable"), *(rng.permutation(len(where)) for _ in range(3))]
    variants = []
    for order in orders:
        volume = np.cumsum(patch.occupancy.ravel()[where][order])
        gone = where[order[: max(int(np.searchsorted(volume, DELETED * volume[-1])), 1)]]
        rest = patch.occupancy.copy()
        rest.ravel()[gone] = 0
        variants.append((patch.mr, rest))
    totals = _passes(bundle, patch, variants)[1]
    fall = float(totals[1:].mean() - totals[0])
    return bundle.calibration[0] * fall if bundle.form == "signed" else fall


def _fixed(bundle: Bundle, local: Array32, patch: Patch) -> float:
    pattern = bundle.network.pattern.cpu().numpy()
    if not pattern.any():
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
    spread = float(values[mask].std()) if mask.any() else 0.0
    scaled = np.where(mask, (values - values[mask].mean()) / spread, 0) if spread > 0 else np.zeros_like(values)
    return scaled.astype(np.float32)


def _local(map_: Array32, occupancy: Array32) -> Array32:
    """Evidence of each voxel from its share of the map: shares of cut voxels are small whatever their evidence."""
    return np.asarray(map_ / np.maximum(occupancy, 1e-6), dtype=np.float32)


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


def with_random_heads(bundle: Bundle) -> Bundle:
    """The same stem and autoencoder under heads that have learned nothing."""
    torch.manual_seed(0)
    network = AutoencoderClassifier(bundle.network.architecture)
    fresh = {n: v for n, v in network.state_dict().items() if "head" in n}
    network.load_state_dict({**bundle.network.state_dict(), **fresh})
    return Bundle(bundle.card, network.eval().to(bundle.device), "", bundle.device)
