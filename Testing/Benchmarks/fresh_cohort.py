"""The shipped model on a phantom cohort it has never seen: ranking of lesions, and maps against planted truth.

    rtresponsecam phantom cohort --seed 901 --patients 126 --no-follow-up --out fresh
    python Testing/Benchmarks/fresh_cohort.py fresh [--model BUNDLE] [--json FILE]

Maps are compared inside the lesion only (occupancy of at least one half), for lesions whose planted part is
between 5 % and 95 % of the lesion and holds at least 10 voxels. Controls stand beside our map: intensity alone,
the same network with an untrained head, and Grad-CAM from the same network.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from RTResponseCAMLib.cam.gradient import grad_cam
from RTResponseCAMLib.cam.pixelwise import find_evidence
from RTResponseCAMLib.cam.volume import local_evidence
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.imaging.patch import sample_patch
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.network.bundle import Bundle, load_bundle
from RTResponseCAMLib.network.card import default_bundle
from RTResponseCAMLib.network.classifier import AutoencoderClassifier

RESAMPLES = 1000


def untrained_head(bundle: Bundle) -> Bundle:
    """The same stem and autoencoder under a head that has learned nothing."""
    torch.manual_seed(0)
    network = AutoencoderClassifier(bundle.network.architecture)
    state = bundle.network.state_dict()
    fresh = {k: v for k, v in network.state_dict().items() if k.startswith(("hidden", "evidence", "slope", "offset"))}
    network.load_state_dict({**state, **fresh})
    return replace(bundle, network=network.eval())


def localisation(map_: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """AUROC, AUPRC, Dice at the threshold that selects the true volume, and whether the peak hits."""
    count = int(truth.sum())
    top = np.zeros(len(map_), dtype=bool)
    top[np.argsort(-map_, kind="stable")[:count]] = True
    return {
        "auroc": roc_auc_score(truth, map_),
        "auprc": average_precision_score(truth, map_),
        "dice": float((top & truth).sum() / count),
        "hit": float(truth[np.argmax(map_)]),
    }


def judge_patient(folder: Path, bundle: Bundle, control: Bundle) -> list[dict]:
    study = load_study(folder / "dicom")
    truth = json.loads((folder / "truth" / "truth.json").read_text())
    resistant = sitk.ReadImage(str(folder / "truth" / "resistant_planning.nrrd"))
    head = head_intensity(study.mr)
    patches = [sample_patch(study.mr, head, x.structure, study.dose, 20.0) for x in study.lesions]
    rows = []
    ours, theirs = find_evidence(bundle, patches), find_evidence(control, patches)
    for lesion, patch, evidence, other in zip(truth["lesions"], patches, ours, theirs, strict=True):
        moved = sitk.Resample(resistant, patch.grid.blank(), sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        inside = patch.occupancy >= 0.5
        planted = sitk.GetArrayFromImage(moved)[inside] == lesion["number"]
        row = {"patient": folder.name, "p_non_response": 1 - evidence.p_response, "total": evidence.total, **lesion}
        if inside.any() and 0.05 < planted.mean() < 0.95 and planted.sum() >= 10:
            maps = {
                "pixel-wise CAM": local_evidence(patch, evidence),
                "Grad-CAM, bottleneck": grad_cam(bundle, patch, "bottleneck"),
                "Grad-CAM, decoder": grad_cam(bundle, patch, "up_first"),
                "minus intensity": -patch.mr,
                "untrained head": local_evidence(patch, other),
            }
            row["maps"] = {name: localisation(m[inside], planted) for name, m in maps.items()}
            row["chance_auprc"] = float(planted.mean())
        rows.append(row)
    return rows


def interval(rows: list[dict], figure) -> tuple[float, float, float]:
    """A figure and its 95 % interval by resampling patients."""
    patients = sorted({r["patient"] for r in rows})
    groups = {p: [r for r in rows if r["patient"] == p] for p in patients}
    rng = np.random.default_rng(0)
    values = []
    while len(values) < RESAMPLES:
        drawn = [r for p in rng.choice(patients, len(patients)) for r in groups[p]]
        try:
            values.append(figure(drawn))
        except ValueError:  # a resample with one class only
            continue
    return figure(rows), *np.percentile(values, [2.5, 97.5])


def summarise(rows: list[dict]) -> dict:
    def auc(of: list[dict]) -> float:
        labels = {r["label"] for r in of}
        if len(labels) < 2:
            raise ValueError
        return float(roc_auc_score([r["label"] for r in of], [r["total"] for r in of]))

    labels = [r["label"] for r in rows]
    mapped = [r for r in rows if "maps" in r]
    names = mapped[0]["maps"] if mapped else ()
    return {
        "lesions": len(rows),
        "patients": len({r["patient"] for r in rows}),
        "non_responding": int(sum(labels)),
        "auc": interval(rows, auc),
        "auc_volume_only": float(roc_auc_score(labels, [r["volume_cc"] for r in rows])),
        "brier": float(brier_score_loss(labels, [r["p_non_response"] for r in rows])),
        "lesions_mapped": len(mapped),
        "chance_auprc": float(np.mean([r["chance_auprc"] for r in mapped])),
        "maps": {
            name: {
                k: interval(mapped, lambda of, n=name, k=k: float(np.mean([r["maps"][n][k] for r in of])))
                for k in ("auroc", "auprc", "dice", "hit")
            }
            for name in names
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    bundle = load_bundle(options.model or default_bundle(), "cpu")
    control = untrained_head(bundle)
    folders = sorted(p for p in options.cohort.iterdir() if p.is_dir())
    rows = [row for folder in folders for row in judge_patient(folder, bundle, control)]
    variant = {f.name: json.loads((f / "truth" / "truth.json").read_text())["variant"] for f in folders}
    tables = {"all": summarise(rows)}
    for name in sorted(set(variant.values())):
        tables[name] = summarise([r for r in rows if variant[r["patient"]] == name])
    for name, table in tables.items():
        auc, low, high = table["auc"]
        counts = f"{table['lesions']} lesions of {table['patients']} patients, {table['non_responding']} non-responding"
        print(f"\n{name}: {counts}")
        print(f"  AUC {auc:.3f} ({low:.3f}–{high:.3f}), volume only {table['auc_volume_only']:.3f}")
        print(f"  Brier {table['brier']:.3f}")
        print(f"  maps of {table['lesions_mapped']} lesions (AUPRC by chance {table['chance_auprc']:.3f})")
        for kind, figures in table["maps"].items():
            words = "  ".join(f"{k} {v[0]:.3f} ({v[1]:.3f}–{v[2]:.3f})" for k, v in figures.items())
            print(f"    {kind:<22}{words}")
    if options.json:
        options.json.write_text(json.dumps(tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
