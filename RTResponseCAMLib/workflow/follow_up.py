"""Follow-ups in, response out: register each visit, find or propose its lesions, measure, and name the change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.dicom.load import read_follow_up, read_follow_up_structures
from RTResponseCAMLib.dicom.rtstruct import looks_like_target
from RTResponseCAMLib.errors import RTResponseError, StudyError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.labels import label_structures, read_volume
from RTResponseCAMLib.imaging.planes import centroid_mm, contour_volume_cc
from RTResponseCAMLib.imaging.registration import Registration, accept_transform, register_rigidly
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.imaging.rigid import as_transform, moved_structure
from RTResponseCAMLib.imaging.transform_file import read_transform
from RTResponseCAMLib.progress import Progress, part, silent
from RTResponseCAMLib.response.diameter import Diameters, diameters
from RTResponseCAMLib.response.matching import match_lesions, split_islands
from RTResponseCAMLib.response.propose import propose_lesion
from RTResponseCAMLib.response.trajectory import Trajectory, Visit
from RTResponseCAMLib.response.volume import BOUNDARY_MM, Volume, absent_volume, together, volume_interval
from RTResponseCAMLib.study import Caution, FollowUp, Lesion, Structure, Study

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Overlay:
    """Planning and moved follow-up in one plane through a lesion, both as multiples of their heads' median."""

    name: str
    planning: Plane
    follow_up: Plane
    upside_down: bool


@dataclass(frozen=True)
class VisitResult:
    """What was found at one follow-up.

    Attributes
    ----------
    registration : None when it failed or the visit could not be read.
    regions : lesions found or proposed, in the frame of the planning MR, with the source of each.
    new : names and volumes (cm³) of regions that belong to no lesion of the plan.
    overlays : pictures of the registration.
    problem : why nothing could be measured, "" otherwise.
    """

    name: str
    description: str
    days: int | None
    registration: Registration | None
    regions: tuple[tuple[Structure, str], ...]
    new: tuple[tuple[str, float], ...]
    overlays: tuple[Overlay, ...]
    cautions: tuple[Caution, ...]
    problem: str


@dataclass(frozen=True)
class _Scan:
    """A follow-up after registration, and what its lesions are compared with."""

    name: str
    days: int | None
    lesions: tuple[Lesion, ...]
    baselines: Mapping[str, tuple[Volume, Diameters]]
    image: sitk.Image
    registration: Registration
    boundary_mm: float


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
    masks: Mapping[str, Path] | None = None,
    boundary_mm: float = BOUNDARY_MM,
    propose: bool = True,
    progress: Progress = silent,
) -> FollowedStudy:
    """Measure every follow-up of a study; a visit that fails is unknown, and says why.

    Parameters
    ----------
    transforms : "F1" → transform file to use instead of registering (planning points onto follow-up points).
    masks : "F1" → label map of its lesions on the follow-up's own grid.
    propose : propose lesions where nothing was drawn.

    Raises
    ------
    GeometryError : the plan's own lesions cannot be measured.
    StudyError : there is no follow-up, or ``transforms`` or ``masks`` name one that does not exist.
    """
    transforms, masks = transforms or {}, masks or {}
    if not study.follow_ups:
        what = "there is no later contrast-enhanced T1 series of the same patient"
        raise StudyError("", what, "Put the follow-up into the same folder; rtresponsecam inspect says what was found")
    _check_names(study, transforms, masks)
    baselines = {x.id: (volume_interval(x.structure, boundary_mm), diameters(x.structure)) for x in study.lesions}
    results: list[VisitResult] = []
    visits: dict[str, list[Visit]] = {x.id: [] for x in study.lesions}
    for number, follow_up in enumerate(study.follow_ups):
        name = f"F{number + 1}"
        share = part(progress, number / len(study.follow_ups), (number + 1) / len(study.follow_ups))
        try:
            result, measured = _visit(
                study, follow_up, name, transforms.get(name), masks.get(name), boundary_mm, propose, baselines, share
            )
        except RTResponseError as error:
            caution = Caution("visit-failed", f"{name}: {error.what}")
            result = VisitResult(
                name, follow_up.description, follow_up.days_after_plan, None, (), (), (), (caution,), str(error)
            )
            measured = {
                x.id: _unknown(name, follow_up.days_after_plan, baselines[x.id], caution) for x in study.lesions
            }
        results.append(result)
        for lesion, visit in measured.items():
            visits[lesion].append(visit)
    progress(1.0, "follow-ups measured")
    trajectories = tuple(
        Trajectory(x.id, x.structure.name, *baselines[x.id], tuple(visits[x.id])) for x in study.lesions
    )
    return FollowedStudy(study, tuple(results), trajectories, boundary_mm)


