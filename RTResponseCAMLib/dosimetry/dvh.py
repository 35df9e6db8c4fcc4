"""Dose-volume histograms of contours: the dose at points that fill the body, not at voxels of a mask.

D_x % is the dose that x % of the volume receives at least, V_x Gy the volume that receives x Gy at least (ICRU 83 and
91). Below 2 cm³ 2 % of a volume are a fraction of a voxel: ICRU 91 reports the dose of an absolute 35 mm³ there.

Between the points of the dose grid the dose is trilinear by default, as in planning systems; "cubic" and "quintic"
(B-splines) come closer to a dose that was sampled coarsely. Every result says which was used.
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
SPLINE_MARGIN = 12  # voxels around a body at which a B-spline's edge no longer matters
SMALL_CC, ABSOLUTE_CC = 2.0, 0.035  # ICRU 91
POINTS_OF_CURVE = 400


@dataclass(frozen=True)
class Dvh:
    """The doses that the volume of one structure receives.

    Attributes
    ----------
    name : of the structure.
    dose_gy : dose of each point of the body, ascending, Gy ``(n,)``.
    weight_cc : volume of each point, cm³.
    at_least_cc : volume that receives that dose at least, half of the point itself included, cm³; descending.
    interpolation : "linear", "cubic" or "quintic".
    outside : share of the volume beyond the dose grid (0…1); its dose counts as 0 Gy.
    unit : of the dose, see `study.Dose`; names with ``_gy`` hold values in it.
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
        """Dose that the hottest ``volume_cc`` receives at least, Gy; None where the structure is smaller."""
        if not 0 <= volume_cc <= self.volume_cc * (1 + 1e-9):
            return None
        return float(np.interp(-volume_cc, -self.at_least_cc, self.dose_gy))

    def dose_to_percent(self, percent: float) -> float:
        """D_x: dose that ``percent`` of the volume receives at least, Gy."""
        return float(np.interp(-percent / 100 * self.volume_cc, -self.at_least_cc, self.dose_gy))

    def volume_at_cc(self, dose_gy: float) -> float:
        """V_x: volume that receives ``dose_gy`` at least, cm³."""
        return float(np.interp(dose_gy, self.dose_gy, self.at_least_cc, left=self.volume_cc, right=0.0))

    def volume_at_percent(self, dose_gy: float) -> float:
        """V_x as percent of the volume."""
        return 100 * self.volume_at_cc(dose_gy) / self.volume_cc

    def near_minimum_gy(self) -> float | None:
        """D98 %; below 2 cm³ the dose that all but the coldest 35 mm³ receive; None below 35 mm³ (ICRU 91)."""
        if self.volume_cc >= SMALL_CC:
            return self.dose_to_percent(98)
        return self.dose_to_cc(self.volume_cc - ABSOLUTE_CC)

    def near_maximum_gy(self) -> float | None:
        """D2 %; below 2 cm³ the dose that the hottest 35 mm³ receive; None below 35 mm³ (ICRU 91)."""
        return self.dose_to_percent(2) if self.volume_cc >= SMALL_CC else self.dose_to_cc(ABSOLUTE_CC)

    def cumulative(self, step_gy: float | None = None) -> tuple[Array64, Array64]:
        """Doses from 0 Gy up, and the volume (cm³) that receives each at least."""
        edges = self._edges(step_gy)
        volume = np.interp(edges, self.dose_gy, self.at_least_cc, left=self.volume_cc, right=0.0)
        return edges, np.asarray(volume, dtype=np.float64)

    def differential(self, step_gy: float | None = None) -> tuple[Array64, Array64]:
        """Middles of dose bins from 0 Gy up, and the volume per Gy (cm³/Gy) within each."""
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
    ValueError : an interpolation of another name.
    """
    return sampled_dvh(structure.name, volume_samples(structure), dose=dose, interpolation=interpolation)


def dvhs(
    structures: Sequence[Structure], dose: Dose, *, interpolation: str = "linear", progress: Progress = no_progress
) -> list[Dvh | GeometryError]:
    """Histograms of several structures, in threads: most of the time is spent where Python lets others work.

    In place of a histogram stands why there is none, where a structure has no usable contours.
    """

    def measured(structure: Structure) -> Dvh | GeometryError:
        try:
            return dvh(structure, dose, interpolation=interpolation)
        except GeometryError as error:
            return error

    found = []
    with ThreadPoolExecutor(min(len(structures), os.cpu_count() or 1) or 1) as pool:
        waiting = [pool.submit(measured, structure) for structure in structures]
        try:
            for number, future in enumerate(waiting, start=1):
                found.append(future.result())
                progress(number / len(structures), f"dose-volume histogram {number} of {len(structures)}")
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
    return found


def sampled_dvh(name: str, samples: VolumeSamples, *, dose: Dose, interpolation: str = "linear") -> Dvh:
    """As `dvh`, of points that are there already."""
    values, reached = dose_at(dose, samples.points_mm, interpolation=interpolation)
    order = np.argsort(values)
    weight = samples.weight_cc[order]
    above = np.cumsum(weight[::-1])[::-1] - weight / 2
    outside = float(samples.weight_cc[~reached].sum() / samples.weight_cc.sum())
    return Dvh(name, values[order], weight, above, interpolation, outside, dose.unit)


def dose_at(dose: Dose, points_mm: Array64, *, interpolation: str = "linear") -> tuple[Array64, npt.NDArray[np.bool_]]:
    """Dose at LPS points ``(n, 3)``, Gy, and which of them the grid reaches; 0 Gy elsewhere."""
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation is '{interpolation}', expected one of {', '.join(INTERPOLATIONS)}")
    grid = Grid.of(dose.image)
    index = grid.to_index(points_mm)
    last = np.asarray(grid.size) - 1
    # Half a voxel beyond the outermost points still is what the outermost voxels stand for.
    reached = np.asarray(((index >= -0.5 - 1e-6) & (index <= last + 0.5 + 1e-6)).all(axis=1), dtype=np.bool_)
    values = np.zeros(len(index))
    if reached.any():
        inside = np.clip(index[reached], 0, last)
        values[reached] = _interpolated(dose.image, inside, INTERPOLATIONS[interpolation])
    return values, reached


def table_row(found: Dvh, prescription_gy: float | None) -> Mapping[str, str | float | None]:
    """One structure's row in tables and CSV; doses in Gy, volumes in cm³."""
    row: dict[str, str | float | None] = {
        "structure": found.name,
        "volume_cc": found.volume_cc,
        "mean_gy": found.mean_gy,
        **{f"d{x}_gy": found.dose_to_percent(x) for x in (98, 95, 50, 2)},
        "near_minimum_gy": found.near_minimum_gy(),
        "near_maximum_gy": found.near_maximum_gy(),
        "prescription_gy": prescription_gy,
        "v_prescription_percent": None if prescription_gy is None else found.volume_at_percent(prescription_gy),
        "outside_grid": found.outside,
        "interpolation": found.interpolation,
        "dose_unit": found.unit,
    }
    return row


def _interpolated(image: sitk.Image, index: Array64, order: int) -> Array64:
    """Values at continuous indices (i, j, k) within the grid; a B-spline sees a margin around them."""
    low = np.maximum(np.floor(index.min(axis=0)).astype(int) - SPLINE_MARGIN, 0)
    high = np.minimum(np.ceil(index.max(axis=0)).astype(int) + SPLINE_MARGIN + 1, image.GetSize())
    part = sitk.GetArrayViewFromImage(image)[low[2] : high[2], low[1] : high[1], low[0] : high[0]]
    place = (index - low).T[::-1]
    if order == 1:
        return np.asarray(map_coordinates(part, place, order=1, output=np.float64, mode="nearest"))
    spline = spline_filter(part.astype(np.float64), order=order, mode="mirror")
    values = map_coordinates(spline, place, order=order, mode="mirror", prefilter=False)
    return np.maximum(np.asarray(values, dtype=np.float64), 0.0)
