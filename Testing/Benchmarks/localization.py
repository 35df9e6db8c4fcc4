"""Maps against planted truth, shared by the benchmarks: figures of one lesion, means with intervals, controls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from RTResponseCAMLib.cam.gradient import gradient_maps
from RTResponseCAMLib.cam.volume import local_evidence, shown_evidence
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.calibration import CalibratedModel
from RTResponseCAMLib.models.scale_space.model import FittedScaleSpace
from RTResponseCAMLib.samples.cohort import CohortLesion
from RTResponseCAMLib.samples.sample import LesionSample

FIGURES = ("auroc", "auprc", "dice", "hit")
RESAMPLES = 1000
CEILING, LOCAL = "ceiling", "pixel-wise CAM, local"


def planted_part(folder: Path, number: int, patch: Patch) -> np.ndarray:
    """Which voxels of a patch are planted as resistant; ``folder`` is the patient's."""
    return planted_on(sitk.ReadImage(str(folder / "truth" / "resistant_planning.nrrd")), number, patch)


def planted_on(resistant: sitk.Image, number: int, patch: Patch) -> np.ndarray:
    """The same from the label map of the resistant parts."""
    moved = sitk.Resample(resistant, patch.grid.blank(), sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(moved) == number


def lesion_number(lesion: CohortLesion) -> int:
    """Its number in the planted truth."""
    return int(lesion.row.lesion.rpartition(" ")[2])


def can_be_judged(planted: np.ndarray, patch: Patch) -> bool:
    """The planted part is 5 % to 95 % of the lesion, and 10 voxels or more."""
    part = planted[patch.fraction >= 0.5]
    return bool(part.size and 0.05 < part.mean() < 0.95 and part.sum() >= 10)


def localization(map_: np.ndarray, planted: np.ndarray, patch: Patch) -> dict[str, float]:
    """Inside the lesion: AUROC, AUPRC, Dice at the threshold of the true volume, and whether the peak hits."""
    inside = patch.fraction >= 0.5
    values, truth = map_[inside], planted[inside]
    count = int(truth.sum())
    top = np.zeros(len(values), dtype=bool)
    top[np.argsort(-values, kind="stable")[:count]] = True
    return {
        "auroc": float(roc_auc_score(truth, values)),
        "auprc": float(average_precision_score(truth, values)),
        "dice": float((top & truth).sum() / count),
        "hit": float(truth[np.argmax(values)]),
    }


def plain_model(network: torch.nn.Module) -> CalibratedModel:
    """A network without calibration."""
    return CalibratedModel(FittedScaleSpace(network))


def maps_of(model: CalibratedModel, controls: dict[str, CalibratedModel], patch: Patch) -> dict[str, np.ndarray]:
    """Our map, every gradient CAM at every layer, minus intensity, and the maps of other models.

    Our map and the ceiling stand there as pure local evidence, too: a network taught by voxels is better so at the
    rim, and the ceiling is the better of the two.
    """
    sample = LesionSample(patch)
    (evidence,) = model.predict([sample])
    maps = {"pixel-wise CAM": shown_evidence(patch, evidence), LOCAL: local_evidence(patch, evidence)}
    for layer in model.fitted.named_layers():
        maps |= {f"{method}, {layer}": m for method, m in gradient_maps(model.fitted, sample, layer=layer).items()}
    maps["minus intensity"] = -patch.mr
    for name, other in controls.items():
        (found,) = other.predict([sample])
        maps[name] = shown_evidence(patch, found)
        if name == CEILING:
            maps[f"{name}, local"] = local_evidence(patch, found)
    return maps


def interval(rows: list[dict], figure) -> tuple[float, float, float]:
    """A figure of some lesions and its 95 % interval by resampling patients."""
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


def mean_figures(rows: list[dict]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Mean of each figure of each map over lesions, with intervals; ``rows`` hold ``patient`` and ``maps``."""
    return {
        name: {
            k: interval(rows, lambda of, n=name, k=k: float(np.mean([r["maps"][n][k] for r in of]))) for k in FIGURES
        }
        for name in rows[0]["maps"]
    }


def shares_of_ceiling(table: dict[str, dict[str, tuple[float, float, float]]]) -> dict[str, float]:
    """Our map's AUPRC and Dice as percent of the better ceiling's."""
    ceilings = [figures for name, figures in table.items() if name.startswith(CEILING)]
    ours = table["pixel-wise CAM"]
    return {k: 100 * ours[k][0] / max(c[k][0] for c in ceilings) for k in ("auprc", "dice")}


def print_figures(table: dict[str, dict[str, tuple[float, float, float]]]) -> None:
    """One line per map."""
    for name, figures in table.items():
        words = "  ".join(f"{k} {v[0]:.3f} ({v[1]:.3f} to {v[2]:.3f})" for k, v in figures.items())
        print(f"    {name:<28}{words}")
