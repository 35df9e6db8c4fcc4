"""One registered follow-up: matching of its regions with the lesions, and proposed contours for the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import SimpleITK as sitk

from RTResponseCAMLib.dicom.load import read_follow_up_structures
from RTResponseCAMLib.dicom.targets import is_helper, looks_like_target
from RTResponseCAMLib.errors import RTResponseError, StudyError
from RTResponseCAMLib.imaging.grid import Grid, same_grid
from RTResponseCAMLib.imaging.labels import label_structures, labels_touch
from RTResponseCAMLib.imaging.overlap import share_on_image, without_nested
from RTResponseCAMLib.imaging.planes import contour_volume_cc, stack_planes
from RTResponseCAMLib.imaging.registration import Registration
from RTResponseCAMLib.imaging.rigid import moved_structure
from RTResponseCAMLib.response.diameter import Diameters, diameters, of_parts
from RTResponseCAMLib.response.matching import match_lesions, split_islands
from RTResponseCAMLib.response.proposed_contour import IN_VIEW, propose_contour
from RTResponseCAMLib.response.trajectory import PROPOSED, Visit
from RTResponseCAMLib.response.volume import Volume, volume_interval
from RTResponseCAMLib.study import FollowUp, Lesion, Structure, Study
from RTResponseCAMLib.warnings import Warning, WarningCode

SAME_GRID_MM = 0.1
ON_PLAN = "RTResponseCAM_OnPlanningGrid"
MAX_GROWTH = 8.0


@dataclass(frozen=True)
class Scan:
    """A follow-up after registration, and the baselines of its lesions.

    ``contour_warnings`` are the warnings about the plan's contours, by lesion id.
    """

    name: str
    days: int | None
    study: Study
    baselines: Mapping[str, tuple[Volume, Diameters]]
    image: sitk.Image
    registration: Registration
    boundary_mm: float
    contour_warnings: Mapping[str, tuple[Warning, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Mask:
    """A label map that the user gives for a follow-up.

    ``values`` are the label values that together form lesions; None: each value is used separately.
    """

    path: Path
    image: sitk.Image
    values: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Region:
    """A contoured or proposed lesion of a follow-up, in the frame of the planning MR.

    ``lesion`` is "L1", "L1+L2", or "" without a lesion of the plan.
    """

    structure: Structure
    source: str
    lesion: str

    @property
    def name(self) -> str:
        """Name for display and files, with the plan's lesion first."""
        return f"{self.lesion or 'new'}, {self.structure.name} ({self.source})"


def unknown(name: str, days: int | None, *, baseline: tuple[Volume, Diameters], warning: Warning) -> Visit:
    """Return a visit with the status "unknown", and the reason as a warning."""
    return Visit(name, days, "unknown", None, None, *baseline, "", (), (warning,))


def measure(
    scan: Scan, follow_up: FollowUp, *, mask: Mask | None, propose: bool
) -> tuple[dict[str, Visit], tuple[Region, ...], tuple[Warning, ...]]:
    """Return the visit of each lesion of the plan, the regions of the follow-up, and the warnings.

    Raises
    ------
    StudyError : contours cannot be read, or a mask lies on neither grid.
    GeometryError : regions cannot be measured.
    """
    contoured, source, warnings = _drawn(scan, follow_up, mask)
    measured, regions = ({}, []) if contoured is None else _match(scan, contoured, source)
    for lesion in scan.study.lesions:
        seed = moved_structure(scan.registration.to_follow_up, lesion.structure)
        if share_on_image(seed, scan.image) < IN_VIEW:
            beyond = WarningCode.BEYOND_FOLLOW_UP(lesion=lesion.id, visit=scan.name)
            measured[lesion.id] = _unknown(scan, lesion, beyond)
        elif contoured is None or measured[lesion.id].status == "vanished":
            outcome = _undrawn(scan, lesion, seed, propose, not_contoured=contoured is None)
            if outcome is not None:
                measured[lesion.id], region = outcome
                regions += [] if region is None else [region]
    with_contours = {
        lesion: replace(visit, warnings=(*visit.warnings, *scan.contour_warnings.get(lesion, ())))
        for lesion, visit in measured.items()
    }
    return with_contours, tuple(regions), warnings


def _unknown(scan: Scan, lesion: Lesion, warning: Warning) -> Visit:
    return unknown(scan.name, scan.days, baseline=scan.baselines[lesion.id], warning=warning)


def _drawn(
    scan: Scan, follow_up: FollowUp, mask: Mask | None
) -> tuple[tuple[Structure, ...] | None, str, tuple[Warning, ...]]:
    """Return regions in the plan's frame, split into islands, with their source and the warnings.

    None instead of regions means that nothing was contoured; it does not mean that there is no lesion.
    """
    if mask is not None:
        return _from_mask(scan, mask)
    if not follow_up.structures:
        return None, "", ()
    if follow_up.rival_structures:
        problem = f"has several structure sets, and it is unclear which one is valid: {follow_up.rival_structures}"
        raise StudyError(scan.name, problem, f"Keep one of them, or give its label map with --mask {scan.name}=FILE")
    structures, warnings, source = read_follow_up_structures(Path(follow_up.structures[0]))
    if len(follow_up.structures) > 1:
        reason = "RTSTRUCT before SEG, approved before unapproved, then the latest"
        count = len(follow_up.structures)
        several = WarningCode.SEVERAL_STRUCTURE_SETS(count=count, used=follow_up.chosen_structures, reason=reason)
        warnings = (*warnings, several)
    placed = [moved_structure(scan.registration.to_plan, s) for s in structures if s.contours]
    lesions = tuple(s for s in placed if looks_like_target(s) or _in_place_of_a_lesion(scan, s))
    other_names = [s.name for s in placed if all(s is not lesion for lesion in lesions)]
    if other_names:
        warnings = (*warnings, WarningCode.NOT_TAKEN(visit=scan.name, names=", ".join(other_names)))
    if not lesions:
        return None, "", (*warnings, WarningCode.NO_LESIONS_CONTOURED())
    outer_structures, nested_warnings = without_nested(lesions)
    return tuple(island for s in outer_structures for island in split_islands(s)), source, (*warnings, *nested_warnings)


