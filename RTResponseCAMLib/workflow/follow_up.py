"""Follow-up workflow: register each visit, find its lesions or propose contours, and measure the change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.dicom.load import read_follow_up
from RTResponseCAMLib.errors import RTResponseError, StudyError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.labels import read_volume
from RTResponseCAMLib.imaging.planes import centroid_mm, contour_volume_cc, stack_planes
from RTResponseCAMLib.imaging.registration import Registration, register_follow_up
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.imaging.rigid import as_transform
from RTResponseCAMLib.imaging.transform_file import read_transform
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.response.diameter import diameters
from RTResponseCAMLib.response.trajectory import Trajectory, Visit
from RTResponseCAMLib.response.volume import BOUNDARY_MM, volume_interval
from RTResponseCAMLib.study import Study
from RTResponseCAMLib.warnings import Warning, WarningCode
from RTResponseCAMLib.workflow.visit import Mask, Region, Scan, measure, unknown

MAX_BOUNDARY_MM = 5.0
Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Overlay:
    """Planning MR and registered follow-up in one plane through a lesion, each divided by the head's median."""

    name: str
    planning: Plane
    follow_up: Plane
    upside_down: bool


@dataclass(frozen=True)
class VisitResult:
    """Result of one follow-up.

    Attributes
    ----------
    registration : None if the registration failed or the visit could not be read.
    regions : contoured or proposed lesions, in the frame of the planning MR.
    overlays : planes that show the registration.
    problem : reason why nothing could be measured; "" otherwise.
    date_source : title of the attribute from which ``days`` is computed; "" if the days are unknown.
    """

    name: str
    description: str
    days: int | None
    registration: Registration | None
    regions: tuple[Region, ...]
    overlays: tuple[Overlay, ...]
    warnings: tuple[Warning, ...]
    problem: str
    date_source: str = ""

    @property
    def new(self) -> tuple[tuple[str, float], ...]:
        """Names and volumes (cm³) of regions that match no lesion of the plan."""
        return tuple((r.structure.name, contour_volume_cc(r.structure)) for r in self.regions if not r.lesion)


@dataclass(frozen=True)
class FollowedStudy:
    """A study with its visits and a trajectory for each lesion."""

    study: Study
    visits: tuple[VisitResult, ...]
    trajectories: tuple[Trajectory, ...]
    boundary_mm: float


