"""How structures lie to one another and to an image, on a fine lattice of their own."""

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


def is_within(one: Structure, other: Structure, *, reach_mm: float) -> bool:
    """Whether the bounding boxes come closer than ``reach_mm``."""
    return _boxes_meet(_box(one), _box(other), reach_mm)


def filled_pair(one: Structure, other: Structure, *, margin_mm: float = 0.0) -> tuple[Mask, Mask, float]:
    """Voxels of both on one lattice that holds both and a margin, and its step, mm (`STEP_MM`, more for large ones)."""
    points = np.concatenate([np.concatenate(s.contours) for s in (one, other)])
    low = points.min(axis=0) - margin_mm - 2 * STEP_MM
    extent = points.max(axis=0) + margin_mm + 2 * STEP_MM - low
    step = max(STEP_MM, float(np.prod(extent) / MOST_VOXELS) ** (1 / 3))
    size = np.ceil(extent / step).astype(int)
    x, y, z = low.tolist()
    grid = Grid((int(size[0]), int(size[1]), int(size[2])), (step,) * 3, (x, y, z))
    return filled_voxels(one, grid), filled_voxels(other, grid), step


def share_on_image(structure: Structure, image: sitk.Image) -> float:
    """Share of a structure's contour points that lie on an image's voxels, 0…1."""
    index = Grid.of(image).to_index(np.concatenate(structure.contours))
    return float(((index >= -0.5) & (index <= np.asarray(image.GetSize()) - 0.5)).all(axis=1).mean())


def without_nested(structures: tuple[Structure, ...]) -> tuple[tuple[Structure, ...], tuple[Warning, ...]]:
    """Leave out what another structure of the same drawing stands for: the same tumor must not count twice.

    One that holds two others or more, which lie apart, is their outline or their sum, and goes. Of two of which one
    holds four fifths of the other, GTV goes before CTV before PTV (by type or name), else the larger goes first.
    """
    warnings: list[Warning] = []
    boxes = [_box(s) for s in structures]
    pairs = [(i, j) for i, j in itertools.permutations(range(len(boxes)), 2) if _boxes_meet(boxes[i], boxes[j], 0.0)]
    bodies = {n: _Body(structures[n]) for pair in pairs for n in pair}  # of most, no other comes near
    inside = {(i, j): bodies[i].share_in(bodies[j]) for i, j in pairs if bodies[i].volume_cc <= bodies[j].volume_cc}
    held = {pair for pair, share in inside.items() if share >= NESTED}
    dropped: set[int] = set()
    for j in range(len(structures)):
        parts = [i for i, k in held if k == j]
        apart = [i for i in parts if not any((i, o) in held or (o, i) in held for o in parts if o != i)]
        if len(apart) > 1:
            dropped.add(j)
            values = {"name": structures[j].name, "volume": bodies[j].volume_cc, "count": len(apart)}
            warnings.append(WarningCode.HOLDS_TARGETS(**values))
    for i, j in sorted(held, key=lambda pair: tuple(sorted(pair))):
        if i in dropped or j in dropped:
            continue
        one, other = structures[i], structures[j]
        first = (_rank(one), -bodies[i].volume_cc) <= (_rank(other), -bodies[j].volume_cc)
        lost, kept = (j, i) if first else (i, j)
        dropped.add(lost)
        warnings.append(WarningCode.NESTED_ROI(left=structures[lost].name, kept=structures[kept].name))
    return tuple(s for n, s in enumerate(structures) if n not in dropped), tuple(warnings)


def _box(structure: Structure) -> Array64:
    points = np.concatenate(structure.contours)
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _boxes_meet(one: Array64, other: Array64, reach_mm: float) -> bool:
    return bool((one[0] - reach_mm < other[1]).all() and (other[0] - reach_mm < one[1]).all())


class _Body:
    """A structure as slabs of its planes, in which points can be looked up: no voxels, however large it is."""

    def __init__(self, structure: Structure) -> None:
        try:
            self._stacks = stack_planes(structure).each
        except GeometryError:  # it has no volume; who measures it says so
            self._stacks = ()

    @property
    def volume_cc(self) -> float:
        """Volume of the contours, cm³."""
        return sum(stack.volume_mm3 for stack in self._stacks) / 1000

    def share_in(self, other: _Body) -> float:
        """Share of this structure's volume that lies in another, 0…1."""
        points = self._points()
        return float(other.holds(points).mean()) if len(points) else 0.0

    def holds(self, points_mm: Array64) -> Mask:
        """Which LPS points ``(n, 3)`` lie inside."""
        inside = np.zeros(len(points_mm), dtype=bool)
        for stack in self._stacks:
            local = points_mm @ stack.axes.T
            for polygons, (low, high) in zip(stack.polygons, stack.slabs_mm, strict=True):
                layer = np.flatnonzero((local[:, 2] >= low) & (local[:, 2] < high))
                if len(layer):
                    inside[layer] |= points_inside(polygons, local[layer, :2])
        return inside

    def _points(self) -> Array64:
        """Points spread evenly over the structure, LPS, mm; about `PROBES` of them."""
        found = []
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
                    found.append(np.column_stack([plane, np.full(len(plane), w)]) @ stack.axes)
        return np.concatenate(found) if found else np.zeros((0, 3))


def _rank(structure: Structure) -> int:
    for word, rank in VOLUME_RANKS.items():
        if structure.kind == word or word in structure.name.upper():
            return rank
    return 1
