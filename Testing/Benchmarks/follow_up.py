"""Follow-ups of phantom patients against planted truth: volumes, registration error, labels. One table.

    python Testing/Benchmarks/follow_up.py --studies 50 --seed 5001 [--workers 2] [--json FILE]

Every study is written as DICOM and read back. The follow-up lies ±20 mm and ±15° about each axis away, in another
contrast (gamma 0.7 to 1.4), bias field (up to 25 % about each axis) and noise. Lesions are measured twice: as drawn
(the true follow-up lesions as a label map on its voxels) and as proposed (nothing drawn).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.imaging.fraction import fraction_inside, mask
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.imaging.rigid import as_matrix, as_transform, moved_points
from RTResponseCAMLib.phantom.lesion import PhantomLesion
from RTResponseCAMLib.phantom.patient import label_maps, planning_grid, render_mr, sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.phantom.write import names_of, write_mr, write_patient
from RTResponseCAMLib.response.trajectory import three_month_label
from RTResponseCAMLib.workflow.follow_up import follow_study

POINTS = np.array([(x, y, z) for x in (-60, 0, 60) for y in (-70, 0, 70) for z in (-50, 0, 50)], float)
VARIANTS = (Variant.DARKER, Variant.TEXTURE, Variant.VOLUME, Variant.NONE)


def disturbed(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """Another contrast, bias field and noise; whole numbers as scanners store them."""
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    values = np.clip(values / np.percentile(values, 99), 0, None) ** rng.uniform(0.7, 1.4)
    axes = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in values.shape], indexing="ij")
    for axis in axes:
        values *= 1 + rng.uniform(-0.25, 0.25) * axis
    values += rng.normal(0, rng.uniform(0.01, 0.05), values.shape).astype(np.float32)
    return Grid.of(image).image(np.clip(values * 900, 0, 30000).astype(np.uint16))


def body_cc(lesion: PhantomLesion, count: int = 180) -> float:
    """Volume of the planted body itself, cm³; the phantom sets its nominal volume on a coarse lattice (to 2 %)."""
    reach = 1.9 * lesion.radius_mm
    axis = (np.arange(count) + 0.5) / count * 2 * reach - reach
    inside = 0
    for z in axis:
        plane = np.stack(np.meshgrid(axis, axis, [z], indexing="ij"), axis=-1)
        inside += int((lesion.level(plane) > 0).sum())
    return inside * (2 * reach / count) ** 3 / 1000


def judge(seed: int, number: int) -> dict:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    rng = np.random.default_rng([seed, number])
    spec = PhantomSpec(
        seed=seed, patient=number, variant=VARIANTS[number % 4], columns=184, rows=216, slices=156, follow_up=False
    )
    drawn = sample_patient(spec)
    angles, shift = np.radians(rng.uniform(-15, 15, 3)), rng.uniform(-20, 20, 3)
    moved = sitk.Euler3DTransform((0.0, 0.0, 0.0), *angles.tolist(), shift.tolist())
    patient = replace(drawn, follow_up_to_head=moved)
    grid = planning_grid(patient)
    truth = as_matrix(sitk.CompositeTransform([moved.GetInverse(), patient.to_head]))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_patient(patient, folder, truth=False)
        later = disturbed(render_mr(patient, grid, follow_up=True), rng)
        write_mr(folder / "dicom/follow_up", later, names=names_of(patient), series="FU", date="20200409")
        labels = label_maps(patient, grid, follow_up=True)[0]
        sitk.WriteImage(labels, str(folder / "truth.nrrd"))
        started = time.time()
        study = load_study(folder / "dicom")
        proposed = follow_study(study)
        seconds = time.time() - started
        registration = proposed.visits[0].registration
        result = {"seconds": seconds, "problem": proposed.visits[0].problem, "lesions": []}
        if registration is None:
            return result
        sitk.WriteTransform(as_transform(registration.to_follow_up), str(folder / "found.tfm"))
        as_contoured = follow_study(study, {"F1": folder / "found.tfm"}, masks={"F1": folder / "truth.nrrd"})
    middle = np.asarray(patient.to_head.GetInverse().TransformPoint((0.0, 0.0, 0.0)))
    error = np.linalg.norm(
        moved_points(registration.to_follow_up, middle + POINTS) - moved_points(truth, middle + POINTS), axis=1
    )
    result |= {"tre_mm": error.tolist(), "disagreement_mm": registration.disagreement_mm}
    whole = sitk.GetArrayFromImage(labels)
    for index, lesion in enumerate(patient.lesions):
        structure = study.lesions[index].structure
        filled = float(fraction_inside(structure, Grid.of(study.mr)).sum(dtype=np.float64)) * Grid.of(study.mr).voxel_cc
        entry = {
            "true_cc": body_cc(lesion),
            "contours_cc": contour_volume_cc(structure),
            "occupancy_cc": filled,
            "true_ratio": lesion.volume_ratio,
            "true_label": "non-response" if lesion.non_response else "response",
        }
        for name, followed in (("contoured", as_contoured), ("proposed", proposed)):
            trajectory = followed.trajectories[index]
            found = three_month_label(trajectory)
            change = found.change
            entry[name] = {
                "status": trajectory.visits[0].status,
                "category": found.category,
                "ratio": None if found.change is None else found.change.value + 1,
                "covered": change is not None and change.low <= lesion.volume_ratio - 1 <= change.high,
            }
        regions = {r.lesion: r.structure for r in proposed.visits[0].regions}
        region = regions.get(study.lesions[index].id)
        if region is not None:
            # Compared on the planning grid, where the proposal was moved to.
            mine = mask(region, grid)
            back = sitk.Resample(labels == index + 1, grid.blank(), as_transform(truth), sitk.sitkNearestNeighbor, 0)
            theirs = sitk.GetArrayFromImage(back) > 0
            entry["proposed"]["dice"] = float(2 * (mine & theirs).sum() / max(mine.sum() + theirs.sum(), 1))
        result["lesions"].append(entry)
    assert whole.max() == len(patient.lesions)
    return result


def percent(values: list[float]) -> str:
    found = 100 * (np.asarray(values) - 1)
    low, middle, high = np.percentile(found, [5, 50, 95])
    worst = found[np.argmax(np.abs(found))]
    return f"{middle:+.2f} % ({low:+.2f} … {high:+.2f}), worst {worst:+.2f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--seed", type=int, default=5001)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    numbers = range(1, options.studies + 1)
    with ProcessPoolExecutor(options.workers) as pool:
        results = list(pool.map(judge, [options.seed] * options.studies, numbers))
    if options.json:
        options.json.write_text(json.dumps(results))
    print(table(results, options.seed))


def table(results: list[dict], seed: int) -> str:
    good = [r for r in results if not r["problem"]]
    failed = len(results) - len(good)
    lesions = [x for r in good for x in r["lesions"]]
    large = [x for x in lesions if x["true_cc"] >= 0.1]
    tre = [np.asarray(r["tre_mm"]) for r in good]
    lines = [
        f"{len(results)} studies, {len(lesions)} lesions, seed {seed}; registrations that failed: {failed}",
        "| what | figure |",
        "|---|---|",
        f"| contours against the planted body, all | {percent([x['contours_cc'] / x['true_cc'] for x in lesions])} |",
        f"| the same from 0.1 cm³ | {percent([x['contours_cc'] / x['true_cc'] for x in large])} |",
        f"| occupancy against contours | {percent([x['occupancy_cc'] / x['contours_cc'] for x in lesions])} |",
        f"| registration error, median of studies' medians | {np.median([np.median(e) for e in tre]):.3f} mm |",
        f"| registration error, worst point of any study | {max(e.max() for e in tre):.3f} mm |",
        f"| largest disagreement of two estimates | {max(r['disagreement_mm'] for r in good):.3f} mm |",
        f"| read, register, propose and measure, one thread | {np.median([r['seconds'] for r in good]):.1f} s median |",
    ]
    for name in ("contoured", "proposed"):
        found = [x for x in lesions if x[name]["category"] not in ("unknown",)]
        sure = [x for x in found if x[name]["category"] != "indeterminate"]
        right = sum(x[name]["category"] == x["true_label"] for x in sure)
        sizes = [x[name]["ratio"] * x["contours_cc"] / (x["true_ratio"] * x["true_cc"]) for x in found]
        covered = sum(x[name]["covered"] for x in found)
        point = sum((x[name]["ratio"] >= 0.8) == (x["true_label"] == "non-response") for x in found)
        lines += [
            f"| {name}: label, where certain | {right} of {len(sure)} right |",
            f"| {name}: indeterminate / unknown | {len(found) - len(sure)} / {len(lesions) - len(found)} |",
            f"| {name}: side of −20 % by the value alone | {point} of {len(found)} right |",
            f"| {name}: true change within the 95 % interval | {covered} of {len(found)} |",
            f"| {name}: follow-up volume against truth | {percent(sizes)} |",
        ]
    dice = [x["proposed"]["dice"] for x in lesions if "dice" in x["proposed"]]
    low, middle = np.percentile(dice, [10, 50])
    lines.append(f"| proposed: Dice with the truth | {middle:.3f} median, {low:.3f} at 10 % |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
