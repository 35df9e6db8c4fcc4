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
from pathlib import Path

from localization import (
    can_be_judged,
    interval,
    localization,
    maps_of,
    mean_figures,
    planted_part,
    print_figures,
)
from sklearn.metrics import brier_score_loss, roc_auc_score

from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.imaging.patch import sample_patch
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.models.bundle import load_bundle
from RTResponseCAMLib.models.calibration import CalibratedModel
from RTResponseCAMLib.models.card import default_bundle
from RTResponseCAMLib.samples.sample import LesionSample


def judge_patient(folder: Path, model: CalibratedModel, control: CalibratedModel) -> list[dict]:
    study = load_study(folder / "dicom")
    truth = json.loads((folder / "truth" / "truth.json").read_text())
    head = head_intensity(study.mr)
    patches = [
        sample_patch(study.mr, head, structure=x.structure, dose=study.dose, prescription_gy=20.0)
        for x in study.lesions
    ]
    rows = []
    predictions = model.predict([LesionSample(patch) for patch in patches])
    for lesion, patch, evidence in zip(truth["lesions"], patches, predictions, strict=True):
        planted = planted_part(folder, lesion["number"], patch)
        row = {"patient": folder.name, "p_non_response": 1 - evidence.p_response, "total": evidence.total, **lesion}
        if can_be_judged(planted, patch):
            maps = maps_of(model, {"untrained heads": control}, patch)
            row["maps"] = {name: localization(m, planted, patch) for name, m in maps.items()}
            row["chance_auprc"] = float(planted[patch.fraction >= 0.5].mean())
        rows.append(row)
    return rows


def summarize(rows: list[dict]) -> dict:
    def auc(of: list[dict]) -> float:
        labels = {r["label"] for r in of}
        if len(labels) < 2:
            raise ValueError
        return float(roc_auc_score([r["label"] for r in of], [r["total"] for r in of]))

    labels = [r["label"] for r in rows]
    mapped = [r for r in rows if "maps" in r]
    return {
        "lesions": len(rows),
        "patients": len({r["patient"] for r in rows}),
        "non_responding": int(sum(labels)),
        "auc": interval(rows, auc),
        "auc_volume_only": float(roc_auc_score(labels, [r["volume_cc"] for r in rows])),
        "brier": float(brier_score_loss(labels, [r["p_non_response"] for r in rows])),
        "lesions_mapped": len(mapped),
        "chance_auprc": sum(r["chance_auprc"] for r in mapped) / len(mapped),
        "maps": mean_figures(mapped),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    model = load_bundle(options.model or default_bundle(), "cpu").model
    control = CalibratedModel(model.fitted.with_random_weights())
    folders = sorted(p for p in options.cohort.iterdir() if p.is_dir())
    rows = [row for folder in folders for row in judge_patient(folder, model, control)]
    variant = {f.name: json.loads((f / "truth" / "truth.json").read_text())["variant"] for f in folders}
    tables = {"all": summarize(rows)}
    for name in sorted(set(variant.values())):
        tables[name] = summarize([r for r in rows if variant[r["patient"]] == name])
    for name, table in tables.items():
        auc, low, high = table["auc"]
        counts = f"{table['lesions']} lesions of {table['patients']} patients, {table['non_responding']} non-responding"
        print(f"\n{name}: {counts}")
        print(f"  AUC {auc:.3f} ({low:.3f}–{high:.3f}), volume only {table['auc_volume_only']:.3f}")
        print(f"  Brier {table['brier']:.3f}")
        print(f"  maps of {table['lesions_mapped']} lesions (AUPRC by chance {table['chance_auprc']:.3f})")
        print_figures(table["maps"])
    if options.json:
        options.json.write_text(json.dumps(tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
