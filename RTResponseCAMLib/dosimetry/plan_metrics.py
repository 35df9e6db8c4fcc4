"""Indices of a radiosurgery plan, target by target; terms after the ILGKS standard [Torrens 2014, J Neurosurg 121S2:2].

TV is the target's volume, PIV the volume of the prescription isodose. Where several targets were treated, each point of
the dose belongs to the target that lies nearest: isodoses that meet are divided there. A prescription isodose that
meets another target's is said beside the figures, for selectivity and gradient index then depend on that division.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.spatial import cKDTree

from RTResponseCAMLib.dosimetry.dvh import Dvh, sampled_dvh
from RTResponseCAMLib.dosimetry.isodose import IsodoseField, isodose_field
from RTResponseCAMLib.imaging.planes import stack_planes
from RTResponseCAMLib.imaging.volume_sampling import VolumeSamples, volume_samples
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.study import GY, Dose, Prescription, Structure
from RTResponseCAMLib.warnings import Warning, WarningCode

# Volume at risk of necrosis by the number of fractions, Gy [HyTEC, Milano 2021, Int J Radiat Oncol Biol Phys 110:68].
RISK_GY = {1: 12.0, 3: 20.0, 5: 24.0}


@dataclass(frozen=True)
class TargetMetrics:
    """One target of a plan; volumes in cm³, doses in Gy, indices without unit. None: not defined here.

    Attributes
    ----------
    coverage : TV∩PIV / TV. selectivity : TV∩PIV / PIV.
    paddick_ci : coverage × selectivity [Paddick 2000, J Neurosurg 93S3:219].
    gradient_index : V(½ Rx) / PIV [Paddick & Lippitz 2006, J Neurosurg 105S:194]; to be compared between plans of like
        conformity only.
    efficiency_index : integral dose in the target / integral dose in V(½ Rx) [Dimitriadis & Paddick 2018, J Neurosurg
        129S1:159].
    risk_cc : volume, target included, of ``risk_gy``, which depends on the fractions (`RISK_GY`).
    isodose_percent : prescription as percent of the target's maximum.
    nearest_mm : distance between the surfaces of this target and the next one.
    dvh : of the target.
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
    """Measure every target of a plan.

    Raises
    ------
    GeometryError : a target has no usable contours.
    """
    target_samples = []
    for number, target in enumerate(targets):
        progress(0.5 * number / len(targets), f"target {number + 1} of {len(targets)}")
        target_samples.append(volume_samples(target))
    histograms = [
        sampled_dvh(t.name, b, dose=dose, interpolation=interpolation)
        for t, b in zip(targets, target_samples, strict=True)
    ]
    progress(0.5, "isodose volumes")
    levels = [prescription.dose_for(t) for t in targets]
    # Volumes at risk are known for physical dose only.
    risk = RISK_GY.get(prescription.fractions or 0) if dose.unit == GY else None
    field = isodose_field(
        dose,
        target_samples,
        levels_gy=[*levels, *(v / 2 for v in levels), *([risk] if risk else [])],
        interpolation=interpolation,
    )
    found = []
    for number, (target, histogram, level) in enumerate(zip(targets, histograms, levels, strict=True)):
        progress(0.6 + 0.4 * number / len(targets), f"indices of target {number + 1} of {len(targets)}")
        found.append(_of_target(number, target, histogram, level, risk, field, target_samples, targets))
    return found


def nyumets_row(found: TargetMetrics) -> Mapping[str, str | float | None]:
    """One row in the columns of NYUMets' Gamma Knife table, as far as a DICOM export knows them."""
    return {
        "target_working_label": found.name,
        "target_volume": found.volume_cc,
        "planned_isodose_volume": found.piv_cc,
        "gtvpiv": found.covered_cc,
        "pci": found.paddick_ci,
        "gri": found.gradient_index,
        "margin_dose": found.prescription_gy,
        "percent_isodose": found.isodose_percent,
        "volume_12gy": found.risk_cc if found.risk_gy == RISK_GY[1] else None,
        "max_dose": found.maximum_gy,
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
    part = field.of(number)
    half = part.above_cc(level / 2)
    piv, half_cc = float(part.above_cc(level).sum()), float(half.sum())
    covered = histogram.volume_at_cc(level)
    within_half = float(half @ part.dose)
    maximum = max(float(histogram.dose_gy[-1]), float(part.dose.max(initial=0.0)))
    nearest, separation = _nearest(number, target_samples)
    coverage = covered / histogram.volume_cc
    # Both volumes are exact to a part in a hundred only: a quotient above 1 is no selectivity.
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
        risk_cc=None if risk is None else float(part.above_cc(risk).sum()),
        nearest_mm=separation,
        nearest="" if nearest is None else targets[nearest].name,
        dvh=histogram,
        warnings=(
            *stack_planes(target).warnings,
            *_warnings(number, level, histogram, field, [t.name for t in targets]),
        ),
    )


def _warnings(
    number: int, level: float, histogram: Dvh, field: IsodoseField, names: Sequence[str]
) -> tuple[Warning, ...]:
    found = []
    for of, what in ((level, "prescription isodose"), (level / 2, "isodose of half the prescription")):
        met = sorted({n for piece in field.together.get(of, []) if number in piece for n in piece} - {number})
        if met:
            others = ", ".join(names[n] for n in met)
            found.append(WarningCode.ISODOSES_MEET(name=names[number], what=what, others=others))
            break
    if number in field.truncated.get(level / 2, set()):
        found.append(WarningCode.ISODOSE_CUT(name=names[number]))
    if histogram.outside > 0:
        found.append(WarningCode.TARGET_OUTSIDE_DOSE(name=names[number], percent=100 * histogram.outside))
    return tuple(found)


def _nearest(number: int, target_samples: Sequence[VolumeSamples]) -> tuple[int | None, float | None]:
    """Which other target lies nearest, and how far its surface is, mm; 0 where they touch or overlap."""
    best: tuple[int | None, float | None] = (None, None)
    tree = cKDTree(target_samples[number].points_mm)
    for other, samples in enumerate(target_samples):
        if other == number:
            continue
        apart = float(tree.query(samples.points_mm, workers=-1)[0].min())
        if apart <= max(target_samples[number].step_mm, samples.step_mm):
            apart = 0.0
        if best[1] is None or apart < best[1]:
            best = other, apart
    return best