def _check_names(study: Study, *named: Mapping[str, Path]) -> None:
    known = [f"F{n + 1}" for n in range(len(study.follow_ups))]
    for name in (key for mapping in named for key in mapping):
        if name not in known:
            have = ", ".join(known) or "none"
            raise StudyError(name, f"there is no such follow-up; the study has {have}", "Correct the name")


def _unknown(name: str, days: int | None, baseline: tuple[Volume, Diameters], caution: Caution) -> Visit:
    return Visit(name, days, "unknown", None, None, *baseline, "", (), (caution,))


def _visit(
    study: Study,
    follow_up: FollowUp,
    name: str,
    transform: Path | None,
    mask: Path | None,
    boundary_mm: float,
    propose: bool,
    baselines: Mapping[str, tuple[Volume, Diameters]],
    progress: Progress,
) -> tuple[VisitResult, dict[str, Visit]]:
    series = read_follow_up(follow_up, part(progress, 0.0, 0.25))
    registration = register_follow_up(study, follow_up, series.image, transform, part(progress, 0.25, 0.8))
    progress(0.8, f"measuring {name}")
    scan = _Scan(
        name, follow_up.days_after_plan, study.lesions, baselines, series.image, registration, boundary_mm
    )  # fmt: skip
    drawn, source, cautions = _regions(follow_up, mask)
    regions = tuple(moved_structure(registration.to_plan, region) for region in drawn or ())
    kept = [(region, source) for region in regions]
    measured, new = ({}, ()) if drawn is None else _match(scan, regions, source)
    for lesion in study.lesions:
        if drawn is not None and measured[lesion.id].status != "vanished":
            continue
        found = _undrawn(scan, lesion, propose, nobody_drew=drawn is None)
        if found is not None:
            region, measured[lesion.id] = found
            kept += [] if region is None else [(region, "proposed")]
    result = VisitResult(
        name,
        follow_up.description,
        follow_up.days_after_plan,
        registration,
        tuple(kept),
        new,
        _overlays(study, series.image, registration),
        (*series.cautions, *registration.cautions, *cautions),
        "",
    )
    return result, measured


def register_follow_up(
    study: Study, follow_up: FollowUp, image: sitk.Image, transform: Path | None = None, progress: Progress = silent
) -> Registration:
    """Map the plan onto a follow-up: by a file, by a DICOM registration, or by finding it, in this order.

    Raises
    ------
    GeometryError : see `register_rigidly`, `accept_transform` and `read_transform`.
    """
    if transform is not None:
        return accept_transform(study.mr, image, read_transform(transform), "manual")
    if follow_up.to_plan is not None:
        matrix = np.linalg.inv(np.asarray(follow_up.to_plan))
        return accept_transform(study.mr, image, np.asarray(matrix, dtype=np.float64), "DICOM")
    return register_rigidly(study.mr, image, follow_up.same_frame, progress)


def _regions(follow_up: FollowUp, mask: Path | None) -> tuple[tuple[Structure, ...] | None, str, tuple[Caution, ...]]:
    """What was drawn on the follow-up, split into islands; None when nothing was (never the same as no lesion)."""
    if mask is not None:
        islands = label_structures(read_volume(mask))
        empty = Caution("empty-mask", "the label map holds no lesion: what does not enhance counts as vanished")
        return islands, "label map", () if islands else (empty,)
    if not follow_up.structures:
        return None, "", ()
    structures, cautions, source = read_follow_up_structures(Path(follow_up.structures[0]))
    drawn = [s for s in structures if looks_like_target(s)]
    if len(follow_up.structures) > 1:
        text = f"{len(follow_up.structures)} structure sets were drawn on the follow-up; the first is used"
        cautions = (*cautions, Caution("several-structure-sets", text))
    if not drawn:
        return None, "", (*cautions, Caution("no-lesions-drawn", "no structure of the follow-up looks like a lesion"))
    if not any(s.contours for s in drawn):
        text = "the follow-up's lesions have no contours; empty does not mean gone"
        return None, "", (*cautions, Caution("no-lesions-drawn", text))
    islands = tuple(island for s in drawn if s.contours for island in split_islands(s))
    return islands, source, cautions


