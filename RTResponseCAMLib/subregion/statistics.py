"""Statistics of a subregion and the rest of its lesion: volume, dose, cold spots and robustness."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import shift as shifted

from RTResponseCAMLib.dosimetry.dvh import Dvh, dvh
from RTResponseCAMLib.imaging.outlines import edge_contours
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.study import Dose, Structure
from RTResponseCAMLib.subregion.association import Association, map_and_dose
from RTResponseCAMLib.subregion.boost import PAINTABLE_CC
from RTResponseCAMLib.subregion.select import Selection, select, subregion_threshold
from RTResponseCAMLib.subregion.voxels import LesionVoxels, Mask
from RTResponseCAMLib.warnings import Warning, WarningCode

COLD_PERCENT = 10.0  # fraction of a lesion with the lowest dose that counts as its cold spot, percent
SHIFTS_MM = (0.5, 1.0)
THRESHOLD_STEP = 0.25  # in standard deviations of the evidence within the lesion


@dataclass(frozen=True)
class Robustness:
    """Range of the statistics over shifts of the map, or over thresholds.

    Attributes
    ----------
    volume_cc, mean_gy, d98_gy : smallest and largest value; doses are None without a dose.
    dice : smallest Dice coefficient with the original subregion.
    """

    volume_cc: tuple[float, float]
    mean_gy: tuple[float, float] | None
    d98_gy: tuple[float, float] | None
    dice: float


@dataclass(frozen=True)
class Statistics:
    """Statistics of one subregion; volumes are voxel counts in cm³, doses in Gy.

    Attributes
    ----------
    selection, threshold : settings of the subregion, and the resulting subregion threshold.
    volume_cc : volume of the subregion, cm³.
    share : fraction of the lesion's volume in the subregion, 0…1.
    subregion, rest : DVH of the subregion and of the rest of the lesion; None if empty or without dose.
    cold_share : fraction of the lesion's coldest 10 % that lies in the subregion; ``share`` is expected by chance.
    below_prescription : fraction of the subregion that receives less than the prescription; None without prescription.
    association : association of evidence and dose.
    shifts : robustness against shifts of the map by 0.5 and 1 mm along each axis.
    thresholds : robustness against a change of the subregion threshold by 0.25 standard deviations of the evidence.
    warnings : warnings about the subregion.
    """

    selection: Selection
    threshold: float
    volume_cc: float
    share: float
    subregion: Dvh | None
    rest: Dvh | None
    cold_share: float | None
    below_prescription: float | None
    association: Association | None
    shifts: Robustness
    thresholds: Robustness
    warnings: tuple[Warning, ...]


def measure(
    voxels: LesionVoxels,
    selection: Selection,
    *,
    dose: Dose | None,
    prescription_gy: float | None,
    interpolation: str = "linear",
    progress: Progress = no_progress,
) -> tuple[Mask, Statistics]:
    """Return the mask ``[z, y, x]`` of a subregion, and its statistics."""
    mask, threshold = select(voxels, selection), subregion_threshold(voxels, selection)
    usable_dose = dose if voxels.dose is not None else None
    progress(0.1, "dose of the subregion")
    subregion = part_dvh("subregion", voxels, mask=mask, dose=usable_dose, interpolation=interpolation)
    rest = part_dvh("rest of lesion", voxels, mask=voxels.inside & ~mask, dose=usable_dose, interpolation=interpolation)
    progress(0.3, "association of evidence and dose")
    association = map_and_dose(voxels)
    progress(0.6, "robustness")
    moved = [select(_moved(voxels, step), selection) for step in _steps(voxels)]
    step = float(voxels.evidence[voxels.inside].std()) * THRESHOLD_STEP
    varied = [select(voxels, replace(selection, method="value", value=threshold + d)) for d in (-step, step)]
    lesion_cc = voxels.volume_cc(voxels.inside)
    volume = voxels.volume_cc(mask)
    shifts, thresholds = _robustness(voxels, mask, moved), _robustness(voxels, mask, varied)
    return mask, Statistics(
        selection=selection,
        threshold=threshold,
        volume_cc=volume,
        share=voxels.volume_cc(mask & voxels.inside) / lesion_cc,
        subregion=subregion,
        rest=rest,
        cold_share=_cold_share(voxels, mask),
        below_prescription=None
        if subregion is None or prescription_gy is None
        else 1 - subregion.volume_at_cc(prescription_gy) / subregion.volume_cc,
        association=association,
        shifts=shifts,
        thresholds=thresholds,
        warnings=_warnings(voxels, mask, shifts, dose is not None),
    )


def part_dvh(name: str, voxels: LesionVoxels, *, mask: Mask, dose: Dose | None, interpolation: str) -> Dvh | None:
    """Return the DVH of exactly the voxels of a mask; None if the mask is empty or there is no dose."""
    if dose is None or not mask.any():
        return None
    return dvh(Structure(0, name, "", edge_contours(mask, voxels.grid)), dose, interpolation=interpolation)


def _steps(voxels: LesionVoxels) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    directions = np.concatenate([np.eye(3), -np.eye(3)])
    return [direction * mm / np.asarray(voxels.grid.spacing_mm[::-1]) for mm in SHIFTS_MM for direction in directions]


def _moved(voxels: LesionVoxels, step: np.ndarray[tuple[int], np.dtype[np.float64]]) -> LesionVoxels:
    """Return the lesion with its map shifted by ``step`` voxels ``[z, y, x]``; lesion mask and dose are unchanged."""
    evidence = shifted(voxels.extended(voxels.evidence), step, order=1, mode="nearest")
    return replace(voxels, evidence=np.where(voxels.inside, evidence, 0).astype(np.float32))


def _robustness(voxels: LesionVoxels, mask: Mask, others: list[Mask]) -> Robustness:
    volumes = [voxels.volume_cc(m) for m in others]
    doses = [voxels.dose[m] for m in others if m.any()] if voxels.dose is not None else []
    means, d98s = [float(d.mean()) for d in doses], [float(np.percentile(d, 2)) for d in doses]
    dice = [2.0 * (mask & m).sum() / max(mask.sum() + m.sum(), 1) for m in others]
    return Robustness(
        (min(volumes), max(volumes)),
        (min(means), max(means)) if means else None,
        (min(d98s), max(d98s)) if d98s else None,
        float(min(dice)),
    )


def _cold_share(voxels: LesionVoxels, mask: Mask) -> float | None:
    if voxels.dose is None:
        return None
    cold = voxels.inside & (voxels.dose <= np.percentile(voxels.dose[voxels.inside], COLD_PERCENT))
    return float((cold & mask).sum() / cold.sum())


def _warnings(voxels: LesionVoxels, mask: Mask, shifts: Robustness, has_dose: bool) -> tuple[Warning, ...]:
    warnings = []
    count, volume = int(mask.sum()), voxels.volume_cc(mask)
    if not count:
        warnings.append(WarningCode.EMPTY_SUBREGION(what="no voxel of the lesion is selected"))
    elif count == 1:
        warnings.append(WarningCode.ONE_VOXEL())
    if count and volume < PAINTABLE_CC:
        warnings.append(WarningCode.SMALLER_THAN_SHOT(volume=volume, shot=PAINTABLE_CC, then=""))
    if count and shifts.dice < 0.5:
        warnings.append(WarningCode.UNSTABLE_SUBREGION(dice=shifts.dice))
    if has_dose and voxels.dose is None:
        warnings.append(WarningCode.DOSE_SHORT())
    return tuple(warnings)
