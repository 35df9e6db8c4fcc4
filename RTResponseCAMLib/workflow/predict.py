"""Study in, result out: load, sample each lesion, find its evidence, lay it back over the MR."""

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

TINY_CC = 0.05  # of so few voxels what a patch holds is no measure
LIKE_CC = 1.1  # a lesion smaller or larger than any that the model has seen by no more than this is like them
COARSE_MR = 1.25  # longest side of the MR's voxels, relative to what the model has seen, from which it is said
SEEN, BEYOND = 0.95, 0.01  # least share of a lesion within its patch, most of it beyond the MR


class Stages:
    """Wall-clock seconds per stage; a stage ends when the next begins."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._name, self._since = "", time.perf_counter()

    def begin(self, name: str) -> None:
        """Close the running stage and start another ("" only closes)."""
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
    GeometryError : a lesion that lies outside the MR, or has contours that cannot be used.
    ModelError : the model gives no evidence map.
    StudyError : a lesion lacks features that the model reads.
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
        what = f"'{bundle.card['name']}' gives no evidence map, which there is to show"
        raise ModelError("model", what, "Use it in a comparison, or choose a model that explains itself")
    stages.begin("checks of the maps")
    checks = []
    for number, sample in enumerate(samples):
        progress(0.6 + 0.15 * number / len(samples), f"checking the map of lesion {number + 1}")
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
    shared = _shared_voxels(cam, study.lesions)
    stages.begin("")
    return Result(
        study=study,
        predictions=tuple(_with_shared(p, shared[p.lesion.id]) for p in predictions),
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
    """How many voxels of each lesion belong to another one as well."""
    grid = Grid.of(cam)
    counts, own = np.zeros(grid.shape, dtype=np.uint8), {}
    for lesion in lesions:
        voxels = lesion_voxels(cam, lesion.structure, dose=None)
        start = grid.start_of(voxels.grid)[::-1]
        own[lesion.id] = tuple(n + first for n, first in zip(np.nonzero(voxels.inside), start, strict=True))
        counts[own[lesion.id]] += 1
    return {name: int((counts[places] > 1).sum()) for name, places in own.items()}


def _with_shared(prediction: Prediction, count: int) -> Prediction:
    if not count:
        return prediction
    return replace(prediction, warnings=(*prediction.warnings, WarningCode.SHARED_VOXELS(count=count)))


def model_warnings(bundle: Bundle) -> tuple[Warning, ...]:
    """What the model's card wants said beside every result."""
    return tuple(WarningCode.MODEL(text=text) for text in bundle.card.get("warnings", ()))


def sample_lesions(study: Study, bundle: Bundle, *, progress: Progress = no_progress) -> list[LesionSample]:
    """Lesions of a study as a model reads them.

    Raises
    ------
    GeometryError : a lesion that lies outside the MR, or has contours that cannot be used.
    StudyError : a lesion lacks features that the model reads.
    """
    inputs = bundle.inputs
    for lesion in study.lesions:
        _check_inside(study, lesion)
    settings = SampleSettings(inputs.spacing_mm, inputs.margin_mm, inputs.families)
    identities = [Identity(lesion=x.structure.name, lesions=len(study.lesions)) for x in study.lesions]
    structures = [lesion.structure for lesion in study.lesions]
    samples = sample_study(study, structures, settings=settings, identities=identities, progress=progress)
    for sample in samples:
        lacking = [family for family in inputs.families if family not in sample.features]
        if lacking:
            why = "; ".join(
                dict.fromkeys(sample.missing.get(family, "no such features are measured") for family in lacking)
            )
            what = f"lacks {', '.join(lacking)}, which model '{bundle.card['name']}' reads: {why}"
            raise StudyError(f"ROI '{sample.lesion}'", what, "Supply it, or choose another model")
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
        share = f"{100 * metrics.outside_grid:.1f} % of its volume lies outside the dose grid"
        warnings.append(WarningCode.OUTSIDE_DOSE(share=share))
    volume = sample.volume_cc
    warnings += _of_other_volume(volume, bundle)
    warnings += _unseen(study, patch, volume)
    warnings += _coarse(study.mr, bundle)
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
        evidence=patch.grid.image(np.zeros(patch.grid.shape, np.float32) if evidence.map is None else evidence.map),
        ensemble_sd=patch.grid.image(
            np.zeros(patch.grid.shape, np.float32) if evidence.ensemble_sd is None else evidence.ensemble_sd
        ),
        bias=evidence.bias,
        total=evidence.total,
        dose=metrics,
        warnings=tuple(warnings),
        from_volume=evidence.from_volume,
        checks=checks.as_json(),
    )


def _unseen(study: Study, patch: Patch, volume_cc: float) -> list[Warning]:
    """What of a lesion the model did not see."""
    found = []
    seen_cc = float(patch.fraction.sum()) * float(np.prod(patch.grid.spacing_mm)) / 1000
    if seen_cc < SEEN * volume_cc and volume_cc > TINY_CC:
        found.append(WarningCode.PATCH_LIMIT(percent=100 * seen_cc / volume_cc))
    beyond = share_outside(patch.fraction, patch.grid, box=Grid.of(study.mr), reach=0.5)
    if beyond > BEYOND:
        found.append(WarningCode.MR_EDGE(percent=100 * beyond))
    return found


def _of_other_volume(volume_cc: float, bundle: Bundle) -> list[Warning]:
    """Whether a lesion is smaller or larger than those that the model learned from."""
    low, high = bundle.inputs.volume_cc
    if low / LIKE_CC <= volume_cc <= high * LIKE_CC:
        return []
    return [WarningCode.VOLUME_RANGE(volume=volume_cc, low=low, high=high)]


def _coarse(mr: sitk.Image, bundle: Bundle) -> list[Warning]:
    """Whether the MR is coarser than those that the model learned from; finer ones are blurred to the patch."""
    seen_mm = max(bundle.inputs.mr_voxel_mm, bundle.inputs.spacing_mm)
    if max(mr.GetSpacing()) <= COARSE_MR * seen_mm:
        return []
    voxels = " × ".join(f"{step:.2g}" for step in mr.GetSpacing())
    return [WarningCode.COARSE_MR(voxels=voxels, seen=seen_mm)]


def _label(evidence: LesionPrediction, threshold: float) -> str:
    if not np.isfinite(evidence.p_response) or evidence.low < threshold <= evidence.high:
        return "indeterminate"
    return "response" if evidence.p_response >= threshold else "non-response"
