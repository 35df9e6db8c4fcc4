"""Isodose volumes on a refined dose grid, where every fine voxel is assigned to the nearest target."""

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
FINE_MM, SMALL_MM, SMALL_CC = 0.75, 0.35, 0.5  # size of fine voxels; size for targets below `SMALL_CC`; cm³
BLOCK, AT_ONCE = 4, 1_000_000  # voxels along a block (nearest target found at its corners); points per query
MOST_VOXELS = 30_000_000  # limit of one region (about a gigabyte); larger regions use `FINE_MM`
CORNERS = list(product((0, 1), repeat=3))
TOUCHING = np.ones((3, 3, 3), dtype=bool)
Array32 = npt.NDArray[np.float32]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class IsodoseField:
    """The dose above the lowest requested level, as lists of fine voxels ``(n,)``.

    Attributes
    ----------
    dose : dose of each voxel, Gy.
    change : change of the dose across one voxel, Gy: sum of the absolute gradients along the three axes.
    owner : index of the nearest target.
    voxel_cc : volume of each voxel, cm³.
    together : per level, sets of targets that share one connected isodose of that level.
    truncated : per level, the targets whose isodose of that level reaches the edge of the dose grid.
    """

    dose: Array32
    change: Array32
    owner: npt.NDArray[np.int16]
    voxel_cc: Array32
    together: Mapping[float, Sequence[set[int]]]
    truncated: Mapping[float, set[int]]

    def of(self, number: int) -> IsodoseField:
        """The voxels assigned to one target."""
        owned = self.owner == number
        return IsodoseField(
            self.dose[owned], self.change[owned], self.owner[owned], self.voxel_cc[owned], self.together, self.truncated
        )

    def above_cc(self, level_gy: float) -> npt.NDArray[np.float64]:
        """Volume of each voxel that receives at least ``level_gy``, cm³ ``(n,)``, from its partial-volume fraction.

        The isodose is treated as a plane that crosses the voxel.
        """
        fraction = np.clip(0.5 + (self.dose - level_gy) / np.maximum(self.change, 1e-9), 0.0, 1.0)
        return np.asarray(fraction * self.voxel_cc, dtype=np.float64)


def isodose_field(
    dose: Dose, target_samples: Sequence[VolumeSamples], *, levels_gy: Sequence[float], interpolation: str
) -> IsodoseField:
    """Refine the dose above the lowest level and assign every fine voxel to the nearest target.

    Parameters
    ----------
    target_samples : sample points of each target; their order gives the target indices.
    levels_gy : isodose levels, Gy.
    interpolation : "linear", "cubic" or "quintic".
    """
    lowest = min(levels_gy)
    tree = cKDTree(np.concatenate([samples.points_mm for samples in target_samples]))
    point_owner = np.repeat(
        np.arange(len(target_samples), dtype=np.int16), [len(samples.points_mm) for samples in target_samples]
    )
    volumes_cc = [float(samples.weight_cc.sum()) for samples in target_samples]
    regions: list[tuple[Array32, Array32, npt.NDArray[np.int16], Array32]] = []
    together: dict[float, list[set[int]]] = {level: [] for level in levels_gy}
    truncated: dict[float, set[int]] = {level: set() for level in levels_gy}
    for box in _regions(dose, lowest):
        owners = set(_owners_of(dose, box, tree, point_owner, lowest))
        fine_mm = SMALL_MM if min(volumes_cc[n] for n in owners) < SMALL_CC else FINE_MM
        fine, grid = _finer(dose, box, fine_mm, interpolation)
        change = np.zeros_like(fine)
        for axis in range(3):
            change += np.abs(np.gradient(fine, axis=axis))
        above = fine + change / 2 >= lowest
        if len(owners) == 1:
            owner = np.where(above, np.int16(owners.pop()), np.int16(-1))
        else:
            owner = _nearest_samples(above, grid, tree, point_owner)
        for level in together:
            pieces, count = label(fine >= level)
            inside = pieces > 0
            pairs = np.unique(np.column_stack([pieces[inside], owner[inside]]), axis=0)
            together[level] += [set(pairs[pairs[:, 0] == n, 1].tolist()) for n in range(1, count + 1)]
            for face in _faces(dose, box):
                truncated[level] |= set(owner[face][inside[face]].tolist())
        regions.append((fine[above], change[above], owner[above], np.full(int(above.sum()), grid.voxel_cc, np.float32)))
    if not regions:
        empty = np.zeros(0, dtype=np.float32)
        return IsodoseField(empty, empty, empty.astype(np.int16), empty, together, truncated)
    fine_gy, changes, owned, voxels = (np.concatenate([region[n] for region in regions]) for n in range(4))
    return IsodoseField(fine_gy, changes, owned.astype(np.int16, copy=False), voxels, together, truncated)


