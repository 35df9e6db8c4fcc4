"""Adjust the properties of phantom lesions to real ones: writes the table that the families sample from.

    python Testing/Benchmarks/phantom_calibration.py TABLE.csv [--lesions 240] [--rounds 3] [--rows 120] [--seed 20]

Per size class, lesions with widely spread properties are made, seen through scanners and measured as in
`phantom_realism.py`; their shapes first, without images. Raking (iterative proportional fitting [Deming and Stephan
1940, Ann Math Stat 11:427]) weights them until their features have the real percentiles; the next round samples
properties by these weights. Properties do not decide the features alone: two lesions of the same properties differ, and
weights fitted to one lesion of each would spread more when others are made. In the last round each row of properties is
therefore made several times, by several families, and its weight counts the share of them that falls between two
percentiles. Family, head and resistant fraction are among the margins that are raked to be even: none of them becomes
tied to a property. The table holds sampled properties, and nothing of a patient. Check it with `phantom_realism.py` and
another seed.
"""

from __future__ import annotations

import argparse
import csv
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from phantom_realism import AROUND, CLASSES, PERCENT, REAL, features_of, measured
from threadpoolctl import threadpool_limits

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.phantom.families import FAMILIES, lesion_of
from RTResponseCAMLib.phantom.families.properties import RESISTANT, Properties
from RTResponseCAMLib.phantom.spec import Variant

# Range from which the first round draws; logarithmic where the lower end is positive and ten times smaller.
RANGES = {
    "elongation": (0.65, 1.0), "flatness": (0.40, 1.0), "roughness": (0.02, 0.45), "ruffle_mm": (0.05, 0.8),
    "brightness": (0.85, 2.0), "rim": (-0.25, 1.1), "rim_mm": (0.8, 2.6), "necrotic_fraction": (0.0, 0.6),
    "necrosis": (0.02, 0.85), "texture": (0.03, 0.6), "texture_mm": (0.4, 2.2), "edema": (0.0, 0.6),
    "edema_mm": (2.0, 12.0), "margin_mm": (-0.8, 1.3),
}  # fmt: skip
NAMES = tuple(RANGES)
SHAPE_FEATURES = ("sphericity", "flatness", "elongation")
SHAPE = [NAMES.index(name) for name in ("elongation", "flatness", "roughness", "ruffle_mm")]
SHAPES, SHAPE_ROUNDS = 400, 3
VIABLE = 0.4  # share of the lesions without necrosis in the first round
JITTER = 0.25  # of the spread of a property, added when a property is sampled again
COPIES = 3  # lesions of each row of properties in the last round
SURROUNDINGS = {"lesion": (10, 50, 90), "4 to 6 mm outside": (10, 50, 90)}
Margin = list[tuple[np.ndarray, float]]
CAP = 6.0  # largest weight of a lesion relative to the mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--lesions", type=int, default=240, help="of each size class and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=120, help="of the table, of each size class")
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()
    table: list[list[str]] = []
    with ProcessPoolExecutor(os.cpu_count(), initializer=threadpool_limits, initargs=(1,)) as pool:
        for place, (label, (low, high)) in enumerate(CLASSES.items()):
            rng = np.random.default_rng([options.seed, place])
            count = round(options.lesions * (0.6 if low >= 5 else 1.0))  # large lesions take four times as long
            values = first_round(rng, count)
            shapes = shape_rounds(pool, rng, place, (low, high), options)
            values[:, SHAPE] = shapes[rng.integers(len(shapes), size=count)][:, SHAPE]
            for number in range(options.rounds + 1):
                last = number == options.rounds
                copies = COPIES if last else 1
                volumes = np.exp(rng.uniform(np.log(low), np.log(high), (len(values), copies)))
                resistant = rng.uniform(*RESISTANT, (len(values), copies))
                tasks = [
                    (
                        values[n],
                        float(volumes[n, k]),
                        float(resistant[n, k]),
                        [options.seed, place, number, k, n + 2 * k],
                    )
                    for n in range(len(values))
                    for k in range(copies)
                ]
                found = list(pool.map(measure, tasks, chunksize=8))
                weights, left = raked(found, resistant.ravel(), place, copies)
                effective = 1 / float((weights**2).sum())
                worst = sorted(left, key=lambda name: -left[name])[:4]
                print(f"{label} cm3, round {number + 1}: effective number {effective:.0f} of {len(values)}; left: "
                      + ", ".join(f"{name} {left[name]:.2f}" for name in worst), flush=True)  # fmt: skip
                values = again(
                    rng, values, weights, options.rows if last else count, jitter=number < options.rounds - 1
                )
            table += [[str(place), *(f"{v:.4g}" for v in row)] for row in values]
    with options.table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerows([["size_class", *NAMES], *table])


