"""Which region of a follow-up is which lesion of the plan: kept, split, merged, vanished, new. All in one frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt, label

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.occupancy import box_occupancy, filled_voxels, structure_box
from RTResponseCAMLib.imaging.planes import centroid_mm
from RTResponseCAMLib.study import Lesion, Structure

STEP_MM = 0.8
TOLERANCE_MM = 2.0
MIN_SHARE = 0.1
JOIN_MM = 1.0


@dataclass(frozen=True)
class Match:
    """Regions of a follow-up that belong to one lesion.

    Attributes
    ----------
    lesion : id in the plan.
    regions : positions in the list of regions; empty when none overlaps.
    merged_with : ids of other lesions that share a region.
    """

    lesion: str
    regions: tuple[int, ...]
    merged_with: tuple[str, ...]

    @property
    def word(self) -> str:
        """One word for people: "vanished", "merged", "split" or "matched"."""
        if not self.regions:
            return "vanished"
        return "merged" if self.merged_with else "split" if len(self.regions) > 1 else "matched"


def split_islands(structure: Structure) -> tuple[Structure, ...]:
    """Parts of a structure that lie over 2 mm apart, largest first; one part keeps the structure itself.

    Contours are shared out whole, by the part that they enclose or lie in.
    """
    grid = structure_box(structure, _lattice(structure))
    filled = np.pad(box_occupancy(structure, grid) > 0.2, 2)
    joined = distance_transform_edt(~filled, sampling=STEP_MM) <= JOIN_MM  # a lost slice must not cut a lesion in two
    parts, count = label(joined, structure=np.ones((3, 3, 3)))
    if count < 2:
        return (structure,)
    nearest = distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    owners = []
    for contour in structure.contours:
        index = np.rint(grid.to_index(contour)).astype(int)[:, ::-1]
        index = np.clip(index + 2, 0, np.asarray(parts.shape) - 1)
        labels = parts[tuple(nearest[:, index[:, 0], index[:, 1], index[:, 2]])]
        owners.append(int(np.bincount(labels).argmax()))
    groups = [tuple(c for c, o in zip(structure.contours, owners, strict=True) if o == n) for n in range(1, count + 1)]
    groups = sorted((g for g in groups if g), key=lambda g: -sum(len(c) for c in g))
    if len(groups) < 2:
        return (structure,)
    return tuple(replace(structure, name=f"{structure.name}/{n}", contours=g) for n, g in enumerate(groups, start=1))


def match_lesions(lesions: tuple[Lesion, ...], regions: tuple[Structure, ...]) -> tuple[tuple[Match, ...], list[int]]:
    """Match regions to lesions by overlap, within 2 mm of registration error; also the regions that match none.

    A region belongs to a lesion when a tenth of the smaller of the two lies in the other, grown by the tolerance.
    """
    overlaps = {
        (lesion.id, number)
        for lesion in lesions
        for number, region in enumerate(regions)
        if _near(lesion.structure, region) and _overlap(lesion.structure, region)
    }
    matches = []
    for lesion in lesions:
        own = tuple(number for number in range(len(regions)) if (lesion.id, number) in overlaps)
        shared = {other for other, number in overlaps if number in own and other != lesion.id}
        matches.append(Match(lesion.id, own, tuple(sorted(shared))))
    taken = {number for _, number in overlaps}
    return tuple(matches), [number for number in range(len(regions)) if number not in taken]


def _near(one: Structure, other: Structure) -> bool:
    a, b = (np.concatenate(s.contours) for s in (one, other))
    reach = TOLERANCE_MM + 3.0
    return bool((a.min(axis=0) - reach < b.max(axis=0)).all() and (b.min(axis=0) - reach < a.max(axis=0)).all())


def _overlap(one: Structure, other: Structure) -> bool:
    corners = np.concatenate([np.concatenate(s.contours) for s in (one, other)])
    low = corners.min(axis=0) - TOLERANCE_MM - 2 * STEP_MM
    size = np.ceil((corners.max(axis=0) + TOLERANCE_MM + 2 * STEP_MM - low) / STEP_MM).astype(int)
    x, y, z = low.tolist()
    grid = Grid((int(size[0]), int(size[1]), int(size[2])), (STEP_MM,) * 3, (x, y, z))
    a, b = (filled_voxels(s, grid) for s in (one, other))
    grown = distance_transform_edt(~a, sampling=STEP_MM) <= TOLERANCE_MM
    return bool((grown & b).sum() >= MIN_SHARE * min(a.sum(), b.sum()))


def _lattice(structure: Structure) -> Grid:
    x, y, z = centroid_mm(structure).tolist()
    return Grid((1, 1, 1), (STEP_MM,) * 3, (x, y, z))
