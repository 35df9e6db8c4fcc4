"""Cohort in, bundle out: read every study, fit, calibrate on patients held out, write with a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from RTResponseCAMLib.cam.checks import check_map, mean_pattern, model_checks, model_warnings_of
from RTResponseCAMLib.cam.pixelwise import find_evidence
from RTResponseCAMLib.cohort.case import cases_of, read_case
from RTResponseCAMLib.cohort.identity import Source, refuse_shared_scans, shared_people, source_of
from RTResponseCAMLib.cohort.manifest import CohortRow, read_cohort
from RTResponseCAMLib.dosimetry.lesion import lesion_dose
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.imaging.patch import MARGIN_MM, sample_patch
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.network.bundle import save_bundle
from RTResponseCAMLib.network.classifier import Architecture
from RTResponseCAMLib.network.preparation import Example, PreparedLesion, prepare
from RTResponseCAMLib.network.training import Schedule, fit
from RTResponseCAMLib.progress import Progress, part, silent
from RTResponseCAMLib.study import Study
from RTResponseCAMLib.workflow.output import check_free, new_folder

MIN_LESIONS = 12
SHARED_PEOPLE = (
    "Patient groups of its training cohort hold one DICOM Patient ID: if they are one person, its held-out figures are "
    "too good."
)
COMMON = 95  # per cent of the lesions whose MR has voxels no longer than the card says


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

    Calibration, threshold and figures come from patient-grouped folds with the same schedule; the network that is
    written is then fitted on everyone. Lesions without a certain label only teach the autoencoder.

    Raises
    ------
    CohortError : see `read_examples`; too few lesions, or one class only.
    """
    from RTResponseCAMLib.evaluation.metrics import auc_interval, by_stratum, point_metrics
    from RTResponseCAMLib.evaluation.network_arm import as_bundle, fit_network

    check_free(out, overwrite)
    examples, rows, doubt = read_examples(cohort, architecture, part(progress, 0.0, 0.4))
    labelled = [(e, r) for e, r in zip(examples, rows, strict=True) if e.label is not None]
    labels = [int(e.label or 0) for e, _ in labelled]
    if len(labelled) < MIN_LESIONS or len(set(labels)) < 2:
        raise CohortError(
            cohort,
            f"has {len(labelled)} lesions with a certain label, {sum(labels)} of them non-responding; "
            f"needed are {MIN_LESIONS} and both classes",
            "Add lesions",
        )
    torch.manual_seed(schedule.seed)
    lesions = prepare(examples, architecture, schedule.views, part(progress, 0.4, 0.5))
    fitted = fit_network([e.patch for e in examples], lesions, architecture, schedule, part(progress, 0.5, 0.97))
    patients = [e.group for e, _ in labelled]
    sources = [r.label_source for _, r in labelled]
    strata = {name: [s == name for s in sources] for name in sorted(set(sources))}

    def ranking(scores: list[float]) -> dict[str, Any]:
        by_source = by_stratum(labels, scores, patients, strata)
        return {
            "auc": _rounded(asdict(auc_interval(labels, scores, patients))),
            "auc_by_label_source": {name: _rounded(asdict(found)) for name, found in by_source.items()},
        }

    volumes = [float(p.volume_cc) for p in lesions if p.label is not None]
    figures = {
        "protocol": "inner folds grouped by patient, one repeat; calibration and threshold fitted on the same "
        "predictions (`rtresponsecam evaluate` judges without that)",
        "lesions": len(labelled),
        "without_label": len(examples) - len(labelled),
        "patients": len(set(patients)),
        "brier": round(point_metrics(labels, fitted.inner.tolist())["brier"], 4),
        **ranking(fitted.inner.tolist()),
        "volume_alone": ranking(volumes),
    }
    full = {
        **card,
        "preprocessing": {
            "input": "contrast-enhanced T1 MR, head median and inter-quartile range",
            "spacing_mm": architecture.spacing_mm,
            "margin_mm": MARGIN_MM,
            "volume_cc": [round(pick(volumes), 4) for pick in (min, max)],
            "mr_voxel_mm": round(
                float(np.percentile([max(e.patch.mr_spacing_mm or (0.0,)) for e in examples], COMMON)), 3
            ),
        },
        "schedule": schedule.as_json(),
        "calibration": {"slope": fitted.slope, "intercept": fitted.intercept, "fitted_on": "held-out folds"},
        "threshold": 1 - fitted.threshold,
        "held_out": figures,
    }
    checks = _judge_maps(examples, lesions, architecture, schedule)
    full["checks"] = checks
    judged = {name: sources.count(name) for name in strata}
    beaten = _beaten_by_volume(figures, judged)
    full["cautions"] = [*card.get("cautions", ()), *model_warnings_of(checks), *doubt, *beaten]
    patches = [e.patch for e in examples]
    maps = [found.map for found in find_evidence(as_bundle(fitted), patches)]
    fitted.network.pattern.copy_(torch.from_numpy(mean_pattern(patches, maps)))
    with new_folder(out, overwrite) as folder:
        save_bundle(folder, fitted.network, full)
    progress(1.0, "bundle written")
    return figures


