"""How far phantom lesions resemble real ones: shape, intensity and texture by size class, and the tissue around them.

    python Testing/Benchmarks/phantom_realism.py [--family NAME] [--lesions 48] [--seed 71] [--csv FILE]

Real: 244 Gamma Knife metastases of 47 patients, of which percentiles of pyradiomics features are known (Brain-TR-Gamma
Knife, T1, read as 1 mm voxels), and 14 real contrast-enhanced tumors (medians with 10th and 90th percentile). Printed
per feature and size class are the largest difference of the two distributions at the known percentiles (KS) and the
ratio of their spreads (10th to 90th percentile). ``--family`` chooses one; by default all realistic families alternate.
``--family coarse`` measures the first phantom for comparison. Needs pyradiomics (``make radiomics``).
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from threadpoolctl import threadpool_limits

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.phantom.anatomy import WHITE, Anatomy, render_head, sample_anatomy
from RTResponseCAMLib.phantom.families import COARSE, FAMILIES, lesion_of, sample_realistic
from RTResponseCAMLib.phantom.families.properties import Properties
from RTResponseCAMLib.phantom.lesion import sample_lesion
from RTResponseCAMLib.phantom.patient import find_place
from RTResponseCAMLib.phantom.scanner import acquire, scanner_of
from RTResponseCAMLib.phantom.spec import PhantomSpec

HEADS = 8  # synthetic people
PERCENT = (5, 10, 25, 50, 75, 90, 95)
CLASSES = {"0.05-0.1": (0.05, 0.1), "0.1-0.3": (0.1, 0.3), "0.3-1": (0.3, 1.0), "1-5": (1.0, 5.0), "5-100": (5.0, 20.0)}
# Percentiles of the real metastases; rows in the order of CLASSES.
REAL = {
    "sphericity": (
        (0.79, 0.81, 0.83, 0.86, 0.88, 0.89, 0.90), (0.73, 0.76, 0.81, 0.85, 0.87, 0.88, 0.89),
        (0.76, 0.78, 0.80, 0.85, 0.87, 0.89, 0.89), (0.58, 0.63, 0.74, 0.78, 0.83, 0.85, 0.86),
        (0.55, 0.58, 0.63, 0.73, 0.81, 0.84, 0.85),
    ),
    "flatness": (
        (0.43, 0.45, 0.52, 0.68, 0.77, 0.81, 0.83), (0.37, 0.48, 0.55, 0.69, 0.74, 0.82, 0.84),
        (0.44, 0.51, 0.61, 0.75, 0.80, 0.86, 0.87), (0.41, 0.51, 0.59, 0.65, 0.78, 0.82, 0.85),
        (0.38, 0.42, 0.52, 0.60, 0.73, 0.79, 0.82),
    ),
    "elongation": (
        (0.69, 0.79, 0.84, 0.89, 0.92, 0.95, 0.97), (0.64, 0.68, 0.75, 0.86, 0.90, 0.94, 0.96),
        (0.67, 0.76, 0.86, 0.90, 0.94, 0.96, 0.98), (0.58, 0.71, 0.79, 0.84, 0.88, 0.91, 0.92),
        (0.60, 0.61, 0.72, 0.81, 0.86, 0.91, 0.92),
    ),
    "sd_over_mean": (
        (0.09, 0.10, 0.11, 0.17, 0.21, 0.27, 0.29), (0.09, 0.11, 0.13, 0.17, 0.22, 0.28, 0.29),
        (0.10, 0.13, 0.16, 0.21, 0.25, 0.30, 0.32), (0.17, 0.19, 0.25, 0.29, 0.34, 0.41, 0.43),
        (0.19, 0.20, 0.23, 0.30, 0.44, 0.50, 0.51),
    ),
    "min_over_mean": (
        (0.41, 0.44, 0.63, 0.72, 0.78, 0.82, 0.83), (0.29, 0.33, 0.48, 0.60, 0.68, 0.75, 0.76),
        (0.21, 0.24, 0.35, 0.48, 0.56, 0.63, 0.70), (0.10, 0.16, 0.20, 0.25, 0.41, 0.47, 0.48),
        (0.01, 0.02, 0.04, 0.11, 0.19, 0.38, 0.46),
    ),
    "max_over_mean": (
        (1.18, 1.20, 1.28, 1.37, 1.52, 1.68, 1.80), (1.22, 1.24, 1.30, 1.41, 1.51, 1.69, 1.71),
        (1.26, 1.32, 1.43, 1.52, 1.78, 1.84, 1.86), (1.60, 1.64, 1.75, 1.83, 2.06, 2.23, 2.58),
        (1.71, 1.74, 2.05, 2.22, 2.67, 3.34, 3.75),
    ),
    "skewness": (
        (-0.55, -0.30, 0.08, 0.32, 0.74, 1.05, 1.20), (-0.94, -0.67, -0.31, 0.08, 0.36, 0.47, 0.57),
        (-0.75, -0.66, -0.26, -0.01, 0.23, 0.66, 1.14), (-0.30, -0.17, -0.02, 0.09, 0.61, 0.95, 1.05),
        (-0.59, -0.20, 0.06, 0.50, 0.84, 1.04, 1.06),
    ),
    "kurtosis": (
        (1.9, 2.0, 2.3, 2.7, 3.2, 3.9, 4.2), (2.0, 2.1, 2.3, 2.6, 3.1, 4.2, 4.8),
        (1.9, 2.0, 2.2, 2.8, 3.7, 4.8, 5.8), (1.9, 1.9, 2.2, 3.1, 3.3, 4.8, 5.7),
        (2.3, 2.4, 2.6, 3.2, 4.0, 4.7, 5.1),
    ),
    "glcm_correlation": (
        (0.04, 0.12, 0.17, 0.21, 0.26, 0.36, 0.43), (0.18, 0.21, 0.26, 0.32, 0.37, 0.44, 0.50),
        (0.31, 0.33, 0.37, 0.43, 0.50, 0.55, 0.66), (0.43, 0.43, 0.44, 0.57, 0.64, 0.69, 0.72), None,
    ),
}  # fmt: skip
# Median, and 10th to 90th percentile where they are known, relative to white matter.
AROUND = {
    "noise of white matter": (0.014, 0.009, 0.023),
    "its correlation at 1 voxel": (0.65, 0.59, 0.71),
    "lesion": (1.10, 0.75, 1.30),
    "0 to 1 mm inside": (1.10, None, None),
    "1 to 2 mm inside": (1.23, None, None),
    "2 to 3 mm inside": (1.14, None, None),
    "4 to 6 mm outside": (0.71, 0.46, 0.89),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=[COARSE, *FAMILIES])
    parser.add_argument("--lesions", type=int, default=48, help="of each size class")
    parser.add_argument("--seed", type=int, default=71)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    names = [options.family] if options.family else list(FAMILIES)
    rows, around = [], []
    with ProcessPoolExecutor(os.cpu_count(), initializer=threadpool_limits, initargs=(1,)) as pool:
        for place, label in enumerate(CLASSES):
            tasks = [(names[n % len(names)], options.seed, place, n) for n in range(options.lesions)]
            pairs = list(pool.map(one, tasks, chunksize=4))
            around += [surroundings for _, surroundings in pairs]
            rows += list(compared(label, place, [features for features, _ in pairs]))
    print("\nfeature            cm3        KS  spread   phantom 10/50/90 %        real 10/50/90 %")
    for feature, label, ks, spread, phantom, real in rows:
        mark = "" if ks <= 0.25 and 0.8 <= spread <= 1.25 else "  *"
        three = "  ".join(" / ".join(f"{v:5.2f}" for v in values) for values in (phantom, real))
        print(f"{feature:<18} {label:<9} {ks:5.2f}  {spread:5.2f}   {three}{mark}")
    print(f"{sum(r[2] <= 0.25 for r in rows)} of {len(rows)} with KS up to 0.25, "
          f"{sum(0.8 <= r[3] <= 1.25 for r in rows)} with a spread of 0.8 to 1.25 (*: not both)")  # fmt: skip
    for name, (real, low, high) in AROUND.items():
        values = [entry[name] for entry in around if np.isfinite(entry[name])]
        band = "" if low is None else f" ({low:.3g} to {high:.3g})"
        ten, middle, ninety = np.percentile(values, [10, 50, 90])
        print(f"{name:<28} phantom {middle:.3f} ({ten:.3f} to {ninety:.3f})   real {real:.3f}{band}")
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["feature", "volume_cc", "ks", "spread_ratio", *(
                f"{kind}_p{p}" for kind in ("phantom", "real") for p in (10, 50, 90))])  # fmt: skip
            for feature, label, ks, spread, phantom, real in rows:
                writer.writerow(
                    [feature, label, f"{ks:.3f}", f"{spread:.3f}", *(f"{v:.3f}" for v in (*phantom, *real))]
                )


def one(task: tuple[str, int, int, int]) -> tuple[dict[str, float], dict[str, float]]:
    """One lesion of a family and size class, see `measured`."""
    family, seed, place, number = task
    rng = np.random.default_rng([seed, place, number])
    low, high = list(CLASSES.values())[place]
    return measured(family, float(np.exp(rng.uniform(np.log(low), np.log(high)))), rng, number)


def measured(
    family: str, volume_cc: float, rng: np.random.Generator, number: int, properties: Properties | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """Features of one lesion in its head, on 1 mm voxels, and the brightness of the tissue in and around it."""
    spec = PhantomSpec(seed=number % HEADS, patient=1)
    anatomy = head(number % HEADS)
    radius = (volume_cc * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    center = find_place(anatomy, radius, placed=[], rng=rng)
    scanner = None if family == COARSE else scanner_of("mixed", rng)
    if family == COARSE:
        lesion = sample_lesion(spec, 1, center_mm=center, volume_cc=volume_cc, rng=rng)
    elif properties is None:
        lesion = sample_realistic(
            FAMILIES[family], spec, number=1, center_mm=center, volume_cc=volume_cc, rng=rng, scanner=1
        )
    else:
        lesion = lesion_of(FAMILIES[family], properties, variant=spec.variant, name="GTV 1", center_mm=center, rng=rng)
    half = int(np.ceil(lesion.reach_mm + 12))
    corner = np.round(center) - half
    x, y, z = corner.tolist()
    grid = Grid((2 * half + 1,) * 3, (1.0, 1.0, 1.0), (x, y, z))
    still = sitk.Transform(3, sitk.sitkIdentity)

    def render(on: Grid) -> np.ndarray:
        image = render_head(anatomy, on, to_head=still)
        return lesion.paint(image, points_mm=on.points() - center, softness_mm=1.0)

    if scanner is None:  # as the first phantom is written: white noise
        noise = [0.03 * rng.standard_normal(grid.shape) for _ in range(2)]
        image = np.hypot(render(grid) + noise[0], noise[1])
    else:
        image = acquire(scanner, render, grid=grid, bias=lambda on: np.zeros(on.shape, np.float32), rng=rng)
    depth = lesion.level(grid.points() - center) * lesion.radius_mm
    white = np.abs(render_head(anatomy, grid, to_head=still) / WHITE - 1) < 0.06
    return features_of(image, depth > 0, grid), around_of(
        image, depth, white & (depth < -16 if half > 26 else depth < -9)
    )


@lru_cache(maxsize=HEADS)
def head(number: int) -> Anatomy:
    """Head of one synthetic person; their fields take longer to make than a lesion."""
    return sample_anatomy(PhantomSpec(seed=number))


def features_of(image: np.ndarray, inside: np.ndarray, grid: Grid) -> dict[str, float]:
    """Features of pyradiomics with 32 bins."""
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    from radiomics import featureextractor

    extractor = featureextractor.RadiomicsFeatureExtractor(binCount=32, label=1)
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(
        shape=["Sphericity", "Flatness", "Elongation"],
        firstorder=["Mean", "Variance", "Minimum", "Maximum", "Skewness", "Kurtosis"],
        glcm=["Correlation"],
    )
    found = extractor.execute(grid.image((1000 * image).astype(np.float32)), grid.image(inside.astype(np.uint8)))
    value = {k.removeprefix("original_"): float(v) for k, v in found.items() if k.startswith("original_")}
    mean = value["firstorder_Mean"]
    return {
        "sphericity": value["shape_Sphericity"], "flatness": value["shape_Flatness"],
        "elongation": value["shape_Elongation"], "sd_over_mean": value["firstorder_Variance"] ** 0.5 / mean,
        "min_over_mean": value["firstorder_Minimum"] / mean, "max_over_mean": value["firstorder_Maximum"] / mean,
        "skewness": value["firstorder_Skewness"], "kurtosis": value["firstorder_Kurtosis"],
        "glcm_correlation": value["glcm_Correlation"],
    }  # fmt: skip


def around_of(image: np.ndarray, depth_mm: np.ndarray, white: np.ndarray) -> dict[str, float]:
    """Brightness relative to the white matter of the same box; NaN where there is too little of it."""
    level = float(np.median(image[white])) if white.sum() > 200 else np.nan

    def shell(low: float, high: float) -> float:
        part = (depth_mm > low) & (depth_mm <= high)
        return float(image[part].mean() / level) if part.sum() > 5 else np.nan

    both = white[1:] & white[:-1], white[:, 1:] & white[:, :-1], white[..., 1:] & white[..., :-1]
    rest = image - level
    pairs = [(rest[1:], rest[:-1]), (rest[:, 1:], rest[:, :-1]), (rest[..., 1:], rest[..., :-1])]
    enough = [(a[m], b[m]) for (a, b), m in zip(pairs, both, strict=True) if m.sum() > 200]
    lags = [float(np.corrcoef(a, b)[0, 1]) for a, b in enough]
    steps = [float((a - b).std() / 2**0.5) for a, b in enough]
    return {
        "noise of white matter": float(np.mean(steps)) / level if steps else np.nan,
        "its correlation at 1 voxel": float(np.mean(lags)) if lags else np.nan,
        "lesion": shell(0, np.inf),
        "0 to 1 mm inside": shell(0, 1), "1 to 2 mm inside": shell(1, 2), "2 to 3 mm inside": shell(2, 3),
        "4 to 6 mm outside": shell(-6, -4),
    }  # fmt: skip


def compared(
    label: str, place: int, found: list[dict[str, float]]
) -> Iterator[tuple[str, str, float, float, list[float], list[float]]]:
    """Rows of the table for one size class."""
    for feature, classes in REAL.items():
        real = classes[place]
        if real is None:
            continue
        values = np.asarray([entry[feature] for entry in found])
        below = [((values < v).mean() + (values <= v).mean()) / 2 for v in real]
        ks = float(np.abs(np.asarray(below) - np.asarray(PERCENT) / 100).max())
        ten, middle, ninety = np.percentile(values, [10, 50, 90]).tolist()
        yield (
            feature,
            label,
            ks,
            (ninety - ten) / (real[5] - real[1]),
            [ten, middle, ninety],
            [real[1], real[3], real[5]],
        )


if __name__ == "__main__":
    main()