def _nearest_samples(
    voxels: npt.NDArray[np.bool_], grid: Grid, nearest: cKDTree, number: npt.NDArray[np.int16]
) -> npt.NDArray[np.int16]:
    """Index of the nearest target of each voxel in ``voxels`` (int16, shape of ``voxels``), −1 elsewhere.

    The nearest target is looked up at the corners of blocks of `BLOCK` voxels. Single voxels are looked up only in
    blocks whose corners belong to different targets.
    """

    def nearest_targets(index: npt.NDArray[np.intp]) -> npt.NDArray[np.int16]:
        chunks = (index[n : n + AT_ONCE, ::-1] for n in range(0, len(index), AT_ONCE))
        return np.concatenate(
            [np.zeros(0, np.int16), *(number[nearest.query(grid.to_lps(i), workers=-1)[1]] for i in chunks)]
        )

    blocks = voxels
    for axis, length in enumerate(voxels.shape):
        blocks = np.logical_or.reduceat(blocks, np.arange(0, length, BLOCK), axis=axis)
    corners = np.zeros([n + 1 for n in blocks.shape], dtype=bool)
    corner_slices = [
        tuple(slice(side, side + n) for side, n in zip(sides, blocks.shape, strict=True)) for sides in CORNERS
    ]
    for corner in corner_slices:
        corners[corner] |= blocks
    corner_owner = np.full(corners.shape, -1, dtype=np.int16)
    corner_owner[corners] = nearest_targets(np.argwhere(corners) * BLOCK)
    is_uniform = np.logical_and.reduce(
        [corner_owner[corner] == corner_owner[corner_slices[0]] for corner in corner_slices]
    )
    owner = np.where(is_uniform, corner_owner[corner_slices[0]], np.int16(-2))
    for axis, length in enumerate(voxels.shape):
        owner = owner.repeat(BLOCK, axis=axis).take(np.arange(length), axis=axis)
    owner[~voxels] = -1
    owner[owner == -2] = nearest_targets(np.argwhere(owner == -2))
    return owner


def _regions(dose: Dose, level_gy: float) -> Iterator[Box]:
    """Disjoint boxes of the dose grid (slices z, y, x) that contain an isodose and a margin of `MARGIN` voxels."""
    values = sitk.GetArrayViewFromImage(dose.image)
    pieces, _ = label(values >= level_gy, TOUCHING)
    boxes = [
        tuple(slice(max(s.start - MARGIN, 0), min(s.stop + MARGIN, n)) for s, n in zip(box, values.shape, strict=True))
        for box in find_objects(pieces)
    ]
    disjoint: list[Box] = []
    while boxes:
        box = boxes.pop()
        overlapping = next(
            (b for b in disjoint if all(x.start < y.stop and y.start < x.stop for x, y in zip(b, box, strict=True))),
            None,
        )
        if overlapping is None:
            disjoint.append(box)  # type: ignore[arg-type]
        else:
            disjoint.remove(overlapping)
            boxes.append(
                tuple(slice(min(x.start, y.start), max(x.stop, y.stop)) for x, y in zip(overlapping, box, strict=True))
            )
    yield from disjoint


def _owners_of(dose: Dose, box: Box, nearest: cKDTree, number: npt.NDArray[np.int16], level_gy: float) -> list[int]:
    """Indices of the targets that are nearest to some voxel of a region above the level."""
    grid = Grid.of(dose.image)
    index = np.argwhere(sitk.GetArrayViewFromImage(dose.image)[box] >= level_gy) + [s.start for s in box]
    return np.unique(number[nearest.query(grid.to_lps(index[:, ::-1]), workers=-1)[1]]).tolist()


def _finer(dose: Dose, box: Box, fine_mm: float, interpolation: str) -> tuple[Array32, Grid]:
    """Region of the dose, interpolated on voxels of at most ``fine_mm``, and its grid.

    The outermost fine voxels have the centers of the outermost dose voxels. Regions of more than `MOST_VOXELS` fine
    voxels use `FINE_MM`.
    """
    grid = Grid.of(dose.image)
    region = np.asarray(sitk.GetArrayViewFromImage(dose.image)[box], dtype=np.float32)
    for step in (fine_mm, FINE_MM):
        factor = [max(int(np.ceil(s / step - 1e-6)), 1) for s in grid.spacing_mm[::-1]]
        size = [(n - 1) * f + 1 for n, f in zip(region.shape, factor, strict=True)]
        if np.prod(size) <= MOST_VOXELS:
            break
    fine = zoom(region, np.asarray(size) / region.shape, order=INTERPOLATIONS[interpolation], mode="nearest")
    x, y, z = (float(v) for v in grid.to_lps(np.asarray([[s.start for s in box][::-1]]))[0])
    i, j, k = (s / f for s, f in zip(grid.spacing_mm, factor[::-1], strict=True))
    return fine, Grid((size[2], size[1], size[0]), (i, j, k), (x, y, z), grid.direction)


def _faces(dose: Dose, box: Box) -> Iterator[tuple[slice | int, ...]]:
    """Index of each face of a region that lies on the edge of the dose grid."""
    shape = dose.image.GetSize()[::-1]
    for axis, (extent, size) in enumerate(zip(box, shape, strict=True)):
        for side, at_edge in ((0, extent.start == 0), (-1, extent.stop == size)):
            if at_edge:
                yield (*(slice(None),) * axis, side)
