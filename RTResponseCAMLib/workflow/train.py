"""Training workflow: fit a model on a cohort and write a bundle with its held-out performance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from RTResponseCAMLib.cam.checks import check_map, mean_pattern, model_checks, model_warnings_of
from RTResponseCAMLib.cohort.case import cases_of
from RTResponseCAMLib.cohort.identity import refuse_shared_scans, shared_people
from RTResponseCAMLib.cohort.manifest import read_cohort
from RTResponseCAMLib.errors import CohortError, ModelError
from RTResponseCAMLib.models.bundle import save_bundle
from RTResponseCAMLib.models.calibration import Calibrated, CalibratedModel
from RTResponseCAMLib.models.familiarity import Familiarity
from RTResponseCAMLib.models.folds import inner_folds
from RTResponseCAMLib.models.interface import LesionModel
from RTResponseCAMLib.models.registry import ModelEntry, entry_of
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.samples.build import SampleSettings, why_unavailable
from RTResponseCAMLib.samples.cohort import CohortLesion, sample_case
from RTResponseCAMLib.samples.sample import LesionSample, patch_of
from RTResponseCAMLib.workflow.output import check_free, new_folder

MIN_LESIONS = 12
SHARED_PEOPLE = (
    "Patient groups of its training cohort share one DICOM Patient ID: if they are one person, its held-out "
    "performance is overestimated."
)
COMMON = 95  # percentile of the longest MR voxel side over the training lesions, stated in the card
CONTROL_SEED = 4000  # difference between the seeds of the two trainings whose maps are compared


def train_bundle(
    cohort: Path,
    out: Path,
    *,
    name: str,
    options: Mapping[str, Any],
    card: Mapping[str, Any],
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Train a registered model on a cohort and write a bundle; returns the held-out performance stored in its card.

    Calibration, threshold and performance come from patient-grouped folds with the same options. The written model is
    then fitted on all lesions. Lesions without a certain label are used only for steps that need no label.

    Parameters
    ----------
    name, options : name and options of the model, see `models.registry`.
    card : other entries of the card: name, description, intended use, cohort, command, warnings.

    Raises
    ------
    CohortError : see `read_samples`; too few lesions, one class only, or most lesions lack an input of the model.
    ModelError : no such model or option, or one whose features cannot be measured here.
    """
    from RTResponseCAMLib.evaluation.metrics import auc_interval, by_stratum, point_metrics

    entry = entry_of(name)
    model = entry.model(options)
    for family in entry.requires.families:
        unavailable = why_unavailable(family)
        if unavailable:
            raise ModelError(name, unavailable, "Install it, or train another model")
    check_free(out, overwrite)
    lesions, shared_people_warnings = read_samples(cohort, entry, progress=subprogress(progress, 0.0, 0.4))
    samples = [lesion.sample for lesion in lesions]
    labeled = [lesion for lesion in lesions if lesion.sample.label is not None]
    labels = [int(lesion.sample.label or 0) for lesion in labeled]
    if len(labeled) < MIN_LESIONS or len(set(labels)) < 2:
        raise CohortError(
            cohort,
            f"has {len(labeled)} lesions with a certain label, {sum(labels)} of them non-responding; "
            f"at least {MIN_LESIONS} lesions and both classes are needed",
            "Add lesions",
        )
    lacking = entry.why_not_runnable([lesion.sample for lesion in labeled])
    if lacking:
        raise CohortError(cohort, f"cannot train '{name}': {lacking}", "Add the input, or train another model")
    fitted = Calibrated(model).fit(samples, progress=subprogress(progress, 0.4, 0.95))
    patients = [lesion.sample.patient for lesion in labeled]
    sources = [lesion.row.label_source for lesion in labeled]
    strata = {source: [s == source for s in sources] for source in sorted(set(sources))}

    def ranking(scores: list[float]) -> dict[str, Any]:
        by_source = by_stratum(labels, scores, patients=patients, strata=strata)
        return {
            "auc": _rounded(asdict(auc_interval(labels, scores, patients=patients))),
            "auc_by_label_source": {source: _rounded(asdict(interval)) for source, interval in by_source.items()},
        }

    volumes = [_sampled_volume_cc(lesion.sample) for lesion in labeled]
    figures = {
        "protocol": "inner folds grouped by patient, one repeat; calibration and threshold fitted on the same "
        "predictions (`rtresponsecam evaluate` evaluates without that)",
        "lesions": len(labeled),
        "without_label": len(lesions) - len(labeled),
        "patients": len(set(patients)),
        "brier": round(point_metrics(labels, fitted.held_out.tolist())["brier"], 4),
        **ranking(fitted.held_out.tolist()),
        "volume_alone": ranking(volumes),
    }
    checks = _check_maps(model, samples) if entry.explains else {}
    volume_warnings = _beaten_by_volume(figures, Counter(sources))
    progress(0.96, "describing the training lesions")
    familiarity = Familiarity.of_samples(samples)
    full_card = {
        **card,
        "model": name,
        "preprocessing": _preprocessing(entry, samples, volumes),
        **({"familiarity": familiarity.as_json()} if familiarity is not None else {}),
        "schedule": model.settings(),
        "calibration": {**asdict(fitted.calibration), "fitted_on": "held-out folds"},
        "threshold": 1 - fitted.threshold,
        "held_out": figures,
        "checks": checks,
        "warnings": [*card.get("warnings", ()), *model_warnings_of(checks), *shared_people_warnings, *volume_warnings],
    }
    progress(0.98, "writing the bundle")
    final_model = _with_pattern(fitted, samples) if entry.explains else fitted
    with new_folder(out, overwrite) as folder:
        save_bundle(folder, final_model.fitted, card=full_card)
    progress(1.0, "bundle written")
    return figures


