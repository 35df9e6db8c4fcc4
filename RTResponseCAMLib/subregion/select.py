"""Selection of the subregion of a lesion: threshold on the evidence map, and post-processing of the mask.

Order: threshold → smoothing → connected components → margin → clipping to the lesion. The command line and the panel
use the same code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt, gaussian_filter, label

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.resample import resample
from RTResponseCAMLib.study import Dose
from RTResponseCAMLib.subregion.voxels import LesionVoxels, Mask

METHODS = ("value", "percentile", "otsu", "volume")
BINS = 256


@dataclass(frozen=True)
class Selection:
    """Settings for contouring a subregion.

    Attributes
    ----------
    method : method of the subregion threshold. "value": evidence above ``value``, in units of the map. "percentile":
        evidence above that percentile of the lesion's voxels. "otsu": Otsu's threshold, which maximizes the
        between-class variance [Otsu 1979]; ``value`` is not used. "volume": the ``value`` cm³ of highest evidence.
    value : threshold, percentile or volume (cm³), see ``method``.
    smooth_mm : standard deviation of a Gaussian filter on the mask, mm; the new edge is its half level. 0: none.
    minimum_cc : least volume of a connected component, cm³; smaller ones are left out. 0: no limit.
    largest : number of largest connected components that are kept. 0: all.
    margin_mm : margin by which the subregion is expanded, mm; a negative margin shrinks it.
    clip : True: the subregion is clipped to the lesion.
    """

    method: str = "value"
    value: float = 0.0
    smooth_mm: float = 0.0
    minimum_cc: float = 0.0
    largest: int = 0
    margin_mm: float = 0.0
    clip: bool = True

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in (self.value, self.smooth_mm, self.minimum_cc, self.margin_mm)):
            raise ValueError("value, smoothing, minimum volume or margin is not a finite number, expected one")
        if self.method not in METHODS:
            raise ValueError(f"method is '{self.method}', expected one of {', '.join(METHODS)}")
        if self.method == "percentile" and not 0 <= self.value <= 100:
            raise ValueError(f"percentile is {self.value:g}, expected 0 to 100")
        if self.method == "volume" and self.value <= 0:
            raise ValueError(f"volume is {self.value:g} cm³, expected more than 0")
        if self.smooth_mm < 0 or self.minimum_cc < 0 or self.largest < 0:
            raise ValueError("smoothing, minimum volume and number of components cannot be negative")

    def as_text(self) -> str:
        """Return the settings as text, for display and for the description of a ROI."""
        method_text = {
            "value": f"evidence > {self.value:g}",
            "percentile": f"evidence above its {self.value:g}th percentile",
            "otsu": "evidence above Otsu's threshold",
            "volume": f"the {self.value:g} cm3 with the highest evidence",
        }
        options = [
            f"smoothed by {self.smooth_mm:g} mm" if self.smooth_mm else "",
            f"components of {self.minimum_cc:g} cm3 or more" if self.minimum_cc else "",
            f"the {self.largest} largest" if self.largest else "",
            f"margin {self.margin_mm:+g} mm" if self.margin_mm else "",
            "" if self.clip else "not clipped to the GTV",
        ]
        return ", ".join([method_text[self.method], *(option for option in options if option)])


def subregion_threshold(voxels: LesionVoxels, selection: Selection) -> float:
    """Return the subregion threshold in units of the map; voxels above it are selected."""
    values = voxels.evidence[voxels.inside]
    if selection.method == "value":
        return selection.value
    if selection.method == "percentile":
        return float(np.percentile(values, selection.value))
    if selection.method == "otsu":
        otsu = sitk.OtsuThresholdImageFilter()
        otsu.SetNumberOfHistogramBins(BINS)
        otsu.Execute(sitk.GetImageFromArray(values.reshape(1, -1)))
        return float(otsu.GetThreshold())
    count = round(selection.value / voxels.grid.voxel_cc)
    if count >= len(values):
        return float(np.nextafter(values.min(), np.float32(-np.inf)))
    return float(np.sort(values)[::-1][count])


def select(voxels: LesionVoxels, selection: Selection) -> Mask:
    """Return the mask ``[z, y, x]`` of the subregion on the lesion's box; it may be empty.

    Without clipping, a margin ends at the box, which is one voxel wider than the lesion. To avoid this, enlarge the box
    first (`padded`).
    """
    if selection.method == "volume":
        mask = _top_voxels(voxels, round(selection.value / voxels.grid.voxel_cc))
    else:
        mask = voxels.above(subregion_threshold(voxels, selection))
    spacing = voxels.grid.spacing_mm[::-1]
    if selection.smooth_mm > 0 and mask.any():
        # Normalized by the smoothed lesion mask: the edge of the lesion does not reduce the subregion.
        sigma = [selection.smooth_mm / s for s in spacing]
        smoothed_mask, smoothed_lesion = (gaussian_filter(m.astype(np.float32), sigma) for m in (mask, voxels.inside))
        mask = voxels.inside & (smoothed_mask > 0.5 * smoothed_lesion)
    mask = _components(mask, selection.minimum_cc / voxels.grid.voxel_cc, selection.largest)
    # Distance from a voxel's center to its edge, which is the surface of the mask.
    half_voxel_mm = float(np.mean(spacing)) / 2
    if selection.margin_mm > 0 and mask.any():
        mask = np.asarray(distance_transform_edt(~mask, sampling=spacing) <= selection.margin_mm + half_voxel_mm)
    elif selection.margin_mm < 0:
        eroded = distance_transform_edt(np.pad(mask, 1), sampling=spacing) >= half_voxel_mm - selection.margin_mm
        mask = np.asarray(eroded[1:-1, 1:-1, 1:-1])
    return mask & voxels.inside if selection.clip else mask


def padded(voxels: LesionVoxels, margin_mm: float, *, dose: Dose | None = None) -> LesionVoxels:
    """Return the lesion in a box enlarged by a margin on all sides, with the dose (0 Gy beyond the dose grid)."""
    pad_voxels = [int(np.ceil(max(margin_mm, 0.0) / s)) for s in voxels.grid.spacing_mm]
    if not any(pad_voxels):
        return voxels
    pads = [(n, n) for n in pad_voxels[::-1]]
    x, y, z = (float(v) for v in voxels.grid.to_lps(-np.asarray([pad_voxels], dtype=np.float64))[0])
    i, j, k = (n + 2 * w for n, w in zip(voxels.grid.size, pad_voxels, strict=True))
    grid = Grid((i, j, k), voxels.grid.spacing_mm, (x, y, z), voxels.grid.direction)
    enlarged = LesionVoxels(grid, np.pad(voxels.inside, pads), np.pad(voxels.evidence, pads), None)
    if dose is None or voxels.dose is None:
        return enlarged
    return replace(enlarged, dose=sitk.GetArrayFromImage(resample(dose.image, grid)))


def _top_voxels(voxels: LesionVoxels, count: int) -> Mask:
    """Return exactly ``count`` voxels with the highest evidence; of equal ones, the first in array order."""
    indices = np.flatnonzero(voxels.inside)
    order = np.argsort(-voxels.evidence.ravel()[indices], kind="stable")[:count]
    mask = np.zeros(voxels.inside.size, dtype=bool)
    mask[indices[order]] = True
    return mask.reshape(voxels.inside.shape)


def _components(mask: Mask, least_voxels: float, largest: int) -> Mask:
    if not mask.any() or (least_voxels <= 0 and largest == 0):
        return mask
    component_map, _ = label(mask)
    sizes = np.bincount(component_map.ravel())[1:]
    order = np.argsort(-sizes, kind="stable")[: largest or len(sizes)]
    labels = [n + 1 for n in order if sizes[n] >= least_voxels - 1e-6]
    return np.asarray(np.isin(component_map, labels))