def _judge_maps(
    examples: Sequence[Example], lesions: Sequence[PreparedLesion], architecture: Architecture, schedule: Schedule
) -> dict[str, float]:
    """Checks of the maps on lesions of the first inner fold, by networks that have not seen them."""
    from RTResponseCAMLib.evaluation.feature_arm import inner_folds
    from RTResponseCAMLib.evaluation.network_arm import plain_bundle, without_patients

    known = [i for i, e in enumerate(examples) if e.label is not None]
    labels = np.asarray([int(examples[i].label or 0) for i in known])
    fold = inner_folds(labels, np.asarray([examples[i].group for i in known]), schedule.seed)[0]
    training = without_patients(lesions, {examples[known[i]].group for i in fold.test})
    seeds = (schedule.seed + 1000, schedule.seed + 5000)
    one, other = (plain_bundle(fit(training, architecture, replace(schedule, seed=seed))) for seed in seeds)
    patches = [examples[known[i]].patch for i in fold.test]
    each = [check_map(one, patch).as_json() for patch in patches]
    means = {
        name: round(float(np.mean([c[name] for c in each if c[name] is not None])), 4)
        for name in ("noise", "shift", "deletion", "rim_share", "agreement")
        if any(c[name] is not None for c in each)
    }
    found = {name: round(value, 4) for name, value in model_checks(one, [other], patches).items()}
    return {"lesions": len(patches), **found, **means}


def _beaten_by_volume(figures: dict[str, Any], judged: dict[str, int]) -> list[str]:
    """Where the volume alone, larger for non-response, ranked held-out lesions better than the model.

    ``judged`` is the number of lesions by label source; a few lesions tell nothing.
    """
    plain = figures["volume_alone"]
    pairs = [("all labels", figures["auc"], plain["auc"])]
    for name, count in judged.items():
        if count >= MIN_LESIONS and len(judged) > 1:
            pairs.append((f"labels: {name}", *(f["auc_by_label_source"][name] for f in (figures, plain))))
    return [
        f"Volume alone ranked held-out lesions better than this model ({what}; AUC {_with_interval(volume)} against "
        f"{_with_interval(own)})."
        for what, own, volume in pairs
        if None not in (*own.values(), *volume.values()) and round(volume["value"], 2) > round(own["value"], 2)
    ]


def _with_interval(figure: dict[str, float]) -> str:
    return f"{figure['value']:.2f} [{figure['low']:.2f} to {figure['high']:.2f}]"


def _rounded(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: round(value, 4) if np.isfinite(value) else None for name, value in figures.items()}


def read_examples(
    cohort: Path, architecture: Architecture, progress: Progress = silent
) -> tuple[list[Example], list[CohortRow], tuple[str, ...]]:
    """Sample every lesion of a cohort; an indeterminate label counts as none. Also the rows, in the same order.

    The last are doubts of who is who, without names.

    Raises
    ------
    CohortError : see `read_cohort`; a lesion that is not a target of its study, or one scan under two patient groups.
    """
    cases = cases_of(read_cohort(cohort))
    examples: list[Example] = []
    sources: list[Source] = []
    for number, wanted in enumerate(cases, start=1):
        study = read_case(wanted)
        sources.append(source_of(study, wanted[0].patient_group))
        examples += sample_case(study, wanted, architecture)
        progress(number / len(cases), f"study {number} of {len(cases)}")
    refuse_shared_scans(sources, cohort)
    doubt = (SHARED_PEOPLE,) if shared_people(sources) else ()
    return examples, [row for wanted in cases for row in wanted], doubt


def sample_case(study: Study, rows: Sequence[CohortRow], architecture: Architecture) -> list[Example]:
    """Patches of the rows of one case, in their order."""
    head = head_intensity(study.mr)
    structures = {lesion.structure.name: lesion.structure for lesion in study.lesions}
    found = []
    for row in rows:
        structure = structures[row.lesion]
        metrics = lesion_dose(study, structure)
        dose, gray = (None, None) if metrics is None else (study.dose, metrics.prescription_gy)
        patch = sample_patch(study.mr, head, structure, dose, gray, architecture.spacing_mm)
        found.append(Example(patch, row.certain_label, row.patient_group))
    return found
