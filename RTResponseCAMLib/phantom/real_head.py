"""Real heads as background of synthetic lesions: T1 MR of a head, or of a brain, as a NIfTI file.

Noise, bias field and anatomy are then those of a scanner. A lesion is painted on the smoothed head and gets the noise
of the head at its place; outside lesions and their edema, the voxels are those of the file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from scipy.ndimage import gaussian_filter, map_coordinates

from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.head import head_mask
from RTResponseCAMLib.phantom.anatomy import WHITE, Anatomy, head_coordinates, outside_the_brain
from RTResponseCAMLib.phantom.field import Array32, Array64

OPTION = "--head"
SUFFIXES = (".nii", ".nii.gz")
COARSEST_MM = 6.0  # thickest slice in which a lesion can be planted
EXTENT_MM = (100.0, 400.0)  # of a brain or a head
NOISE_MM = 1.2  # detail finer than this counts as noise
AIR_HU = -500.0  # only a CT has values below
NEGATIVE = 0.05  # larger share of negative values than interpolation leaves
SKULL_MM = (3.0, 14.0)  # depths at which a whole head has its skull
SKULL_RATIO = 0.55  # brightest possible ratio of the skull to the tissue beneath
SLOW_MM = 4.0  # variation coarser than this is anatomy or bias, no noise
MOSTLY_WHITE, LEAST_WHITE, USUAL_CORRELATION = 0.8, 500, 0.65
SCALP_MM = 15.0  # thickness of skull and scalp
SMOOTH_MM = 3.0  # of the surface under the added skull
EVEN_MM = 3.0  # a lesion's place has even white matter of this size and more
WHITE_RANGE = (0.85, 1.15)


@dataclass(frozen=True)
class RealHead:
    """A head in memory.

    Attributes
    ----------
    name : file name without its folder and suffix.
    checksum : SHA-256 of the file.
    grid : axial grid of the file, LPS.
    to_head : from LPS of the file to the head frame, whose origin is the middle of the head.
    smooth, noise : intensities ``[z, y, x]`` in units of the phantom (white matter = `WHITE`), and what was smoothed.
    depth_mm : depth below the outer surface, ``[z, y, x]``, positive inside.
    psf : standard deviation of the point-spread function along the array's axes, voxels.
    even : how much of the surroundings of a voxel is white matter, 0 to 1, ``[z, y, x]``.
    """

    name: str
    checksum: str
    grid: Grid
    to_head: sitk.Transform
    smooth: Array32
    noise: Array32
    depth_mm: Array32
    psf: tuple[float, float, float]
    even: Array32

    def on(self, grid: Grid, to_head: sitk.Transform) -> tuple[Array32, Array32]:
        """Smoothed intensities and noise on a grid: those of the file on its own grid, cubic interpolation elsewhere.

        Parameters
        ----------
        to_head : from LPS of the grid to the head frame.
        """
        if grid == self.grid and to_head is self.to_head:
            return self.smooth, self.noise
        to_file = sitk.CompositeTransform([self.to_head.GetInverse(), to_head])
        smooth, noise = (
            sitk.GetArrayFromImage(
                sitk.Resample(self.grid.image(part), grid.blank(), to_file, sitk.sitkBSpline3, 0.0, sitk.sitkFloat32)
            )
            for part in (self.smooth, self.noise)
        )
        return smooth, noise

    def depth_at(self, points_mm: Array64) -> Array32:
        """Depth below the outer surface at points ``(…, 3)`` of the head frame, mm; linear."""
        lps = points_mm.reshape(-1, 3) + np.asarray(self.to_head.GetInverse().TransformPoint((0.0, 0.0, 0.0)))
        index = self.grid.to_index(lps)[:, ::-1].T
        depth = map_coordinates(self.depth_mm, index, order=1, mode="nearest")
        return np.asarray(depth, dtype=np.float32).reshape(points_mm.shape[:-1])

    def find_place(self, radius: float, *, placed: list[tuple[Array64, float]], rng: np.random.Generator) -> Array64:
        """Return a place for a lesion in white matter, head frame, mm; parameters as in `patient.find_place`.

        Raises
        ------
        RTResponseError : there is no such place.
        """
        free = (self.even > 0.6) & (self.depth_mm > SCALP_MM + 1.2 * radius)
        voxels = np.argwhere(free)
        for _ in range(2000 if len(voxels) else 0):
            lps = self.grid.to_lps(voxels[rng.integers(len(voxels))][None, ::-1])[0]
            point = np.asarray(self.to_head.TransformPoint(lps.tolist()))
            if all(np.linalg.norm(point - c) > 1.25 * (radius + r) + 6.0 for c, r in placed):
                return point
        problem = f"'{self.name}' has no white matter left for a lesion of {2 * radius:.0f} mm"
        raise RTResponseError(OPTION, problem, "Use fewer lesions, another seed, or another head")


def read_head(path: Path, *, anatomy: Anatomy, brain_only: bool = False) -> RealHead:
    """Read a T1 MR of a head from a NIfTI file.

    Parameters
    ----------
    anatomy : its fields texture the scalp that a brain without skull is given.
    brain_only : the file shows a brain without skull; skull and scalp of the phantom are put around it, because
        intensities are normalized by the whole head.

    Raises
    ------
    RTResponseError : no NIfTI file, not three-dimensional, no geometry, values that are not finite, a CT, too thick
        slices, not the size of a head, one value only, negative values, or a brain without skull although
        ``brain_only`` is False.
    """
    image = sitk.DICOMOrient(_checked(path), "LPS")
    if brain_only:
        scalp = [int(np.ceil(SCALP_MM / spacing)) for spacing in image.GetSpacing()]
        image = sitk.ConstantPad(sitk.Cast(image, sitk.sitkFloat32), scalp, scalp, 0.0)
    values = np.asarray(sitk.GetArrayFromImage(image), dtype=np.float32)
    grid = Grid.of(image)
    mask = head_mask(grid.image(values))
    inside = sitk.GetArrayFromImage(mask) > 0
    depth = -sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(mask, squaredDistance=False, useImageSpacing=True))
    _require_size(path, grid, inside)
    white = white_level(values, depth)
    if white <= 0:
        raise RTResponseError(OPTION, f"'{path.name}' shows no tissue", "Give a T1-weighted MR of a head")
    stripped = _skull_ratio(values / white, depth) > SKULL_RATIO
    if stripped and not brain_only:
        problem = f"'{path.name}' shows a brain without its skull"
        raise RTResponseError(
            OPTION, problem, "Give the head before the skull was removed, or add --brain-only: a skull is then added"
        )
    if brain_only and not stripped:
        raise RTResponseError("--brain-only", f"'{path.name}' shows a head with its skull", "Leave out --brain-only")
    scaled = np.asarray(np.clip(values, 0, None) * np.float32(WHITE / white), dtype=np.float32)
    even = _even_white(scaled, grid)
    psf = _point_spread(scaled, grid, even > MOSTLY_WHITE)
    to_head = _to_middle(grid, inside)
    if stripped:
        x, y, z = head_coordinates(grid.blank(), to_head)
        mottle = anatomy.mottle.on(grid.blank(), to_head)
        depth = gaussian_filter(depth, [SMOOTH_MM / s for s in grid.spacing_mm[::-1]])  # the mask has coarse steps
        shell = np.minimum(depth, -0.1).astype(np.float32)  # gaps within the brain show the fluid that lies around it
        around = outside_the_brain(x, y, z=z, depth=shell, mottle=mottle)
        scaled = np.where(inside & (values > 0), scaled, around).astype(np.float32)
        depth = depth + SCALP_MM
    sigma = [NOISE_MM / s for s in grid.spacing_mm[::-1]]
    smooth = np.asarray(gaussian_filter(scaled, sigma), dtype=np.float32)
    name = path.name.split(".")[0]
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    return RealHead(name, checksum, grid, to_head, smooth, scaled - smooth, depth.astype(np.float32), psf, even)


def white_level(values: npt.NDArray[np.float32], depth_mm: npt.NDArray[np.floating]) -> float:
    """Return the brightness of white matter: the brighter class [Otsu 1979] of the tissue deep in the head."""
    deep = values[depth_mm > 0.35 * float(depth_mm.max())]
    deep = deep[(deep > 0) & (deep < np.percentile(deep, 99))]
    if deep.size == 0 or deep.max() <= deep.min():
        return 0.0
    classes = sitk.OtsuMultipleThresholds(sitk.GetImageFromArray(deep.reshape(1, -1)), 2)
    brightest = deep[sitk.GetArrayViewFromImage(classes).ravel() == 2]
    return float(np.median(brightest)) if brightest.size else 0.0


def _checked(path: Path) -> sitk.Image:
    if not path.name.lower().endswith(SUFFIXES):
        raise RTResponseError(OPTION, f"'{path.name}' is not a NIfTI file", f"Give a file {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise RTResponseError(OPTION, f"'{path.name}' is a folder, expected a NIfTI file", "Give the file itself")
    if not path.is_file():
        raise RTResponseError(OPTION, f"'{path.name}' does not exist", "Check the path")
    try:
        # ITK replaces values that are not finite by 0 without a word; nibabel shows what the file holds.
        file = nibabel.load(path)
        values = np.asarray(file.dataobj)
        image = sitk.ReadImage(str(path))
    except (ImageFileError, EOFError, OSError, ValueError, RuntimeError) as error:
        problem = f"'{path.name}' cannot be read as NIfTI"
        raise RTResponseError(OPTION, problem, "Check that the file is whole, and no file of another kind") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1 or min(image.GetSize()) < 2:
        problem = f"'{path.name}' holds an image of {' × '.join(map(str, values.shape))} voxels, expected a volume"
        raise RTResponseError(OPTION, problem, "Extract one three-dimensional image")
    if int(file.header["qform_code"]) <= 0 and int(file.header["sform_code"]) <= 0:
        problem = f"'{path.name}' states no geometry (qform_code and sform_code are 0)"
        raise RTResponseError(OPTION, problem, "Convert the scan again from DICOM, for example with dcm2niix")
    if max(image.GetSpacing()) > COARSEST_MM:
        problem = f"'{path.name}' has voxels of {max(image.GetSpacing()):.3g} mm, expected up to {COARSEST_MM:.0f} mm"
        raise RTResponseError(OPTION, problem, "Give a scan with thinner slices")
    broken = int((~np.isfinite(values)).sum())
    if broken:
        problem = f"'{path.name}' has {broken} voxel(s) without a finite value"
        raise RTResponseError(OPTION, problem, "Replace them, for example by 0 outside the head")
    if float(values.min()) < AIR_HU and float(np.percentile(values, 20)) < AIR_HU:
        problem = f"'{path.name}' looks like a CT: a fifth of its voxels lies below {AIR_HU:.0f}"
        raise RTResponseError(OPTION, problem, "Give a T1-weighted MR")
    shown = values[values != 0]
    negative = float((shown < 0).mean()) if shown.size else 0.0
    if negative > NEGATIVE:
        problem = (
            f"'{path.name}' has negative values in {100 * negative:.0f} % of what it shows: it has been normalized"
        )
        raise RTResponseError(OPTION, problem, "Give the intensities as they were scanned")
    if float(values.max()) <= float(values.min()):
        raise RTResponseError(OPTION, f"'{path.name}' has one value only", "Give a T1-weighted MR of a head")
    return image


def _require_size(path: Path, grid: Grid, inside: npt.NDArray[np.bool_]) -> None:
    places = np.argwhere(inside)
    extent = (np.ptp(places, axis=0) + 1) * grid.spacing_mm[::-1] if len(places) else np.zeros(3)
    if extent.min() < EXTENT_MM[0] or extent.max() > EXTENT_MM[1]:
        size = " × ".join(f"{e:.0f}" for e in extent[::-1])
        problem = f"'{path.name}' shows something of {size} mm, expected a head"
        raise RTResponseError(OPTION, problem, "Give a scan of a whole head, not cropped, with voxel sizes in mm")


def _skull_ratio(relative: Array32, depth_mm: npt.NDArray[np.floating]) -> float:
    """Brightness of the darkest shell where a head has its skull, relative to the tissue beneath."""
    first, last = SKULL_MM
    shells = [relative[(depth_mm > d) & (depth_mm <= d + 2)] for d in np.arange(first, last, 2.0)]
    deep = relative[(depth_mm > last + 8) & (depth_mm < last + 20)]
    found = [float(np.percentile(shell, 40)) for shell in shells if shell.size]
    return min(found) / max(float(np.median(deep)), 1e-6) if found and deep.size else 1.0


def _even_white(scaled: Array32, grid: Grid) -> Array32:
    low, high = WHITE_RANGE
    white = ((scaled > low * WHITE) & (scaled < high * WHITE)).astype(np.float32)
    return np.asarray(gaussian_filter(white, [EVEN_MM / s for s in grid.spacing_mm[::-1]]), dtype=np.float32)


def _point_spread(scaled: Array32, grid: Grid, white: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """Width from the noise of white matter: white noise behind a Gaussian σ has a correlation of exp(−1 / 4σ²)."""
    slow = [SLOW_MM / s for s in grid.spacing_mm[::-1]]
    weight = white.astype(np.float32)  # the mean of the white matter alone: an edge of it is no noise
    rest = scaled - gaussian_filter(scaled * weight, slow) / np.maximum(gaussian_filter(weight, slow), 1e-3)
    widths = []
    for axis in range(3):
        here, there = (np.take(rest, range(a, rest.shape[axis] - 1 + a), axis) for a in (0, 1))
        both = np.take(white, range(rest.shape[axis] - 1), axis) & np.take(white, range(1, rest.shape[axis]), axis)
        known = both.sum() > LEAST_WHITE
        correlation = float(np.corrcoef(here[both], there[both])[0, 1]) if known else USUAL_CORRELATION
        widths.append(float(np.sqrt(-0.25 / np.log(np.clip(correlation, 0.02, 0.9)))))
    return widths[0], widths[1], widths[2]


def _to_middle(grid: Grid, inside: npt.NDArray[np.bool_]) -> sitk.Transform:
    """From LPS to the head frame of the phantom, whose origin is the middle of the brain."""
    k, j, i = (float(v) for v in np.argwhere(inside).mean(axis=0))
    return sitk.TranslationTransform(3, (-np.asarray(grid.to_lps(np.asarray([[i, j, k]]))[0])).tolist())
