"""What each part of the network earns: it is left out or changed, and judged on lesions that nobody has seen.

    python Testing/Benchmarks/ablation.py OUT [--variants texture,volume] [--unseen 300] [--seeds 2]

OUT is the folder of a finished ``phantom_benchmark.py``: its measured lesions are read again. Every form is fitted on
the same 69 lesions with each seed, and all forms are judged on the same unseen lesions: AUC, and AUPRC and Dice of the
map inside the lesions. Figures are means over seeds, with the largest distance of a seed from it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from localisation import can_be_judged, lesion_number, localisation, planted_part
from sklearn.metrics import roc_auc_score

from RTResponseCAMLib.cam.pixelwise import find_evidence
from RTResponseCAMLib.cam.volume import shown_evidence
from RTResponseCAMLib.cohort.manifest import read_cohort
from RTResponseCAMLib.evaluation.network_arm import plain_bundle
from RTResponseCAMLib.evaluation.store import read_cases
from RTResponseCAMLib.network.classifier import Architecture
from RTResponseCAMLib.network.preparation import Example, prepare
from RTResponseCAMLib.network.training import Schedule, fit


def forms() -> dict[str, tuple[Architecture, Schedule]]:
    shape, schedule = Architecture(), Schedule()
    changed = {
        "as it is": {},
        "depth not taken out": {"depth": False},
        "no autoencoder": {"autoencoder": False},
        "code of 3 numbers": {"code": 3},
        "code of 12 numbers": {"code": 12},
        "surroundings of 1 mm": {"context_mm": 1.0},
        "surroundings of 3 mm": {"context_mm": 3.0},
        "no volume term": {"volume": False},
        "pooled as hazards": {"form": "hazard"},
        "as many heads on the code": {"members": 6, "code_members": 6},
        "one head of each kind": {"members": 1, "code_members": 1},
        "MR and dose": {"dose": True},
    }
    taught = {
        "no other views": {"views": 0},
        "no features dropped": {"dropout": 0.0},
        "weights decay by 0.1": {"weight_decay": 0.1},
        "evidence not kept small": {"smallness": 0.0},
        "480 steps": {"steps": 480},
        "volume as slow as the heads": {"volume_rate": 1.0},
    }
    return {n: (replace(shape, **c), schedule) for n, c in changed.items()} | {
        n: (shape, replace(schedule, **c)) for n, c in taught.items()
    }


def judged_on(network, unseen: list, truths: list) -> tuple[float, float, float]:
    bundle = plain_bundle(network)
    totals, maps = [], []
    for lesion, planted in zip(unseen, truths, strict=True):
        (found,) = find_evidence(bundle, [lesion.patch])
        totals.append(1 - found.p_response)
        if can_be_judged(planted, lesion.patch):
            maps.append(localisation(shown_evidence(lesion.patch, found), planted, lesion.patch))
    auc = float(roc_auc_score([x.row.certain_label for x in unseen], totals))
    return auc, *(float(np.mean([m[k] for m in maps])) for k in ("auprc", "dice"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variants", default="texture,volume")
    parser.add_argument("--unseen", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    for variant in options.variants.split(","):
        here = options.out / variant
        train = read_cases(here / "comparison" / "lesions", read_cohort(here / "train"))
        unseen = read_cases(here / "comparison" / "external", read_cohort(here / "unseen"))[: options.unseen]
        truths = [planted_part(x.row.study.parent, lesion_number(x), x.patch) for x in unseen]
        examples = [Example(x.patch, x.row.certain_label, x.row.patient_group) for x in train]
        print(f"\n| {variant}, {len(unseen)} unseen lesions | AUC | AUPRC | Dice | fit, s |\n|---|---|---|---|---|")
        prepared: dict[tuple[float, int], list] = {}
        for name, (architecture, schedule) in forms().items():
            key = architecture.context_mm, schedule.views
            if key not in prepared:
                prepared[key] = prepare(examples, architecture, schedule.views)
            figures, seconds = [], []
            for number in range(options.seeds):
                began = time.perf_counter()
                network = fit(prepared[key], architecture, replace(schedule, seed=schedule.seed + number))
                seconds.append(time.perf_counter() - began)
                figures.append(judged_on(network, unseen, truths))
            mean = np.mean(figures, axis=0)
            off = np.abs(np.asarray(figures) - mean).max(axis=0)
            cells = " | ".join(f"{m:.3f} ± {d:.3f}" for m, d in zip(mean, off, strict=True))
            print(f"| {name} | {cells} | {np.mean(seconds):.1f} |", flush=True)


if __name__ == "__main__":
    main()
