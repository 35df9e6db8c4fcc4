"""The three approaches on phantom cohorts of the paper's size, judged on lesions that nobody has seen, map by map.

    python Testing/Benchmarks/phantom_benchmark.py OUT --seed 4711 [--unseen 600] [--variants texture,none]

For each variant: 69 lesions of 39 patients (seed) to learn from, nested cross-validation on them, and 600 other
lesions (seed + 1) on which every approach, fitted on the 69, is judged; then maps against planted truth on those 600.
Beside our map stand every gradient CAM of the same network at three layers, and controls: minus intensity, untrained
heads, a model of permuted labels, a network without autoencoder, and the ceiling: the same network taught by the
planted voxels themselves. Goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from localization import (
    CEILING,
    can_be_judged,
    lesion_number,
    localization,
    maps_of,
    mean_figures,
    plain_model,
    planted_part,
    print_figures,
    shares_of_ceiling,
)
from torch.nn import functional

from RTResponseCAMLib.cam.checks import model_checks
from RTResponseCAMLib.cohort.manifest import read_cohort
from RTResponseCAMLib.evaluation.protocol import Protocol
from RTResponseCAMLib.evaluation.run import evaluated
from RTResponseCAMLib.evaluation.store import read_cases
from RTResponseCAMLib.models.calibration import Calibrated, CalibratedModel
from RTResponseCAMLib.models.scale_space.model import ScaleSpaceModel
from RTResponseCAMLib.models.scale_space.preparation import OWN_VOXELS
from RTResponseCAMLib.models.scale_space.training import fit
from RTResponseCAMLib.phantom.cohort import write_cohort
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.samples.cohort import CohortLesion
from RTResponseCAMLib.samples.radiomics import read_settings
from RTResponseCAMLib.workflow.evaluate import evaluate
from RTResponseCAMLib.workflow.output import new_folder

PATIENTS, LESIONS = 39, 69
MATRIX = {"columns": 184, "rows": 216, "slices": 156}
CEILING_STEPS = 400


def cohort(folder: Path, variant: str, seed: int, patients: int, lesions: int, workers: int) -> Path:
    if not folder.is_dir():
        spec = PhantomSpec(seed=seed, variant=Variant(variant), follow_up=False, **MATRIX)
        with new_folder(folder, False) as partial:
            write_cohort(spec, patients, folder=partial, variants=(Variant(variant),), workers=workers, total=lesions)
    return folder


def planted_on_disk(lesion: CohortLesion) -> np.ndarray:
    """Which voxels of a lesion of a written cohort are planted."""
    return planted_part(lesion.row.study.parent, lesion_number(lesion), lesion.sample.patch)


def taught_by_voxels(network, lesions: list, prepared: list, planted_of: Callable[[CohortLesion], np.ndarray]):
    """The ceiling: heads of the same network, taught which voxels were planted.

    Lesions that preparation thins, because they are very large, are left out: which voxels it kept is not known.
    """
    features, codes, truths = [], [], []
    for lesion, known in zip(lesions, prepared, strict=True):
        inside = lesion.sample.patch.inside
        if inside.sum() > OWN_VOXELS:
            continue
        truths.append(torch.from_numpy(planted_of(lesion)[inside].astype(np.float32)))
        count = len(truths[-1])  # the lesion as it is comes first, its other views after it
        with torch.no_grad():
            own, code = network.head_features(known.features[:count], known.surroundings[:count])
        features.append(own)
        codes.append(code)
    rng = np.random.default_rng(0)
    parameters = [*network.stem_head.parameters(), *network.code_head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-2)
    for _ in range(CEILING_STEPS):
        own, code, truth = [], [], []
        for f, c, t in zip(features, codes, truths, strict=True):
            rows = torch.from_numpy(rng.integers(0, len(t), 128))
            own.append(f[rows])
            code.append(c[rows])
            truth.append(t[rows])
        evidence = torch.cat([network.stem_head(torch.cat(own)), network.code_head(torch.cat(code))], dim=1)
        target = torch.cat(truth)[:, None].expand_as(evidence)
        loss = functional.binary_cross_entropy_with_logits(evidence, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def unrelated(labels: list[int], seed: int) -> np.ndarray:
    """The labels in another order: of a thousand drawn, that which tells least of theirs (one alone may tell some)."""
    rng = np.random.default_rng(seed)
    return min((rng.permutation(labels) for _ in range(1000)), key=lambda order: abs(np.corrcoef(order, labels)[0, 1]))


def judge_maps(train: list, unseen: list, protocol: Protocol, planted_of: Callable[[CohortLesion], np.ndarray]) -> dict:
    """Fit as `evaluate` does for its external cohort, and compare the maps with the planted truth."""
    model = ScaleSpaceModel()
    architecture, schedule = model.network, model.schedule
    samples = [lesion.sample for lesion in train]
    prepared = model.prepared(samples)
    fitted = Calibrated(model).fit(samples)
    permuted = [
        replace(p, label=int(v))
        for p, v in zip(prepared, unrelated([p.label for p in prepared], protocol.seed), strict=True)
    ]
    controls = {
        "untrained heads": CalibratedModel(fitted.fitted.with_random_weights()),
        "labels permuted": plain_model(fit(permuted, architecture, schedule=schedule)),
        "without autoencoder": plain_model(fit(prepared, replace(architecture, autoencoder=False), schedule=schedule)),
        CEILING: plain_model(
            taught_by_voxels(
                fit(prepared, architecture, schedule=replace(schedule, steps=1)), train, prepared, planted_of
            )
        ),
    }
    rows = []
    for lesion in unseen:
        planted = planted_of(lesion)
        patch = lesion.sample.patch
        if can_be_judged(planted, patch):
            maps = maps_of(fitted, controls, patch)
            judged_maps = {name: localization(m, planted, patch) for name, m in maps.items()}
            chance = float(planted[patch.fraction >= 0.5].mean())
            rows.append({"patient": lesion.row.patient_group, "maps": judged_maps, "chance": chance})
    other = plain_model(fit(prepared, architecture, schedule=replace(schedule, seed=schedule.seed + 1)))
    some = [x.sample for x in unseen[:: max(len(unseen) // 40, 1)]]
    return {
        "lesions": len(rows),
        "chance_auprc": float(np.mean([r["chance"] for r in rows])),
        "maps": mean_figures(rows),
        "checks": model_checks(fitted, [other], samples=some),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--unseen", type=int, default=600)
    parser.add_argument("--variants", default="darker,texture,volume,none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--maps", type=int, help="of the unseen lesions, the first so many (default: all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    protocol = Protocol(repeats=options.repeats, settings=read_settings())
    for variant in options.variants.split(","):
        here = options.out / variant
        train = cohort(here / "train", variant, options.seed, PATIENTS, LESIONS, options.workers)
        patients = round(options.unseen * PATIENTS / LESIONS)
        unseen = cohort(here / "unseen", variant, options.seed + 1, patients, options.unseen, options.workers)
        began = time.perf_counter()
        found = evaluate(train, here / "comparison", protocol=protocol, external=unseen, workers=options.workers)
        print(f"\n{variant}: evaluate {time.perf_counter() - began:.0f} s (resumed parts are not repeated)")
        for name, table in (("internal", found.internal), ("external", found.external)):
            print(f"  {name}: {table.lesions} lesions of {table.patients} patients, {table.non_response} bad")
            for approach in table.approaches.values():
                auc, brier = approach.metrics["auc"], approach.metrics["brier"]
                print(
                    f"    {approach.title:<36}AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})  "
                    f"Brier {brier.value:.3f}  p {approach.permutation_p:.4f}"
                )
        lesions = [
            read_cases(here / "comparison" / n, read_cohort(c)) for n, c in (("lesions", train), ("external", unseen))
        ]
        use = [[x[i] for i in evaluated(x, protocol)] for x in lesions]
        maps = judge_maps(use[0], use[1][: options.maps], protocol, planted_on_disk)
        print(f"  maps of {maps['lesions']} unseen lesions (AUPRC by chance {maps['chance_auprc']:.3f})")
        print_figures(maps["maps"])
        shares = shares_of_ceiling(maps["maps"])
        print("  of the ceiling: " + ", ".join(f"{k} {v:.1f} %" for k, v in shares.items()))
        print(f"  checks: {maps['checks']}", flush=True)
        (here / "maps.json").write_text(json.dumps(maps, indent=1) + "\n")


if __name__ == "__main__":
    main()
