"""The convolutional classifier and the ensemble beside every other approach, on every phantom family, part by part.

    python Testing/Benchmarks/convolutional.py OUT --encoder ENCODER [--untrained ENCODER] [--sets 3] [--unseen 200]
        [--families texture,…] [--only conv,radiomics,…] [--maps 40] [--csv FILE] [--workers 2]

For each family, ``--sets`` cohorts of 69 lesions of 39 patients to learn from, and others on which everything is
tested (`single_lesions.py`). No lesion of either was seen by the encoder, not even without a label: encoders are
pre-trained on phantoms of another seed (`rtresponsecam pretrain --synthetic`). Rows are means over cohorts and
families; a standard error is that of the mean over families of the means over cohorts. Every fit is one file: an
interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from families import CLIP, load, one_thread
from localization import can_be_judged, localization
from scipy.special import expit, logit
from single_lesions import Cohort, make
from sklearn.metrics import roc_auc_score

from RTResponseCAMLib.cam.gradient import gradient_maps
from RTResponseCAMLib.cam.volume import local_evidence, shown_evidence
from RTResponseCAMLib.evaluation.metrics import calibration
from RTResponseCAMLib.evaluation.store import read_json, write_json
from RTResponseCAMLib.models.calibration import Calibrated, CalibratedModel
from RTResponseCAMLib.models.ensemble import FittedEnsemble, Member
from RTResponseCAMLib.models.interface import Calibration
from RTResponseCAMLib.models.registry import entry_of
from RTResponseCAMLib.phantom.cohort import lesion_counts
from RTResponseCAMLib.phantom.families import FAMILIES
from RTResponseCAMLib.samples.cohort import CohortLesion

PATIENTS, LESIONS = 39, 69
LEARN_SEED, UNSEEN_SEED = 16100, 17100
APART = 10_000  # between the numbers of the lesions of two cohorts
FEATURES = ("volume", "clinical", "gradient", "radiomics")
CONV: Mapping[str, Mapping[str, Any]] = {
    "conv": {},
    "conv, learned layer alone": {"fixed": False},
    "conv, fixed features alone": {"learned": False},
    "conv, no augmented copies": {"n_augmentations": 0},
    "conv, one member": {"members": 1},
    "conv, width 1": {"width": 1},
    "conv, no dropout": {"dropout": 0.0},
    "conv, consistency": {"consistency": 0.3},
    "conv, untrained body": {"untrained": True},
    "conv, untrained body, learned layer alone": {"untrained": True, "fixed": False},
}
SLOW = ("scale-space",)  # on the first cohort of each family only


@dataclass(frozen=True)
class Run:
    """What is run, and where."""

    out: Path
    encoder: str
    untrained: str
    only: tuple[str, ...]
    maps: int

    def names(self, number: int) -> list[str]:
        known = [*FEATURES, "ensemble", *CONV, *(SLOW if number == 0 else ())]
        return [n for n in known if (not self.only or n in self.only) and (self.untrained or "untrained" not in n)]

    def model(self, name: str) -> Any:
        if name not in CONV and name != "ensemble":
            return entry_of(name).model({})
        options = dict(CONV.get(name, {}))
        encoder = self.untrained if options.pop("untrained", False) else self.encoder
        return entry_of("ensemble" if name == "ensemble" else "conv").model({"encoder": encoder, **options})


def folder_of(out: Path, family: str, kind: str) -> Path:
    return out / "cohorts" / f"{family}-{kind}"


def cohorts_of(out: Path, family: str, sets: int, unseen: int) -> list[Cohort]:
    base = 100 * list(FAMILIES).index(family)
    learn = [
        Cohort(folder_of(out, family, f"learn{k}"), family, LEARN_SEED, APART * (base + k),
               tuple(lesion_counts(LEARN_SEED + base + k, PATIENTS, total=LESIONS)))
        for k in range(sets)
    ]  # fmt: skip
    others = Cohort(folder_of(out, family, "unseen"), family, UNSEEN_SEED, APART * base, (2,) * (unseen // 2))
    return [*learn, others]


def fit_all(run: Run, family: str, number: int) -> str:
    """Fit every approach on one cohort, and test it on the unseen lesions."""
    place = run.out / "fits"
    wanted = [n for n in run.names(number) if not (place / file_of(family, number, n)).is_file()]
    if not wanted:
        return f"{family} {number}: there"
    train, _ = load(folder_of(run.out, family, f"learn{number}"))
    unseen, planted = load(folder_of(run.out, family, "unseen"))
    known: dict[str, CalibratedModel] = {}
    for name in wanted:
        began = time.perf_counter()
        fitted = known.get(name) or Calibrated(run.model(name)).fit([x.sample for x in train])
        if isinstance(fitted.fitted, FittedEnsemble):  # its member is the model itself: not fitted a second time
            known["conv"] = alone(fitted.fitted.members[0])
        seconds = time.perf_counter() - began
        found = fitted.predict([x.sample for x in unseen])
        content = {
            "p": [1 - x.p_response for x in found],
            "low": [None if np.isnan(x.low) else 1 - x.high for x in found],
            "high": [None if np.isnan(x.high) else 1 - x.low for x in found],
            "threshold": fitted.threshold, "seconds": round(seconds, 1), "chosen": fitted.fitted.summary(),
            "train_auc": roc_auc_score(
                [x.row.label for x in train], [p.total for p in fitted.predict([x.sample for x in train])]
            ),
        }  # fmt: skip
        if run.maps and entry_of("conv" if name in CONV else name).explains:
            content["maps"] = map_figures(fitted, unseen, planted, run.maps, cams=name in ("conv", *SLOW))
        write_json(place / file_of(family, number, name), content)
    return f"{family} {number}: {', '.join(wanted)}"


def alone(member: Member) -> CalibratedModel:
    """A member of an ensemble as a model, with the line that was fitted to its own held-out logits."""
    return CalibratedModel(
        member.fitted, Calibration(member.line.slope / member.weight, member.line.intercept / member.weight)
    )


def map_figures(
    fitted: CalibratedModel, unseen: Sequence[CohortLesion], planted: Any, count: int, *, cams: bool
) -> dict[str, dict[str, float]]:
    """Mean figures of every map over unseen lesions with a planted part."""
    rows: dict[str, list[dict[str, float]]] = {}
    used = [x for x in unseen if can_be_judged(planted(x), x.sample.patch)][:count]
    for lesion in used:
        patch, truth = lesion.sample.patch, planted(lesion)
        (evidence,) = fitted.predict([lesion.sample])
        maps = {"evidence map": shown_evidence(patch, evidence), "evidence map, local": local_evidence(patch, evidence)}
        maps["minus intensity"] = -patch.mr
        maps["intensity"] = patch.mr
        for layer in fitted.fitted.named_layers() if cams else ():
            found = gradient_maps(fitted.fitted, lesion.sample, layer=layer)
            maps |= {f"{method}, {layer}": m for method, m in found.items()}
        for name, values in maps.items():
            rows.setdefault(name, []).append(localization(values, truth, patch))
        share = truth[patch.fraction >= 0.5].mean()
        rows.setdefault("chance", []).append({"auprc": float(share), "dice": float(share)})
    return {
        name: {figure: float(np.mean([r[figure] for r in found])) for figure in found[0]}
        for name, found in rows.items()
    }


def file_of(family: str, number: int, name: str) -> str:
    return f"{family}-{number}-{name.replace(', ', '-').replace(' ', '_')}.json"


def figures(run: Run, families: Sequence[str], sets: int) -> list[dict[str, Any]]:
    """One row for every approach, family and cohort."""
    rows = []
    for family in families:
        unseen, _ = load(folder_of(run.out, family, "unseen"))
        labels = np.asarray([int(x.row.label) for x in unseen])
        base = float(np.mean((labels.mean() - labels) ** 2))
        for number in range(sets):
            for name in run.names(number):
                path = run.out / "fits" / file_of(family, number, name)
                if not path.is_file():
                    continue
                found = read_json(path)
                p = np.asarray(found["p"])
                maps = found.get("maps", {})
                rows.append({
                    "family": family, "cohort": number, "approach": name, "auc": float(roc_auc_score(labels, p)),
                    "train_auc": found["train_auc"], "brier_minus_base": float(np.mean((p - labels) ** 2)) - base,
                    "slope": calibration(labels, np.clip(p, CLIP, 1 - CLIP))[0], "fit_s": found["seconds"],
                    "auprc": maps.get("evidence map", {}).get("auprc"),
                    "auprc_chance": maps.get("chance", {}).get("auprc"),
                })  # fmt: skip
    return rows


def print_table(rows: Sequence[dict[str, Any]], families: Sequence[str]) -> None:
    print(f"{'AUC':<44}" + "".join(f"{f:<12}" for f in families) + "mean (SE)     Brier-base  slope  learned  fit s")
    for name in dict.fromkeys(r["approach"] for r in rows):
        mine = [r for r in rows if r["approach"] == name]
        by_family = {f: [r["auc"] for r in mine if r["family"] == f] for f in families}
        means = [float(np.mean(v)) for v in by_family.values() if v]
        spread = np.std(means, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else float("nan")
        cells = "".join(f"{np.mean(v):<12.3f}" if v else f"{'-':<12}" for v in by_family.values())
        worst = max(r["brier_minus_base"] for r in mine)
        print(
            f"{name:<44}{cells}{np.mean(means):.3f} ({spread:.3f})  "
            f"{np.mean([r['brier_minus_base'] for r in mine]):+.3f} ({worst:+.3f})  "
            f"{np.nanmedian([r['slope'] for r in mine]):.2f}  {np.mean([r['train_auc'] for r in mine]):.2f}  "
            f"{np.mean([r['fit_s'] for r in mine]):.0f}"
        )
    best = {
        (f, c): max(r["auc"] for r in rows if (r["family"], r["cohort"]) == (f, c) and r["approach"] in FEATURES)
        for f, c in {(r["family"], r["cohort"]) for r in rows if r["approach"] in FEATURES}
    }
    for name in ("conv", "ensemble"):
        mine = [r for r in rows if r["approach"] == name and (r["family"], r["cohort"]) in best]
        gaps = [r["auc"] - best[r["family"], r["cohort"]] for r in mine]
        if gaps:
            print(f"{name} minus the best of the features in hindsight: {np.mean(gaps):+.3f}, worst {min(gaps):+.3f}")
    for name in FEATURES:
        for mine in ("conv", "ensemble"):
            pairs = [
                (f, [a["auc"] - b["auc"] for a in rows for b in rows
                     if a["approach"] == mine and b["approach"] == name and a["family"] == b["family"] == f
                     and a["cohort"] == b["cohort"]])
                for f in families
            ]  # fmt: skip
            means = [np.mean(v) for _, v in pairs if v]
            if len(means) > 1:
                print(
                    f"{mine} minus {name}: {np.mean(means):+.3f} (SE {np.std(means, ddof=1) / len(means) ** 0.5:.3f})"
                )


def print_maps(run: Run, families: Sequence[str], sets: int) -> None:
    for name in ("conv", "ensemble", *SLOW):
        table: dict[str, dict[str, list[float]]] = {}
        for family in families:
            for number in range(sets):
                path = run.out / "fits" / file_of(family, number, name)
                found = read_json(path).get("maps", {}) if path.is_file() else {}
                for map_, values in found.items():
                    table.setdefault(map_, {}).setdefault(family, []).append(values["auprc"])
        if table:
            print(f"\nAUPRC of maps, {name:<24}" + "".join(f"{f:<12}" for f in families) + "mean")
            for map_, cells in table.items():
                means = [float(np.mean(cells[f])) for f in families if f in cells]
                shown = "".join(f"{np.mean(cells[f]):<12.3f}" if f in cells else f"{'-':<12}" for f in families)
                print(f"{map_:<40}{shown}{np.mean(means):.3f}")


def ensembles(run: Run, families: Sequence[str], sets: int) -> None:
    """The plain mean of the logits of conv and each feature approach, as a check of the weights."""
    for other in ("radiomics", "gradient", "volume"):
        found = []
        for family in families:
            unseen, _ = load(folder_of(run.out, family, "unseen"))
            labels = [int(x.row.label) for x in unseen]
            for number in range(sets):
                paths = [run.out / "fits" / file_of(family, number, n) for n in ("conv", other)]
                if all(p.is_file() for p in paths):
                    p = expit(np.mean([logit(np.clip(read_json(q)["p"], CLIP, 1 - CLIP)) for q in paths], axis=0))
                    found.append(roc_auc_score(labels, p))
        if found:
            print(f"plain mean of conv and {other}: AUC {np.mean(found):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", default="")
    parser.add_argument("--untrained", default="")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--unseen", type=int, default=200)
    parser.add_argument("--only", default="")
    parser.add_argument("--maps", type=int, default=40)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--make-only", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    families = options.families.split(",")
    only = tuple(n for n in options.only.split(";") if n)
    run = Run(options.out, options.encoder, options.untrained, only, options.maps)
    with ProcessPoolExecutor(options.workers, initializer=one_thread) as pool:
        make([c for f in families for c in cohorts_of(options.out, f, options.sets, options.unseen)], pool)
        if options.make_only:
            return
        jobs = [pool.submit(fit_all, run, family, number) for number in range(options.sets) for family in families]
        for job in jobs:
            print(job.result(), flush=True)
    rows = figures(replace(run, only=()), families, options.sets)
    print_table(rows, families)
    print_maps(run, families, options.sets)
    ensembles(run, families, options.sets)
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            for row in rows:
                writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