def _preprocessing(entry: ModelEntry, samples: Sequence[LesionSample], volumes_cc: Sequence[float]) -> dict[str, Any]:
    """Return the input specification of the card: inputs of the model, and ranges of its training lesions."""
    settings = SampleSettings()
    longest = [max(patch_of(sample).mr_spacing_mm or (0.0,)) for sample in samples]
    return {
        "input": "contrast-enhanced T1 MR, head median and inter-quartile range",
        "spacing_mm": settings.spacing_mm,
        "margin_mm": settings.margin_mm,
        "dose": entry.requires.dose,
        "families": list(entry.requires.families),
        "volume_cc": [round(pick(volumes_cc), 4) for pick in (min, max)],
        "mr_voxel_mm": round(float(np.percentile(longest, COMMON)), 3),
    }


def _sampled_volume_cc(sample: LesionSample) -> float:
    """Return the volume of a lesion from the partial-volume fractions of its patch, cm³."""
    patch = patch_of(sample)
    return float(patch.fraction.sum()) * float(np.prod(patch.grid.spacing_mm)) / 1000


def _with_pattern(fitted: CalibratedModel, samples: Sequence[LesionSample]) -> CalibratedModel:
    maps = [evidence.map for evidence in fitted.predict(samples)]
    if any(evidence is None for evidence in maps):
        return fitted
    pattern = mean_pattern([patch_of(sample) for sample in samples], [m for m in maps if m is not None])
    return replace(fitted, fitted=fitted.fitted.with_mean_pattern(pattern))


def _check_maps(model: LesionModel, samples: Sequence[LesionSample]) -> dict[str, float]:
    """Return mean map checks on the lesions of the first inner fold, with models that were not trained on them."""
    labeled = [sample for sample in samples if sample.label is not None]
    labels = np.asarray([int(sample.label or 0) for sample in labeled])
    fold = inner_folds(labels, np.asarray([sample.patient for sample in labeled]), seed=model.seed)[0]
    unseen = {labeled[i].patient for i in fold.test}
    training = [sample for sample in samples if sample.patient not in unseen]
    model_a, model_b = (CalibratedModel(model.fit(training, seed=seed)) for seed in (1000, 1000 + CONTROL_SEED))
    held_out = [labeled[i] for i in fold.test]
    lesion_checks = [check_map(model_a, sample).as_json() for sample in held_out]
    results = model_checks(model_a, [model_b], samples=held_out)
    for name in ("noise", "shift", "deletion", "rim_share", "agreement"):
        values = [checks[name] for checks in lesion_checks if checks[name] is not None]
        results[name] = float(np.mean(np.asarray(values, dtype=np.float64))) if values else np.nan
    return {"lesions": len(held_out), **{name: round(v, 4) for name, v in results.items() if np.isfinite(v)}}


def _beaten_by_volume(figures: Mapping[str, Any], evaluated: Mapping[str, int]) -> list[str]:
    """Return warnings where the volume alone (larger: non-response) ranks held-out lesions better than the model.

    ``evaluated`` is the number of lesions by label source; sources with fewer than `MIN_LESIONS` are skipped.
    """
    volume_figures = figures["volume_alone"]
    pairs = [("all labels", figures["auc"], volume_figures["auc"])]
    for name, count in evaluated.items():
        if count >= MIN_LESIONS and len(evaluated) > 1:
            pairs.append((f"labels: {name}", *(f["auc_by_label_source"][name] for f in (figures, volume_figures))))
    return [
        f"Volume alone ranked held-out lesions better than this model ({label_group}; AUC {_with_interval(volume_auc)} "
        f"against {_with_interval(model_auc)})."
        for label_group, model_auc, volume_auc in pairs
        if None not in (*model_auc.values(), *volume_auc.values())
        and round(volume_auc["value"], 2) > round(model_auc["value"], 2)
    ]


def _with_interval(figure: dict[str, float]) -> str:
    return f"{figure['value']:.2f} [{figure['low']:.2f} to {figure['high']:.2f}]"


def _rounded(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: round(value, 4) if np.isfinite(value) else None for name, value in figures.items()}


def read_samples(
    cohort: Path, entry: ModelEntry, *, progress: Progress = no_progress
) -> tuple[list[CohortLesion], tuple[str, ...]]:
    """Return the sampled lesions of a cohort for a model, and warnings about patients that may be one person.

    An indeterminate label counts as no label. The warnings contain no names.

    Raises
    ------
    CohortError : see `read_cohort`; a lesion is not a target of its study, or one scan is in two patient groups.
    """
    rows = read_cohort(cohort)
    treated = Counter((row.patient_group, row.course) for row in rows)
    cases = cases_of(rows)
    settings = SampleSettings(families=entry.requires.families)
    lesions: list[CohortLesion] = []
    for index, case_rows in enumerate(cases, start=1):
        lesions += sample_case(
            case_rows, [treated[row.patient_group, row.course] for row in case_rows], settings=settings
        )
        progress(index / len(cases), f"study {index} of {len(cases)}")
    sources = [lesion.source for lesion in lesions]
    refuse_shared_scans(sources, cohort)
    shared_people_warnings = (SHARED_PEOPLE,) if shared_people(sources) else ()
    return [
        replace(x, sample=replace(x.sample, index=i)) for i, x in enumerate(lesions, start=1)
    ], shared_people_warnings
