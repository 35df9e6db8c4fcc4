"""Prediction workflow: sample each lesion, predict it, and put its evidence on the voxels of the MR."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib import __version__
from RTResponseCAMLib.cam.evidence import LOCAL_SCALE, NEUTRAL, SHARE_SCALE
from RTResponseCAMLib.cam.volume import evidence_volume
from RTResponseCAMLib.errors import GeometryError, ModelError, StudyError
from RTResponseCAMLib.imaging.fraction import structure_box
from RTResponseCAMLib.imaging.grid import Grid, share_outside
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.imaging.planes import centroid_mm, stack_planes
from RTResponseCAMLib.models.interface import LesionPrediction
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.samples.build import Identity, SampleSettings, sample_study
from RTResponseCAMLib.samples.sample import LesionSample, patch_of
from RTResponseCAMLib.study import GY, Lesion, Prediction, Result, Study
from RTResponseCAMLib.subregion.voxels import lesion_voxels
from RTResponseCAMLib.warnings import Warning, WarningCode, withhold_class

if TYPE_CHECKING:
    from RTResponseCAMLib.cam.checks import MapChecks
    from RTResponseCAMLib.models.bundle import Bundle

TINY_CC = 0.05  # below this volume (cm³), the fraction of the lesion in its patch is not reliable
LIKE_CC = 1.1  # tolerance factor at both ends of the volume range of the training lesions
COARSE_MR = 1.25  # longest side of the MR's voxels, relative to the training MR, above which a warning is given
SEEN, BEYOND = 0.95, 0.01  # smallest fraction of a lesion inside its patch, largest fraction outside the MR


class Stages:
    """Wall-clock seconds per stage; a stage ends when the next one begins."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._name, self._since = "", time.perf_counter()

    def begin(self, name: str) -> None:
        """End the current stage and start another; "" only ends the current one."""
        now = time.perf_counter()
        if self._name:
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._since
        self._name, self._since = name, now


def predict_study(
    study: Study, bundle: Bundle, *, progress: Progress = no_progress, stages: Stages | None = None
) -> Result:
    """Predict every lesion of a study.

    Raises
    ------
    GeometryError : a lesion lies outside the MR, or has contours that cannot be used.
    ModelError : the model gives no evidence map.
    StudyError : a lesion lacks features that the model needs.
    """
    from RTResponseCAMLib.cam.checks import check_map

    stages = stages or Stages()
    stages.begin("sample lesions")
    progress(0.0, "sampling lesions")
    samples = sample_lesions(study, bundle, progress=subprogress(progress, 0.0, 0.2))
    patches = [patch_of(sample) for sample in samples]
    stages.begin("evidence")
    evidences = bundle.predict(samples, progress=subprogress(progress, 0.2, 0.6))
    if any(evidence.map is None for evidence in evidences):
        problem = f"'{bundle.card['name']}' gives no evidence map"
        raise ModelError("model", problem, "Use it in a comparison, or choose a model that gives an evidence map")
    stages.begin("checks of the maps")
    checks = []
    for index, sample in enumerate(samples):
        progress(0.6 + 0.15 * index / len(samples), f"checking the map of lesion {index + 1}")
        checks.append(check_map(bundle.model, sample))
    predictions = tuple(
        _prediction(study, lesion, sample, evidence, bundle, c)
        for lesion, sample, evidence, c in zip(study.lesions, samples, evidences, checks, strict=True)
    )
    stages.begin("map onto the MR")
    cam, subregions = evidence_volume(
        Grid.of(study.mr),
        [x.structure for x in study.lesions],
        patches=patches,
        evidences=evidences,
        subregion_threshold=NEUTRAL,
        progress=subprogress(progress, 0.75, 1.0),
    )
    shared_counts = _shared_voxels(cam, study.lesions)
    stages.begin("")
    return Result(
        study=study,
        predictions=tuple(_with_shared(p, shared_counts[p.lesion.id]) for p in predictions),
        cam=cam,
        subregions=subregions,
        scale=LOCAL_SCALE,
        subregion_threshold=NEUTRAL,
        provenance={
            "program": f"RTResponseCAM {__version__}",
            "model": str(bundle.card["name"]),
            "model_sha256": bundle.sha256,
            "device": bundle.device,
            "share_scale": SHARE_SCALE,
            **{f"source_{role}": uid for role, uid in study.sources.items()},
        },
        warnings=study.warnings + model_warnings(bundle),
    )


