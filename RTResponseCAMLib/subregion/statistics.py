"""A subregion against the rest of its lesion: volume, dose, cold spots, and how far the figures can be trusted."""

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

COLD_PERCENT = 10.0  # coldest part of a lesion that counts as its cold spot
SHIFTS_MM = (0.5, 1.0)
THRESHOLD_STEP = 0.25  # in standard deviations of the evidence within the lesion


@dataclass(frozen=True)
class Robustness:
    """Least and largest value of a figure over shifts, or over thresholds; the Dice is the least with the subregion."""

    volume_cc: tuple[float, float]
    mean_gy: tuple[float, float] | None
    d98_gy: tuple[float, float] | None
    dice: float


@dataclass(frozen=True)
class Statistics:
    """Figures of one subregion; volumes count voxels, cm³; doses in Gy.

    Attributes
    ----------
    selection, threshold : how it was drawn, and the threshold that came of it.
    volume_cc, share : of the subregion, and of the lesion (0…1).
    subregion, rest : their histograms; None where they are empty or there is no dose.
    cold_share : part of the lesion's coldest tenth that lies in the subregion. By chance it is ``share``.
    below_prescription : part of the subregion below the prescription; None without one.
    association : map against dose.
    shifts : the map moved by 0.5 and 1 mm along each axis. thresholds : the cut moved by a quarter of the evidence's
        standard deviation.
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
    """Draw a subregion and measure it."""
    mask, threshold = select(voxels, selection), subregion_threshold(voxels, selection)
    reached = dose if voxels.dose is not None else None
    progress(0.1, "dose of the subregion")
    part = part_dvh("subregion", voxels, mask=mask, dose=reached, interpolation=interpolation)
    rest = part_dvh("rest of lesion", voxels, mask=voxels.inside & ~mask, dose=reached, interpolation=interpolation)
    progress(0.3, "map against dose")
    association = map_and_dose(voxels)
    progress(0.6, "robustness")
    moved = [select(_moved(voxels, step), selection) for step in _steps(voxels)]
    step = float(voxels.evidence[voxels.inside].std()) * THRESHOLD_STEP
    other = [select(voxels, replace(selection, method="value", value=threshold + d)) for d in (-step, step)]
    lesion_cc = voxels.volume_cc(voxels.inside)
    volume = voxels.volume_cc(mask)
    shifts, thresholds = _robustness(voxels, mask, moved), _robustness(voxels, mask, other)
    return mask, Statistics(
        selection=selection,
        threshold=threshold,
        volume_cc=volume,
        share=voxels.volume_cc(mask & voxels.inside) / lesion_cc,
        subregion=part,
        rest=rest,
        cold_share=_cold_share(voxels, mask),
        below_prescription=None
        if part is None or prescription_gy is None
        else 1 - part.volume_at_cc(prescription_gy) / part.volume_cc,
        association=association,
        shifts=shifts,
        thresholds=thresholds,
        warnings=_warnings(voxels, mask, shifts, dose is not None),
    )


def part_dvh(name: str, voxels: LesionVoxels, *, mask: Mask, dose: Dose | None, interpolation: str) -> Dvh | None:
    """Histogram of exactly the voxels of a mask; None where it is empty or there is no dose."""
    if dose is None or not mask.any():
        return None
    return dvh(Structure(0, name, "", edge_contours(mask, voxels.grid)), dose, interpolation=interpolation)


def _steps(voxels: LesionVoxels) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    ways = np.concatenate([np.eye(3), -np.eye(3)])
    return [way * mm / np.asarray(voxels.grid.spacing_mm[::-1]) for mm in SHIFTS_MM for way in ways]


def _moved(voxels: LesionVoxels, step: np.ndarray[tuple[int], np.dtype[np.float64]]) -> LesionVoxels:
    """The map moved by ``step`` voxels ``[z, y, x]``; lesion and dose stay."""
    evidence = shifted(voxels.extended(voxels.evidence), step, order=1, mode="nearest")
    return replace(voxels, evidence=np.where(voxels.inside, evidence, 0).astype(np.float32))


def _robustness(voxels: LesionVoxels, mask: Mask, others: list[Mask]) -> Robustness:
    volumes = [voxels.volume_cc(m) for m in others]
    doses = [voxels.dose[m] for m in others if m.any()] if voxels.dose is not None else []
    means, lows = [float(d.mean()) for d in doses], [float(np.percentile(d, 2)) for d in doses]
    dice = [2.0 * (mask & m).sum() / max(mask.sum() + m.sum(), 1) for m in others]
    return Robustness(
        (min(volumes), max(volumes)),
        (min(means), max(means)) if means else None,
        (min(lows), max(lows)) if lows else None,
        float(min(dice)),
    )


def _cold_share(voxels: LesionVoxels, mask: Mask) -> float | None:
    if voxels.dose is None:
        return None
    cold = voxels.inside & (voxels.dose <= np.percentile(voxels.dose[voxels.inside], COLD_PERCENT))
    return float((cold & mask).sum() / cold.sum())


def _warnings(voxels: LesionVoxels, mask: Mask, shifts: Robustness, has_dose: bool) -> tuple[Warning, ...]:
    found = []
    count, volume = int(mask.sum()), voxels.volume_cc(mask)
    if not count:
        found.append(WarningCode.EMPTY_SUBREGION(what="no voxel of the lesion is taken"))
    elif count == 1:
        found.append(WarningCode.ONE_VOXEL())
    if count and volume < PAINTABLE_CC:
        found.append(WarningCode.SMALLER_THAN_SHOT(volume=volume, shot=PAINTABLE_CC, then=""))
    if count and shifts.dice < 0.5:
        found.append(WarningCode.UNSTEADY_SUBREGION(dice=shifts.dice))
    if has_dose and voxels.dose is None:
        found.append(WarningCode.DOSE_SHORT())
    return tuple(found)
