"""Adjust the properties of phantom lesions to real ones: writes the table that the families sample from.

    python Testing/Benchmarks/phantom_calibration.py TABLE.csv [--lesions 240] [--rounds 4] [--rows 120] [--seed 20]

Per size class, lesions with widely spread properties are made, seen through scanners and measured as in
`phantom_realism.py`. Raking (iterative proportional fitting [Deming and Stephan 1940, Ann Math Stat 11:427]) weights
them until their features have the real percentiles; the next round draws properties by these weights. Family, head and
resistant fraction are among the margins that are raked to be even: none of them becomes tied to a property. The table
holds drawn properties, and nothing of a patient. Judge it with `phantom_realism.py` and another seed.
"""

from __future__ import annotations

import argparse
import csv
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from phantom_realism import AROUND, CLASSES, PERCENT, REAL, measured
from threadpoolctl import threadpool_limits

from RTResponseCAMLib.phantom.families import FAMILIES
from RTResponseCAMLib.phantom.families.properties import RESISTANT, Properties

# Range from which the first round draws; logarithmic where the lower end is positive and ten times smaller.
RANGES = {
    "elongation": (0.58, 1.0), "flatness": (0.40, 1.0), "roughness": (0.02, 0.40), "ruffle_mm": (0.1, 1.6),
    "brightness": (0.85, 2.0), "rim": (-0.25, 1.1), "rim_mm": (0.8, 2.6), "necrotic_fraction": (0.0, 0.6),
    "necrosis": (0.02, 0.85), "texture": (0.02, 0.45), "texture_mm": (0.4, 2.2), "edema": (0.0, 0.6),
    "edema_mm": (2.0, 12.0), "margin_mm": (-0.8, 1.3),
}  # fmt: skip
NAMES = tuple(RANGES)
VIABLE = 0.4  # share of the lesions without necrosis in the first round
JITTER = 0.25  # of the spread of a property, added when a property is drawn again
SURROUNDINGS = {"lesion": (10, 50, 90), "4 to 6 mm outside": (10, 50, 90)}
CAP = 6.0  # largest weight of a lesion relative to the mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--lesions", type=int, default=240, help="of each size class and round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--rows", type=int, default=120, help="of the table, of each size class")
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()
    table: list[list[str]] = []
    with ProcessPoolExecutor(os.cpu_count(), initializer=threadpool_limits, initargs=(1,)) as pool:
        for place, (label, (low, high)) in enumerate(CLASSES.items()):
            rng = np.random.default_rng([options.seed, place])
            count = round(options.lesions * (0.6 if low >= 5 else 1.0))  # large lesions take four times as long
            values = first_round(rng, count)
            for number in range(options.rounds):
                volumes = np.exp(rng.uniform(np.log(low), np.log(high), len(values)))
                resistant = rng.uniform(*RESISTANT, len(values))
                tasks = [
                    (row, float(v), float(r), [options.seed, place, number, n])
                    for n, (row, v, r) in enumerate(zip(values, volumes, resistant, strict=True))
                ]
                found = list(pool.map(measure, tasks, chunksize=8))
                weights, worst = raked(found, resistant, place)
                effective = 1 / float((weights**2).sum())
                print(f"{label} cm3, round {number + 1}: effective number {effective:.0f} of {len(values)}, "
                      f"largest difference of a margin {worst:.3f}", flush=True)  # fmt: skip
                last = number == options.rounds - 1
                values = again(rng, values, weights, options.rows if last else count, jitter=not last)
            table += [[label, *(f"{v:.4g}" for v in row)] for row in values]
    with options.table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerows([["volume_cc", *NAMES], *table])


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


def raked(found: list[dict[str, float]], resistant: np.ndarray, place: int) -> tuple[np.ndarray, float]:
    """Weights with which the features have the real percentiles, and the largest difference that is left."""
    margins = []
    for feature, classes in REAL.items():
        if (real := classes[place]) is not None:
            margins.append(margin([entry[feature] for entry in found], real, PERCENT))
    for name, percent in SURROUNDINGS.items():
        if name != "lesion" and place < 2:
            continue  # the real tumors of which this is known are large
        middle, low, high = AROUND[name]
        margins.append(margin([entry[name] for entry in found], (low, middle, high), percent))
    for name in ("family", "head"):
        kinds = np.asarray([entry[name] for entry in found])
        groups = [kinds == kind for kind in np.unique(kinds)]
        margins.append([(group, 1 / len(groups)) for group in groups])
    edges = np.linspace(*RESISTANT, 5)[1:-1]
    margins.append(margin(resistant, edges, (25, 50, 75)))
    weights = np.full(len(found), 1 / len(found))
    for _ in range(200):
        for groups in margins:
            total = sum(share for group, share in groups if weights[group].sum() > 0)
            for group, share in groups:
                held = weights[group].sum()
                if held > 0:
                    weights[group] *= (share / total / held) ** 0.5
            weights = np.minimum(weights / weights.sum(), CAP / len(found))
            weights /= weights.sum()
    worst = max(abs(float(np.cumsum([weights[g].sum() - s for g, s in groups])[k])) for groups in margins
                for k in range(len(groups)))  # fmt: skip
    return weights, worst


def margin(values, edges, percent) -> list[tuple[np.ndarray, float]]:
    """Which values lie between neighboring edges, with the share that should; NaN counts nowhere."""
    bins = np.searchsorted(np.asarray(edges, dtype=float), np.asarray(values, dtype=float))
    known = np.isfinite(np.asarray(values, dtype=float))
    shares = np.diff([0, *percent, 100]) / 100 * known.mean()
    groups = [((bins == k) & known, float(share)) for k, share in enumerate(shares)]
    return [*groups, (~known, float(1 - known.mean()))] if not known.all() else groups


def again(rng: np.random.Generator, values: np.ndarray, weights: np.ndarray, count: int, *, jitter: bool) -> np.ndarray:
    """Properties drawn by weight, systematically; with jitter, none is the same as another."""
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
