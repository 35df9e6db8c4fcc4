"""Dose-volume histograms and plan indices of a study, as tables and a chart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from RTResponseCAMLib.dosimetry.bed import BRAIN, NOTE, TUMOR, bed_gy
from RTResponseCAMLib.dosimetry.dvh import Dvh, dvhs, table_row
from RTResponseCAMLib.dosimetry.plan_metrics import TargetMetrics, nyumets_row, plan_metrics
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.planes import stack_planes
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.study import GY, Structure, Study
from RTResponseCAMLib.tables import write_table
from RTResponseCAMLib.warnings import Warning, WarningCode
from RTResponseCAMLib.workflow.output import RESEARCH_ONLY, new_folder

INDICES = (
    "volume_cc", "prescription_gy", "isodose_percent", "maximum_gy", "piv_cc", "covered_cc", "coverage", "selectivity",
    "paddick_ci", "gradient_index", "efficiency_index", "risk_gy", "risk_cc", "nearest_mm",
)  # fmt: skip
NOTICED_OUTSIDE = 0.005  # fraction of a structure outside the dose grid above which a warning is given


@dataclass(frozen=True)
class StudyDose:
    """Dose-volume histograms and plan indices of a study.

    Attributes
    ----------
    histograms : histogram of every structure with usable contours, targets first.
    targets : plan indices of the lesions; empty without a prescription.
    bed : for each target, BED of its prescription (Gy) by α/β; empty if the number of fractions is unknown.
    """

    histograms: tuple[Dvh, ...]
    targets: tuple[TargetMetrics, ...]
    bed: tuple[Mapping[str, float], ...]
    warnings: tuple[Warning, ...]


def measure_dose(study: Study, interpolation: str = "linear", *, progress: Progress = no_progress) -> StudyDose:
    """Return histograms of all structures and plan indices of the targets.

    Raises
    ------
    StudyError : the study has no dose.
    GeometryError : a lesion has no usable contours; other such structures are left out, with a warning.
    """
    if study.dose is None:
        raise StudyError("the study", "holds no RTDOSE that belongs to the plan", "Export the dose with the plan")
    warnings = list(study.warnings)
    prescription = study.plan.prescription if study.plan is not None else None
    lesions = [lesion.structure for lesion in study.lesions]
    targets: list[TargetMetrics] = []
    bed: list[Mapping[str, float]] = []
    if prescription is None:
        warnings.append(WarningCode.NO_PRESCRIPTION())
    else:
        targets = plan_metrics(
            lesions,
            study.dose,
            prescription=prescription,
            interpolation=interpolation,
            progress=subprogress(progress, 0.0, 0.5),
        )
    if prescription is not None and prescription.fractions and study.dose.unit == GY:
        schedules = [(t.prescription_gy, prescription.fractions) for t in targets]
        bed = [
            {f"prescription_bed{ab:g}_gy": bed_gy(gy, n, alpha_beta_gy=ab) for ab in (TUMOR, BRAIN)}
            for gy, n in schedules
        ]
    elif prescription is not None and not prescription.fractions:
        warnings.append(WarningCode.NO_FRACTIONS())
    measured = {t.name: t.dvh for t in targets}
    lesion_names = {structure.name for structure in lesions}
    other_structures = [s for s in study.structures if s.contours and s.name not in measured]
    outcomes = dvhs(
        other_structures,
        study.dose,
        interpolation=interpolation,
        progress=subprogress(progress, 0.5 if targets else 0.0, 1.0),
    )
    for structure, outcome in zip(other_structures, outcomes, strict=True):
        if isinstance(outcome, Dvh):
            measured[outcome.name] = outcome
            warnings += _contour_warnings(structure, structure.name in lesion_names)
        elif structure.name in lesion_names:
            raise outcome
        else:
            warnings.append(WarningCode.STRUCTURE_LEFT_OUT(name=structure.name, reason=outcome))
    for name, histogram in measured.items():
        if histogram.outside > NOTICED_OUTSIDE and name not in {t.name for t in targets}:
            warnings.append(WarningCode.STRUCTURE_OUTSIDE_DOSE(name=name, percent=100 * histogram.outside))
    return StudyDose(tuple(measured.values()), tuple(targets), tuple(bed), tuple(warnings))


def _contour_warnings(structure: Structure, lesion: bool) -> list[Warning]:
    """Return warnings about unusual contours.

    Holes and separate parts give a warning only for lesions: a skull is hollow, and there are two eyes.
    """
    of_lesions = (WarningCode.HOLLOW_OUTLINE, WarningCode.SEPARATE_PARTS)
    return [w for w in stack_planes(structure).warnings if lesion or w.code not in of_lesions]


def write_dose(
    study: Study, out: Path, *, overwrite: bool = False, interpolation: str = "linear", progress: Progress = no_progress
) -> dict[str, Any]:
    """Write ``dvh.json``, ``structures.csv``, ``curves.csv``, ``targets.csv``, ``nyumets.csv`` and ``dvh.png``.

    Raises
    ------
    StudyError : the study has no dose.
    OutputError : ``out`` exists, or cannot be written.
    """
    from RTResponseCAMLib.report.dvh_figure import plot_histograms

    study_dose = measure_dose(study, interpolation, progress=subprogress(progress, 0.0, 0.9))
    content = as_json(study, study_dose, interpolation=interpolation)
    with new_folder(out, overwrite) as folder:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "dvh.json").write_text(text + "\n", encoding="utf-8")
        _write_rows(folder / "structures.csv", content["structures"])
        _write_rows(folder / "curves.csv", _curves(study_dose.histograms))
        if study_dose.targets:
            _write_rows(
                folder / "targets.csv", [{**t, "warnings": "; ".join(t["warnings"])} for t in content["targets"]]
            )
            if study.dose is not None and study.dose.unit == GY:  # the table contains physical doses only
                _write_rows(folder / "nyumets.csv", [nyumets_row(t) for t in study_dose.targets])
        lesions = [lesion.structure.name for lesion in study.lesions]
        plot_histograms(study_dose.histograms, lesions, path=folder / "dvh.png", notice=RESEARCH_ONLY)
        progress(1.0, "done")
    return content


def as_json(study: Study, study_dose: StudyDose, *, interpolation: str) -> dict[str, Any]:
    """Return everything except the curves as plain values; volumes in cm³, doses in Gy."""
    prescriptions = {t.name: t.prescription_gy for t in study_dose.targets}
    targets = []
    for n, target in enumerate(study_dose.targets):
        row: dict[str, Any] = {"name": target.name, **{key: getattr(target, key) for key in INDICES}}
        row["dose_unit"] = target.dvh.unit
        row |= {"nearest": target.nearest, **(study_dose.bed[n] if study_dose.bed else {})}
        targets.append({**row, "warnings": [w.labeled() for w in target.warnings]})
    return {
        "notice": RESEARCH_ONLY,
        "patient": study.patient,
        "dose_unit": study.dose.unit if study.dose is not None else None,
        "interpolation": interpolation,
        "bed_note": NOTE if study_dose.bed else None,
        "structures": [dict(table_row(h, prescriptions.get(h.name))) for h in study_dose.histograms],
        "targets": targets,
        "warnings": [w.as_json() for w in study_dose.warnings],
    }


def _curves(histograms: Sequence[Dvh]) -> list[dict[str, Any]]:
    rows = []
    for histogram in histograms:
        for dose, volume in zip(*histogram.cumulative(), strict=True):
            volume_percent = 100 * volume / histogram.volume_cc
            values = {"dose_gy": f"{dose:.3f}", "volume_cc": f"{volume:.5f}", "volume_percent": f"{volume_percent:.3f}"}
            rows.append({"structure": histogram.name, **values, "dose_unit": histogram.unit})
    return rows


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_table(path, list(rows[0]) if rows else ["structure"], rows=rows)
