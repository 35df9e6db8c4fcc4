"""Maps and cell-level data: is a planted correlation found inside its interval, and is p even when none is planted?

    python Testing/Benchmarks/alignment.py [--simulations 200] [--patients 39] [--points 3]

Each simulation draws smooth maps in balls of 9 mm, points in them, and values that follow the map by ρ (0.6, then 0),
with a level per patient of half the noise. P values of ρ = 0 are held against evenness by a Kolmogorov-Smirnov test.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.subregion.alignment import align
from RTResponseCAMLib.subregion.points import Point, sample_map
from RTResponseCAMLib.subregion.voxels import LesionVoxels

GRID = Grid((21, 21, 21), (1.0, 1.0, 1.0), (-10.0, -10.0, -10.0))
BALL = np.linalg.norm(GRID.points(), axis=-1) < 9


def simulate(rho: float, patients: int, each: int, seed: int):
    rng = np.random.default_rng(seed)
    draws, turned, names = [], [], []
    for patient in range(patients):
        field = gaussian_filter(rng.normal(size=GRID.shape), 2.0)
        lesion = LesionVoxels(GRID, BALL, np.where(BALL, field, 0).astype(np.float32), None)
        places = GRID.points()[BALL][rng.integers(0, int(BALL.sum()), each)]
        points = [Point("", tuple(p), 0.0, "") for p in places.tolist()]
        found, _ = sample_map(
            [("L1", lesion)], points, radius_mm=1.0, error_mm=0.0, draws=1, turns=99, seed=seed * 10_000 + patient
        )
        draws.append(found.draws)
        turned.append(found.turned)
        names += [str(patient)] * each
    draws, turned = np.concatenate(draws), np.concatenate(turned)
    map_ = (draws[:, 0] - draws[:, 0].mean()) / draws[:, 0].std()
    level = np.repeat(rng.normal(size=patients), each) * 0.5**0.5
    noise = (level + rng.normal(size=len(map_)) * 0.5**0.5) * np.sqrt(1 - rho**2)
    return align(rho * map_ + noise, draws, turned=turned, patients=names, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--patients", type=int, default=39)
    parser.add_argument("--points", type=int, default=3)
    options = parser.parse_args()
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman's of a normal pair of correlation 0.6
    planted = [simulate(0.6, options.patients, options.points, s) for s in range(options.simulations)]
    inside = np.mean([f.low <= truth <= f.high for f in planted])
    slopes = np.mean([f.slope_low <= 0.6 <= f.slope_high for f in planted])
    print(f"planted 0.6 ({truth:.3f} by ranks): mean rho {np.mean([f.rho for f in planted]):.3f}")
    print(f"  inside the interval of rho in {100 * inside:.1f} %, of the slope in {100 * slopes:.1f} %")
    print(f"  spatial p < 0.05 in {100 * np.mean([f.spatial_p < 0.05 for f in planted]):.1f} %")
    none = [simulate(0.0, options.patients, options.points, 5000 + s) for s in range(options.simulations)]
    for name, p in (("spatial", [f.spatial_p for f in none]), ("mixed model", [f.slope_p for f in none])):
        small, even = 100 * np.mean(np.asarray(p) < 0.05), kstest(p, "uniform").pvalue
        print(f"none planted, {name} p: below 0.05 in {small:.1f} %, KS against evenness p {even:.3f}")


if __name__ == "__main__":
    main()
