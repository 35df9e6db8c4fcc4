"""Proposed contour (review required) of a lesion on a follow-up without contours; a person must review and edit it.

Method: region growing with a contrast-adaptive threshold, seeded by the contour of the plan after registration. The
threshold is half-way between the signal of the surroundings and that of the enhancing tissue inside the seed. Cavities
inside the region belong to the lesion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import binary_fill_holes, binary_opening, distance_transform_edt, label

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.fraction import box_fraction
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.outlines import edge_contours
from RTResponseCAMLib.imaging.overlap import share_on_image
from RTResponseCAMLib.imaging.resample import resample
from RTResponseCAMLib.study import Structure
from RTResponseCAMLib.warnings import Warning, WarningCode

STEP_MM = 0.6
MARGIN_MM = 9.0
GROWTH_MM = 4.0
ROUNDS = 3
MIN_CONTRAST = 2.5
CLOSING = 0.25
IN_VIEW = 0.98
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ProposedContour:
    """A proposed contour on the follow-up.

    Attributes
    ----------
    structure : the contour; None when no tissue within the seed enhances over its surroundings.
    contrast : enhancement over the surroundings, in standard deviations of the surroundings.
    warnings : always that the contour is proposed or that nothing is proposed; further ones when it is uncertain.
    """

    structure: Structure | None
    contrast: float
    warnings: tuple[Warning, ...]


def propose_contour(follow_up: sitk.Image, seed: Structure) -> ProposedContour:
    """Proposed contour of a lesion on a follow-up MR.

    Parameters
    ----------
    seed : contour of the plan, transformed into the frame of the follow-up (LPS, mm).

    Raises
    ------
    GeometryError : the seed lies outside the follow-up or at its edge.
    """
    grid = _box(seed)
    if share_on_image(seed, follow_up) < IN_VIEW:
        problem = "lies at or beyond the edge of the follow-up MR"
        raise GeometryError(f"ROI '{seed.name}'", problem, "Check the registration")
    values = sitk.GetArrayFromImage(resample(follow_up, grid, smooth=True)).astype(np.float64)
    inside = box_fraction(seed, grid) >= 0.5
    outward = distance_transform_edt(~inside, sampling=STEP_MM)
    on_image = _on_image(follow_up, grid)
    allowed = (outward <= GROWTH_MM) & on_image
    surroundings = (outward > GROWTH_MM) & (outward <= MARGIN_MM - 1) & on_image
    background, noise = _robust(values[surroundings])
    region, contrast = _grow(values, inside, allowed, background, noise)
    warnings = [WarningCode.PROPOSED_REGION(name=seed.name)]
    if region is None:
        reason = f"'{seed.name}': no tissue within the planned contour enhances over its surroundings; nothing proposed"
        return ProposedContour(None, contrast, (WarningCode.NOTHING_PROPOSED(reason=reason),))
    if (region & (outward > GROWTH_MM - 2 * STEP_MM)).any():
        warnings.append(WarningCode.PROPOSED_CONTOUR_LIMITED(name=seed.name, limit=GROWTH_MM))
    if contrast < 2 * MIN_CONTRAST:
        warnings.append(WarningCode.WEAK_CONTRAST(name=seed.name, contrast=contrast))
    structure = Structure(seed.number, seed.name, "", edge_contours(region, grid), seed.color)
    return ProposedContour(structure, contrast, tuple(warnings))


def _box(seed: Structure) -> Grid:
    points = np.concatenate(seed.contours)
    low = points.min(axis=0) - MARGIN_MM
    size = np.ceil((points.max(axis=0) + MARGIN_MM - low) / STEP_MM).astype(int) + 1
    x, y, z = low.tolist()
    return Grid((int(size[0]), int(size[1]), int(size[2])), (STEP_MM,) * 3, (x, y, z))


def _on_image(image: sitk.Image, grid: Grid) -> Mask:
    index = Grid.of(image).to_index(grid.points().reshape(-1, 3))
    return np.asarray(((index >= 0) & (index <= np.asarray(image.GetSize()) - 1)).all(axis=1)).reshape(grid.shape)


def _robust(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Median, and standard deviation estimated from the median absolute deviation."""
    middle = float(np.median(values))
    return middle, max(1.4826 * float(np.median(np.abs(values - middle))), 1e-6 * abs(middle) + 1e-12)


def _grow(
    values: npt.NDArray[np.float64], seed: Mask, reach: Mask, background: float, noise: float
) -> tuple[Mask | None, float]:
    """Region grown with a half-way threshold between surroundings and enhancing tissue, and its contrast.

    The threshold is recomputed from the region in each of `ROUNDS` iterations. The region is None when too little
    tissue enhances.
    """
    bright = reach & seed & (values > background + MIN_CONTRAST * noise)
    if bright.sum() * STEP_MM**3 < 1.0:
        return None, 0.0
    region: Mask = bright
    contrast = 0.0
    for _ in range(ROUNDS):
        enhancing = float(np.median(values[region & (values > background + MIN_CONTRAST * noise)]))
        contrast = (enhancing - background) / noise
        above = reach & (values > (background + enhancing) / 2)
        solid = _solid(above, seed)
        if solid is None:
            return None, contrast
        region = solid
    return region, contrast


def _solid(above: Mask, seed: Mask) -> Mask | None:
    """Parts of a thresholded region that overlap the seed, after closing, hole filling and opening (no vessels)."""
    radius = float(seed.sum() * STEP_MM**3 * 3 / (4 * np.pi)) ** (1 / 3)
    filled = _fill(_closed(above, float(np.clip(CLOSING * radius, 1.2, 3.0))))
    opened = binary_opening(filled, _ball(1.0))
    parts: Any
    parts, count = label(opened if (opened & seed).any() else filled)
    if not count:
        return None
    seed_voxels = np.bincount(parts[seed], minlength=count + 1)[1:]
    if not seed_voxels.any():
        return None
    retained = np.isin(parts, np.flatnonzero(seed_voxels >= 0.2 * seed_voxels.max()) + 1)
    return np.asarray(retained)


def _closed(mask: Mask, radius_mm: float) -> Mask:
    """Morphological closing with a ball, by distance transform: narrow gaps in a dark rim belong to the lesion."""
    pad = int(radius_mm / STEP_MM) + 2
    wide = distance_transform_edt(~np.pad(mask, pad), sampling=STEP_MM) <= radius_mm
    inner = distance_transform_edt(wide, sampling=STEP_MM) > radius_mm
    return np.asarray(inner[pad:-pad, pad:-pad, pad:-pad] | mask)


def _fill(mask: Mask) -> Mask:
    """The mask with cavities filled, also cavities that are closed in the slices of at least two of the three axes."""
    filled = np.asarray(binary_fill_holes(mask))
    slices = [np.zeros_like(mask) for _ in range(3)]
    for axis in range(3):
        for index in range(mask.shape[axis]):
            plane = tuple(index if a == axis else slice(None) for a in range(3))
            slices[axis][plane] = binary_fill_holes(mask[plane])
    votes = slices[0].astype(int) + slices[1] + slices[2]
    return filled | (votes >= 2)


def _ball(radius_mm: float) -> Mask:
    half_width = int(radius_mm / STEP_MM)
    k, j, i = np.mgrid[-half_width : half_width + 1, -half_width : half_width + 1, -half_width : half_width + 1]
    return np.asarray((k**2 + j**2 + i**2) * STEP_MM**2 <= radius_mm**2 + 1e-9)
