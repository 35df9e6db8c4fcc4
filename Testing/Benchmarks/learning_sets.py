"""How much hangs on which 69 lesions one learns from: every phantom cohort is learned from, and judged on the others.

    python Testing/Benchmarks/learning_sets.py OUT --seed 4711 [--variant texture] [--sets 4] [--learn 2] [--maps 80]

Each cohort has 69 lesions of 39 patients, as the paper's; heads are rendered whole and sampled as a study is, but not
written as DICOM, which takes most of `phantom_benchmark.py`'s time. Printed for each cohort and as a mean: AUC of every
approach on the lesions of the other cohorts, and AUPRC and Dice of the maps, with the ceiling and every gradient CAM,
on the first ``--maps`` of them. With ``--sets 10 --learn 2`` two are learned from, each judged on 621 lesions.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from localization import planted_on
from phantom_benchmark import LESIONS, MATRIX, PATIENTS, judge_maps
from sklearn.metrics import roc_auc_score

from RTResponseCAMLib.cohort.identity import Source
from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.evaluation.protocol import Protocol
from RTResponseCAMLib.evaluation.run import predict_fold
from RTResponseCAMLib.evaluation.store import write_json
from RTResponseCAMLib.imaging.patch import sample_patch
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.imaging.resample import HeadIntensity, head_intensity
from RTResponseCAMLib.models.registry import entries
from RTResponseCAMLib.phantom.cohort import lesion_counts
from RTResponseCAMLib.phantom.patient import (
    Patient,
    contour_structures,
    label_maps,
    planning_grid,
    render_mr,
    sample_patient,
)
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.samples.cohort import CohortLesion
from RTResponseCAMLib.samples.gradient import gradient_features
from RTResponseCAMLib.samples.radiomics import mr_features, read_settings
from RTResponseCAMLib.samples.sample import LesionSample
from RTResponseCAMLib.study import Structure

NETWORK = "scale-space"
FEATURES = tuple(e for e in entries() if {"volume", "radiomics", "gradient"} & set(e.requires.families))
Features = dict[str, dict[str, float]]
EVERY_MANY = 1000  # the skull's contours are not asked for here


def described(mr: sitk.Image, head: HeadIntensity, structure: Structure) -> Features:
    """Features of every approach that reads the planning MR; without radiomics where a lesion has too few voxels."""
    families = {
        "volume": {"volume_log_cc": float(np.log(contour_volume_cc(structure)))},
        "gradient": gradient_features(mr, structure, unit=head.median),
    }
    with suppress(GeometryError):  # missing values are imputed, as in `samples.build`
        families["radiomics"] = mr_features(mr, head, structure=structure, settings=read_settings())
    return families


def undescribed(mr: sitk.Image, head: HeadIntensity, structure: Structure) -> Features:
    """No features: the network alone is asked."""
    return {}


def measured_patient(
    spec: PhantomSpec,
    describe: Callable[[sitk.Image, HeadIntensity, Structure], Features],
    patient: Patient | None = None,
) -> list[tuple[CohortLesion, np.ndarray]]:
    """Lesions of one synthetic patient, as `evaluate` measures them, each with its planted voxels."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    patient = patient or sample_patient(spec)
    grid = planning_grid(patient)
    mr = render_mr(patient, grid)
    head = head_intensity(mr)
    _, resistant = label_maps(patient, grid)
    found = []
    structures = contour_structures(patient, grid, skull_every=EVERY_MANY)[: len(patient.lesions)]
    for number, (lesion, structure) in enumerate(zip(patient.lesions, structures, strict=True), start=1):
        row = CohortRow(
            patient_group=f"S{spec.seed}-{spec.patient}", course="1", lesion=lesion.name, study=Path(),
            label=int(lesion.non_response), certainty="certain",
        )  # fmt: skip
        patch = sample_patch(mr, head, structure=structure, dose=None, prescription_gy=None, spacing_mm=1.0)
        sample = LesionSample(
            patch, contour_volume_cc(structure), describe(mr, head, structure), patient=row.patient_group,
            lesion=row.lesion, label=row.label,
        )  # fmt: skip
        lesion = CohortLesion(row, sample, Source(row.patient_group, ""))
        found.append((lesion, planted_on(resistant, number, patch)))
    return found


