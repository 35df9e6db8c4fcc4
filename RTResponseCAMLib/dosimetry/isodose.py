"""Volumes within isodoses, divided among the targets: fine voxels of the dose, each owned by the nearest target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import find_objects, label, zoom
from scipy.spatial import cKDTree

from RTResponseCAMLib.dosimetry.dvh import INTERPOLATIONS
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.volume_sampling import VolumeSamples
from RTResponseCAMLib.study import Dose

MARGIN = 3  # voxels of the dose grid around an isodose
FINE_MM, SMALL_MM, SMALL_CC = 0.75, 0.35, 0.5  # of the fine voxels; beside a target below that volume; cm³
BLOCK, AT_ONCE = 4, 1_000_000  # voxels along a block whose corners are asked for their nearest target; asked at once
MOST_VOXELS = 30_000_000  # of one region: a gigabyte; larger ones stay at `FINE_MM`
CORNERS = list(product((0, 1), repeat=3))
TOUCHING = np.ones((3, 3, 3), dtype=bool)
Array32 = npt.NDArray[np.float32]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class IsodoseField:
    """The dose above the lowest level asked for, as lists of fine voxels ``(n,)``.

    Attributes
    ----------
    dose, change, owner : Gy, what one step changes it by, and the number of the nearest target.
    voxel_cc : volume of each voxel, cm³.
    together : per level, the targets whose isodoses of that level are one.
    truncated : per level, the targets whose isodose of that level reaches the edge of the dose grid.
    """

    dose: Array32
    change: Array32
    owner: npt.NDArray[np.int16]
    voxel_cc: Array32
    together: Mapping[float, Sequence[set[int]]]
    truncated: Mapping[float, set[int]]

    def of(self, number: int) -> IsodoseField:
        """The part that one target owns."""
        own = self.owner == number
        return IsodoseField(
            self.dose[own], self.change[own], self.owner[own], self.voxel_cc[own], self.together, self.truncated
        )

    def above_cc(self, level_gy: float) -> npt.NDArray[np.float64]:
        """Volume of each voxel that receives a dose at least, cm³: a level crosses a voxel as a plane does."""
        share = np.clip(0.5 + (self.dose - level_gy) / np.maximum(self.change, 1e-9), 0.0, 1.0)
        return np.asarray(share * self.voxel_cc, dtype=np.float64)


def isodose_field(
    dose: Dose, target_samples: Sequence[VolumeSamples], *, levels_gy: Sequence[float], interpolation: str
) -> IsodoseField:
    """Fine voxels of everything above the lowest of the levels."""
    lowest = min(levels_gy)
    nearest = cKDTree(np.concatenate([b.points_mm for b in target_samples]))
    number = np.repeat(np.arange(len(target_samples), dtype=np.int16), [len(b.points_mm) for b in target_samples])
    smallest = [float(b.weight_cc.sum()) for b in target_samples]
    found: list[tuple[Array32, Array32, npt.NDArray[np.int16], Array32]] = []
    together: dict[float, list[set[int]]] = {level: [] for level in levels_gy}
    truncated: dict[float, set[int]] = {level: set() for level in levels_gy}
    for box in _regions(dose, lowest):
        owners = set(_owners_of(dose, box, nearest, number, lowest))
        fine_mm = SMALL_MM if min(smallest[n] for n in owners) < SMALL_CC else FINE_MM
        fine, grid = _finer(dose, box, fine_mm, interpolation)
        change = np.zeros_like(fine)
        for axis in range(3):
            change += np.abs(np.gradient(fine, axis=axis))
        kept = fine + change / 2 >= lowest
        if len(owners) == 1:
            owner = np.where(kept, np.int16(owners.pop()), np.int16(-1))
        else:
            owner = _nearest_samples(kept, grid, nearest, number)
        for level in together:
            pieces, count = label(fine >= level)
            inside = pieces > 0
            pairs = np.unique(np.column_stack([pieces[inside], owner[inside]]), axis=0)
            together[level] += [set(pairs[pairs[:, 0] == n, 1].tolist()) for n in range(1, count + 1)]
            for face in _faces(dose, box):
                truncated[level] |= set(owner[face][inside[face]].tolist())
        found.append((fine[kept], change[kept], owner[kept], np.full(int(kept.sum()), grid.voxel_cc, np.float32)))
    if not found:
        none = np.zeros(0, dtype=np.float32)
        return IsodoseField(none, none, none.astype(np.int16), none, together, truncated)
    fine_gy, changes, owned, voxels = (np.concatenate([part[n] for part in found]) for n in range(4))
    return IsodoseField(fine_gy, changes, owned.astype(np.int16, copy=False), voxels, together, truncated)


def _nearest_samples(
    kept: npt.NDArray[np.bool_], grid: Grid, nearest: cKDTree, number: npt.NDArray[np.int16]
) -> npt.NDArray[np.int16]:
    """Number of the nearest target of each kept voxel, −1 elsewhere; asked one by one only where targets meet."""

    def asked(index: npt.NDArray[np.intp]) -> npt.NDArray[np.int16]:
        each = (index[n : n + AT_ONCE, ::-1] for n in range(0, len(index), AT_ONCE))
        return np.concatenate(
            [np.zeros(0, np.int16), *(number[nearest.query(grid.to_lps(i), workers=-1)[1]] for i in each)]
        )

    blocks = kept
    for axis, length in enumerate(kept.shape):
        blocks = np.logical_or.reduceat(blocks, np.arange(0, length, BLOCK), axis=axis)
    corners = np.zeros([n + 1 for n in blocks.shape], dtype=bool)
    eight = [tuple(slice(side, side + n) for side, n in zip(sides, blocks.shape, strict=True)) for sides in CORNERS]
    for corner in eight:
        corners[corner] |= blocks
    known = np.full(corners.shape, -1, dtype=np.int16)
    known[corners] = asked(np.argwhere(corners) * BLOCK)
    same = np.logical_and.reduce([known[corner] == known[eight[0]] for corner in eight])
    owner = np.where(same, known[eight[0]], np.int16(-2))
    for axis, length in enumerate(kept.shape):
        owner = owner.repeat(BLOCK, axis=axis).take(np.arange(length), axis=axis)
    owner[~kept] = -1
    owner[owner == -2] = asked(np.argwhere(owner == -2))
    return owner


def _regions(dose: Dose, level_gy: float) -> Iterator[Box]:
    """Boxes of the dose grid, apart from each other, that hold all of an isodose and a margin around it."""
    values = sitk.GetArrayViewFromImage(dose.image)
    pieces, _ = label(values >= level_gy, TOUCHING)
    boxes = [
        tuple(slice(max(s.start - MARGIN, 0), min(s.stop + MARGIN, n)) for s, n in zip(box, values.shape, strict=True))
        for box in find_objects(pieces)
    ]
    apart: list[Box] = []
    while boxes:
        box = boxes.pop()
        meets = next(
            (b for b in apart if all(x.start < y.stop and y.start < x.stop for x, y in zip(b, box, strict=True))), None
        )
        if meets is None:
            apart.append(box)  # type: ignore[arg-type]
        else:
            apart.remove(meets)
            boxes.append(
                tuple(slice(min(x.start, y.start), max(x.stop, y.stop)) for x, y in zip(meets, box, strict=True))
            )
    yield from apart


def _owners_of(dose: Dose, box: Box, nearest: cKDTree, number: npt.NDArray[np.int16], level_gy: float) -> list[int]:
    """Targets that own a part of a region."""
    grid = Grid.of(dose.image)
    index = np.argwhere(sitk.GetArrayViewFromImage(dose.image)[box] >= level_gy) + [s.start for s in box]
    return np.unique(number[nearest.query(grid.to_lps(index[:, ::-1]), workers=-1)[1]]).tolist()


def _finer(dose: Dose, box: Box, fine_mm: float, interpolation: str) -> tuple[Array32, Grid]:
    """A region of the dose on voxels of ``fine_mm`` or less, the outermost where those of the dose are."""
    grid = Grid.of(dose.image)
    part = np.asarray(sitk.GetArrayViewFromImage(dose.image)[box], dtype=np.float32)
    for step in (fine_mm, FINE_MM):
        factor = [max(int(np.ceil(s / step - 1e-6)), 1) for s in grid.spacing_mm[::-1]]
        size = [(n - 1) * f + 1 for n, f in zip(part.shape, factor, strict=True)]
        if np.prod(size) <= MOST_VOXELS:
            break
    fine = zoom(part, np.asarray(size) / part.shape, order=INTERPOLATIONS[interpolation], mode="nearest")
    x, y, z = (float(v) for v in grid.to_lps(np.asarray([[s.start for s in box][::-1]]))[0])
    i, j, k = (s / f for s, f in zip(grid.spacing_mm, factor[::-1], strict=True))
    return fine, Grid((size[2], size[1], size[0]), (i, j, k), (x, y, z), grid.direction)


def _faces(dose: Dose, box: Box) -> Iterator[tuple[slice | int, ...]]:
    """Where a region ends because the dose grid does."""
    shape = dose.image.GetSize()[::-1]
    for axis, (part, size) in enumerate(zip(box, shape, strict=True)):
        for side, at_edge in ((0, part.start == 0), (-1, part.stop == size)):
            if at_edge:
                yield (*(slice(None),) * axis, side)
