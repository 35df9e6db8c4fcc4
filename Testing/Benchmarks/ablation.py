"""What each part of the network earns: it is left out or changed, and judged on lesions that nobody has seen.

    python Testing/Benchmarks/ablation.py OUT.json --seed 4711 [--variants darker,texture,volume] [--sets 4] [--maps 45]
        [--forms "no autoencoder,no volume term"]

Cohorts of 69 lesions of 39 patients each, drawn as in ``learning_sets.py``. Every form learns from each cohort and is
judged on all lesions of the others: AUC, and AUPRC and Dice of the map on the first ``--maps`` lesions of the next
cohort. Figures are means over cohorts; beside them stands the mean difference from the form as it is, with its
standard error over cohorts (the lesions judged are in part the same: a guide, not a test).
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from learning_sets import cohort, others_of, undescribed
from localization import can_be_judged, localization, plain_model
from phantom_benchmark import LESIONS, PATIENTS
from sklearn.metrics import roc_auc_score

from RTResponseCAMLib.cam.volume import shown_evidence
from RTResponseCAMLib.evaluation.store import write_json
from RTResponseCAMLib.models.scale_space.classifier import Architecture
from RTResponseCAMLib.models.scale_space.preparation import prepare
from RTResponseCAMLib.models.scale_space.training import Schedule, fit

AS_IT_IS = "as it is"
FIGURES = ("AUC", "AUPRC", "Dice")


def forms() -> dict[str, tuple[Architecture, Schedule]]:
    shape, schedule = Architecture(), Schedule()
    changed = {
        AS_IT_IS: {},
        "no autoencoder": {"autoencoder": False},
        "code of 3 numbers": {"code": 3},
        "code of 12 numbers": {"code": 12},
        "as many heads on the code": {"members": 6, "code_members": 6},
        "one head of each kind": {"members": 1, "code_members": 1},
        "depth not taken out": {"depth": False},
        "no volume term": {"volume": False},
        "surroundings of 1 mm": {"context_mm": 1.0},
        "surroundings of 3 mm": {"context_mm": 3.0},
    }
    taught = {
        "no other views": {"n_augmentations": 0},
        "no features dropped": {"dropout": 0.0},
        "weights decay by 0.1": {"weight_decay": 0.1},
        "evidence kept smaller (0.02)": {"evidence_l2": 0.02},
        "evidence not kept small": {"evidence_l2": 0.0},
        "480 steps": {"steps": 480},
        "volume as slow as the heads": {"volume_rate": 1.0},
    }
    return {n: (replace(shape, **c), schedule) for n, c in changed.items()} | {
        n: (shape, replace(schedule, **c)) for n, c in taught.items()
    }


def judged_on(network, unseen: list, mapped: list) -> tuple[float, float, float]:
    found = plain_model(network).predict([x.sample for x, _ in unseen])
    auc = roc_auc_score([x.row.label for x, _ in unseen], [1 - e.p_response for e in found])
    known = {id(x): e for (x, _), e in zip(unseen, found, strict=True)}
    maps = [
        localization(shown_evidence(x.sample.patch, known[id(x)]), planted, x.sample.patch)
        for x, planted in mapped
        if can_be_judged(planted, x.sample.patch)
    ]
    return float(auc), *(float(np.mean([m[k] for m in maps])) for k in ("auprc", "dice"))


def every_form(number: int, cohorts: list, maps: int, names: list[str]) -> dict[str, tuple[float, float, float]]:
    """Each form learned from one cohort, judged on the others."""
    torch.set_num_threads(1)
    samples = [x.sample for x, _ in cohorts[number]]
    unseen = others_of(cohorts, number)
    mapped = cohorts[(number + 1) % len(cohorts)][:maps]
    prepared: dict[tuple[float, int], list] = {}
    found = {}
    for name in names:
        architecture, schedule = forms()[name]
        key = architecture.context_mm, schedule.n_augmentations
        if key not in prepared:
            prepared[key] = [
                prepare(sample, architecture, n_augmentations=schedule.n_augmentations) for sample in samples
            ]
        found[name] = judged_on(fit(prepared[key], architecture, schedule=schedule), unseen, mapped)
    return found


def table_of(variant: str, rounds: list[dict[str, tuple[float, float, float]]]) -> str:
    lines = [f"| {variant}, {len(rounds)} cohorts | {' | '.join(FIGURES)} |", "|---|---|---|---|"]
    as_it_is = np.asarray([r[AS_IT_IS] for r in rounds])
    for name in rounds[0]:
        values = np.asarray([r[name] for r in rounds])
        apart = values - as_it_is
        error = apart.std(axis=0, ddof=1) / len(rounds) ** 0.5
        cells = [
            f"{m:.3f}" if name == AS_IT_IS else f"{m:.3f} ({d:+.3f} ± {e:.3f})"
            for m, d, e in zip(values.mean(axis=0), apart.mean(axis=0), error, strict=True)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--variants", default="darker,texture,volume")
    parser.add_argument("--sets", type=int, default=4)
    parser.add_argument("--maps", type=int, default=45)
    parser.add_argument("--forms", help="changed forms to compare with the form as it is (default: all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.sets < 2:
        parser.error("--sets: one cohort has no other to be judged on, expected 2 or more")
    chosen = list(forms()) if options.forms is None else [AS_IT_IS, *options.forms.split(",")]
    if not set(chosen) <= set(forms()):
        parser.error(f"--forms: {sorted(set(chosen) - set(forms()))}, expected some of {list(forms())[1:]}")
    found = {}
    with ProcessPoolExecutor(options.workers) as pool:
        for variant in options.variants.split(","):
            seeds = range(options.seed, options.seed + options.sets)
            cohorts = [cohort(variant, seed, PATIENTS, LESIONS, pool, undescribed) for seed in seeds]
            every = partial(every_form, cohorts=cohorts, maps=options.maps, names=chosen)
            rounds = list(pool.map(every, range(options.sets)))
            found[variant] = rounds
            write_json(options.out, {"options": {**vars(options), "out": options.out.name}, "found": found})
            print("\n" + table_of(variant, rounds), flush=True)


if __name__ == "__main__":
    main()
