"""Dose-volume histograms (DVH) of contours: the dose is sampled at points that fill the volume, not at mask voxels.

D_x % is the minimum dose to x % of the volume; V_x Gy is the volume that receives at least x Gy (ICRU 83 and 91). Below
2 cm³, 2 % of the volume are a fraction of a voxel; for these, ICRU 91 reports the dose to an absolute volume of 35 mm³.

Trilinear interpolation between the points of the dose grid is the default, as in planning systems. B-spline
interpolation ("cubic", "quintic") is more accurate for coarse dose grids. Every result contains the method used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import map_coordinates, spline_filter

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import Array64
from RTResponseCAMLib.imaging.volume_sampling import VolumeSamples, volume_samples
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.study import GY, Dose, Structure

INTERPOLATIONS = {"linear": 1, "cubic": 3, "quintic": 5}
SPLINE_MARGIN = 12  # voxels around the points; beyond it, the edge of the block does not affect the B-spline
SMALL_CC, ABSOLUTE_CC = 2.0, 0.035  # ICRU 91
POINTS_OF_CURVE = 400


@dataclass(frozen=True)
class Dvh:
    """Dose-volume histogram of one structure.

    Attributes
    ----------
    name : name of the structure.
    dose_gy : dose at each sample point, ascending, Gy ``(n,)``.
    weight_cc : volume of each point, cm³ ``(n,)``.
    at_least_cc : volume with at least that dose, including half of the point itself, cm³; descending ``(n,)``.
    interpolation : "linear", "cubic" or "quintic".
    outside : fraction of the volume outside the dose grid (0…1); its dose counts as 0 Gy.
    unit : unit of the dose, see `study.Dose`; it applies to all names with ``_gy``.
    """

    name: str
    dose_gy: Array64
    weight_cc: Array64
    at_least_cc: Array64
    interpolation: str
    outside: float
    unit: str = GY

    @property
    def volume_cc(self) -> float:
        """Volume of the structure, cm³."""
        return float(self.weight_cc.sum())

    @property
    def mean_gy(self) -> float:
        """Mean dose, Gy."""
        return float(self.dose_gy @ self.weight_cc / self.weight_cc.sum())

    def dose_to_cc(self, volume_cc: float) -> float | None:
        """Minimum dose to the hottest ``volume_cc``, Gy; None when the structure is smaller."""
        if not 0 <= volume_cc <= self.volume_cc * (1 + 1e-9):
            return None
        return float(np.interp(-volume_cc, -self.at_least_cc, self.dose_gy))

    def dose_to_percent(self, percent: float) -> float:
        """D_x: minimum dose to the hottest ``percent`` of the volume, Gy."""
        return float(np.interp(-percent / 100 * self.volume_cc, -self.at_least_cc, self.dose_gy))

    def volume_at_cc(self, dose_gy: float) -> float:
        """V_x: volume that receives at least ``dose_gy``, cm³."""
        return float(np.interp(dose_gy, self.dose_gy, self.at_least_cc, left=self.volume_cc, right=0.0))

    def volume_at_percent(self, dose_gy: float) -> float:
        """V_x as percent of the volume."""
        return 100 * self.volume_at_cc(dose_gy) / self.volume_cc

    def near_minimum_gy(self) -> float | None:
        """D98 %, Gy; below 2 cm³ the minimum dose to all but the coldest 35 mm³; None below 35 mm³ (ICRU 91)."""
        if self.volume_cc >= SMALL_CC:
            return self.dose_to_percent(98)
        return self.dose_to_cc(self.volume_cc - ABSOLUTE_CC)

    def near_maximum_gy(self) -> float | None:
        """D2 %, Gy; below 2 cm³ the minimum dose to the hottest 35 mm³; None below 35 mm³ (ICRU 91)."""
        return self.dose_to_percent(2) if self.volume_cc >= SMALL_CC else self.dose_to_cc(ABSOLUTE_CC)

    def cumulative(self, step_gy: float | None = None) -> tuple[Array64, Array64]:
        """Cumulative histogram: doses from 0 Gy, and the volume (cm³) that receives at least each dose."""
        edges = self._edges(step_gy)
        volume = np.interp(edges, self.dose_gy, self.at_least_cc, left=self.volume_cc, right=0.0)
        return edges, np.asarray(volume, dtype=np.float64)

    def differential(self, step_gy: float | None = None) -> tuple[Array64, Array64]:
        """Differential histogram: centers of the dose bins from 0 Gy, and the volume per dose (cm³/Gy) in each bin."""
        edges = self._edges(step_gy)
        volume, _ = np.histogram(self.dose_gy, edges, weights=self.weight_cc)
        return (edges[1:] + edges[:-1]) / 2, np.asarray(volume / np.diff(edges), dtype=np.float64)

    def _edges(self, step_gy: float | None) -> Array64:
        top = max(float(self.dose_gy[-1]), 1e-6)
        step = step_gy or top / POINTS_OF_CURVE
        return np.arange(int(np.ceil(top / step)) + 2, dtype=np.float64) * step


def dvh(structure: Structure, dose: Dose, *, interpolation: str = "linear") -> Dvh:
    """Dose-volume histogram of a structure's contours.

    Raises
    ------
    GeometryError : the structure has no usable contours.
    ValueError : the interpolation is not one of `INTERPOLATIONS`.
    """
    return sampled_dvh(structure.name, volume_samples(structure), dose=dose, interpolation=interpolation)


def dvhs(
    structures: Sequence[Structure], dose: Dose, *, interpolation: str = "linear", progress: Progress = no_progress
) -> list[Dvh | GeometryError]:
    """Histograms of several structures, in the order of ``structures``; an error for those without usable contours.

    The structures are processed in threads, because most of the time is spent in code that releases Python's global
    interpreter lock.
    """

    def compute(structure: Structure) -> Dvh | GeometryError:
        try:
            return dvh(structure, dose, interpolation=interpolation)
        except GeometryError as error:
            return error

    results = []
    with ThreadPoolExecutor(min(len(structures), os.cpu_count() or 1) or 1) as pool:
        futures = [pool.submit(compute, structure) for structure in structures]
        try:
            for index, future in enumerate(futures, start=1):
                results.append(future.result())
                progress(index / len(structures), f"dose-volume histogram {index} of {len(structures)}")
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    return results


def sampled_dvh(name: str, samples: VolumeSamples, *, dose: Dose, interpolation: str = "linear") -> Dvh:
    """Dose-volume histogram from given sample points, see `dvh`."""
    values, reached = dose_at(dose, samples.points_mm, interpolation=interpolation)
    order = np.argsort(values)
    weight = samples.weight_cc[order]
    above = np.cumsum(weight[::-1])[::-1] - weight / 2
    outside = float(samples.weight_cc[~reached].sum() / samples.weight_cc.sum())
    return Dvh(name, values[order], weight, above, interpolation, outside, dose.unit)


def dose_at(dose: Dose, points_mm: Array64, *, interpolation: str = "linear") -> tuple[Array64, npt.NDArray[np.bool_]]:
    """Dose at LPS points ``(n, 3)``, Gy ``(n,)``, and which points lie within the dose grid ``(n,)``; 0 Gy outside."""
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation is '{interpolation}', expected one of {', '.join(INTERPOLATIONS)}")
    grid = Grid.of(dose.image)
    index = grid.to_index(points_mm)
    last_index = np.asarray(grid.size) - 1
    # The outermost voxels extend half a voxel beyond their centers.
    reached = np.asarray(((index >= -0.5 - 1e-6) & (index <= last_index + 0.5 + 1e-6)).all(axis=1), dtype=np.bool_)
    values = np.zeros(len(index))
    if reached.any():
        inside = np.clip(index[reached], 0, last_index)
        values[reached] = _interpolated(dose.image, inside, INTERPOLATIONS[interpolation])
    return values, reached


def table_row(histogram: Dvh, prescription_gy: float | None) -> Mapping[str, str | float | None]:
    """Table and CSV row of one structure; doses in Gy, volumes in cm³."""
    row: dict[str, str | float | None] = {
        "structure": histogram.name,
        "volume_cc": histogram.volume_cc,
        "mean_gy": histogram.mean_gy,
        **{f"d{x}_gy": histogram.dose_to_percent(x) for x in (98, 95, 50, 2)},
        "near_minimum_gy": histogram.near_minimum_gy(),
        "near_maximum_gy": histogram.near_maximum_gy(),
        "prescription_gy": prescription_gy,
        "v_prescription_percent": None if prescription_gy is None else histogram.volume_at_percent(prescription_gy),
        "outside_grid": histogram.outside,
        "interpolation": histogram.interpolation,
        "dose_unit": histogram.unit,
    }
    return row


def _interpolated(image: sitk.Image, index: Array64, order: int) -> Array64:
    """Values ``(n,)`` at continuous indices (i, j, k) within the grid; B-splines use a margin of `SPLINE_MARGIN`."""
    low = np.maximum(np.floor(index.min(axis=0)).astype(int) - SPLINE_MARGIN, 0)
    high = np.minimum(np.ceil(index.max(axis=0)).astype(int) + SPLINE_MARGIN + 1, image.GetSize())
    block = sitk.GetArrayViewFromImage(image)[low[2] : high[2], low[1] : high[1], low[0] : high[0]]
    coordinates = (index - low).T[::-1]
    if order == 1:
        return np.asarray(map_coordinates(block, coordinates, order=1, output=np.float64, mode="nearest"))
    spline = spline_filter(block.astype(np.float64), order=order, mode="mirror")
    values = map_coordinates(spline, coordinates, order=order, mode="mirror", prefilter=False)
    return np.maximum(np.asarray(values, dtype=np.float64), 0.0)
