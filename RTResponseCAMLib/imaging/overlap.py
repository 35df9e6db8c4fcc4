"""Spatial relations of structures: distance, overlap on a fine lattice, nesting, and coverage by an image."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.fraction import filled_voxels
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.parts import points_inside
from RTResponseCAMLib.imaging.planes import Array64, stack_planes
from RTResponseCAMLib.study import Structure
from RTResponseCAMLib.warnings import Warning, WarningCode

STEP_MM, MOST_VOXELS = 0.8, 4_000_000
NESTED, PROBES, MOST_STEPS = 0.8, 3000, 200
VOLUME_RANKS = {"GTV": 0, "CTV": 2, "PTV": 3}
Mask = npt.NDArray[np.bool_]


def is_within(first: Structure, second: Structure, *, reach_mm: float) -> bool:
    """Return True if the distance of the bounding boxes is less than ``reach_mm`` along every axis."""
    return _boxes_meet(_box(first), _box(second), reach_mm)


def filled_pair(first: Structure, second: Structure, *, margin_mm: float = 0.0) -> tuple[Mask, Mask, float]:
    """Return the masks of two structures on a common lattice, and its step, mm.

    The lattice contains both structures and a margin. Its step is `STEP_MM`, larger for large structures.
    """
    points = np.concatenate([np.concatenate(s.contours) for s in (first, second)])
    low = points.min(axis=0) - margin_mm - 2 * STEP_MM
    extent = points.max(axis=0) + margin_mm + 2 * STEP_MM - low
    step = max(STEP_MM, float(np.prod(extent) / MOST_VOXELS) ** (1 / 3))
    size = np.ceil(extent / step).astype(int)
    x, y, z = low.tolist()
    grid = Grid((int(size[0]), int(size[1]), int(size[2])), (step,) * 3, (x, y, z))
    return filled_voxels(first, grid), filled_voxels(second, grid), step


def share_on_image(structure: Structure, image: sitk.Image) -> float:
    """Return the fraction of a structure's contour points that lie on an image's voxels, 0…1."""
    index = Grid.of(image).to_index(np.concatenate(structure.contours))
    return float(((index >= -0.5) & (index <= np.asarray(image.GetSize()) - 0.5)).all(axis=1).mean())


def without_nested(structures: tuple[Structure, ...]) -> tuple[tuple[Structure, ...], tuple[Warning, ...]]:
    """Return the structures without duplicates of the same tumor, and a warning for each structure left out.

    A structure that contains two or more separate structures is their sum or common outline, and is left out. Two
    structures are nested if one contains 80 % of the other's volume. Of these, the GTV is kept before a CTV, and a CTV
    before a PTV (by type or name); at equal rank, the larger one is kept.
    """
    warnings: list[Warning] = []
    boxes = [_box(s) for s in structures]
    pairs = [(i, j) for i, j in itertools.permutations(range(len(boxes)), 2) if _boxes_meet(boxes[i], boxes[j], 0.0)]
    bodies = {n: _Body(structures[n]) for pair in pairs for n in pair}  # most structures have no neighbor
    inside = {(i, j): bodies[i].share_in(bodies[j]) for i, j in pairs if bodies[i].volume_cc <= bodies[j].volume_cc}
    nested = {pair for pair, share in inside.items() if share >= NESTED}
    dropped: set[int] = set()
    for j in range(len(structures)):
        contained = [i for i, k in nested if k == j]
        separate = [i for i in contained if not any((i, o) in nested or (o, i) in nested for o in contained if o != i)]
        if len(separate) > 1:
            dropped.add(j)
            values = {"name": structures[j].name, "volume": bodies[j].volume_cc, "count": len(separate)}
            warnings.append(WarningCode.HOLDS_TARGETS(**values))
    for i, j in sorted(nested, key=lambda pair: tuple(sorted(pair))):
        if i in dropped or j in dropped:
            continue
        left, right = structures[i], structures[j]
        left_first = (_rank(left), -bodies[i].volume_cc) <= (_rank(right), -bodies[j].volume_cc)
        dropped_index, kept_index = (j, i) if left_first else (i, j)
        dropped.add(dropped_index)
        warnings.append(WarningCode.NESTED_ROI(left=structures[dropped_index].name, kept=structures[kept_index].name))
    return tuple(s for n, s in enumerate(structures) if n not in dropped), tuple(warnings)


def _box(structure: Structure) -> Array64:
    points = np.concatenate(structure.contours)
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _boxes_meet(first: Array64, second: Array64, reach_mm: float) -> bool:
    return bool((first[0] - reach_mm < second[1]).all() and (second[0] - reach_mm < first[1]).all())


class _Body:
    """A structure as slabs of its contour planes, for point-in-structure tests without voxels."""

    def __init__(self, structure: Structure) -> None:
        try:
            self._stacks = stack_planes(structure).each
        except GeometryError:  # no volume: its measurement reports the error
            self._stacks = ()

    @property
    def volume_cc(self) -> float:
        """Return the volume of the contours, cm³."""
        return sum(stack.volume_mm3 for stack in self._stacks) / 1000

    def share_in(self, other: _Body) -> float:
        """Return the fraction of this structure's volume that lies in another, 0…1."""
        points = self._points()
        return float(other.holds(points).mean()) if len(points) else 0.0

    def holds(self, points_mm: Array64) -> Mask:
        """Return a mask of the LPS points ``(n, 3)``, mm, that lie inside."""
        inside = np.zeros(len(points_mm), dtype=bool)
        for stack in self._stacks:
            local = points_mm @ stack.axes.T
            for polygons, (low, high) in zip(stack.polygons, stack.slabs_mm, strict=True):
                layer = np.flatnonzero((local[:, 2] >= low) & (local[:, 2] < high))
                if len(layer):
                    inside[layer] |= points_inside(polygons, local[layer, :2])
        return inside

    def _points(self) -> Array64:
        """Return about `PROBES` points, evenly distributed over the structure, LPS, mm."""
        points = []
        step = max((1000 * self.volume_cc / PROBES) ** (1 / 3), 1e-3)
        for stack in self._stacks:
            for polygons, (low, high) in zip(stack.polygons, stack.slabs_mm, strict=True):
                corners = np.concatenate(polygons)
                width = np.maximum(np.ptp(corners, axis=0), 1e-6)
                u, v = (np.linspace(0, 1, int(np.clip(w / step, 1, MOST_STEPS)) + 2)[1:-1] for w in width)
                plane = corners.min(axis=0) + np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2) * width
                plane = plane[points_inside(polygons, plane)]
                layers = max(round((high - low) / step), 1)
                for w in low + (np.arange(layers) + 0.5) * (high - low) / layers:
                    points.append(np.column_stack([plane, np.full(len(plane), w)]) @ stack.axes)
        return np.concatenate(points) if points else np.zeros((0, 3))


def _rank(structure: Structure) -> int:
    for word, rank in VOLUME_RANKS.items():
        if structure.kind == word or word in structure.name.upper():
            return rank
    return 1
