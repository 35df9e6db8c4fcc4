"""Sampling of the lesions of a study: patch, volume, dose metrics, and feature families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.dosimetry.lesion import lesion_dose
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.patch import MARGIN_MM, sample_patch
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.imaging.resample import HeadIntensity, head_intensity
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.samples import radiomics
from RTResponseCAMLib.samples.gradient import gradient_features
from RTResponseCAMLib.samples.sample import Features, LesionSample
from RTResponseCAMLib.study import DoseMetrics, Structure, Study

PYRADIOMICS = ("radiomics", "dosiomics", "delta")  # feature families that need pyradiomics
NO_DOSE = "no dose or prescription, or a dose grid that does not cover the lesion"
EarlierScan = tuple[sitk.Image, HeadIntensity] | str


@dataclass(frozen=True)
class SampleSettings:
    """Settings of the sampling of lesions.

    Attributes
    ----------
    families : feature families to compute: "volume", "clinical", "gradient", "radiomics", "dosiomics", "delta".
    radiomics : pyradiomics settings, see `radiomics.read_settings`; None for the default settings.
    """

    spacing_mm: float = 1.0
    margin_mm: float = MARGIN_MM
    families: tuple[str, ...] = ()
    radiomics: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Identity:
    """Identity of the lesion of a structure, with its data other than images.

    Attributes
    ----------
    lesions : number of lesions treated in the same course.
    fractions : number of fractions; None for that of the plan.
    clinical : further clinical features by name; NaN where unknown.
    """

    patient: str = ""
    course: str = ""
    lesion: str = ""
    label: int | None = None
    lesions: int = 1
    fractions: int | None = None
    clinical: Mapping[str, float] = field(default_factory=dict)


def sample_study(
    study: Study,
    structures: Sequence[Structure],
    *,
    settings: SampleSettings,
    identities: Sequence[Identity],
    earlier: EarlierScan | None = None,
    progress: Progress = no_progress,
) -> list[LesionSample]:
    """Sample lesions of one study, in the order of the structures; ``index`` counts from 1.

    Parameters
    ----------
    identities : of the structures, in their order.
    earlier : a scan between plan and follow-up on the grid of the plan, and its head intensity, for the family "delta";
        or the reason why there is none.

    Raises
    ------
    GeometryError : a lesion lies outside the MR, has no contours, or none near their middle.
    """
    head = head_intensity(study.mr)
    samples = []
    for index, (structure, identity) in enumerate(zip(structures, identities, strict=True), start=1):
        progress((index - 1) / len(structures), f"sampling lesion {index}")
        samples.append(_sample(study, head, structure, settings, identity, earlier, index))
    return samples


def why_unavailable(family: str) -> str | None:
    """Reason why a feature family cannot be computed on this machine; None when it can."""
    return radiomics.why_unavailable() if family in PYRADIOMICS else None


def _sample(
    study: Study,
    head: HeadIntensity,
    structure: Structure,
    settings: SampleSettings,
    identity: Identity,
    earlier: EarlierScan | None,
    index: int,
) -> LesionSample:
    prescription = study.plan.prescription if study.plan else None
    prescription_gy = prescription.dose_for(structure) if prescription else None
    metrics = lesion_dose(study, structure)
    dose = study.dose if metrics is not None else None
    patch = sample_patch(
        study.mr,
        head,
        structure=structure,
        dose=dose,
        prescription_gy=prescription_gy,
        spacing_mm=settings.spacing_mm,
        margin_mm=settings.margin_mm,
    )
    volume_cc = contour_volume_cc(structure)
    fractions = identity.fractions or (prescription.fractions if prescription else None)
    simple_families: dict[str, Any] = {
        "volume": lambda: {"volume_log_cc": float(np.log(max(volume_cc, 1e-6)))},
        "clinical": lambda: {
            "clinical_rx_gy": prescription_gy if prescription_gy is not None else np.nan,
            "clinical_fractions": float(fractions) if fractions else np.nan,
            "clinical_lesions": float(identity.lesions),
            **identity.clinical,
        },
        "gradient": lambda: gradient_features(study.mr, structure, unit=head.median),
    }
    features: dict[str, Features] = {
        name: measure() for name, measure in simple_families.items() if name in settings.families
    }
    missing: dict[str, str] = {} if metrics is not None else {"dose": NO_DOSE}
    radiomics_families = [family for family in PYRADIOMICS if family in settings.families]
    radiomics_settings = (
        settings.radiomics if settings.radiomics is not None or not radiomics_families else radiomics.read_settings()
    )
    for family in radiomics_families:
        try:
            values = _radiomics(family, study, head, structure, metrics, radiomics_settings or {}, features, earlier)
        except RTResponseError as error:
            missing[family] = error.what
            continue
        if values:
            features[family] = values
    return LesionSample(
        patch,
        volume_cc,
        features,
        metrics,
        identity.patient,
        identity.course,
        identity.lesion,
        identity.label,
        index,
        missing,
    )


def _radiomics(
    family: str,
    study: Study,
    head: HeadIntensity,
    structure: Structure,
    metrics: DoseMetrics | None,
    settings: Mapping[str, Any],
    features: Mapping[str, Features],
    earlier: EarlierScan | None,
) -> Features:
    if family == "radiomics":
        return radiomics.mr_features(study.mr, head, structure=structure, settings=settings)
    if family == "dosiomics":
        if study.dose is None or metrics is None:
            raise RTResponseError("", NO_DOSE, "Supply a dose and a prescription")
        absolute = {f"dose_{name}": float(getattr(metrics, name)) for name in ("mean_gy", "d98_gy", "d50_gy", "d2_gy")}
        relative = {
            "dose_coverage": metrics.coverage,
            "dose_mean_of_prescription": metrics.mean_gy / metrics.prescription_gy,
        }
        return {**absolute, **relative, **radiomics.dose_features(study.dose, structure, settings=settings)}
    if earlier is None:
        raise RTResponseError("", "no scan between the plan and the follow-up", "Add a scan during treatment")
    if isinstance(earlier, str):
        raise RTResponseError("", earlier, "Add a scan during treatment")
    before = features.get("radiomics") or radiomics.mr_features(study.mr, head, structure=structure, settings=settings)
    original = {**settings, "mr": {**settings["mr"], "imageType": {"Original": {}}}}
    return radiomics.change(
        before, radiomics.mr_features(earlier[0], earlier[1], structure=structure, settings=original)
    )
