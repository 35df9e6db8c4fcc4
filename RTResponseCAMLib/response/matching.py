"""Which region of a follow-up is which lesion of the plan: kept, split, merged, vanished, new. All in one frame."""

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
    """Regions of a follow-up that belong to one lesion, or to several together.

    Attributes
    ----------
    lesion : id in the plan.
    regions : positions in the list of regions; empty when none overlaps. Lesions that have merged share all of them.
    merged_with : ids of the lesions that are tied to it by a shared region, directly or through others.
    """

    lesion: str
    regions: tuple[int, ...]
    merged_with: tuple[str, ...]

    @property
    def status(self) -> str:
        """One word for people: "vanished", "merged", "split" or "matched"."""
        if not self.regions:
            return "vanished"
        return "merged" if self.merged_with else "split" if len(self.regions) > 1 else "matched"

    def volumes(
        self, before: Mapping[str, Volume], after: Sequence[Volume], *, boundary_mm: float = BOUNDARY_MM
    ) -> tuple[Volume, Volume]:
        """What is compared: the plan's volume and the follow-up's, of all that belong together."""
        baseline = together([before[lesion] for lesion in (self.lesion, *self.merged_with)])
        now = together([after[n] for n in self.regions]) if self.regions else absent_volume(boundary_mm)
        return baseline, now


def split_islands(structure: Structure) -> tuple[Structure, ...]:
    """Parts of a structure that lie apart by over 2 mm, and over one lost slice; largest first.

    One part keeps the structure itself. Contours are shared out whole, by the part that they enclose or lie in.
    """
    grid = structure_box(structure, _lattice(structure))
    # A lost slice must not cut a lesion in two.
    reach = max(JOIN_MM, 0.55 * float(np.median(np.diff(stack_planes(structure).slabs_mm, axis=1))))
    filled = np.pad(box_fraction(structure, grid) > 0.2, int(np.ceil(reach / STEP_MM)) + 1)
    joined = distance_transform_edt(~filled, sampling=STEP_MM) <= reach
    parts, count = label(joined, structure=np.ones((3, 3, 3)))
    if count < 2:
        return (structure,)
    nearest = distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    owners = []
    for contour in structure.contours:
        index = np.rint(grid.to_index(contour)).astype(int)[:, ::-1]
        index = np.clip(index + int(np.ceil(reach / STEP_MM)) + 1, 0, np.asarray(parts.shape) - 1)
        labels = parts[tuple(nearest[:, index[:, 0], index[:, 1], index[:, 2]])]
        owners.append(int(np.bincount(labels).argmax()))
    groups = [tuple(c for c, o in zip(structure.contours, owners, strict=True) if o == n) for n in range(1, count + 1)]
    islands = [replace(structure, contours=group) for group in groups if group]
    if len(islands) < 2:
        return (structure,)
    islands.sort(key=contour_volume_cc, reverse=True)
    return tuple(replace(s, name=f"{s.name}/{n}") for n, s in enumerate(islands, start=1))


def match_lesions(lesions: tuple[Lesion, ...], regions: tuple[Structure, ...]) -> tuple[tuple[Match, ...], list[int]]:
    """Match regions to lesions by overlap; also the regions that match none.

    A region belongs to the lesions with which it shares a tenth of the smaller of the two; one that shares it with
    none, to those that it reaches within 2 mm, the registration's and the boundary's error. Lesions tied by regions
    that they share are matched together.
    """
    everything = range(len(regions))
    pairs = _pairs(lesions, regions, everything, 0.0)
    placed = {number for _, number in pairs}
    pairs |= _pairs(lesions, regions, [n for n in everything if n not in placed], TOLERANCE_MM)
    tied = [({lesion.id}, {number for name, number in pairs if name == lesion.id}) for lesion in lesions]
    groups: list[tuple[set[str], set[int]]] = []
    for names, numbers in tied:
        joined = [group for group in groups if group[1] & numbers]
        groups = [group for group in groups if not group[1] & numbers]
        groups.append((names.union(*(g[0] for g in joined)), numbers.union(*(g[1] for g in joined))))
    matches = []
    for lesion in lesions:
        names, numbers = next(group for group in groups if lesion.id in group[0])
        matches.append(Match(lesion.id, tuple(sorted(numbers)), tuple(sorted(names - {lesion.id}))))
    taken = {number for _, number in pairs}
    return tuple(matches), [number for number in range(len(regions)) if number not in taken]


def _pairs(
    lesions: tuple[Lesion, ...], regions: tuple[Structure, ...], numbers: Sequence[int], reach_mm: float
) -> set[tuple[str, int]]:
    return {
        (lesion.id, n)
        for lesion in lesions
        for n in numbers
        if is_within(lesion.structure, regions[n], reach_mm=reach_mm)
        and _overlap(lesion.structure, regions[n], reach_mm)
    }


def _overlap(one: Structure, other: Structure, reach_mm: float) -> bool:
    a, b, step_mm = filled_pair(one, other, margin_mm=reach_mm)
    grown = distance_transform_edt(~a, sampling=step_mm) <= reach_mm
    return bool((grown & b).sum() >= MIN_SHARE * min(a.sum(), b.sum()))


def _lattice(structure: Structure) -> Grid:
    x, y, z = centroid_mm(structure).tolist()
    return Grid((1, 1, 1), (STEP_MM,) * 3, (x, y, z))
