"""Resampling of images between grids in patient space, and robust statistics of MR intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid

CROP_MARGIN = 8


def resample(image: sitk.Image, grid: Grid, *, smooth: bool = False, outside: float | None = 0.0) -> sitk.Image:
    """Return an image resampled on another grid, float32.

    The image is cropped around the grid first, so the run time does not depend on the size of the image.

    Parameters
    ----------
    smooth : True: cubic B-spline interpolation (MR). If the grid is coarser than the image, a Gaussian filter is
        applied first, so that fine noise does not alias. False: trilinear interpolation (dose), without overshoot or
        blur.
    outside : value where the image has no voxel. None: value of the nearest voxel, so that the border of the scan does
        not appear as an edge.

    Raises
    ------
    GeometryError : the image does not cover the region of the grid.
    """
    cropped = sitk.Cast(_crop_around(image, grid), sitk.sitkFloat32)
    variances = [
        max(target**2 - spacing**2, 0.0) * 0.18  # variance of a Gaussian with this squared FWHM
        for target, spacing in zip(grid.spacing_mm, cropped.GetSpacing(), strict=True)
    ]
    if smooth and max(variances) > 1e-3:
        cropped = sitk.DiscreteGaussian(cropped, [max(v, 1e-6) for v in variances], 16, 0.01, True)
    interpolator = sitk.sitkBSpline3 if smooth else sitk.sitkLinear
    return sitk.Resample(
        cropped, grid.blank(), sitk.Transform(), interpolator, outside or 0.0, sitk.sitkFloat32, outside is None
    )


def as_stored(image: sitk.Image) -> sitk.Image:
    """Return the image as int16, as scanners store it, if the conversion is lossless; else the image itself.

    Images with a value range of 255 or less, such as masks or small counts, are not converted.
    """
    values = sitk.GetArrayViewFromImage(image)
    if values.dtype.kind != "f":
        return image
    low, high = float(values.min()), float(values.max())
    in_range = low >= -32768 and high <= 32767 and high - low > 255
    if not in_range or not np.array_equal(values[::4], np.rint(values[::4])):
        return image
    stored = sitk.Cast(image, sitk.sitkInt16)
    return stored if np.array_equal(sitk.GetArrayViewFromImage(stored), values) else image


def shrunk(image: sitk.Image, voxel_mm: float) -> sitk.Image:
    """Return block means of the image, blocks of up to ``voxel_mm``; the image itself if its voxels are coarser."""
    factors = [max(int(voxel_mm / s + 1e-6), 1) for s in image.GetSpacing()]
    return sitk.BinShrink(image, factors) if max(factors) > 1 else image


def resample_nearest(image: sitk.Image, grid: Grid) -> sitk.Image:
    """Return the image on another grid of the same lattice by nearest-neighbor sampling; 0 outside, same pixel type."""
    return sitk.Resample(image, grid.blank(), sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)


def _crop_around(image: sitk.Image, grid: Grid) -> sitk.Image:
    size = grid.size
    corners = np.asarray([(i, j, k) for i in (0, size[0] - 1) for j in (0, size[1] - 1) for k in (0, size[2] - 1)])
    index = Grid.of(image).to_index(grid.to_lps(corners))
    low = np.maximum(np.floor(index.min(axis=0)).astype(int) - CROP_MARGIN, 0)
    high = np.minimum(np.ceil(index.max(axis=0)).astype(int) + CROP_MARGIN + 1, image.GetSize())
    if np.any(high - low < 1):
        raise GeometryError(
            "the image", "does not cover the region where it is sampled", "Check the frames of reference"
        )
    return sitk.RegionOfInterest(image, (high - low).tolist(), low.tolist())


@dataclass(frozen=True)
class HeadIntensity:
    """Median and interquartile range (IQR) of head tissue in one MR series, in its own intensity units."""

    median: float
    iqr: float


def head_intensity(mr: sitk.Image) -> HeadIntensity:
    """Return the median and interquartile range of the voxels above Otsu's threshold (without air and bone).

    Every second slice and every fourth voxel in-plane is used; this changes the values by less than 1 %.

    Raises
    ------
    GeometryError : the image is constant or has no finite values.
    """
    sample = sitk.GetArrayViewFromImage(mr)[::2, ::4, ::4]
    values = np.asarray(sample[np.isfinite(sample)], dtype=np.float32)
    if values.size == 0 or values.max() <= values.min():
        raise GeometryError("the planning MR", "has one value only", "Check that the series is an MR of a head")
    threshold = sitk.OtsuThreshold(sitk.GetImageFromArray(values.reshape(1, -1)), 0, 1)
    tissue = values[sitk.GetArrayViewFromImage(threshold).ravel() > 0]
    low, median, high = np.percentile(tissue, [25, 50, 75])
    return HeadIntensity(float(median), max(float(high - low), 1e-6 * abs(float(median)) + 1e-12))
