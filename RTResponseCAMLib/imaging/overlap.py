"""How structures lie to one another and to an image, on a fine lattice of their own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.occupancy import filled_voxels
from RTResponseCAMLib.study import Caution, Structure

STEP_MM = 0.8
NESTED = 0.8
VOLUME_RANKS = {"GTV": 0, "CTV": 2, "PTV": 3}
Mask = npt.NDArray[np.bool_]


def near(one: Structure, other: Structure, reach_mm: float) -> bool:
    """Whether the bounding boxes come closer than ``reach_mm``."""
    a, b = (np.concatenate(s.contours) for s in (one, other))
    return bool((a.min(axis=0) - reach_mm < b.max(axis=0)).all() and (b.min(axis=0) - reach_mm < a.max(axis=0)).all())


def filled_pair(one: Structure, other: Structure, margin_mm: float = 0.0) -> tuple[Mask, Mask]:
    """Voxels of both on one lattice (`STEP_MM`) that holds both and a margin."""
    points = np.concatenate([np.concatenate(s.contours) for s in (one, other)])
    low = points.min(axis=0) - margin_mm - 2 * STEP_MM
    size = np.ceil((points.max(axis=0) + margin_mm + 2 * STEP_MM - low) / STEP_MM).astype(int)
    x, y, z = low.tolist()
    grid = Grid((int(size[0]), int(size[1]), int(size[2])), (STEP_MM,) * 3, (x, y, z))
    return filled_voxels(one, grid), filled_voxels(other, grid)


def share_on_image(structure: Structure, image: sitk.Image) -> float:
    """Share of a structure's contour points that lie on an image's voxels, 0…1."""
    index = Grid.of(image).to_index(np.concatenate(structure.contours))
    return float(((index >= -0.5) & (index <= np.asarray(image.GetSize()) - 0.5)).all(axis=1).mean())


def without_nested(structures: tuple[Structure, ...]) -> tuple[tuple[Structure, ...], tuple[Caution, ...]]:
    """Leave out what another structure of the same drawing stands for: the same tumour must not count twice.

    Of two of which one holds four fifths of the other, GTV goes before CTV before PTV (by type or name), else the
    larger goes first.
    """
    dropped: dict[int, str] = {}
    for i, one in enumerate(structures):
        for j in range(i + 1, len(structures)):
            other = structures[j]
            if i in dropped or j in dropped or not near(one, other, 0.0):
                continue
            a, b = filled_pair(one, other)
            if (a & b).sum() < NESTED * min(a.sum(), b.sum()):
                continue
            first = (_rank(one), -int(a.sum())) <= (_rank(other), -int(b.sum()))
            lost, kept = (j, one) if first else (i, other)
            dropped[lost] = f"'{structures[lost].name}' is left out: it is drawn over '{kept.name}', which is used"
    cautions = tuple(Caution("nested-roi", text) for text in dropped.values())
    return tuple(s for n, s in enumerate(structures) if n not in dropped), cautions


def _rank(structure: Structure) -> int:
    for word, rank in VOLUME_RANKS.items():
        if structure.kind == word or word in structure.name.upper():
            return rank
    return 1