def _shared_voxels(cam: sitk.Image, lesions: Sequence[Lesion]) -> dict[str, int]:
    """Return the number of voxels of each lesion that also belong to another lesion."""
    grid = Grid.of(cam)
    boxes = [structure_box(lesion.structure, grid) for lesion in lesions]
    low = np.asarray([grid.start_of(box) for box in boxes])
    high = low + np.asarray([box.size for box in boxes])
    counts, lesion_indices = np.zeros(grid.shape, dtype=np.uint8), {}
    for number, lesion in enumerate(lesions):
        if ((low < high[number]) & (high > low[number])).all(axis=1).sum() == 1:
            continue  # its box meets no other: its voxels, which take seconds for a large lesion, are its own
        voxels = lesion_voxels(cam, lesion.structure, dose=None)
        start = low[number][::-1]
        lesion_indices[lesion.id] = tuple(n + first for n, first in zip(np.nonzero(voxels.inside), start, strict=True))
        counts[lesion_indices[lesion.id]] += 1
    shared = {lesion_id: int((counts[indices] > 1).sum()) for lesion_id, indices in lesion_indices.items()}
    return {lesion.id: shared.get(lesion.id, 0) for lesion in lesions}


def _with_shared(prediction: Prediction, count: int) -> Prediction:
    if not count:
        return prediction
    return replace(prediction, warnings=(*prediction.warnings, WarningCode.SHARED_VOXELS(count=count)))


def model_warnings(bundle: Bundle) -> tuple[Warning, ...]:
    """Return the warnings of the model card; they accompany every result."""
    return tuple(WarningCode.MODEL(text=text) for text in bundle.card.get("warnings", ()))


def sample_lesions(study: Study, bundle: Bundle, *, progress: Progress = no_progress) -> list[LesionSample]:
    """Return the lesions of a study as input samples of a model.

    Raises
    ------
    GeometryError : a lesion lies outside the MR, or has contours that cannot be used.
    StudyError : a lesion lacks features that the model needs.
    """
    inputs = bundle.inputs
    for lesion in study.lesions:
        _check_inside(study, lesion)
    settings = SampleSettings(inputs.spacing_mm, inputs.margin_mm, inputs.families)
    identities = [Identity(lesion=x.structure.name, lesions=len(study.lesions)) for x in study.lesions]
    structures = [lesion.structure for lesion in study.lesions]
    samples = sample_study(study, structures, settings=settings, identities=identities, progress=progress)
    for sample in samples:
        missing_families = [family for family in inputs.families if family not in sample.features]
        if missing_families:
            reasons = "; ".join(
                dict.fromkeys(
                    sample.missing.get(family, "these features are not measured") for family in missing_families
                )
            )
            problem = f"lacks {', '.join(missing_families)}, which model '{bundle.card['name']}' needs: {reasons}"
            raise StudyError(f"ROI '{sample.lesion}'", problem, "Provide them, or choose another model")
    return samples


def _check_inside(study: Study, lesion: Lesion) -> None:
    grid = Grid.of(study.mr)
    index = grid.to_index(centroid_mm(lesion.structure)[None])[0]
    if any(c < -0.5 or c > n - 0.5 for c, n in zip(index, grid.size, strict=True)):
        raise GeometryError(
            f"ROI '{lesion.structure.name}'",
            "lies outside the planning MR",
            "Check that plan and MR belong together",
        )


