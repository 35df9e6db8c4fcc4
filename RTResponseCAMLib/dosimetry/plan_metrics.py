"""Radiosurgery plan indices for each target; terms of the ILGKS standard [Torrens 2014, J Neurosurg 121S2:2].

TV is the target volume, PIV the volume of the prescription isodose. With several targets, each point of the dose is
assigned to the nearest target, which divides isodoses that merge. A warning is given when the prescription isodose
merges with that of another target, because selectivity and gradient index then depend on this division.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from RTResponseCAMLib.dosimetry.dvh import Dvh, sampled_dvh
from RTResponseCAMLib.dosimetry.isodose import IsodoseField, isodose_field
from RTResponseCAMLib.imaging.planes import Array64, stack_planes
from RTResponseCAMLib.imaging.volume_sampling import VolumeSamples, volume_samples
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.study import GY, Dose, Prescription, Structure
from RTResponseCAMLib.warnings import Warning, WarningCode

# Volume at risk of necrosis by the number of fractions, Gy [HyTEC, Milano 2021, Int J Radiat Oncol Biol Phys 110:68].
RISK_GY = {1: 12.0, 3: 20.0, 5: 24.0}
COARSE = 50  # every n-th point of a target gives an upper bound of its distance to another


@dataclass(frozen=True)
class TargetMetrics:
    """Metrics of one target of a plan; volumes in cm³, doses in Gy, indices without unit. None: not defined.

    Attributes
    ----------
    piv_cc : PIV, cm³.
    covered_cc : TV∩PIV, cm³.
    coverage : TV∩PIV / TV.
    selectivity : TV∩PIV / PIV.
    paddick_ci : coverage × selectivity [Paddick 2000, J Neurosurg 93S3:219].
    gradient_index : V(½ Rx) / PIV [Paddick & Lippitz 2006, J Neurosurg 105S:194]; comparable only between plans of
        similar conformity.
    efficiency_index : integral dose in the target / integral dose in V(½ Rx) [Dimitriadis & Paddick 2018, J Neurosurg
        129S1:159].
    risk_gy : dose level for the risk of necrosis, which depends on the number of fractions (`RISK_GY`).
    risk_cc : volume, including the target, that receives at least ``risk_gy``.
    isodose_percent : prescription dose in percent of the target's maximum.
    nearest_mm : distance between the surfaces of this target and the nearest other one, mm.
    nearest : name of the nearest other target, "" when there is none.
    dvh : histogram of the target.
    """

    name: str
    volume_cc: float
    prescription_gy: float
    isodose_percent: float | None
    maximum_gy: float
    piv_cc: float
    covered_cc: float
    coverage: float
    selectivity: float | None
    paddick_ci: float | None
    gradient_index: float | None
    efficiency_index: float | None
    risk_gy: float | None
    risk_cc: float | None
    nearest_mm: float | None
    nearest: str
    dvh: Dvh
    warnings: tuple[Warning, ...]


def plan_metrics(
    targets: Sequence[Structure],
    dose: Dose,
    *,
    prescription: Prescription,
    interpolation: str = "linear",
    progress: Progress = no_progress,
) -> list[TargetMetrics]:
    """Plan metrics of every target, in the order of ``targets``.

    Raises
    ------
    GeometryError : a target has no usable contours.
    """
    target_samples = []
    for index, target in enumerate(targets):
        progress(0.5 * index / len(targets), f"target {index + 1} of {len(targets)}")
        target_samples.append(volume_samples(target))
    histograms = [
        sampled_dvh(t.name, samples, dose=dose, interpolation=interpolation)
        for t, samples in zip(targets, target_samples, strict=True)
    ]
    progress(0.5, "isodose volumes")
    levels = [prescription.dose_for(t) for t in targets]
    # Volumes at risk are published for physical dose only.
    risk = RISK_GY.get(prescription.fractions or 0) if dose.unit == GY else None
    field = isodose_field(
        dose,
        target_samples,
        levels_gy=[*levels, *(v / 2 for v in levels), *([risk] if risk else [])],
        interpolation=interpolation,
    )
    metrics = []
    for index, (target, histogram, level) in enumerate(zip(targets, histograms, levels, strict=True)):
        progress(0.6 + 0.4 * index / len(targets), f"indices of target {index + 1} of {len(targets)}")
        metrics.append(_of_target(index, target, histogram, level, risk, field, target_samples, targets))
    return metrics


def nyumets_row(metrics: TargetMetrics) -> Mapping[str, str | float | None]:
    """One row of NYUMets' Gamma Knife table; None where a DICOM export contains no value."""
    return {
        "target_working_label": metrics.name,
        "target_volume": metrics.volume_cc,
        "planned_isodose_volume": metrics.piv_cc,
        "gtvpiv": metrics.covered_cc,
        "pci": metrics.paddick_ci,
        "gri": metrics.gradient_index,
        "margin_dose": metrics.prescription_gy,
        "percent_isodose": metrics.isodose_percent,
        "volume_12gy": metrics.risk_cc if metrics.risk_gy == RISK_GY[1] else None,
        "max_dose": metrics.maximum_gy,
        "beam_on_time": None,
    }


