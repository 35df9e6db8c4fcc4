"""Dose metrics of a lesion that are reported next to its prediction."""

from __future__ import annotations

from RTResponseCAMLib.dosimetry.dvh import dvh
from RTResponseCAMLib.study import Dose, DoseMetrics, Structure, Study

MOST_OUTSIDE = 0.5


def dose_metrics(structure: Structure, dose: Dose, *, prescription_gy: float) -> DoseMetrics | None:
    """Mean, D98, D50, D2 (Gy) and coverage of one target; None when more than half of it lies outside the dose grid."""
    histogram = dvh(structure, dose)
    if histogram.outside > MOST_OUTSIDE:
        return None
    d98, d50, d2 = (histogram.dose_to_percent(x) for x in (98, 50, 2))
    coverage = histogram.volume_at_cc(prescription_gy) / histogram.volume_cc
    return DoseMetrics(histogram.mean_gy, d98, d50, d2, prescription_gy, coverage, histogram.outside, dose.unit)


def lesion_dose(study: Study, structure: Structure) -> DoseMetrics | None:
    """Dose metrics of a lesion; None without a dose or prescription, or when most of it lies outside the dose grid."""
    if study.dose is None or study.plan is None or study.plan.prescription is None:
        return None
    return dose_metrics(structure, study.dose, prescription_gy=study.plan.prescription.dose_for(structure))