def _in_place_of_a_lesion(scan: Scan, structure: Structure) -> bool:
    """Return whether a structure with an anatomical name ("L periventricular") has position and size of a lesion."""
    volumes = {lesion: volume.cc for lesion, (volume, _) in scan.baselines.items()}
    size = contour_volume_cc(structure)
    if is_helper(structure.name) or size > MAX_GROWTH * sum(volumes.values()):
        return False
    matches, _ = match_lesions(scan.study.lesions, (structure,))
    return size <= MAX_GROWTH * sum(volumes[match.lesion] for match in matches if match.regions)


def _from_mask(scan: Scan, mask: Mask) -> tuple[tuple[Structure, ...], str, tuple[Warning, ...]]:
    warnings: list[Warning] = []
    grid = Grid.of(mask.image)
    structures = label_structures(mask.image, mask.values)
    moved = tuple(moved_structure(scan.registration.to_plan, region) for region in structures)
    on_follow_up, on_plan = (
        same_grid(grid, Grid.of(i), tolerance_mm=SAME_GRID_MM) for i in (scan.image, scan.study.mr)
    )
    if not on_follow_up and not on_plan:
        problem = f"lies neither on the grid of {scan.name} nor on that of the planning MR"
        raise StudyError(mask.path, problem, "Contour or resample it on one of them")
    if on_follow_up and on_plan and not mask.image.HasMetaDataKey(ON_PLAN):
        on_plan = _hits(scan, structures) > _hits(scan, moved)
        chosen = "planning MR, where it matches more lesions" if on_plan else "follow-up"
        warnings.append(WarningCode.MASK_ON_EITHER(scan=chosen))
    regions = structures if on_plan else moved
    if not regions:
        warnings.append(WarningCode.EMPTY_MASK())
    if mask.values is None and labels_touch(mask.image):
        warnings.append(WarningCode.LABELS_TOUCH())
    return regions, "label map", tuple(warnings)


def _hits(scan: Scan, regions: tuple[Structure, ...]) -> int:
    return sum(bool(match.regions) for match in match_lesions(scan.study.lesions, regions)[0])


def _match(scan: Scan, contoured: tuple[Structure, ...], source: str) -> tuple[dict[str, Visit], list[Region]]:
    matches, _ = match_lesions(scan.study.lesions, contoured)
    after = [volume_interval(region, scan.boundary_mm) for region in contoured]
    before = {lesion: volume for lesion, (volume, _) in scan.baselines.items()}
    owners: dict[int, str] = {}
    measured: dict[str, Visit] = {}
    for match in matches:
        match_warnings: tuple[Warning, ...] = ()
        lesion_ids = sorted((match.lesion, *match.merged_with))
        if match.merged_with:
            match_warnings = (WarningCode.MERGED_LESIONS(lesions=" and ".join(lesion_ids), visit=scan.name),)
        match_warnings += tuple(w for n in match.regions for w in stack_planes(contoured[n]).warnings)
        baseline, volume_now = match.volumes(before, after, boundary_mm=scan.boundary_mm)
        measured[match.lesion] = Visit(
            scan.name, scan.days, match.status, volume_now,
            of_parts([diameters(contoured[n]) for n in match.regions]) if match.regions else None,
            baseline, None if match.merged_with else scan.baselines[match.lesion][1], source,
            match.merged_with, match_warnings,
        )  # fmt: skip
        owners |= dict.fromkeys(match.regions, "+".join(lesion_ids))
    return measured, [Region(region, source, owners.get(n, "")) for n, region in enumerate(contoured)]


def _undrawn(
    scan: Scan, lesion: Lesion, seed: Structure, propose: bool, not_contoured: bool
) -> tuple[Visit, Region | None] | None:
    """Return the visit, and the proposed region, of a lesion that was not contoured.

    None means that the lesion vanished: other lesions were contoured, and nothing enhances at its position. Where
    tissue still enhances, the lesion may have been overlooked, or left out of a later plan on purpose.
    """
    if not_contoured and not propose:
        return _unknown(scan, lesion, WarningCode.NOTHING_CONTOURED()), None
    try:
        proposal = propose_contour(scan.image, seed)
    except RTResponseError as error:
        return _unknown(scan, lesion, WarningCode.NOTHING_PROPOSED(reason=error)), None
    if proposal.structure is None:
        return (_unknown(scan, lesion, proposal.warnings[0]), None) if not_contoured else None
    warnings = proposal.warnings
    if not not_contoured:
        warnings = (WarningCode.LESION_NOT_CONTOURED(lesion=lesion.id, visit=scan.name), *warnings)
        if not propose:
            return _unknown(scan, lesion, warnings[0]), None
    region = moved_structure(scan.registration.to_plan, proposal.structure)
    visit = Visit(
        scan.name, scan.days, PROPOSED, volume_interval(region, scan.boundary_mm), diameters(region),
        *scan.baselines[lesion.id], PROPOSED, (), warnings,
    )  # fmt: skip
    return visit, Region(region, PROPOSED, lesion.id)