def shape_rounds(
    pool: ProcessPoolExecutor,
    rng: np.random.Generator,
    place: int,
    limits_cc: tuple[float, float],
    options: argparse.Namespace,
) -> np.ndarray:
    """Properties whose shapes have the real percentiles: shapes need no image, which is what takes the time."""
    count = SHAPES if limits_cc[0] < 5 else SHAPES // 2
    values = first_round(rng, count)
    for number in range(SHAPE_ROUNDS):
        volumes = np.exp(rng.uniform(*np.log(limits_cc), count))
        tasks = [
            (row, float(v), [options.seed, place, 50 + number, n])
            for n, (row, v) in enumerate(zip(values, volumes, strict=True))
        ]
        found = list(pool.map(measure_shape, tasks, chunksize=8))
        margins = {f: margin([e[f] for e in found], REAL[f][place], PERCENT) for f in SHAPE_FEATURES}
        weights, left = balanced(margins, count)
        print(f"  shapes, round {number + 1}: " + ", ".join(f"{k} {v:.2f}" for k, v in left.items()), flush=True)
        values = again(rng, values, weights, count, jitter=number < SHAPE_ROUNDS - 1)
    return values


def measure_shape(task: tuple[np.ndarray, float, list[int]]) -> dict[str, float]:
    """Shape of a lesion of given properties on 1 mm voxels."""
    row, volume_cc, seed = task
    rng = np.random.default_rng(seed)
    properties = Properties(volume_cc=volume_cc, resistant_fraction=0.4, **dict(zip(NAMES, row.tolist(), strict=True)))
    lesion = lesion_of(
        FAMILIES["texture"], properties, variant=Variant.TEXTURE, name="", center_mm=rng.uniform(-0.5, 0.5, 3), rng=rng
    )
    half = int(np.ceil(1.9 * lesion.radius_mm + 2))
    grid = Grid((2 * half + 1,) * 3, (1.0, 1.0, 1.0), (-float(half),) * 3)
    depth = lesion.level(grid.points() - lesion.center_mm)
    return features_of(depth.astype(np.float32), depth > 0, grid)


def first_round(rng: np.random.Generator, count: int) -> np.ndarray:
    """Properties ``(count, names)`` over their whole ranges."""
    columns = []
    for low, high in RANGES.values():
        logarithmic = 0 < low < high / 5
        column = np.exp(rng.uniform(np.log(low), np.log(high), count)) if logarithmic else rng.uniform(low, high, count)
        columns.append(column)
    values = np.column_stack(columns)
    values[rng.uniform(size=count) < VIABLE, NAMES.index("necrotic_fraction")] = 0.0
    return ordered(values)


def ordered(values: np.ndarray) -> np.ndarray:
    """The second axis is not shorter than the third."""
    second, third = NAMES.index("elongation"), NAMES.index("flatness")
    values[:, third] = np.minimum(values[:, third], values[:, second])
    return values


