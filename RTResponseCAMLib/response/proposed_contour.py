"""A proposed segmentation of a lesion on a follow-up that nobody has contoured: meant to be looked at and edited.

Contrast-adaptive, seeded by the plan's contour after registration: the boundary is where the signal is half-way
between the surroundings and the enhancing tissue found inside the seed; cavities inside count as lesion.
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
    """A proposed region on the follow-up; None when no enhancing tissue stands out within the seed.

    Attributes
    ----------
    contrast : enhancement over the surroundings, in standard deviations of these.
    warnings : always says that it is a proposal; more where it is doubtful.
    """

    structure: Structure | None
    contrast: float
    warnings: tuple[Warning, ...]


def propose_contour(follow_up: sitk.Image, seed: Structure) -> ProposedContour:
    """Propose a lesion's outline on a follow-up MR.

    Parameters
    ----------
    seed : the plan's contour, moved into the follow-up's frame (LPS mm).

    Raises
    ------
    GeometryError : the seed lies outside the follow-up, or at its edge.
    """
    grid = _box(seed)
    if share_on_image(seed, follow_up) < IN_VIEW:
        what = "lies at or beyond the edge of the follow-up MR"
        raise GeometryError(f"ROI '{seed.name}'", what, "Check the registration")
    values = sitk.GetArrayFromImage(resample(follow_up, grid, smooth=True)).astype(np.float64)
    inside = box_fraction(seed, grid) >= 0.5
    outward = distance_transform_edt(~inside, sampling=STEP_MM)
    seen = _on_image(follow_up, grid)
    reach = (outward <= GROWTH_MM) & seen
    around = (outward > GROWTH_MM) & (outward <= MARGIN_MM - 1) & seen
    background, noise = _robust(values[around])
    region, contrast = _grow(values, inside, reach, background, noise)
    said = [WarningCode.PROPOSED_REGION(name=seed.name)]
    if region is None:
        text = f"'{seed.name}': no tissue within the planned contour enhances over its surroundings; nothing proposed"
        return ProposedContour(None, contrast, (WarningCode.NOTHING_PROPOSED(reason=text),))
    if (region & (outward > GROWTH_MM - 2 * STEP_MM)).any():
        said.append(WarningCode.PROPOSAL_LIMITED(name=seed.name, limit=GROWTH_MM))
    if contrast < 2 * MIN_CONTRAST:
        said.append(WarningCode.WEAK_CONTRAST(name=seed.name, contrast=contrast))
    structure = Structure(seed.number, seed.name, "", edge_contours(region, grid), seed.color)
    return ProposedContour(structure, contrast, tuple(said))


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
    """Median and standard deviation (from the median absolute deviation)."""
    middle = float(np.median(values))
    return middle, max(1.4826 * float(np.median(np.abs(values - middle))), 1e-6 * abs(middle) + 1e-12)


def _grow(
    values: npt.NDArray[np.float64], seed: Mask, reach: Mask, background: float, noise: float
) -> tuple[Mask | None, float]:
    """Half-way threshold between surroundings and enhancing tissue, found again with the region it gives."""
    bright = reach & seed & (values > background + MIN_CONTRAST * noise)
    if bright.sum() * STEP_MM**3 < 1.0:
        return None, 0.0
    region: Mask = bright
    contrast = 0.0
    for _ in range(ROUNDS):
        enhancing = float(np.median(values[region & (values > background + MIN_CONTRAST * noise)]))
        contrast = (enhancing - background) / noise
        above = reach & (values > (background + enhancing) / 2)
        found = _solid(above, seed)
        if found is None:
            return None, contrast
        region = found
    return region, contrast


def _solid(above: Mask, seed: Mask) -> Mask | None:
    """The part of a thresholded region that belongs to the seed: closed, filled, freed of thin vessels."""
    radius = float(seed.sum() * STEP_MM**3 * 3 / (4 * np.pi)) ** (1 / 3)
    filled = _fill(_closed(above, float(np.clip(CLOSING * radius, 1.2, 3.0))))
    opened = binary_opening(filled, _ball(1.0))
    parts: Any
    parts, count = label(opened if (opened & seed).any() else filled)
    if not count:
        return None
    shares = np.bincount(parts[seed], minlength=count + 1)[1:]
    if not shares.any():
        return None
    kept = np.isin(parts, np.flatnonzero(shares >= 0.2 * shares.max()) + 1)
    return np.asarray(kept)


def _closed(mask: Mask, radius_mm: float) -> Mask:
    """Closed by a ball: dents narrower than it, where a rim is dark, belong to the lesion."""
    pad = int(radius_mm / STEP_MM) + 2
    wide = distance_transform_edt(~np.pad(mask, pad), sampling=STEP_MM) <= radius_mm
    inner = distance_transform_edt(wide, sampling=STEP_MM) > radius_mm
    return np.asarray(inner[pad:-pad, pad:-pad, pad:-pad] | mask)


def _fill(mask: Mask) -> Mask:
    """Cavities, and cavities that a thin rim leaves open in one direction only."""
    filled = np.asarray(binary_fill_holes(mask))
    slices = [np.zeros_like(mask) for _ in range(3)]
    for axis in range(3):
        for number in range(mask.shape[axis]):
            place = tuple(number if a == axis else slice(None) for a in range(3))
            slices[axis][place] = binary_fill_holes(mask[place])
    votes = slices[0].astype(int) + slices[1] + slices[2]
    return filled | (votes >= 2)


def _ball(radius_mm: float) -> Mask:
    reach = int(radius_mm / STEP_MM)
    k, j, i = np.mgrid[-reach : reach + 1, -reach : reach + 1, -reach : reach + 1]
    return np.asarray((k**2 + j**2 + i**2) * STEP_MM**2 <= radius_mm**2 + 1e-9)
