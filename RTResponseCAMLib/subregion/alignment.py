"""Does the map line up with cell-level data? Rank correlation, a mixed model, and a spatial null.

Measurements of one patient are alike, and neighbors on a smooth map are more alike still. So intervals resample
patients, the mixed model gives each patient a level of their own, and the spatial p asks how often maps turned about
their lesion's center do as well. A map explains the model, not the tissue; resected lesions are selected failures.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from scipy.stats import t as student

from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.imaging.planes import Array64
from RTResponseCAMLib.subregion.voxels import LesionVoxels, Mask

RESAMPLES = 2000
LEAST_POINTS, LEAST_PATIENTS = 6, 3


@dataclass(frozen=True)
class Alignment:
    """How map and measurement go together.

    Attributes
    ----------
    points, patients : how many.
    rho, low, high : Spearman's ρ and its 95 % interval over resampled patients, the localization error included; no
        interval for one patient, whose neighboring points are no independent witnesses.
    spatial_p : two-sided, against turned maps; None without them.
    slope, slope_low, slope_high, slope_p : of a mixed model with a random level per patient, both sides in units of
        their standard deviation; None with fewer than `LEAST_PATIENTS` patients or where it does not converge.
    error_sd : mean standard deviation of the map's value at a point for the localization error.
    """

    points: int
    patients: int
    rho: float
    low: float | None
    high: float | None
    spatial_p: float | None
    slope: float | None
    slope_low: float | None
    slope_high: float | None
    slope_p: float | None
    error_sd: float


def align(
    values: Sequence[float],
    draws: Array64,
    *,
    turned: Array64 | None,
    patients: Sequence[str],
    seed: int = 0,
) -> Alignment:
    """Correlate measurements with the map.

    Parameters
    ----------
    values : a measurement per point.
    draws : the map at each point ``(points, draws)``; the first is where it is stated to be.
    turned : the map turned ``(points, turns)``, or None.
    patients : whose point it is.

    Raises
    ------
    OutputError : fewer than `LEAST_POINTS` points, or a side without any difference; statsmodels is missing.
    """
    measured, here = np.asarray(values, dtype=np.float64), draws[:, 0]
    if len(measured) < LEAST_POINTS:
        what = f"{len(measured)} point(s) lie in lesions, fewer than {LEAST_POINTS}: no correlation is given"
        raise OutputError("", what, "Add points, or check their frame (LPS or RAS)")
    if not np.ptp(measured) or not np.ptp(here):
        side = "map" if np.ptp(measured) else "values"
        raise OutputError("", f"the {side} is the same at all points: no correlation is given", "Check the table")
    _, codes = np.unique(np.asarray(patients), return_inverse=True)
    rho = spearman(measured, here)
    low, high = _interval(measured, draws, codes, seed)
    spatial = None
    if turned is not None and turned.shape[1]:
        null = np.asarray([spearman(measured, turned[:, n]) for n in range(turned.shape[1])])
        middle = float(np.median(null))
        spatial = (1 + int((np.abs(null - middle) >= abs(rho - middle)).sum())) / (1 + len(null))
    slope = _mixed(measured, here, codes)
    return Alignment(
        len(measured), int(codes.max()) + 1, rho, low, high, spatial, *slope, float(draws.std(axis=1).mean())
    )


def habitats(
    lesions: Iterable[tuple[str, LesionVoxels, Mask]],
    labels: Mapping[str, npt.NDArray[np.int_]],
    *,
    names: Mapping[int, str],
) -> list[dict[str, str | float]]:
    """Overlap of subregions with habitats (necrosis, enhancement, edema …), lesion by lesion; volumes in cm³.

    ``labels`` holds each lesion's label map on its own box. By chance a habitat's share of the subregion is its share
    of the lesion.
    """
    rows: list[dict[str, str | float]] = []
    for lesion, voxels, mask in lesions:
        own = labels[lesion]
        for number in sorted(set(np.unique(own[voxels.inside]).tolist()) - {0}):
            here = voxels.inside & (own == number)
            both = here & mask
            rows.append(
                {
                    "lesion": lesion,
                    "habitat": names.get(number, f"label {number}"),
                    "volume_cc": voxels.volume_cc(here),
                    "share_of_lesion": float(here.sum() / voxels.inside.sum()),
                    "share_of_subregion": float(both.sum() / max(mask.sum(), 1)),
                    "dice": float(2 * both.sum() / max(here.sum() + mask.sum(), 1)),
                    "mean_evidence": float(voxels.evidence[here].mean()),
                    "mean_evidence_elsewhere": float(voxels.evidence[voxels.inside & ~here].mean())
                    if (voxels.inside & ~here).any()
                    else float("nan"),
                }
            )
    return rows


def spearman(one: Array64, other: Array64) -> float:
    """Spearman's ρ; 0 where a side has no difference."""
    a, b = (rankdata(v) - (len(v) + 1) / 2 for v in (one, other))
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / length if length > 0 else 0.0


def _interval(
    measured: Array64, draws: Array64, codes: npt.NDArray[np.intp], seed: int
) -> tuple[float | None, float | None]:
    """95 % of ρ over resampled patients, each time with another drawn place; None for one patient."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(codes == n) for n in range(int(codes.max()) + 1)]
    if len(groups) < 2:
        return None, None
    found = []
    for number in range(RESAMPLES):
        chosen = np.concatenate([groups[n] for n in rng.integers(0, len(groups), len(groups))])
        found.append(spearman(measured[chosen], draws[chosen, number % draws.shape[1]]))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def _mixed(
    measured: Array64, here: Array64, codes: npt.NDArray[np.intp]
) -> tuple[float | None, float | None, float | None, float | None]:
    """Slope, its 95 % interval and p of measurement on map, with a random level per patient."""
    if codes.max() + 1 < LEAST_PATIENTS:
        return None, None, None, None
    try:
        from statsmodels.regression.linear_model import OLS
        from statsmodels.regression.mixed_linear_model import MixedLM
    except ImportError as error:
        fix = "Install it (pip install statsmodels)"
        raise OutputError("statsmodels", "is missing: the mixed model needs it", fix) from error
    y, x = ((v - v.mean()) / v.std() for v in (measured, here))
    both = np.column_stack([np.ones_like(x), x])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a level that does not vary between patients is no fault
        try:
            fit = MixedLM(y, both, groups=codes).fit(reml=True)
            slope, deviation = float(fit.fe_params[1]), float(fit.bse_fe[1])
        except np.linalg.LinAlgError:
            slope, deviation = np.nan, np.nan
        if not (np.isfinite(slope) and np.isfinite(deviation)):  # no variance between patients: a plain line
            line = OLS(y, both).fit()
            slope, deviation = float(line.params[1]), float(line.bse[1])
    freedom = len(y) - int(codes.max()) - 2  # points less patients' levels and the slope
    if freedom < 1 or not deviation > 0:
        return None, None, None, None
    reach = float(student.ppf(0.975, freedom)) * deviation
    return slope, slope - reach, slope + reach, float(2 * student.sf(abs(slope) / deviation, freedom))
