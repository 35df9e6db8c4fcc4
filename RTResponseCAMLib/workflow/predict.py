"""Study in, result out: load, sample each lesion, find its evidence, lay it back over the MR."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib import __version__
from RTResponseCAMLib.cam.evidence import CUTS, LOCAL_SCALES, SHARE_SCALES, Evidence
from RTResponseCAMLib.cam.volume import evidence_volume
from RTResponseCAMLib.dosimetry.lesion import lesion_dose
from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid, share_outside
from RTResponseCAMLib.imaging.patch import Patch, sample_patch
from RTResponseCAMLib.imaging.planes import centroid_mm, contour_volume_cc, stack_planes
from RTResponseCAMLib.imaging.resample import HeadIntensity, head_intensity
from RTResponseCAMLib.progress import Progress, part, silent
from RTResponseCAMLib.study import GY, DoseMetrics, Lesion, Prediction, Result, Study
from RTResponseCAMLib.subregion.voxels import lesion_voxels
from RTResponseCAMLib.warnings import Warning, WarningCode, withhold_class

if TYPE_CHECKING:
    from RTResponseCAMLib.cam.checks import MapChecks
    from RTResponseCAMLib.network.bundle import Bundle

ASSUMED_CC = (0.05, 15.0)  # where a card does not say what volumes its model has seen
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


def predict_study(study: Study, bundle: Bundle, progress: Progress = silent, stages: Stages | None = None) -> Result:
    """Predict every lesion of a study.

    Raises
    ------
    GeometryError : a lesion that lies outside the MR, or has contours that cannot be used.
    """
    from RTResponseCAMLib.cam.checks import check_map  # torch may be absent until now
    from RTResponseCAMLib.cam.pixelwise import find_evidence

    stages = stages or Stages()
    stages.begin("dose metrics")
    progress(0.0, "sampling lesions")
    head = head_intensity(study.mr)
    metrics = [lesion_dose(study, lesion.structure) for lesion in study.lesions]
    stages.begin("sample lesions")
    patches = [_patch(study, lesion, head, bundle, m) for lesion, m in zip(study.lesions, metrics, strict=True)]
    stages.begin("evidence")
    evidences = find_evidence(bundle, patches, part(progress, 0.2, 0.6))
    stages.begin("checks of the maps")
    checks = []
    for number, patch in enumerate(patches):
        progress(0.6 + 0.15 * number / len(patches), f"checking the map of lesion {number + 1}")
        checks.append(check_map(bundle, patch))
    predictions = tuple(
        _prediction(study, lesion, patch, evidence, bundle, m, c)
        for lesion, patch, evidence, m, c in zip(study.lesions, patches, evidences, metrics, checks, strict=True)
    )
    stages.begin("map onto the MR")
    cut = CUTS[bundle.form]
    cam, subregions = evidence_volume(
        Grid.of(study.mr),
        [x.structure for x in study.lesions],
        patches,
        evidences,
        cut,
        part(progress, 0.75, 1.0),
    )
    shared = _shared_voxels(cam, study.lesions)
    stages.begin("")
    return Result(
        study=study,
        predictions=tuple(_with_shared(p, shared[p.lesion.id]) for p in predictions),
        cam=cam,
        subregions=subregions,
        form=bundle.form,
        scale=LOCAL_SCALES[bundle.form],
        cut=cut,
        provenance={
            "program": f"RTResponseCAM {__version__}",
            "model": str(bundle.card["name"]),
            "model_sha256": bundle.sha256,
            "device": str(bundle.device),
            "share_scale": SHARE_SCALES[bundle.form],
            **{f"source_{role}": uid for role, uid in study.sources.items()},
        },
        warnings=study.warnings + model_warnings(bundle),
    )


def _shared_voxels(cam: sitk.Image, lesions: Sequence[Lesion]) -> dict[str, int]:
    """How many voxels of each lesion belong to another one as well."""
    grid = Grid.of(cam)
    counts, own = np.zeros(grid.shape, dtype=np.uint8), {}
    for lesion in lesions:
        voxels = lesion_voxels(cam, lesion.structure, None)
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
    return tuple(WarningCode.MODEL(text=text) for text in bundle.card.get("cautions", ()))


def _patch(study: Study, lesion: Lesion, head: HeadIntensity, bundle: Bundle, metrics: DoseMetrics | None) -> Patch:
    preprocessing = bundle.card["preprocessing"]
    _check_inside(study, lesion)
    return sample_patch(
        study.mr,
        head,
        lesion.structure,
        study.dose if metrics is not None else None,
        metrics.prescription_gy if metrics is not None else None,
        float(preprocessing["spacing_mm"]),
        float(preprocessing["margin_mm"]),
    )


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
    patch: Patch,
    evidence: Evidence,
    bundle: Bundle,
    metrics: DoseMetrics | None,
    checks: MapChecks,
) -> Prediction:
    from RTResponseCAMLib.cam.checks import warnings_of

    warnings = list(stack_planes(lesion.structure).warnings)
    if study.dose is not None and metrics is None:
        warnings.append(WarningCode.OUTSIDE_DOSE(share="lies outside the dose grid: no dose metrics"))
    elif metrics is not None and metrics.outside_grid > 0.001:
        share = f"{100 * metrics.outside_grid:.1f} % of its volume lies outside the dose grid"
        warnings.append(WarningCode.OUTSIDE_DOSE(share=share))
    volume = contour_volume_cc(lesion.structure)
    warnings += _of_other_volume(volume, bundle)
    warnings += _unseen(study, patch, volume)
    warnings += _coarse(study.mr, bundle)
    if bundle.network.architecture.dose and not patch.has_dose:
        warnings.append(WarningCode.DOSE_NEEDED())
    elif bundle.network.architecture.dose and study.dose is not None and study.dose.unit != GY:
        warnings.append(WarningCode.DOSE_RBE_MODEL())
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
        p_response_low=evidence.low,
        p_response_high=evidence.high,
        label=label,
        evidence=patch.grid.image(evidence.map),
        spread=patch.grid.image(evidence.spread),
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
    seen_cc = float(patch.occupancy.sum()) * float(np.prod(patch.grid.spacing_mm)) / 1000
    if seen_cc < SEEN * volume_cc and volume_cc > TINY_CC:
        found.append(WarningCode.PATCH_LIMIT(percent=100 * seen_cc / volume_cc))
    beyond = share_outside(patch.occupancy, patch.grid, Grid.of(study.mr), 0.5)
    if beyond > BEYOND:
        found.append(WarningCode.MR_EDGE(percent=100 * beyond))
    return found


def _of_other_volume(volume_cc: float, bundle: Bundle) -> list[Warning]:
    """Whether a lesion is smaller or larger than those that the model learned from."""
    low, high = bundle.card["preprocessing"].get("volume_cc", ASSUMED_CC)
    if low / LIKE_CC <= volume_cc <= high * LIKE_CC:
        return []
    return [WarningCode.VOLUME_RANGE(volume=volume_cc, low=low, high=high)]


def _coarse(mr: sitk.Image, bundle: Bundle) -> list[Warning]:
    """Whether the MR is coarser than those that the model learned from; finer ones are blurred to the patch."""
    known = bundle.card["preprocessing"]
    seen_mm = max(float(known.get("mr_voxel_mm", 0.0)), float(known["spacing_mm"]))
    if max(mr.GetSpacing()) <= COARSE_MR * seen_mm:
        return []
    voxels = " × ".join(f"{step:.2g}" for step in mr.GetSpacing())
    return [WarningCode.COARSE_MR(voxels=voxels, seen=seen_mm)]


def _label(evidence: Evidence, threshold: float) -> str:
    if not np.isfinite(evidence.p_response) or evidence.low < threshold <= evidence.high:
        return "indeterminate"
    return "response" if evidence.p_response >= threshold else "non-response"
