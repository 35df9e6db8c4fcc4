"""Match regions of a follow-up to lesions of the plan: matched, split, merged, vanished or new; all in one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt, label

from RTResponseCAMLib.imaging.fraction import box_fraction, structure_box
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.overlap import STEP_MM, filled_pair, is_within
from RTResponseCAMLib.imaging.planes import centroid_mm, contour_volume_cc, stack_planes
from RTResponseCAMLib.response.volume import BOUNDARY_MM, Volume, absent_volume, together
from RTResponseCAMLib.study import Lesion, Structure

TOLERANCE_MM = 2.0
MIN_SHARE = 0.1
JOIN_MM = 1.0


@dataclass(frozen=True)
class Match:
    """Regions of a follow-up that belong to one lesion, or jointly to several merged lesions.

    Attributes
    ----------
    lesion : lesion id in the plan.
    regions : indices in the list of regions; empty when none overlaps. Merged lesions share all of their regions.
    merged_with : ids of the lesions linked to it by shared regions, directly or through other lesions.
    """

    lesion: str
    regions: tuple[int, ...]
    merged_with: tuple[str, ...]

    @property
    def status(self) -> str:
        """Status: "vanished", "merged", "split" or "matched"."""
        if not self.regions:
            return "vanished"
        return "merged" if self.merged_with else "split" if len(self.regions) > 1 else "matched"

    def volumes(
        self, before: Mapping[str, Volume], after: Sequence[Volume], *, boundary_mm: float = BOUNDARY_MM
    ) -> tuple[Volume, Volume]:
        """Volumes to compare, at the plan and at the follow-up: sums over the merged lesions and over their regions.

        Parameters
        ----------
        before : volumes at the plan, by lesion id.
        after : volumes of the regions.
        boundary_mm : uncertainty of the boundary, mm, see `volume_interval`.
        """
        baseline = together([before[lesion_id] for lesion_id in (self.lesion, *self.merged_with)])
        follow_up = together([after[index] for index in self.regions]) if self.regions else absent_volume(boundary_mm)
        return baseline, follow_up


def split_islands(structure: Structure) -> tuple[Structure, ...]:
    """Parts of a structure with gaps of more than 2 mm and of more than one missing slice; largest first.

    The parts are connected components after a dilation by distance transform. Each contour is assigned as a whole to
    the part that it encloses or lies in. A structure of one part is returned unchanged.
    """
    grid = structure_box(structure, _lattice(structure))
    # A missing slice must not split a lesion.
    reach = max(JOIN_MM, 0.55 * float(np.median(np.diff(stack_planes(structure).slabs_mm, axis=1))))
    padding = int(np.ceil(reach / STEP_MM)) + 1
    filled = np.pad(box_fraction(structure, grid) > 0.2, padding)
    joined = distance_transform_edt(~filled, sampling=STEP_MM) <= reach
    parts, count = label(joined, structure=np.ones((3, 3, 3)))
    if count < 2:
        return (structure,)
    nearest = distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    owners = []
    for contour in structure.contours:
        index = np.rint(grid.to_index(contour)).astype(int)[:, ::-1]
        index = np.clip(index + padding, 0, np.asarray(parts.shape) - 1)
        labels = parts[tuple(nearest[:, index[:, 0], index[:, 1], index[:, 2]])]
        owners.append(int(np.bincount(labels).argmax()))
    groups = [tuple(c for c, o in zip(structure.contours, owners, strict=True) if o == n) for n in range(1, count + 1)]
    islands = [replace(structure, contours=group) for group in groups if group]
    if len(islands) < 2:
        return (structure,)
    islands.sort(key=contour_volume_cc, reverse=True)
    return tuple(replace(s, name=f"{s.name}/{n}") for n, s in enumerate(islands, start=1))


def match_lesions(lesions: tuple[Lesion, ...], regions: tuple[Structure, ...]) -> tuple[tuple[Match, ...], list[int]]:
    """Match regions to lesions by overlap; returns the matches and the indices of regions that match no lesion.

    A region matches every lesion with which it overlaps by at least a tenth of the smaller of the two volumes. A region
    without such a lesion matches the lesions that meet this condition after dilation by 2 mm, the error of registration
    and boundary. Lesions that share regions are matched together as merged.
    """
    all_regions = range(len(regions))
    pairs = _pairs(lesions, regions, all_regions, 0.0)
    matched = {index for _, index in pairs}
    pairs |= _pairs(
        lesions, regions, [region_index for region_index in all_regions if region_index not in matched], TOLERANCE_MM
    )
    tied = [({lesion.id}, {index for lesion_id, index in pairs if lesion_id == lesion.id}) for lesion in lesions]
    groups: list[tuple[set[str], set[int]]] = []
    for lesion_ids, indices in tied:
        joined = [group for group in groups if group[1] & indices]
        groups = [group for group in groups if not group[1] & indices]
        groups.append((lesion_ids.union(*(g[0] for g in joined)), indices.union(*(g[1] for g in joined))))
    matches = []
    for lesion in lesions:
        lesion_ids, indices = next(group for group in groups if lesion.id in group[0])
        matches.append(Match(lesion.id, tuple(sorted(indices)), tuple(sorted(lesion_ids - {lesion.id}))))
    all_matched = {index for _, index in pairs}
    return tuple(matches), [index for index in range(len(regions)) if index not in all_matched]


def _pairs(
    lesions: tuple[Lesion, ...], regions: tuple[Structure, ...], numbers: Sequence[int], reach_mm: float
) -> set[tuple[str, int]]:
    return {
        (lesion.id, index)
        for lesion in lesions
        for index in numbers
        if is_within(lesion.structure, regions[index], reach_mm=reach_mm)
        and _overlap(lesion.structure, regions[index], reach_mm)
    }


def _overlap(first: Structure, second: Structure, reach_mm: float) -> bool:
    a, b, step_mm = filled_pair(first, second, margin_mm=reach_mm)
    grown = distance_transform_edt(~a, sampling=step_mm) <= reach_mm
    return bool((grown & b).sum() >= MIN_SHARE * min(a.sum(), b.sum()))


def _lattice(structure: Structure) -> Grid:
    x, y, z = centroid_mm(structure).tolist()
    return Grid((1, 1, 1), (STEP_MM,) * 3, (x, y, z))
