"""Image-gradient features of a lesion: size and radial direction of the signal gradient from core to margin.

Gradient magnitude, radial gradient and radial deviation over core, margin and eight octants of the margin, as named in
abstracts on PULSAR radiosurgery [AAPM 2025, no. 2528]. Their exact formulas are not public. The formulas here are our
interpretation, which is stated wherever the features are shown. With the tumor's centroid c, the direction
r = (x − c) / |x − c| and the gradient g:

    GM = |g|        RG = g · r        RD = angle between g and r

Core: the tumor eroded by m. Margin: within m of the surface, on both sides. m is 3 mm above 4 cm³, else 1 mm. Octants:
the margin, divided by the sign of x − c along the patient's axes. Mean, standard deviation (SD) and coefficient of
variation (SD / |mean|) of each quantity in each region give 3 × 10 × 3 = 90 features.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import stack_planes
from RTResponseCAMLib.imaging.surface import distance_from_surface
from RTResponseCAMLib.samples.lattice import STEP_MM, lesion_lattice
from RTResponseCAMLib.study import Structure

LARGE_CC, LARGE_MARGIN_MM, SMALL_MARGIN_MM = 4.0, 3.0, 1.0
FIELDS = ("gm", "rg", "rd")
OCTANTS = tuple("".join(letters) for letters in itertools.product("RL", "AP", "IS"))
REGIONS = ("core", "margin", *OCTANTS)
STATISTICS = ("mean", "sd", "cv")
NAMES = tuple(f"gradient_{f}_{r}_{s}" for f in FIELDS for r in REGIONS for s in STATISTICS)
Array64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def gradient_features(image: sitk.Image, structure: Structure, *, unit: float = 1.0) -> dict[str, float]:
    """The 90 features of `NAMES`, per mm of patient space for any shape of the voxels; angles in radians.

    The image is sampled on a 1 mm lattice along the patient's axes (LPS) with cubic interpolation. Features of a region
    without voxels, and the coefficient of variation about a mean of zero, are NaN.

    Parameters
    ----------
    image : MR, or any other scalar image.
    unit : signal value that becomes 1, e.g. the median of the head, so that gradients of two scans are comparable.

    Raises
    ------
    GeometryError : the structure has no usable contours, or lies outside the image.
    """
    stack = stack_planes(structure)
    margin_mm = margin_of(stack.volume_mm3 / 1000)
    lattice = lesion_lattice(structure, stack, margin_mm=margin_mm + 2 * STEP_MM)
    grid, fraction = lattice.grid, lattice.share
    values = lattice.sample(image) / unit
    depth = distance_from_surface(fraction.astype(np.float64) - lattice.level, STEP_MM, reach_mm=margin_mm)
    points = grid.points()
    away_mm = points - np.average(points, axis=(0, 1, 2), weights=np.repeat(fraction[..., None], 3, axis=-1))
    fields = np.stack(gradient_fields(values, grid, away_mm=away_mm))
    in_region = depth > -np.inf  # core or margin
    statistics = _statistics(fields[:, in_region], _regions(depth[in_region], away_mm[in_region], margin_mm))
    return dict(zip(NAMES, statistics.ravel().tolist(), strict=True))


def margin_of(volume_cc: float) -> float:
    """Half-width of the margin in mm, for a tumor volume in cm³."""
    return LARGE_MARGIN_MM if volume_cc > LARGE_CC else SMALL_MARGIN_MM


def gradient_fields(values: Array64, grid: Grid, *, away_mm: Array64) -> tuple[Array64, Array64, Array64]:
    """GM, RG (per mm) and RD (radians, 0 … π) of an array ``[z, y, x]`` on a grid along the patient's axes.

    ``away_mm`` holds x − c, ``[z, y, x, 3]``. Where the gradient or the direction is zero, RD is π / 2.
    """
    dz, dy, dx = np.gradient(values, *reversed(grid.spacing_mm))
    magnitude = np.sqrt(dx**2 + dy**2 + dz**2)
    distance = np.linalg.norm(away_mm, axis=-1)
    along = dx * away_mm[..., 0] + dy * away_mm[..., 1] + dz * away_mm[..., 2]
    radial = np.divide(along, distance, out=np.zeros_like(along), where=distance > 0)
    cosine = np.divide(radial, magnitude, out=np.zeros_like(radial), where=magnitude > 1e-12)
    return magnitude, radial, np.arccos(np.clip(cosine, -1.0, 1.0))


def _regions(depth_mm: Array64, away_mm: Array64, margin_mm: float) -> Mask:
    """Voxels of each of `REGIONS`, in the same order, ``(r, voxels)``."""
    margin = np.abs(depth_mm) <= margin_mm
    octant = (away_mm > 0) @ np.asarray([4, 2, 1])  # towards L, P, S: in the order of the names
    return np.stack([depth_mm > margin_mm, margin, *(margin & (octant == n) for n in range(len(OCTANTS)))])


def _statistics(fields: Array64, regions: Mask) -> Array64:
    """`STATISTICS` of fields ``(f, voxels)`` in regions ``(r, voxels)``: ``(f, r, 3)``."""
    inside = regions.astype(np.float64)
    count = regions.sum(axis=1).astype(np.float64)
    count[count == 0] = np.nan
    mean = fields @ inside.T / count
    centered = fields[:, None] - mean[..., None]
    sd = np.sqrt((np.where(regions, centered, 0.0) ** 2).sum(axis=-1) / count)
    zero_mean = np.abs(mean) <= 1e-12
    variation = np.divide(sd, np.abs(mean), out=np.full_like(sd, np.nan), where=~zero_mean)
    return np.stack([mean, sd, variation], axis=-1)
