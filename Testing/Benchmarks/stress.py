"""How far a model's answer moves when the scan changes and the lesion does not.

    python Testing/Benchmarks/stress.py [BUNDLE] [--family coarse --scanner ideal] [--patients 16] [--seed 8100]
        [--write] [--csv FILE]

One phantom scan is changed: blur, noise, resampling between voxels, thick slices, bias field, shifted contours, and
another scanner of the same patient. Printed per change: the change of the logit of non-response (median, 10th and 90th
percentile over lesions), the correlation of the evidence map with that of the unchanged scan and the change of the map
relative to its size, both inside the lesion, the share of lesions whose class flips between response and non-response
(by the threshold alone), the share whose class is withheld because the interval contains the threshold or because the
lesion is unlike those of the training, the share of the latter, and the share that flips and still gets a class. The
same scan with other noise of the same amount is the control. ``--write`` puts the table into the bundle's model card.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.evaluation.store import write_json
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import sample_patch
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.models.bundle import Bundle, load_bundle
from RTResponseCAMLib.models.card import CARD, default_bundle, read_card
from RTResponseCAMLib.models.interface import LesionPrediction
from RTResponseCAMLib.phantom.families import COARSE, FAMILIES
from RTResponseCAMLib.phantom.patient import Patient, contour_structures, planning_grid, render_mr, sample_patient
from RTResponseCAMLib.phantom.scanner import SCANNERS
from RTResponseCAMLib.phantom.spec import PhantomSpec
from RTResponseCAMLib.samples.sample import LesionSample, patch_of
from RTResponseCAMLib.study import Structure

MATRIX = {"columns": 184, "rows": 216, "slices": 156}
LEAST_CC = 0.1  # smaller lesions have too few voxels for a map to be compared
NO_SKULL = 1000  # every so many slices
OTHER_SCANNERS = ("mprage-3t", "spgr-1.5t", "se-1.5t")
Change = Callable[[Patient, sitk.Image, np.random.Generator], sitk.Image]


@dataclass(frozen=True)
class Answer:
    """What a model says of one lesion; ``map`` inside the lesion only."""

    total: float
    low: float
    high: float
    p: float
    map: np.ndarray
    unlike: bool = False


def blurred(sigma_mm: float) -> Change:
    return lambda patient, mr, rng: sitk.DiscreteGaussian(sitk.Cast(mr, sitk.sitkFloat32), sigma_mm**2, 16, 0.01, True)


def noisy(share: float) -> Change:
    """Rician noise with a standard deviation relative to the median of the head."""

    def change(patient: Patient, mr: sitk.Image, rng: np.random.Generator) -> sitk.Image:
        values = sitk.GetArrayFromImage(mr).astype(np.float32)
        sigma = share * head_intensity(mr).median
        noise = [sigma * rng.standard_normal(values.shape, dtype=np.float32) for _ in range(2)]
        return Grid.of(mr).image(np.hypot(values + noise[0], noise[1]).astype(np.float32))

    return change


def resampled(patient: Patient, mr: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """Trilinear values midway between voxels, as after a registration."""
    grid = Grid.of(mr)
    x, y, z = grid.to_lps(np.asarray([[0.5, 0.5, 0.5]]))[0].tolist()
    between = replace(grid, origin_mm=(x, y, z))
    return sitk.Resample(mr, between.blank(), sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)


def thick(slices: int) -> Change:
    """Means over so many slices."""
    return lambda patient, mr, rng: sitk.BinShrink(sitk.Cast(mr, sitk.sitkFloat32), [1, 1, slices])


def biased(share: float) -> Change:
    """A linear field across the head, from 1 − share to 1 + share, along a random direction."""

    def change(patient: Patient, mr: sitk.Image, rng: np.random.Generator) -> sitk.Image:
        grid = Grid.of(mr)
        axis = rng.standard_normal(3)
        points = grid.points() @ (axis / np.linalg.norm(axis))
        field = 1 + share * (2 * (points - points.min()) / np.ptp(points) - 1)
        return grid.image((sitk.GetArrayFromImage(mr) * field).astype(np.float32))

    return change


def other_scanner(name: str) -> Change:
    return lambda patient, mr, rng: render_mr(patient, planning_grid(patient), scanner=SCANNERS[name].jittered(rng))


def again(patient: Patient, mr: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """The same scanner and session settings, other noise."""
    twin = replace(patient, spec=replace(patient.spec, seed=patient.spec.seed + 50_000))
    return render_mr(twin, planning_grid(patient))


IMAGES: Mapping[str, Change] = {
    "other noise (control)": again,
    "blur 0.5 mm": blurred(0.5),
    "blur 0.8 mm": blurred(0.8),
    "blur 1.2 mm": blurred(1.2),
    "noise 3 %": noisy(0.03),
    "noise 6 %": noisy(0.06),
    "resampled by half a voxel": resampled,
    "slices of 3 mm": thick(3),
    "bias 20 %": biased(0.2),
    **{f"scanner {name}": other_scanner(name) for name in OTHER_SCANNERS},
}
SHIFTS_MM = {"contour shifted 0.5 mm": 0.5, "contour shifted 1 mm": 1.0}


def moved(structure: Structure, distance_mm: float, rng: np.random.Generator) -> Structure:
    """Its contours in other places of their planes: a random direction in the plane."""
    angle = rng.uniform(0, 2 * np.pi)
    step = distance_mm * np.asarray([np.cos(angle), np.sin(angle), 0.0])
    return replace(structure, contours=tuple(c + step for c in structure.contours))


def answers(bundle: Bundle, mr: sitk.Image, structures: list[Structure], places: list[np.ndarray]) -> list[Answer]:
    """Predictions for every lesion; maps at the given points (LPS, mm), which are the same for every change."""
    head = head_intensity(mr)
    inputs = bundle.inputs
    samples = [
        LesionSample(
            sample_patch(
                mr, head, structure=s, dose=None, prescription_gy=None, spacing_mm=inputs.spacing_mm,
                margin_mm=inputs.margin_mm,
            ),
            contour_volume_cc(s),
        )
        for s in structures
    ]  # fmt: skip
    found = bundle.predict(samples)
    return [
        Answer(e.total, e.low, e.high, e.p_response, values_at(e, sample, at), unlike(bundle, sample))
        for e, sample, at in zip(found, samples, places, strict=True)
    ]


def unlike(bundle: Bundle, sample: LesionSample) -> bool:
    """Whether the lesion counts as unlike those of the training, so that its class is withheld."""
    return bundle.familiarity is not None and bool(bundle.familiarity.unlikeness(patch_of(sample)).words)


def values_at(evidence: LesionPrediction, sample: LesionSample, points_mm: np.ndarray) -> np.ndarray:
    """Evidence per volume at points; linear."""
    from scipy.ndimage import map_coordinates

    grid = patch_of(sample).grid
    return map_coordinates(evidence.map, grid.to_index(points_mm)[:, ::-1].T, order=1, mode="nearest")


def inner_points(mr: sitk.Image, structure: Structure) -> np.ndarray:
    """Centers of the patch voxels that lie in the lesion for the most part."""
    patch = sample_patch(mr, head_intensity(mr), structure=structure, dose=None, prescription_gy=None)
    return patch.grid.points()[patch.fraction >= 0.5]


def stressed(bundle: Bundle, spec: PhantomSpec) -> tuple[list[Answer], dict[str, list[Answer]]]:
    """Answers for one patient: unchanged, and by change."""
    patient = sample_patient(spec)
    grid = planning_grid(patient)
    mr = render_mr(patient, grid)
    lesions = contour_structures(patient, grid, skull_every=NO_SKULL)[: len(patient.lesions)]
    structures = [s for s in lesions if contour_volume_cc(s) >= LEAST_CC]
    if not structures:
        return [], {}
    places = [inner_points(mr, s) for s in structures]
    rng = spec.rng(90)
    found = {name: answers(bundle, change(patient, mr, rng), structures, places) for name, change in IMAGES.items()}
    for name, distance_mm in SHIFTS_MM.items():
        found[name] = answers(bundle, mr, [moved(s, distance_mm, rng) for s in structures], places)
    return answers(bundle, mr, structures, places), found


def compared(before: list[Answer], after: list[Answer], threshold: float) -> dict[str, float]:
    """One row of the table; logits are of non-response."""
    change = [b.total - a.total for a, b in zip(before, after, strict=True)]
    low, middle, high = np.percentile(change, [10, 50, 90]).tolist()
    return {
        "logit_p10": low,
        "logit_median": middle,
        "logit_p90": high,
        "map_correlation": float(np.nanmedian([_correlation(a, b) for a, b in zip(before, after, strict=True)])),
        "map_change": float(np.median([_change(a, b) for a, b in zip(before, after, strict=True)])),
        "flips": float(np.mean([(a.p >= threshold) != (b.p >= threshold) for a, b in zip(before, after, strict=True)])),
        "withheld": float(np.mean([b.low < threshold <= b.high or b.unlike for b in after])),
        "unlike": float(np.mean([b.unlike for b in after])),
        "flips_given_a_class": float(
            np.mean(
                [
                    (a.p >= threshold) != (b.p >= threshold) and not (b.unlike or b.low < threshold <= b.high)
                    for a, b in zip(before, after, strict=True)
                ]
            )
        ),
    }


def _correlation(one: Answer, other: Answer) -> float:
    return float(np.corrcoef(one.map, other.map)[0, 1]) if one.map.std() > 0 < other.map.std() else np.nan


def _change(one: Answer, other: Answer) -> float:
    return float(np.abs(other.map - one.map).sum() / max(np.abs(one.map).sum(), 1e-9))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=default_bundle())
    parser.add_argument("--family", choices=[COARSE, *FAMILIES], default=COARSE)
    parser.add_argument("--scanner", default="ideal")
    parser.add_argument("--patients", type=int, default=16)
    parser.add_argument("--lesions", type=int, default=3, help="of each patient")
    parser.add_argument("--seed", type=int, default=8100)
    parser.add_argument("--write", action="store_true", help="put the table into the model card")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    bundle = load_bundle(options.bundle, "cpu")
    before: list[Answer] = []
    after: dict[str, list[Answer]] = {name: [] for name in (*IMAGES, *SHIFTS_MM)}
    for patient in range(1, options.patients + 1):
        spec = PhantomSpec(
            seed=options.seed, patient=patient, lesions=options.lesions, family=options.family,
            scanner=options.scanner, follow_up=False, **MATRIX,
        )  # fmt: skip
        same, found = stressed(bundle, spec)
        before += same
        for name, part in found.items():
            after[name] += part
    rows = {name: compared(before, part, bundle.threshold) for name, part in after.items()}
    unchanged = float(np.mean([a.low < bundle.threshold <= a.high or a.unlike for a in before]))
    print(f"{bundle.card['name']}: {len(before)} lesions of {options.patients} patients, family {options.family}, "
          f"scanner {options.scanner}; withheld unchanged {unchanged:.2f}")  # fmt: skip
    print(f"{'':<28}logit 10/50/90 %        map r  map change  flips  withheld  unlike  flips with a class")
    for name, r in rows.items():
        logits = " / ".join(f"{r[k]:6.2f}" for k in ("logit_p10", "logit_median", "logit_p90"))
        print(f"{name:<28}{logits}  {r['map_correlation']:5.2f}  {r['map_change']:9.2f}  {r['flips']:5.2f}  "
              f"{r['withheld']:7.2f}  {r['unlike']:6.2f}  {r['flips_given_a_class']:6.2f}")  # fmt: skip
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["change", *next(iter(rows.values()))])
            writer.writerows([name, *(f"{v:.4f}" for v in row.values())] for name, row in rows.items())
    if options.write:
        write_card(options.bundle, options, len(before), unchanged, rows)


def write_card(folder: Path, options: argparse.Namespace, count: int, unchanged: float, rows: Mapping) -> None:
    """Add the table to the model card under "stress", by family and scanner; the weights stay as they are."""
    read_card(folder)
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    key = f"family {options.family}, scanner {options.scanner}"
    command = (
        f"python Testing/Benchmarks/stress.py BUNDLE --family {options.family} --scanner {options.scanner} "
        f"--patients {options.patients} --lesions {options.lesions} --seed {options.seed}"
    )
    figures = {name: {k: round(v, 3) for k, v in row.items()} for name, row in rows.items()}
    entry = {"command": command, "lesions": count, "withheld_unchanged": round(unchanged, 3), "changes": figures}
    card["stress"] = {**card.get("stress", {}), key: entry}
    write_json(folder / CARD, card)


if __name__ == "__main__":
    main()