def cohort(
    variant: str, seed: int, patients: int, lesions: int, pool: ProcessPoolExecutor, describe: Callable = described
) -> list:
    base = PhantomSpec(seed=seed, variant=Variant(variant), follow_up=False, **MATRIX)
    counts = lesion_counts(seed, patients, total=lesions)
    specs = [replace(base, patient=n, lesions=count) for n, count in enumerate(counts, start=1)]
    pairs = [pair for found in pool.map(partial(measured_patient, describe=describe), specs) for pair in found]
    return [(replace(x, sample=replace(x.sample, index=n)), planted) for n, (x, planted) in enumerate(pairs, start=1)]


def others_of(cohorts: list, number: int) -> list:
    """Lesions of all cohorts but one."""
    return [pair for n, lesions in enumerate(cohorts) if n != number for pair in lesions]


def judge(train: list, unseen: list, maps: int) -> dict:
    """Every approach fitted on one cohort, on the unseen."""
    torch.set_num_threads(1)
    protocol = Protocol()
    lesions, others = [x for x, _ in train], [x for x, _ in unseen]
    planted = {id(x): truth for x, truth in [*train, *unseen]}
    labels = [x.row.label for x in others]
    use, test = range(len(lesions)), range(len(others))
    auc = {}
    for entry in (e for e in entries() if e in FEATURES or e.name == NETWORK):
        found, _ = predict_fold(entry, lesions, train=use, others=others, test=test, protocol=protocol, fold=None)
        auc[entry.name] = roc_auc_score(labels, found["p"])
    table = judge_maps(lesions, others[:maps], protocol, lambda lesion: planted[id(lesion)])
    figures = {name: [values["auprc"][0], values["dice"][0]] for name, values in table["maps"].items()}
    return {"auc": {name: float(value) for name, value in auc.items()}, "auprc_dice": figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--variant", default="texture")
    parser.add_argument("--sets", type=int, default=4)
    parser.add_argument("--learn", type=int, help="learn from the first so many cohorts (default: all)")
    parser.add_argument("--maps", type=int, default=80)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.sets < 2:
        parser.error("--sets: one cohort has no other to be judged on, expected 2 or more")
    learned = options.sets if options.learn is None else options.learn
    if not 1 <= learned <= options.sets:
        parser.error(f"--learn: {learned} of {options.sets} cohorts, expected 1 to {options.sets}")
    seeds = range(options.seed, options.seed + options.sets)
    rounds = []
    with ProcessPoolExecutor(options.workers) as pool:
        cohorts = [cohort(options.variant, seed, PATIENTS, LESIONS, pool) for seed in seeds]
        jobs = [pool.submit(judge, own, others_of(cohorts, n), options.maps) for n, own in enumerate(cohorts[:learned])]
        for seed, job in zip(seeds[:learned], jobs, strict=True):
            rounds.append(job.result())
            write_json(options.out, {"options": {**vars(options), "out": options.out.name}, "sets": rounds})
            line = "  ".join(f"{name} {value:.3f}" for name, value in rounds[-1]["auc"].items())
            print(f"{options.variant}, learnt from seed {seed}: {line}", flush=True)
    for name in rounds[0]["auc"]:
        print(f"  {name:<24}mean AUC {np.mean([r['auc'][name] for r in rounds]):.3f}")
    best = [max(r["auc"][a.name] for a in FEATURES) for r in rounds]
    print(f"  {'best of the features':<24}mean AUC {np.mean(best):.3f} (chosen by the unseen lesions, for each set)")
    for name in rounds[0]["auprc_dice"]:
        auprc, dice = np.mean([r["auprc_dice"][name] for r in rounds], axis=0)
        print(f"  {name:<26}AUPRC {auprc:.3f}  Dice {dice:.3f}")


if __name__ == "__main__":
    main()
