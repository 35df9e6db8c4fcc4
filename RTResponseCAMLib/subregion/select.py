"""Which voxels of a lesion are its subregion: a threshold, and what is made of the voxels above it.

Order: threshold → smoothing → components → margin → clipping to the lesion. One rule for command line and panel.
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
    """How a subregion is drawn.

    Attributes
    ----------
    method : "value" (evidence above ``value``, in the map's scale), "percentile" (above that percentile of the
        lesion's own voxels), "otsu" (between the two classes that differ most [Otsu 1979], no value), "volume" (the
        hottest ``value`` cm³).
    smooth_mm : standard deviation of a Gaussian on the mask; its half level is the new edge. 0: none.
    minimum_cc, largest : components below that volume, and all but the largest ones, are left out; 0: none is.
    margin_mm : the subregion grows by that distance, or shrinks by a negative one.
    clip : nothing lies outside the lesion.
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
            raise ValueError("value, smoothing, minimum volume or margin is no finite number, expected one")
        if self.method not in METHODS:
            raise ValueError(f"method is '{self.method}', expected one of {', '.join(METHODS)}")
        if self.method == "percentile" and not 0 <= self.value <= 100:
            raise ValueError(f"percentile is {self.value:g}, expected 0 to 100")
        if self.method == "volume" and self.value <= 0:
            raise ValueError(f"volume is {self.value:g} cm³, expected more than 0")
        if self.smooth_mm < 0 or self.minimum_cc < 0 or self.largest < 0:
            raise ValueError("smoothing, minimum volume and number of components cannot be negative")

    def as_text(self) -> str:
        """What was asked for, for people and for an ROI's description."""
        words = {
            "value": f"evidence > {self.value:g}",
            "percentile": f"evidence above its {self.value:g}th percentile",
            "otsu": "evidence above Otsu's threshold",
            "volume": f"the {self.value:g} cm3 of most evidence",
        }
        more = [
            f"smoothed by {self.smooth_mm:g} mm" if self.smooth_mm else "",
            f"components of {self.minimum_cc:g} cm3 or more" if self.minimum_cc else "",
            f"the {self.largest} largest" if self.largest else "",
            f"margin {self.margin_mm:+g} mm" if self.margin_mm else "",
            "" if self.clip else "not clipped to the GTV",
        ]
        return ", ".join([words[self.method], *(word for word in more if word)])


def subregion_threshold(voxels: LesionVoxels, selection: Selection) -> float:
    """The threshold in the map's scale: voxels above it are taken."""
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
    """The subregion's voxels ``[z, y, x]`` on the lesion's box; may be empty.

    A margin that leaves the lesion ends at the box, which is a voxel wider than the lesion: widen it first (`padded`).
    """
    if selection.method == "volume":
        mask = _top_voxels(voxels, round(selection.value / voxels.grid.voxel_cc))
    else:
        mask = voxels.above(subregion_threshold(voxels, selection))
    spacing = voxels.grid.spacing_mm[::-1]
    if selection.smooth_mm > 0 and mask.any():
        # Weighted by what of the lesion lies around: the lesion's own edge does not eat into the subregion.
        sigma = [selection.smooth_mm / s for s in spacing]
        share, around = (gaussian_filter(m.astype(np.float32), sigma) for m in (mask, voxels.inside))
        mask = voxels.inside & (share > 0.5 * around)
    mask = _components(mask, selection.minimum_cc / voxels.grid.voxel_cc, selection.largest)
    half = float(np.mean(spacing)) / 2  # from the middle of a voxel to its edge, where the mask's surface is
    if selection.margin_mm > 0 and mask.any():
        mask = np.asarray(distance_transform_edt(~mask, sampling=spacing) <= selection.margin_mm + half)
    elif selection.margin_mm < 0:
        inner = distance_transform_edt(np.pad(mask, 1), sampling=spacing) >= half - selection.margin_mm
        mask = np.asarray(inner[1:-1, 1:-1, 1:-1])
    return mask & voxels.inside if selection.clip else mask


def padded(voxels: LesionVoxels, margin_mm: float, *, dose: Dose | None = None) -> LesionVoxels:
    """The same lesion in a box that is wider by a margin on every side, with the dose there (0 Gy beyond its grid)."""
    wide = [int(np.ceil(max(margin_mm, 0.0) / s)) for s in voxels.grid.spacing_mm]
    if not any(wide):
        return voxels
    pads = [(n, n) for n in wide[::-1]]
    x, y, z = (float(v) for v in voxels.grid.to_lps(-np.asarray([wide], dtype=np.float64))[0])
    i, j, k = (n + 2 * w for n, w in zip(voxels.grid.size, wide, strict=True))
    grid = Grid((i, j, k), voxels.grid.spacing_mm, (x, y, z), voxels.grid.direction)
    wider = LesionVoxels(grid, np.pad(voxels.inside, pads), np.pad(voxels.evidence, pads), None)
    if dose is None or voxels.dose is None:
        return wider
    return replace(wider, dose=sitk.GetArrayFromImage(resample(dose.image, grid)))


def _top_voxels(voxels: LesionVoxels, count: int) -> Mask:
    """Exactly so many voxels of most evidence; of equal ones the first."""
    places = np.flatnonzero(voxels.inside)
    order = np.argsort(-voxels.evidence.ravel()[places], kind="stable")[:count]
    mask = np.zeros(voxels.inside.size, dtype=bool)
    mask[places[order]] = True
    return mask.reshape(voxels.inside.shape)


def _components(mask: Mask, least_voxels: float, largest: int) -> Mask:
    if not mask.any() or (least_voxels <= 0 and largest == 0):
        return mask
    pieces, _ = label(mask)
    sizes = np.bincount(pieces.ravel())[1:]
    order = np.argsort(-sizes, kind="stable")[: largest or len(sizes)]
    kept = [n + 1 for n in order if sizes[n] >= least_voxels - 1e-6]
    return np.asarray(np.isin(pieces, kept))
