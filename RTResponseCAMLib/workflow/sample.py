"""Sample study: one fixed synthetic patient, generated on this computer and read like any other study."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import SimpleITK as sitk

from RTResponseCAMLib.dicom.load import load_study, read_follow_up
from RTResponseCAMLib.dicom.options import AS_FOUND, ReadOptions
from RTResponseCAMLib.dosimetry.lesion import lesion_dose
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.imaging.registration import register_follow_up
from RTResponseCAMLib.imaging.resample import as_stored
from RTResponseCAMLib.imaging.rigid import moved_image
from RTResponseCAMLib.phantom.patient import sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.phantom.write import write_patient
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.study import DoseMetrics, Study
from RTResponseCAMLib.warnings import Warning, WarningCode

# With this seed, the lesions show all three classes of the shipped model. It is no measure of the model's accuracy.
SAMPLE = PhantomSpec(seed=15, lesions=3, variant=Variant.DARKER, columns=176, rows=208, slices=136)


@dataclass(frozen=True)
class LoadedStudy:
    """A study read from a folder, with its first follow-up.

    Attributes
    ----------
    mr : planning MR as the scene stores it; converted here, because this takes time for a large MR.
    follow_up : first later MR, converted likewise; None if there is none, or it cannot be read.
    registered : whether the follow-up was moved onto the plan (its voxels are not resampled).
    measures : lesion id → volume (cm³) and dose metrics.
    folder : folder of the study; None if it was deleted, as for the sample study.
    """

    study: Study
    mr: sitk.Image
    follow_up: sitk.Image | None
    follow_up_name: str
    registered: bool
    warnings: tuple[Warning, ...]
    measures: Mapping[str, tuple[float, DoseMetrics | None]]
    folder: Path | None = None


def open_study(folder: Path, progress: Progress = no_progress, *, options: ReadOptions = AS_FOUND) -> LoadedStudy:
    """Read a study and its first follow-up, and register the follow-up to the plan.

    Raises
    ------
    QuestionError : objects contradict each other; ``options`` with the answer resolve this.
    StudyError, GeometryError : see `load_study`; a follow-up that cannot be read or registered is a warning.
    """
    study = load_study(folder, progress=subprogress(progress, 0.0, 0.55), **vars(options))
    progress(0.55, "measuring lesions")
    measures = {x.id: (contour_volume_cc(x.structure), lesion_dose(study, x.structure)) for x in study.lesions}
    mr = as_stored(study.mr)
    if not study.follow_ups:
        return LoadedStudy(study, mr, None, "", False, study.warnings, measures, folder)
    first = study.follow_ups[0]
    try:
        image = read_follow_up(first, subprogress(progress, 0.6, 0.75)).image
    except RTResponseError as error:
        left_out = WarningCode.FOLLOW_UP(what=f"the follow-up '{first.description}' is left out: {error.what}")
        return LoadedStudy(study, mr, None, "", False, (*study.warnings, left_out), measures, folder)
    warnings: tuple[Warning, ...] = ()
    try:
        registration = register_follow_up(study, first, image=image, progress=subprogress(progress, 0.75, 0.98))
        image, warnings = moved_image(registration.to_plan, image), registration.warnings
    except RTResponseError as error:
        registration = None
        warnings = (WarningCode.FOLLOW_UP(what=f"the follow-up is shown unregistered: {error.what}"),)
    days = "" if first.days_after_plan is None else f", {first.days_after_plan} days"
    name = f"Follow-up {first.description}{days} ({'registered' if registration else 'not registered'})"
    warnings = (*study.warnings, *warnings)
    return LoadedStudy(study, mr, as_stored(image), name, registration is not None, warnings, measures, folder)


def open_sample(progress: Progress = no_progress) -> LoadedStudy:
    """Generate the sample study in a temporary folder, read it, and remove the folder."""
    with tempfile.TemporaryDirectory(prefix="RTResponseCAM-sample-") as folder:
        progress(0.02, "generating a synthetic patient")
        patient = sample_patient(SAMPLE)
        write_patient(patient, Path(folder), progress=subprogress(progress, 0.15, 0.8), truth=False)
        return replace(open_study(Path(folder) / "dicom", subprogress(progress, 0.8, 1.0)), folder=None)


def write_sample_scene(path: Path, progress: Progress = no_progress) -> None:
    """Write the sample study, before any prediction, as a scene file (``.mrb``).

    Raises
    ------
    OutputError : slicer-core is not installed, or the file cannot be written.
    """
    from types import SimpleNamespace

    from RTResponseCAMLib.scene.build import new_scene
    from RTResponseCAMLib.scene.save import save_scene
    from RTResponseCAMLib.workflow.session import Session  # a circular import at module level

    scene = new_scene()
    Session(scene).add(
        open_sample(subprogress(progress, 0.0, 0.8)), SimpleNamespace(), progress=subprogress(progress, 0.8, 1.0)
    )
    save_scene(scene, path)
    scene.Clear(True)
