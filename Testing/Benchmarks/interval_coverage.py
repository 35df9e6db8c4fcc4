"""Do 95 % intervals of the AUC hold the truth in 95 of 100 cohorts? A simulation of cohorts as small as the paper's.

    python Testing/Benchmarks/interval_coverage.py [--cohorts 200] [--seed 1]

39 patients, 69 lesions. A lesion's score is the sum of its class's mean, its patient's effect (shared by label and
score) and its own noise; the true AUC is that of a million patients drawn likewise.
"""

from __future__ import annotations

import argparse

import numpy as np

from RTResponseCAMLib.evaluation.metrics import auc_difference, auc_interval, permutation_p

PATIENTS, LESIONS = 39, 69
SEPARATIONS = (0.0, 0.5, 1.0, 1.6)


def cohort(rng: np.random.Generator, separation: float, patients: int = PATIENTS, lesions: int = LESIONS) -> tuple:
    """Labels, two scores and patients; at least one lesion each, a quarter of them of the worse class."""
    owner = np.sort(np.concatenate([np.arange(patients), rng.integers(0, patients, lesions - patients)]))
    lean, shift = rng.normal(0, 1, patients)[owner], rng.normal(0, 0.7, patients)[owner]
    label = (rng.normal(0, 1, lesions) + 0.8 * lean > 0.55).astype(int)
    one = separation * label + shift + rng.normal(0, 1, lesions)
    other = 0.6 * separation * label + 0.5 * shift + 0.5 * (one - separation * label) + rng.normal(0, 0.8, lesions)
    return label, one, other, owner


def true_auc(separation: float, seed: int) -> tuple[float, float]:
    label, one, other, _ = cohort(np.random.default_rng([seed, 99]), separation, 400_000, 700_000)
    found = []
    for score in (one, other):
        rank = np.argsort(np.argsort(score)) + 1.0
        bad = label.sum()
        found.append(float((rank[label == 1].sum() - bad * (bad + 1) / 2) / (bad * (len(label) - bad))))
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| true AUC | interval holds it | mean width | difference's interval holds it | p < 0.05 |")
    print("|---|---|---|---|---|")
    for separation in SEPARATIONS:
        auc, second = true_auc(separation, options.seed)
        hits = tied = rejected = 0
        widths = []
        for number in range(options.cohorts):
            rng = np.random.default_rng([options.seed, number, int(100 * separation)])
            label, one, other, owner = cohort(rng, separation)
            while len(set(label.tolist())) < 2:
                label, one, other, owner = cohort(rng, separation)
            names = [f"{n:04d}" for n in owner]
            found = auc_interval(label, one, patients=names, repeats=1000, seed=number)
            hits += found.low <= auc <= found.high
            widths.append(found.high - found.low)
            gap = auc_difference(label, one, second=other, patients=names, repeats=1000, seed=number)
            tied += gap.low <= auc - second <= gap.high
            rejected += permutation_p(label, one, patients=names, repeats=200, seed=number) < 0.05
        share = [f"{100 * n / options.cohorts:.1f} %" for n in (hits, tied, rejected)]
        print(f"| {auc:.3f} | {share[0]} | {np.mean(widths):.3f} | {share[1]} | {share[2]} |", flush=True)


if __name__ == "__main__":
    main()