def _prediction(
    study: Study,
    lesion: Lesion,
    sample: LesionSample,
    evidence: LesionPrediction,
    bundle: Bundle,
    checks: MapChecks,
) -> Prediction:
    from RTResponseCAMLib.cam.checks import warnings_of

    patch, metrics = patch_of(sample), sample.dose
    warnings = list(stack_planes(lesion.structure).warnings)
    if study.dose is not None and metrics is None:
        warnings.append(WarningCode.OUTSIDE_DOSE(share="lies outside the dose grid: no dose metrics"))
    elif metrics is not None and metrics.outside_grid > 0.001:
        extent = f"{100 * metrics.outside_grid:.1f} % of its volume lies outside the dose grid"
        warnings.append(WarningCode.OUTSIDE_DOSE(share=extent))
    volume = sample.volume_cc
    warnings += _of_other_volume(volume, bundle)
    warnings += _unseen(study, patch, volume)
    warnings += _coarse(study.mr, bundle)
    familiarity = bundle.familiarity
    unlikeness = familiarity.unlikeness(patch) if familiarity is not None else None
    if unlikeness is not None and unlikeness.words:
        warnings.append(WarningCode.UNLIKE_TRAINING(words=", ".join(unlikeness.words), p=unlikeness.p))
    if bundle.inputs.dose and not patch.has_dose:
        warnings.append(WarningCode.DOSE_NEEDED())
    elif bundle.inputs.dose and study.dose is not None and study.dose.unit != GY:
        warnings.append(WarningCode.DOSE_RBE_MODEL())
    low, high = evidence.low, evidence.high
    if not (np.isfinite(low) and np.isfinite(high)):
        low = high = evidence.p_response
        warnings.append(WarningCode.NO_INTERVAL())
    label = _label(evidence, bundle.threshold)
    if label == "indeterminate":
        warnings.append(WarningCode.INDETERMINATE())
    elif withhold_class((*study.warnings, *warnings)):
        label = "indeterminate"
        if any(w.code.unlike_training for w in (*study.warnings, *warnings)):
            warnings.append(WarningCode.UNFAMILIAR())
    warnings += warnings_of(checks)
    return Prediction(
        lesion=lesion,
        volume_cc=volume,
        p_response=evidence.p_response,
        p_response_low=low,
        p_response_high=high,
        label=label,
        class_threshold=bundle.threshold,
        evidence=patch.grid.image(np.zeros(patch.grid.shape, np.float32) if evidence.map is None else evidence.map),
        ensemble_sd=patch.grid.image(
            np.zeros(patch.grid.shape, np.float32) if evidence.ensemble_sd is None else evidence.ensemble_sd
        ),
        bias=evidence.bias,
        total=evidence.total,
        dose=metrics,
        warnings=tuple(warnings),
        from_volume=evidence.from_volume,
        contributions=evidence.contributions,
        training_distance=None if unlikeness is None else unlikeness.distance,
        training_p=None if unlikeness is None else unlikeness.p,
        checks=checks.as_json(),
    )


def _unseen(study: Study, patch: Patch, volume_cc: float) -> list[Warning]:
    """Return warnings about a lesion that extends beyond its patch or the MR."""
    warnings = []
    patch_cc = float(patch.fraction.sum()) * float(np.prod(patch.grid.spacing_mm)) / 1000
    if patch_cc < SEEN * volume_cc and volume_cc > TINY_CC:
        warnings.append(WarningCode.PATCH_LIMIT(percent=100 * patch_cc / volume_cc))
    outside_fraction = share_outside(patch.fraction, patch.grid, box=Grid.of(study.mr), reach=0.5)
    if outside_fraction > BEYOND:
        warnings.append(WarningCode.MR_EDGE(percent=100 * outside_fraction))
    return warnings


def _of_other_volume(volume_cc: float, bundle: Bundle) -> list[Warning]:
    """Return a warning if the lesion is smaller or larger than the training lesions of the model."""
    low, high = bundle.inputs.volume_cc
    if low / LIKE_CC <= volume_cc <= high * LIKE_CC:
        return []
    return [WarningCode.VOLUME_RANGE(volume=volume_cc, low=low, high=high)]


def _coarse(mr: sitk.Image, bundle: Bundle) -> list[Warning]:
    """Return a warning if the MR is coarser than the training MR; a finer MR is smoothed to the patch spacing."""
    seen_mm = max(bundle.inputs.mr_voxel_mm, bundle.inputs.spacing_mm)
    if max(mr.GetSpacing()) <= COARSE_MR * seen_mm:
        return []
    voxels = " × ".join(f"{step:.2g}" for step in mr.GetSpacing())
    return [WarningCode.COARSE_MR(voxels=voxels, seen=seen_mm)]


def _label(evidence: LesionPrediction, threshold: float) -> str:
    if not np.isfinite(evidence.p_response) or evidence.low < threshold <= evidence.high:
        return "indeterminate"
    return "response" if evidence.p_response >= threshold else "non-response"