def follow_study(
    study: Study,
    transforms: Mapping[str, Path] | None = None,
    *,
    masks: Mapping[str, Path] | None = None,
    boundary_mm: float = BOUNDARY_MM,
    propose: bool = True,
    progress: Progress = no_progress,
    mask_values: tuple[int, ...] | None = None,
) -> FollowedStudy:
    """Measure every follow-up of a study; the lesions of a visit that fails are unknown, with the reason.

    Parameters
    ----------
    transforms : "F1" → transform file that replaces the registration (maps planning points to follow-up points).
    masks : "F1" → label map of its lesions, on the grid of the follow-up or of the planning MR.
    boundary_mm : see `volume_interval`.
    propose : propose contours where nothing was contoured.
    mask_values : label values that together form lesions; None: each value is used separately.

    Raises
    ------
    GeometryError : the plan's own lesions cannot be measured, or a transform cannot be used.
    StudyError : there is no follow-up, ``transforms`` or ``masks`` name one that does not exist, a mask cannot be
        read, or ``boundary_mm`` is not above 0 and at most 5 mm.
    """
    transforms, masks = transforms or {}, masks or {}
    if not 0 < boundary_mm <= MAX_BOUNDARY_MM:
        message = f"is {boundary_mm:g} mm, expected more than 0 and at most {MAX_BOUNDARY_MM:g} mm"
        raise StudyError("the boundary's uncertainty", message, "Correct --boundary-mm")
    if not study.follow_ups:
        message = "there is no later contrast-enhanced T1 series of the same patient"
        raise StudyError("", message, "Put the follow-up into the same folder; rtresponsecam inspect lists it")
    _check_names(study, transforms, masks)
    # Files given by the user are read first, so that a wrong file is reported at once and not as a failed visit.
    matrices = {name: read_transform(path) for name, path in transforms.items()}
    label_maps = {name: Mask(path, read_volume(path), mask_values) for name, path in masks.items()}
    baselines = {x.id: (volume_interval(x.structure, boundary_mm), diameters(x.structure)) for x in study.lesions}
    contours = {x.id: stack_planes(x.structure).warnings for x in study.lesions}
    results: list[VisitResult] = []
    visits: dict[str, list[Visit]] = {x.id: [] for x in study.lesions}
    for index, follow_up in enumerate(study.follow_ups):
        name, days = f"F{index + 1}", follow_up.days_after_plan
        visit_progress = subprogress(progress, index / len(study.follow_ups), (index + 1) / len(study.follow_ups))
        try:
            series = read_follow_up(follow_up, subprogress(visit_progress, 0.0, 0.25))
            registration = register_follow_up(
                study,
                follow_up,
                image=series.image,
                transform=matrices.get(name),
                progress=subprogress(visit_progress, 0.25, 0.8),
            )
            visit_progress(0.8, f"measuring {name}")
            scan = Scan(name, days, study, baselines, series.image, registration, boundary_mm, contours)
            measured, regions, warnings = measure(scan, follow_up, mask=label_maps.get(name), propose=propose)
            visit_warnings = (*series.warnings, *registration.warnings, *warnings)
            overlays = _overlays(study, series.image, registration)
            result = VisitResult(
                name,
                follow_up.description,
                days,
                registration,
                regions,
                overlays,
                visit_warnings,
                "",
                follow_up.date_source,
            )
        except RTResponseError as error:
            problem = f"{error.what}. {error.fix}."  # without the location: a path may contain the patient's name
            warning = WarningCode.VISIT_FAILED(name=name, reason=error.what)
            result = VisitResult(
                name, follow_up.description, days, None, (), (), (warning,), problem, follow_up.date_source
            )
            measured = {x.id: unknown(name, days, baseline=baselines[x.id], warning=warning) for x in study.lesions}
        results.append(result)
        for lesion, visit in measured.items():
            visits[lesion].append(visit)
    progress(1.0, "follow-ups measured")
    trajectories = tuple(
        Trajectory(x.id, x.structure.name, *baselines[x.id], tuple(visits[x.id]), boundary_mm) for x in study.lesions
    )
    return FollowedStudy(study, tuple(results), trajectories, boundary_mm)


def _check_names(study: Study, *named: Mapping[str, Path]) -> None:
    names = [f"F{n + 1}" for n in range(len(study.follow_ups))]
    for name in (key for mapping in named for key in mapping):
        if name not in names:
            available = ", ".join(names) or "none"
            raise StudyError(name, f"there is no such follow-up; the study has {available}", "Correct the name")


def _overlays(study: Study, image: sitk.Image, registration: Registration) -> tuple[Overlay, ...]:
    """Return axial, coronal and sagittal planes of both heads through the largest lesion, 1 mm per pixel."""
    largest = max(study.lesions, key=lambda x: contour_volume_cc(x.structure))
    center = centroid_mm(largest.structure)
    grid = Grid.of(study.mr)
    middle = grid.to_lps((np.asarray([grid.size]) - 1) / 2)[0]
    heads = [head_intensity(i) for i in (study.mr, image)]
    transform = as_transform(registration.to_follow_up)
    half = 110.0
    count = int(2 * half) + 1
    planes = []
    for name, axis in (("axial", 2), ("coronal", 1), ("sagittal", 0)):
        corner, size = middle - half, [count] * 3
        corner[axis], size[axis] = center[axis], 1
        x, y, z = corner.tolist()
        plane = Grid((size[0], size[1], size[2]), (1.0, 1.0, 1.0), (x, y, z)).blank()
        pair = [
            np.squeeze(sitk.GetArrayFromImage(sitk.Resample(i, plane, t, sitk.sitkLinear, 0.0, sitk.sitkFloat32)))
            / np.float32(head.median)
            for i, t, head in zip((study.mr, image), (sitk.Transform(), transform), heads, strict=True)
        ]
        planes.append(Overlay(name, pair[0], pair[1], axis != 2))
    return tuple(planes)