def measure(task: tuple[np.ndarray, float, float, list[int]]) -> dict[str, float]:
    """Features of a lesion of given properties; families take turns."""
    row, volume_cc, resistant, seed = task
    number, families = seed[-1], list(FAMILIES)
    family = families[number % len(families)]
    drawn = dict(zip(NAMES, row.tolist(), strict=True))
    if FAMILIES[family].drives_necrosis:
        drawn["necrotic_fraction"] = 0.0
    rng = np.random.default_rng(seed)
    properties = Properties(volume_cc=volume_cc, resistant_fraction=resistant, **drawn)
    features, around = measured(family, volume_cc, rng, number, properties)
    return {**features, **around, "family": float(number % len(families)), "head": float(number % 8)}


def raked(
    found: list[dict[str, float]], resistant: np.ndarray, place: int, copies: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Weights with which the features have the real percentiles, and the difference that is left, by feature.

    Lesions that follow each other, ``copies`` of them, have the same properties and share one weight.
    """
    margins: dict[str, Margin] = {}
    for feature, classes in REAL.items():
        if (real := classes[place]) is not None:
            margins[feature] = margin([entry[feature] for entry in found], real, PERCENT)
    for name, percent in SURROUNDINGS.items():
        if name != "lesion" and place < 2:
            continue  # the real tumors of which this is known are large
        middle, low, high = AROUND[name]
        margins[name] = margin([entry[name] for entry in found], (low, middle, high), percent)
    for name in ("family", "head"):
        kinds = np.asarray([entry[name] for entry in found])
        groups = [kinds == kind for kind in np.unique(kinds)]
        margins[name] = [(group, 1 / len(groups)) for group in groups]
    edges = np.linspace(*RESISTANT, 5)[1:-1]
    margins["resistant fraction"] = margin(resistant, edges, (25, 50, 75))
    return balanced(margins, len(found) // copies)


def balanced(margins: dict[str, Margin], count: int) -> tuple[np.ndarray, dict[str, float]]:
    """Weights whose sums over the groups of each margin are the shares that these should have, and what is left.

    A weight holds for all lesions of one row of properties, each of which may lie in another group.
    """
    parts = {
        name: (
            np.stack([np.asarray(group, dtype=float).reshape(count, -1).mean(axis=1) for group, _ in groups]),
            np.asarray([share for _, share in groups]),
        )
        for name, groups in margins.items()
    }
    weights = np.full(count, 1 / count)
    for _ in range(200):
        for members, shares in parts.values():
            held = members @ weights
            possible = held > 0
            factor = np.ones_like(shares)
            factor[possible] = (shares[possible] / shares[possible].sum() / held[possible]) ** 0.5
            weights *= factor @ members
            weights = np.minimum(weights / weights.sum(), CAP / count)
            weights /= weights.sum()
    left = {
        name: float(np.abs(np.cumsum(members @ weights - shares)).max()) for name, (members, shares) in parts.items()
    }
    return weights, left


def margin(values, edges, percent) -> Margin:
    """Which values lie between neighboring edges, with the share that should; NaN counts nowhere."""
    bins = np.searchsorted(np.asarray(edges, dtype=float), np.asarray(values, dtype=float))
    known = np.isfinite(np.asarray(values, dtype=float))
    shares = np.diff([0, *percent, 100]) / 100 * known.mean()
    groups = [((bins == k) & known, float(share)) for k, share in enumerate(shares)]
    return [*groups, (~known, float(1 - known.mean()))] if not known.all() else groups


def again(rng: np.random.Generator, values: np.ndarray, weights: np.ndarray, count: int, *, jitter: bool) -> np.ndarray:
    """Properties sampled by weight, systematically; with jitter, none is the same as another."""
    places = (np.arange(count) + rng.uniform()) / count
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), places), len(values) - 1)
    drawn = values[rng.permutation(chosen)].copy()
    if jitter:
        mean = weights @ values
        spread = np.sqrt(weights @ (values - mean) ** 2)
        noise = JITTER * spread * rng.standard_normal(drawn.shape)
        viable = drawn[:, NAMES.index("necrotic_fraction")] == 0
        drawn = np.clip(drawn + noise, *np.asarray(list(RANGES.values())).T)
        drawn[viable, NAMES.index("necrotic_fraction")] = 0.0
    return ordered(drawn)


if __name__ == "__main__":
    main()