def _match(
    scan: _Scan, regions: tuple[Structure, ...], source: str
) -> tuple[dict[str, Visit], tuple[tuple[str, float], ...]]:
    matches, new = match_lesions(scan.lesions, regions)
    volumes = [volume_interval(region, scan.boundary_mm) for region in regions]
    measured: dict[str, Visit] = {}
    for match in matches:
        said: tuple[Caution, ...] = ()
        baseline, before = scan.baselines[match.lesion]
        if match.merged_with:
            everyone = (match.lesion, *match.merged_with)
            baseline = together([scan.baselines[lesion][0] for lesion in everyone])
            text = f"{' and '.join(sorted(everyone))} share a region at {scan.name}; they are judged together"
            said = (Caution("merged-lesions", text),)
        if not match.regions:
            volume, size = absent_volume(scan.boundary_mm), None
        else:
            volume = together([volumes[n] for n in match.regions])
            size = max((diameters(regions[n]) for n in match.regions), key=lambda d: d.longest_mm)
        measured[match.lesion] = Visit(
            scan.name, scan.days, match.word, volume, size, baseline,
            None if match.merged_with else before, source, match.merged_with, said,
        )  # fmt: skip
    return measured, tuple((regions[n].name, volumes[n].cc) for n in new)


def _undrawn(scan: _Scan, lesion: Lesion, propose: bool, nobody_drew: bool) -> tuple[Structure | None, Visit] | None:
    """What to say of a lesion that was not drawn; None when it is gone: others were drawn, and nothing enhances.

    Where tissue still enhances in its place it may have been forgotten, or left out of a later plan on purpose.
    """
    baseline = scan.baselines[lesion.id]
    if nobody_drew and not propose:
        caution = Caution("nothing-drawn", "nothing was drawn on the follow-up, and nothing was proposed")
        return None, _unknown(scan.name, scan.days, baseline, caution)
    try:
        proposal = propose_lesion(scan.image, moved_structure(scan.registration.to_follow_up, lesion.structure))
    except RTResponseError as error:
        return None, _unknown(scan.name, scan.days, baseline, Caution("nothing-proposed", str(error)))
    if proposal.structure is None:
        return (None, _unknown(scan.name, scan.days, baseline, proposal.cautions[0])) if nobody_drew else None
    cautions = proposal.cautions
    if not nobody_drew:
        text = f"{lesion.id} was not drawn at {scan.name} although tissue enhances in its place: gone or forgotten?"
        cautions = (Caution("not-drawn", text), *cautions)
        if not propose:
            return None, _unknown(scan.name, scan.days, baseline, cautions[0])
    region = moved_structure(scan.registration.to_plan, proposal.structure)
    visit = Visit(
        scan.name, scan.days, "proposed", volume_interval(region, scan.boundary_mm), diameters(region),
        *baseline, "proposed", (), cautions,
    )  # fmt: skip
    return region, visit


def _overlays(study: Study, image: sitk.Image, registration: Registration) -> tuple[Overlay, ...]:
    """Axial, coronal and sagittal planes of both heads through the largest lesion, 1 mm."""
    largest = max(study.lesions, key=lambda x: contour_volume_cc(x.structure))
    centre = centroid_mm(largest.structure)
    grid = Grid.of(study.mr)
    middle = grid.to_lps((np.asarray([grid.size]) - 1) / 2)[0]
    heads = [head_intensity(i) for i in (study.mr, image)]
    transform = as_transform(registration.to_follow_up)
    half = 110.0
    count = int(2 * half) + 1
    planes = []
    for name, axis in (("axial", 2), ("coronal", 1), ("sagittal", 0)):
        corner, size = middle - half, [count] * 3
        corner[axis], size[axis] = centre[axis], 1
        x, y, z = corner.tolist()
        plane = Grid((size[0], size[1], size[2]), (1.0, 1.0, 1.0), (x, y, z)).blank()
        pair = [
            np.squeeze(sitk.GetArrayFromImage(sitk.Resample(i, plane, t, sitk.sitkLinear, 0.0, sitk.sitkFloat32)))
            / np.float32(head.median)
            for i, t, head in zip((study.mr, image), (sitk.Transform(), transform), heads, strict=True)
        ]
        planes.append(Overlay(name, pair[0], pair[1], axis != 2))
    return tuple(planes)
