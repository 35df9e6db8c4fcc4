"""Dose to a target as it stands beside its prediction."""

from __future__ import annotations

from RTResponseCAMLib.dosimetry.dvh import dvh
from RTResponseCAMLib.study import Dose, DoseMetrics, Structure, Study

MOST_OUTSIDE = 0.5


def dose_metrics(structure: Structure, dose: Dose, *, prescription_gy: float) -> DoseMetrics | None:
    """Mean, D98, D50, D2 (Gy) and coverage of one target; None when most of it lies outside the dose grid."""
    found = dvh(structure, dose)
    if found.outside > MOST_OUTSIDE:
        return None
    d98, d50, d2 = (found.dose_to_percent(x) for x in (98, 50, 2))
    coverage = found.volume_at_cc(prescription_gy) / found.volume_cc
    return DoseMetrics(found.mean_gy, d98, d50, d2, prescription_gy, coverage, found.outside, dose.unit)


def lesion_dose(study: Study, structure: Structure) -> DoseMetrics | None:
    """Dose metrics of a lesion; None without a dose, a prescription, or where the dose grid does not reach."""
    if study.dose is None or study.plan is None or study.plan.prescription is None:
        return None
    return dose_metrics(structure, study.dose, prescription_gy=study.plan.prescription.dose_for(structure))
