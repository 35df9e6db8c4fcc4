"""Scanners: a forward model from the noise-free head to the MR of one machine and sequence.

In the order of the physics: contrast of field strength and sequence, averaging over the slice, point-spread function,
bias field, acquisition in a part of k-space with complex white noise and motion between its lines, zero filling to the
image matrix, magnitude (Rician noise, correlated by the zero filling).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.phantom.anatomy import WHITE
from RTResponseCAMLib.phantom.field import Array32

# Of the DICOM header: description, scanning sequence, its variant, acquisition type, echo and repetition time (ms).
SEQUENCES = {
    "mprage": ("T1 MPRAGE", "GR", "MP", "3D", "3.2", "2100"),
    "spgr": ("T1 SPGR", "GR", "SP", "3D", "4.2", "9.5"),
    "se": ("T1 SE", "SE", "NONE", "2D", "12", "550"),
}
IDEAL, MIXED = "ideal", "mixed"
FERMI = 0.06  # width of the roll-off at the edge of the acquired k-space, relative to it: weakens ringing
MOVED_LINES = 0.35  # share of the outer lines of k-space that is acquired after a movement


@dataclass(frozen=True)
class Scanner:
    """One machine with its sequence.

    Attributes
    ----------
    title : field strength and sequence.
    field_tesla : field strength, T.
    sequence : key of `SEQUENCES`.
    psf_mm : standard deviation of the point-spread function, mm.
    slice_share : thickness of a slice relative to the distance of slices; below 1 there is a gap, 0: no averaging.
    k_space : acquired share of k-space along rows and columns; the rest is filled with zeros.
    noise : standard deviation of the noise in the image, relative to white matter.
    through_plane : correlation of the noise between slices, as the standard deviation of a kernel, slices.
    bias : amplitude of the bias field.
    motion_mm : displacement during the acquisition, mm.
    contrast : difference of darker tissues to white matter, relative to the phantom's.
    enhancement : difference of brighter tissues to white matter, relative to the phantom's.
    """

    name: str
    title: str
    field_tesla: float
    sequence: str
    psf_mm: float
    slice_share: float
    k_space: float
    noise: float
    through_plane: float
    bias: float
    motion_mm: float
    contrast: float
    enhancement: float

    def jittered(self, rng: np.random.Generator) -> Scanner:
        """The settings of one session: those of the machine vary between patients."""
        return replace(
            self,
            psf_mm=float(np.clip(self.psf_mm + rng.normal(0, 0.1), 0.0, 1.0)),
            k_space=float(np.clip(self.k_space + rng.normal(0, 0.04), 0.4, 1.0)),
            noise=float(self.noise * np.exp(rng.normal(0, 0.25))),
            bias=float(self.bias * rng.uniform(0.5, 1.5)),
            motion_mm=float(self.motion_mm * abs(rng.normal())),
            contrast=float(self.contrast * rng.normal(1, 0.05)),
            enhancement=float(self.enhancement * rng.normal(1, 0.05)),
        )


SCANNERS: Mapping[str, Scanner] = {
    scanner.name: scanner
    for scanner in (
        Scanner("mprage-3t", "3 T, 3-D MPRAGE", 3.0, "mprage", 0.3, 0.0, 0.80, 0.012, 0.8, 0.14, 0.15, 1.0, 1.0),
        Scanner("mprage-1.5t", "1.5 T, 3-D MPRAGE", 1.5, "mprage", 0.4, 0.0, 0.74, 0.018, 0.8, 0.06, 0.2, 0.9, 1.05),
        Scanner(
            "spgr-1.5t", "1.5 T, 3-D SPGR, interpolated", 1.5, "spgr", 0.45, 0.0, 0.60, 0.015, 0.8, 0.07, 0.2, 0.85, 1.0
        ),
        Scanner("se-1.5t", "1.5 T, 2-D spin echo", 1.5, "se", 0.45, 0.85, 0.74, 0.014, 0.0, 0.06, 0.35, 0.6, 1.15),
        Scanner("se-3t", "3 T, 2-D spin echo", 3.0, "se", 0.35, 0.9, 0.80, 0.011, 0.0, 0.14, 0.35, 0.5, 1.1),
    )
}


def scanner_of(name: str, rng: np.random.Generator) -> Scanner | None:
    """Return the scanner of one session; None for "ideal", "mixed" chooses one.

    Raises
    ------
    RTResponseError : there is no such scanner.
    """
    if name == IDEAL:
        return None
    if name == MIXED:
        name = str(rng.choice(list(SCANNERS)))
    if name not in SCANNERS:
        names = ", ".join([IDEAL, MIXED, *SCANNERS])
        raise RTResponseError("--scanner", f"there is no scanner '{name}'", f"Choose one of {names}")
    return SCANNERS[name].jittered(rng)


def acquire(
    scanner: Scanner,
    render: Callable[[Grid], Array32],
    *,
    grid: Grid,
    bias: Callable[[Grid], Array32],
    rng: np.random.Generator,
) -> Array32:
    """Return the magnitude image of a scanner, ``[z, y, x]``, in units of the phantom.

    Parameters
    ----------
    render : noise-free intensities on a grid.
    bias : bias field of unit variance on a grid.
    """
    ideal = render(grid) if scanner.slice_share == 0 else _averaged(scanner, render, grid)
    gain = np.where(ideal > WHITE, np.float32(scanner.enhancement), np.float32(scanner.contrast))
    # Fluid and air keep their place at the dark end: only what lies near white matter moves.
    gain = np.where(ideal < 0.35, np.float32(1.0), gain)
    image = WHITE + (ideal - WHITE) * gain
    image *= 1 + scanner.bias * bias(grid)
    if scanner.psf_mm > 0:
        image = gaussian_filter(image, [scanner.psf_mm / s for s in grid.spacing_mm[::-1]], truncate=3.0)
    return _k_space(scanner, image, grid.spacing_mm, rng)


def _averaged(scanner: Scanner, render: Callable[[Grid], Array32], grid: Grid) -> Array32:
    """Mean over the thickness of each slice, from thin slices of about a millimeter."""
    count = 2 * int(np.floor(grid.spacing_mm[2] / 2 + 0.25)) + 1  # odd: one of them lies in the middle
    thin_mm = grid.spacing_mm[2] / count
    x, y, z = grid.to_lps(np.asarray([[0.0, 0.0, -(count - 1) / 2 / count]]))[0].tolist()
    size = (grid.size[0], grid.size[1], grid.size[2] * count)
    thin = render(Grid(size, (grid.spacing_mm[0], grid.spacing_mm[1], thin_mm), (x, y, z), grid.direction))
    distance_mm = np.abs(np.arange(count) - (count - 1) / 2) * thin_mm
    weight = np.clip(0.5 + (scanner.slice_share * grid.spacing_mm[2] / 2 - distance_mm) / thin_mm, 0.0, 1.0)
    layers = thin.reshape(grid.size[2], count, *grid.shape[1:])
    return np.asarray(np.tensordot(layers, (weight / weight.sum()).astype(np.float32), axes=(1, 0)), dtype=np.float32)


def _k_space(
    scanner: Scanner, image: Array32, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> Array32:
    rows, columns = image.shape[1:]
    window = np.outer(_window(rows, scanner.k_space), _window(columns, scanner.k_space)).astype(np.float32)
    passed = float(np.sqrt((window**2).mean()))
    parts = [rng.standard_normal(image.shape, dtype=np.float32) for _ in range(2)]
    if scanner.through_plane > 0:
        with ThreadPoolExecutor(len(parts)) as pool:
            parts = list(pool.map(lambda part: _unit(gaussian_filter1d(part, scanner.through_plane, axis=0)), parts))
    noise = np.empty(image.shape, dtype=np.complex64)
    noise.real, noise.imag = parts
    noise *= np.float32(scanner.noise * WHITE / passed)
    spectrum = fft.fft2(image + noise, workers=os.cpu_count())
    spectrum *= window
    if scanner.motion_mm > 0:
        spectrum = _moved(spectrum, scanner.motion_mm / spacing_mm[1])
    return np.asarray(np.abs(fft.ifft2(spectrum, workers=os.cpu_count())), dtype=np.float32)


def _unit(values: Array32) -> Array32:
    values /= float(values.std())
    return values


def _window(count: int, share: float) -> npt.NDArray[np.float64]:
    """Filter along one axis of k-space: 1 in the acquired part, with a Fermi roll-off."""
    frequency = np.abs(fft.fftfreq(count)) * 2
    return np.asarray(1 / (1 + np.exp(np.clip((frequency - share) / (FERMI * share), -40, 40))), dtype=np.float64)


def _moved(spectrum: npt.NDArray[np.complex64], pixels: float) -> npt.NDArray[np.complex64]:
    """The outer lines of k-space are those of a head that has moved along the rows by ``pixels``."""
    frequency = fft.fftfreq(spectrum.shape[1])
    moved = np.abs(frequency) > np.quantile(np.abs(frequency), 1 - MOVED_LINES)
    phase = np.where(moved, np.exp(-2j * np.pi * frequency * pixels), 1.0).astype(np.complex64)
    return np.asarray(spectrum * phase[None, :, None], dtype=np.complex64)
