"""Alignment of an evidence map with biopsy / cell-density points: rank correlation, mixed model, spatial null.

Measurements of one patient are correlated, and so are neighboring points on a smooth map. The confidence interval
therefore resamples patients (bootstrap), the mixed model has a random intercept per patient, and the spatial p value is
the fraction of maps, rotated around the lesion's center, with a correlation at least as strong. An evidence map
explains the model, not the tissue. Resected lesions are a selection of treatment failures.
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
    """Association of an evidence map with measurements at points.

    Attributes
    ----------
    points, patients : number of points and of patients.
    rho, low, high : Spearman's ρ and its 95 % confidence interval from a bootstrap over patients, including the
        localization error. There is no interval for one patient, because neighboring points are not independent.
    spatial_p : two-sided p value against rotated maps; None without rotated maps.
    slope, slope_low, slope_high, slope_p : slope, 95 % confidence interval and p value of a mixed model with a random
        intercept per patient; both variables are in units of their standard deviation. None with fewer than
        `LEAST_PATIENTS` patients or where the fit gives no standard error.
    error_sd : mean over points of the standard deviation of the evidence due to the localization error.
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
    """Return the association of measurements with the evidence map.

    Parameters
    ----------
    values : measurement of each point.
    draws : evidence at each point ``(points, draws)``; the first draw is at the stated position, the others are at
        positions sampled within the localization error.
    turned : evidence at each point on the rotated maps ``(points, turns)``, or None.
    patients : patient of each point.
    seed : seed of the bootstrap.

    Raises
    ------
    OutputError : there are fewer than `LEAST_POINTS` points, all measurements or all evidence values are equal, or
        statsmodels is missing.
    """
    measured, evidence = np.asarray(values, dtype=np.float64), draws[:, 0]
    if len(measured) < LEAST_POINTS:
        problem = f"{len(measured)} point(s) lie in lesions, fewer than {LEAST_POINTS}: no correlation is computed"
        raise OutputError("", problem, "Add points, or check their frame (LPS or RAS)")
    if not np.ptp(measured) or not np.ptp(evidence):
        side = "map" if np.ptp(measured) else "values"
        raise OutputError("", f"the {side} is the same at all points: no correlation is computed", "Check the table")
    _, codes = np.unique(np.asarray(patients), return_inverse=True)
    rho = spearman(measured, evidence)
    low, high = _interval(measured, draws, codes, seed)
    spatial_p = None
    if turned is not None and turned.shape[1]:
        null = np.asarray([spearman(measured, turned[:, n]) for n in range(turned.shape[1])])
        center = float(np.median(null))
        spatial_p = (1 + int((np.abs(null - center) >= abs(rho - center)).sum())) / (1 + len(null))
    slope = _mixed(measured, evidence, codes)
    return Alignment(
        len(measured), int(codes.max()) + 1, rho, low, high, spatial_p, *slope, float(draws.std(axis=1).mean())
    )


def habitats(
    lesions: Iterable[tuple[str, LesionVoxels, Mask]],
    labels: Mapping[str, npt.NDArray[np.int_]],
    *,
    names: Mapping[int, str],
) -> list[dict[str, str | float]]:
    """Return the overlap of subregions with habitats (necrosis, enhancement, edema …), one row per lesion and habitat.

    Volumes are in cm³. The share of a habitat in the subregion that is expected by chance is its share in the lesion.

    Parameters
    ----------
    lesions : id, voxels and subregion mask of each lesion.
    labels : label map of each lesion on its own box; 0 is background.
    names : habitat name of each label.
    """
    rows: list[dict[str, str | float]] = []
    for lesion, voxels, mask in lesions:
        lesion_labels = labels[lesion]
        for label in sorted(set(np.unique(lesion_labels[voxels.inside]).tolist()) - {0}):
            habitat = voxels.inside & (lesion_labels == label)
            overlap = habitat & mask
            rows.append(
                {
                    "lesion": lesion,
                    "habitat": names.get(label, f"label {label}"),
                    "volume_cc": voxels.volume_cc(habitat),
                    "share_of_lesion": float(habitat.sum() / voxels.inside.sum()),
                    "share_of_subregion": float(overlap.sum() / max(mask.sum(), 1)),
                    "dice": float(2 * overlap.sum() / max(habitat.sum() + mask.sum(), 1)),
                    "mean_evidence": float(voxels.evidence[habitat].mean()),
                    "mean_evidence_elsewhere": float(voxels.evidence[voxels.inside & ~habitat].mean())
                    if (voxels.inside & ~habitat).any()
                    else float("nan"),
                }
            )
    return rows


def spearman(first: Array64, second: Array64) -> float:
    """Return Spearman's ρ; 0 if all values of first variable are equal."""
    a, b = (rankdata(v) - (len(v) + 1) / 2 for v in (first, second))
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / length if length > 0 else 0.0


def _interval(
    measured: Array64, draws: Array64, codes: npt.NDArray[np.intp], seed: int
) -> tuple[float | None, float | None]:
    """Return the 95 % confidence interval of ρ from a bootstrap over patients; None for one patient.

    Each bootstrap sample uses another sampled position of the points.
    """
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(codes == n) for n in range(int(codes.max()) + 1)]
    if len(groups) < 2:
        return None, None
    correlations = []
    for index in range(RESAMPLES):
        chosen = np.concatenate([groups[n] for n in rng.integers(0, len(groups), len(groups))])
        correlations.append(spearman(measured[chosen], draws[chosen, index % draws.shape[1]]))
    low, high = np.percentile(correlations, [2.5, 97.5])
    return float(low), float(high)


def _mixed(
    measured: Array64, here: Array64, codes: npt.NDArray[np.intp]
) -> tuple[float | None, float | None, float | None, float | None]:
    """Return slope, 95 % interval and p value of a mixed model of measurement on evidence.

    The model has a random intercept per patient. If the mixed model fails, ordinary least squares is used.
    """
    if codes.max() + 1 < LEAST_PATIENTS:
        return None, None, None, None
    try:
        from statsmodels.regression.linear_model import OLS
        from statsmodels.regression.mixed_linear_model import MixedLM
    except ImportError as error:
        fix = "Install it (pip install statsmodels)"
        raise OutputError("statsmodels", "is missing: the mixed model needs it", fix) from error
    y, x = ((v - v.mean()) / v.std() for v in (measured, here))
    design = np.column_stack([np.ones_like(x), x])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an intercept without variance between patients is not an error
        try:
            fit = MixedLM(y, design, groups=codes).fit(reml=True)
            slope, standard_error = float(fit.fe_params[1]), float(fit.bse_fe[1])
        except np.linalg.LinAlgError:
            slope, standard_error = np.nan, np.nan
        # Without variance between patients, ordinary least squares is used.
        if not (np.isfinite(slope) and np.isfinite(standard_error)):
            line = OLS(y, design).fit()
            slope, standard_error = float(line.params[1]), float(line.bse[1])
    dof = len(y) - int(codes.max()) - 2  # points minus patients' intercepts and the slope
    if dof < 1 or not standard_error > 0:
        return None, None, None, None
    half_width = float(student.ppf(0.975, dof)) * standard_error
    return slope, slope - half_width, slope + half_width, float(2 * student.sf(abs(slope) / standard_error, dof))