def _of_target(
    number: int,
    target: Structure,
    histogram: Dvh,
    level: float,
    risk: float | None,
    field: IsodoseField,
    target_samples: Sequence[VolumeSamples],
    targets: Sequence[Structure],
) -> TargetMetrics:
    target_field = field.of(number)
    half_voxels_cc = target_field.above_cc(level / 2)
    piv, half_cc = float(target_field.above_cc(level).sum()), float(half_voxels_cc.sum())
    covered = histogram.volume_at_cc(level)
    within_half = float(half_voxels_cc @ target_field.dose)
    maximum = max(float(histogram.dose_gy[-1]), float(target_field.dose.max(initial=0.0)))
    nearest_index, distance_mm = _nearest(number, target_samples)
    coverage = covered / histogram.volume_cc
    # Both volumes have an error of about 1 %; limit the quotient to 1, the largest possible selectivity.
    selectivity = min(covered / piv, 1.0) if piv > 0 else None
    return TargetMetrics(
        name=target.name,
        volume_cc=histogram.volume_cc,
        prescription_gy=level,
        isodose_percent=100 * level / maximum if maximum > 0 else None,
        maximum_gy=maximum,
        piv_cc=piv,
        covered_cc=covered,
        coverage=coverage,
        selectivity=selectivity,
        paddick_ci=None if selectivity is None else coverage * selectivity,
        gradient_index=half_cc / piv if piv > 0 else None,
        efficiency_index=histogram.mean_gy * histogram.volume_cc / within_half if within_half > 0 else None,
        risk_gy=risk,
        risk_cc=None if risk is None else float(target_field.above_cc(risk).sum()),
        nearest_mm=distance_mm,
        nearest="" if nearest_index is None else targets[nearest_index].name,
        dvh=histogram,
        warnings=(
            *stack_planes(target).warnings,
            *_warnings(number, level, histogram, field, [t.name for t in targets]),
        ),
    )


def _warnings(
    number: int, level: float, histogram: Dvh, field: IsodoseField, names: Sequence[str]
) -> tuple[Warning, ...]:
    warnings = []
    for level_gy, isodose_name in ((level, "prescription isodose"), (level / 2, "isodose of half the prescription")):
        merged = sorted({n for piece in field.together.get(level_gy, []) if number in piece for n in piece} - {number})
        if merged:
            others = ", ".join(names[n] for n in merged)
            warnings.append(WarningCode.ISODOSES_MEET(name=names[number], what=isodose_name, others=others))
            break
    if number in field.truncated.get(level / 2, set()):
        warnings.append(WarningCode.ISODOSE_TRUNCATED(name=names[number]))
    if histogram.outside > 0:
        warnings.append(WarningCode.TARGET_OUTSIDE_DOSE(name=names[number], percent=100 * histogram.outside))
    return tuple(warnings)


def _nearest(number: int, target_samples: Sequence[VolumeSamples]) -> tuple[int | None, float | None]:
    """Index of the nearest other target (None: no other), and its surface distance, mm; 0 if they touch or overlap."""
    best: tuple[int | None, float | None] = (None, None)
    tree = cKDTree(target_samples[number].points_mm)
    for other, samples in enumerate(target_samples):
        if other == number:
            continue
        distance_mm = _distance_mm(tree, samples.points_mm)
        if distance_mm <= max(target_samples[number].step_mm, samples.step_mm):
            distance_mm = 0.0
        if best[1] is None or distance_mm < best[1]:
            best = other, distance_mm
    return best


def _distance_mm(tree: cKDTree, points_mm: Array64) -> float:
    """Shortest distance between the points of a tree and ``points_mm`` ``(n, 3)``, mm.

    A few of the points give an upper bound; only points that the bound does not rule out are looked up.
    """
    bound = float(tree.query(points_mm[::COARSE], workers=-1)[0].min()) * (1 + 1e-9)
    beyond_box = np.maximum(np.maximum(tree.mins - points_mm, points_mm - tree.maxes), 0.0)
    candidates = points_mm[np.linalg.norm(beyond_box, axis=1) <= bound]
    # Points that touch have the bound 0, within which the query finds nothing.
    return min(bound, float(tree.query(candidates, distance_upper_bound=bound, workers=-1)[0].min(initial=np.inf)))
