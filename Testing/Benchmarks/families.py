"""Every approach on every phantom family: learned from its own family, and from all the others.

    python Testing/Benchmarks/families.py OUT [--families texture,vessels,…] [--unseen 400] [--csv FILE] [--workers 2]

For each family, 69 lesions of 39 patients to learn from, and 400 others on which everything is tested; heads are
rendered whole and seen by mixed scanners. Three senses of learning:

own    fitted on the 69 lesions of the same family;
other  fitted on the lesions of all other families (model left out: no lesion of the tested family was seen);
form   the approach that does best, on average, on the other families when each learns from its own: what one would
       choose without having seen this family.

Printed are AUC with patient-cluster intervals, the calibration slope, the mean probability beside the true share, and
how often the model withholds its class (interval over the threshold, or a volume that it was not trained on).
Controls: baselines of volume and of clinical data, and two approaches whose training labels were permuted: radiomics
`PERMUTATIONS` times, of which the mean and the central 95 % are printed in place of an interval over patients (what
chance gives at 69 lesions), the network, which takes minutes, once. Every patient and every fit is one file: an
interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from learning_sets import described, measured_patient
from localization import CEILING, LOCAL
from phantom_benchmark import LESIONS, MATRIX, PATIENTS, judge_maps
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.evaluation.metrics import auc_interval, calibration
from RTResponseCAMLib.evaluation.protocol import Protocol
from RTResponseCAMLib.evaluation.run import predict_fold
from RTResponseCAMLib.evaluation.store import read_cases, read_json, write_arrays, write_case, write_json
from RTResponseCAMLib.models.registry import entries, entry_of
from RTResponseCAMLib.phantom.cohort import lesion_counts
from RTResponseCAMLib.phantom.families import COARSE, FAMILIES
from RTResponseCAMLib.phantom.patient import sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.samples.cohort import CohortLesion
from RTResponseCAMLib.workflow.predict import LIKE_CC

LEARN_SEED, UNSEEN_SEED = 6100, 7100  # plus the number of the family
PER_PATIENT = 5  # unseen lesions of one patient: a head takes longer to render than a lesion
PERMUTED = "label permutation"
PERMUTATIONS = {"radiomics": 50}
ENSEMBLE, CHOSEN = "mean of approaches", "chosen on other families"
NETWORK = "scale-space"
ALL = (*FAMILIES, COARSE)
CLIP = 1e-4


@dataclass(frozen=True)
class Table:
    """One row of the result; intervals are 95 %."""

    family: str
    learned: str
    approach: str
    auc: float
    low: float
    high: float
    slope: float
    brier: float
    mean_p: float
    true_share: float
    withheld: float | None
    learned_from: int
    judged_on: int
    learn_seed: str
    unseen_seed: int


def one_thread() -> None:
    """There is one process per core."""
    torch.set_num_threads(1)
    threadpool_limits(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def approaches() -> list[str]:
    """Names of the models that need no more than a planning MR, the volume and the prescription."""
    measured = {"volume", "clinical", "radiomics", "gradient"}
    return [e.name for e in entries() if e.compared and set(e.requires.families) <= measured and not e.requires.dose]


def measure(folder: Path, number: int, spec: PhantomSpec, start: int) -> None:
    """Write the samples of one patient, unless they are there."""
    if (folder / f"{number:05d}.json").is_file():
        return
    patient = sample_patient(spec)
    found = measured_patient(spec, described, patient)
    lesions = []
    for (lesion, _), target in zip(found, patient.targets, strict=True):
        clinical = {
            "clinical_rx_gy": float(target.prescription_gy), "clinical_fractions": 1.0,
            "clinical_lesions": float(len(found)),
        }  # fmt: skip
        features = {**lesion.sample.features, "clinical": clinical}
        lesions.append(replace(lesion, sample=replace(lesion.sample, features=features)))
    write_arrays(folder / f"{number:05d}.truth.npz", {str(n): planted for n, (_, planted) in enumerate(found)})
    rows = [{"group": x.row.patient_group, "lesion": x.row.lesion, "label": x.row.label} for x in lesions]
    write_json(folder / f"{number:05d}.rows", rows)
    write_case(folder, number, lesions=lesions, positions=range(start, start + len(lesions)))


def make(folder: Path, base: PhantomSpec, counts: list[int], pool: ProcessPoolExecutor) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).tolist()
    specs = [replace(base, patient=n, lesions=count) for n, count in enumerate(counts, start=1)]
    began = time.perf_counter()
    jobs = [
        pool.submit(measure, folder, n, spec, start) for n, (spec, start) in enumerate(zip(specs, starts, strict=True))
    ]
    for done, job in enumerate(jobs, start=1):
        job.result()
        if sys.stderr.isatty():
            print(f"\r{folder.name}: {done} of {len(jobs)} patients", end="", file=sys.stderr)
    print(
        f"{folder.name}: {sum(counts)} lesions of {len(counts)} patients, {time.perf_counter() - began:.0f} s",
        flush=True,
    )


def load(folder: Path) -> tuple[list[CohortLesion], Callable[[CohortLesion], np.ndarray]]:
    """Lesions of a cohort, and the planted voxels of each."""
    rows, truths = [], []
    for path in sorted(folder.glob("*.rows")):
        with np.load(path.with_suffix(".truth.npz"), allow_pickle=False) as arrays:
            for n, row in enumerate(read_json(path)):
                rows.append(
                    CohortRow(
                        patient_group=row["group"], course="1", lesion=row["lesion"], study=Path(), label=row["label"],
                        certainty="certain",
                    )
                )  # fmt: skip
                truths.append(arrays[str(n)])
    lesions = read_cases(folder, rows)
    by_id = {(x.row.patient_group, x.row.lesion): truth for x, truth in zip(lesions, truths, strict=True)}
    return lesions, lambda lesion: by_id[lesion.row.patient_group, lesion.row.lesion]


def folder_of(out: Path, family: str, kind: str) -> Path:
    return out / "cohorts" / f"{family}-{kind}"


def fit(out: Path, family: str, learned: str, approach: str, permuted: bool) -> Path:
    """Fit one approach and test it on the unseen lesions of the family; one file."""
    many = PERMUTATIONS.get(approach, 1) if permuted else 1
    name = f"{approach}, {PERMUTED}" + (f" {many}" if many > 1 else "") if permuted else approach
    path = out / "fits" / f"{family}-{learned}-{name.replace(', ', '-').replace(' ', '_')}.json"
    if path.is_file():
        return path
    others, _ = load(folder_of(out, family, "unseen"))
    sources = [family] if learned == "own" else [f for f in ALL if f != family and folder_of(out, f, "learn").is_dir()]
    lesions = [x for f in sources for x in load(folder_of(out, f, "learn"))[0]]
    began = time.perf_counter()
    found: dict[str, Any] = {}
    for number in range(1, many + 1):
        learn = lesions
        if permuted:
            order = np.random.default_rng(number).permutation([x.sample.label for x in lesions])
            learn = [replace(x, sample=replace(x.sample, label=int(v))) for x, v in zip(lesions, order, strict=True)]
        one, _ = predict_fold(
            entry_of(approach), learn, train=range(len(learn)), others=others, test=range(len(others)),
            protocol=Protocol(), fold=None,
        )  # fmt: skip
        found = {**one, "each": [*found.get("each", []), one["p"]]} if many > 1 else one
    volumes = [x.sample.volume_cc for x in lesions]
    content = {
        **found, "seconds": round(time.perf_counter() - began, 1), "lesions": len(lesions),
        "volume_cc": [min(volumes), max(volumes)],
    }  # fmt: skip
    write_json(path, content)
    return path


def maps(out: Path, family: str, count: int) -> Path:
    """Maps of the network that learned from its own family, against the planted truth, beside their controls."""
    path = out / "maps" / f"{family}.json"
    if not path.is_file():
        train, planted_here = load(folder_of(out, family, "learn"))
        unseen, planted_there = load(folder_of(out, family, "unseen"))
        here = {id(x) for x in train}
        some = unseen[:: max(len(unseen) // count, 1)]
        found = judge_maps(train, some, Protocol(), lambda x: planted_here(x) if id(x) in here else planted_there(x))
        write_json(path, {k: found[k] for k in ("lesions", "chance_auprc", "maps")})
    return path


def row_of(out: Path, family: str, learned: str, name: str, p: np.ndarray, others: Sequence[CohortLesion],
           found: dict[str, Any]) -> Table:  # fmt: skip
    labels = [int(x.sample.label or 0) for x in others]
    patients = [x.row.patient_group for x in others]
    auc = auc_interval(labels, p.tolist(), patients=patients)
    value, low, high = auc.value, auc.low, auc.high
    if "each" in found:
        each = [float(roc_auc_score(labels, row)) for row in found["each"]]
        value, (low, high) = float(np.mean(each)), np.percentile(each, [2.5, 97.5]).tolist()
    slope, _ = calibration(np.asarray(labels), np.clip(p, CLIP, 1 - CLIP))
    number = ALL.index(family)
    seeds = str(LEARN_SEED + number) if learned != "other" else "all others"
    return Table(
        family, learned, name, value, low, high, slope, float(np.mean((p - np.asarray(labels)) ** 2)),
        float(p.mean()), float(np.mean(labels)), withheld(found, others), int(found["lesions"]), len(others), seeds,
        UNSEEN_SEED + number,
    )  # fmt: skip


def withheld(found: dict[str, Any], others: Sequence[CohortLesion]) -> float | None:
    """Share of the lesions that get no class; None for a model without intervals, which never withholds for them."""
    if not found.get("low") or any(v is None for v in found["low"]):
        return None
    least, most = found["volume_cc"]
    unclear = [
        low < found["threshold"] < high or not least / LIKE_CC <= x.sample.volume_cc <= most * LIKE_CC
        for low, high, x in zip(found["low"], found["high"], others, strict=True)
    ]
    return float(np.mean(unclear))


def summarize(out: Path, names: Sequence[str]) -> list[Table]:
    rows: list[Table] = []
    image = [n for n in approaches() if entry_of(n).compared and not entry_of(n).baseline]
    for family in names:
        others, _ = load(folder_of(out, family, "unseen"))
        for learned in ("own", "other"):
            kinds = [(a, False) for a in approaches()] + ([(a, True) for a in controls()] if learned == "own" else [])
            known = {}
            for approach, permuted in kinds:
                name = f"{approach}, {PERMUTED}" if permuted else approach
                known[name] = json.loads(fit(out, family, learned, approach, permuted).read_text())
                rows.append(row_of(out, family, learned, name, np.asarray(known[name]["p"]), others, known[name]))
            mean = expit(np.mean([logit(np.clip(known[a]["p"], CLIP, 1 - CLIP)) for a in image], axis=0))
            rows.append(row_of(out, family, learned, ENSEMBLE, mean, others, {**known[image[0]], "low": None}))
    own = {(r.family, r.approach): r for r in rows if r.learned == "own"}
    for family in names:
        rest = [f for f in names if f != family]
        if rest:
            chosen = max([*image, ENSEMBLE], key=lambda a: float(np.mean([own[f, a].auc for f in rest])))
            rows.append(replace(own[family, chosen], learned="form", approach=f"{CHOSEN}: {chosen}"))
    return rows


def controls() -> tuple[str, ...]:
    return tuple(n for n in ("radiomics", NETWORK) if n in approaches())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--families", default=",".join(ALL))
    parser.add_argument("--unseen", type=int, default=400)
    parser.add_argument("--maps", type=int, default=60, help="unseen lesions whose maps are tested; 0: none")
    parser.add_argument("--variant", default="texture")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    names = options.families.split(",")
    with ProcessPoolExecutor(options.workers, initializer=one_thread) as pool:
        for family in names:
            number = ALL.index(family)
            base = PhantomSpec(
                seed=LEARN_SEED + number, variant=Variant(options.variant), follow_up=False, family=family,
                scanner="mixed", **MATRIX,
            )  # fmt: skip
            make(folder_of(options.out, family, "learn"), base, lesion_counts(base.seed, PATIENTS, total=LESIONS), pool)
            unseen = [PER_PATIENT] * (options.unseen // PER_PATIENT)
            make(folder_of(options.out, family, "unseen"), replace(base, seed=UNSEEN_SEED + number), unseen, pool)
        jobs = [
            pool.submit(fit, options.out, family, learned, approach, permuted)
            for family in names
            for learned, kinds in (
                ("own", [*((a, False) for a in approaches()), *((a, True) for a in controls())]),
                ("other", [(a, False) for a in approaches()]),
            )
            if learned == "own" or len(names) > 1
            for approach, permuted in kinds
        ]
        jobs += [pool.submit(maps, options.out, family, options.maps) for family in names if options.maps]
        for done, job in enumerate(jobs, start=1):
            print(f"{done} of {len(jobs)}: {job.result().name}", flush=True)
    rows = summarize(options.out, names)
    print_tables(rows, names)
    for family in names if options.maps else ():
        print_maps(family, json.loads(maps(options.out, family, options.maps).read_text()))
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, list(asdict(rows[0])), lineterminator="\n")
            writer.writeheader()
            for row in rows:
                cells = asdict(row).items()
                writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in cells})


def print_tables(rows: Sequence[Table], names: Sequence[str]) -> None:
    for learned, title in (("own", "learned from its own family"), ("other", "learned from the other families")):
        table = {(r.approach, r.family): r for r in rows if r.learned == learned}
        print(f"\n{title}: AUC (95 %)\n{'':<32}" + "".join(f"{f:<24}" for f in names))
        for approach in dict.fromkeys(a for a, _ in table):
            cells = [table[approach, f] for f in names]
            print(f"{approach:<32}" + "".join(f"{f'{r.auc:.3f} ({r.low:.3f}-{r.high:.3f})':<24}" for r in cells))
        print("slope, mean p (true share), withheld")
        for approach in dict.fromkeys(a for a, _ in table):
            cells = [table[approach, f] for f in names]
            shares = ["-" if r.withheld is None else f"{r.withheld:.2f}" for r in cells]
            shown = [
                f"{r.slope:.2f}, {r.mean_p:.2f} ({r.true_share:.2f}), {share}"
                for r, share in zip(cells, shares, strict=True)
            ]
            print(f"{approach:<32}" + "".join(f"{s:<24}" for s in shown))
    print("\nchosen on the other families: " + "; ".join(
        f"{r.family}: {r.approach.partition(': ')[2]} {r.auc:.3f}" for r in rows if r.learned == "form"))  # fmt: skip


def print_maps(family: str, found: dict[str, Any]) -> None:
    shown = ("pixel-wise CAM", LOCAL, "minus intensity", "untrained heads", PERMUTED, "without autoencoder", CEILING)
    cells = [f"{n} {found['maps'][n]['auprc'][0]:.3f}" for n in shown if n in found["maps"]]
    print(
        f"maps, {family}: {found['lesions']} lesions, AUPRC by chance {found['chance_auprc']:.3f}; " + ", ".join(cells)
    )


if __name__ == "__main__":
    main()
