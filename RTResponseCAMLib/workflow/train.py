"""Cohort in, bundle out: read every study, fit, calibrate on patients held out, write with a card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize

from RTResponseCAMLib.cohort.case import read_case
from RTResponseCAMLib.cohort.manifest import CohortRow, read_cohort
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.imaging.patch import sample_patch
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.network.bundle import save_bundle
from RTResponseCAMLib.network.classifier import Architecture, AutoencoderClassifier
from RTResponseCAMLib.network.training import Example, PreparedLesion, Schedule, fit, prepare
from RTResponseCAMLib.progress import Progress, part, silent
from RTResponseCAMLib.workflow.output import new_folder

MARGIN_MM = 8.0
FOLDS = 3
MIN_LESIONS = 12


def train_bundle(
    cohort: Path,
    out: Path,
    architecture: Architecture,
    schedule: Schedule,
    card: dict[str, Any],
    overwrite: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train on a cohort and write a bundle; returns the held-out figures that its card carries.

    Calibration and figures come from patient-grouped cross-validation with the same schedule; the network that
    is written is then fitted on everyone.

    Raises
    ------
    CohortError : see `read_cohort`; too few lesions, or one class only.
    """
    examples, variants = read_examples(cohort, architecture, part(progress, 0.0, 0.2))
    labels = np.asarray([e.label for e in examples])
    if len(examples) < MIN_LESIONS or len(set(labels.tolist())) < 2:
        raise CohortError(
            cohort,
            f"has {len(examples)} labelled lesions, {int(labels.sum())} of them non-responding; "
            f"needed are {MIN_LESIONS} and both classes",
            "Add lesions",
        )
    lesions = prepare(examples, architecture, part(progress, 0.2, 0.3))
    totals = _held_out_totals(examples, lesions, architecture, schedule, part(progress, 0.3, 0.75))
    slope, intercept = calibrate(totals, labels, architecture.form)
    figures = {
        "protocol": f"{FOLDS}-fold cross-validation grouped by patient, one repeat; not nested",
        "lesions": len(examples),
        "patients": len({e.group for e in examples}),
        "auc": rank_auc(totals, labels),
        "auc_by_label_source": {
            name: rank_auc(totals[rows], labels[rows])
            for name in sorted(set(variants))
            for rows in [np.asarray([v == name for v in variants])]
            if 0 < labels[rows].sum() < rows.sum()
        },
    }
    network = fit(lesions, architecture, schedule, part(progress, 0.75, 0.99))
    full = {
        **card,
        "preprocessing": {
            "input": "contrast-enhanced T1 MR, head median and inter-quartile range",
            "spacing_mm": architecture.spacing_mm,
            "margin_mm": MARGIN_MM,
        },
        "schedule": schedule.as_json(),
        "calibration": {"slope": slope, "intercept": intercept, "fitted_on": "held-out folds"},
        "threshold": 0.5,
        "held_out": figures,
    }
    with new_folder(out, overwrite) as folder:
        save_bundle(folder, network, full)
    progress(1.0, "bundle written")
    return figures


def read_examples(
    cohort: Path, architecture: Architecture, progress: Progress = silent
) -> tuple[list[Example], list[str]]:
    """Sample every labelled lesion of a cohort; also the source of each label.

    Raises
    ------
    CohortError : a lesion of the manifest is not a target of its study.
    """
    rows = [row for row in read_cohort(cohort) if row.label is not None]
    cases: dict[tuple[Path | str, ...], list[CohortRow]] = {}
    for row in rows:
        cases.setdefault(row.case, []).append(row)
    examples, sources = [], []
    for number, wanted in enumerate(cases.values(), start=1):
        study = read_case(wanted)
        head = head_intensity(study.mr)
        structures = {lesion.structure.name: lesion.structure for lesion in study.lesions}
        prescription = study.plan.prescription if study.plan else None
        for row in wanted:
            structure = structures[row.lesion]
            gray = prescription.dose_for(structure) if prescription else None
            patch = sample_patch(study.mr, head, structure, study.dose, gray, architecture.spacing_mm, MARGIN_MM)
            examples.append(Example(patch, int(row.label or 0), row.patient_group))
            sources.append(row.label_source)
        progress(number / len(cases), f"study {number} of {len(cases)}")
    return examples, sources


def _held_out_totals(
    examples: list[Example],
    lesions: list[PreparedLesion],
    architecture: Architecture,
    schedule: Schedule,
    progress: Progress,
) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(schedule.seed)
    groups = sorted({e.group for e in examples})
    fold_of = dict(zip(groups, rng.permutation(len(groups)) % FOLDS, strict=True))
    totals = np.zeros(len(examples))
    for fold in range(FOLDS):
        training = [lesion for lesion in lesions if fold_of[lesion.group] != fold]
        ours = replace(schedule, seed=schedule.seed + 1000 * (fold + 1))
        network = fit(training, architecture, ours, part(progress, fold / FOLDS, (fold + 1) / FOLDS))
        for index, example in enumerate(examples):
            if fold_of[example.group] == fold:
                totals[index] = raw_total(network, example)
    return totals


def raw_total(network: AutoencoderClassifier, example: Example) -> float:
    """Uncalibrated total of one lesion, mean over the ensemble (log of it for hazards)."""
    arrays = (example.patch.mr, example.patch.occupancy, example.patch.dose)
    with torch.inference_mode():
        total = network(*(torch.from_numpy(a)[None, None] for a in arrays)).total[0]
    return float(total.mean() if network.architecture.form == "signed" else total.clamp_min(1e-12).log().mean())


def calibrate(totals: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], form: str) -> tuple[float, float]:
    """Slope and intercept of Platt's scaling on held-out totals (for hazards: of the log hazard).

    The slope is kept above 0.05, so that calibration never turns a ranking round.
    """

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        z = np.exp(parameters[0]) * totals + parameters[1]
        if form == "signed":
            return float(np.mean(np.logaddexp(0, z) - labels * z))
        hazard = np.exp(np.clip(z, -20, 5))
        return float(np.mean(np.where(labels == 1, -np.log(-np.expm1(-hazard) + 1e-9), hazard)))

    best = minimize(loss, np.asarray([0.0, 0.0]), method="Nelder-Mead")
    return max(float(np.exp(best.x[0])), 0.05), float(best.x[1])


def rank_auc(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Area under the ROC curve of ``scores`` for label 1: the Mann–Whitney statistic, ties counting half."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    difference = positive[:, None] - negative[None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())
