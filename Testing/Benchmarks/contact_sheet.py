"""Phantom lesions beside real tumors on one picture: can a person tell which is which?

    python Testing/Benchmarks/contact_sheet.py OUT.png [--seed 31] [--shuffled]

Twelve phantom lesions, two of each family, every other one in a real head; and the slices of the one real brain tumor
among the samples (RTRESPONSECAM_SAMPLES): pyradiomics' brain1, since no public sample shows a brain metastasis. Axial,
40 mm wide, gray from 0 to 1.9 times the surrounding tissue. ``--shuffled`` mixes the tiles and prints the key.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.phantom.families import FAMILIES
from RTResponseCAMLib.phantom.patient import planning_grid, render_mr, sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec

WIDTH_MM, STEP_MM, WHITEST = 40.0, 0.4, 1.9
SAMPLES = Path(os.environ.get("RTRESPONSECAM_SAMPLES", Path(__file__).parents[3] / "shared" / "samples"))
HEADS = ("t1c_brains/patient07_t1post_mni.nii.gz", "t1c_brains/patient19_t1post_mni.nii.gz")
LEAST_VOXELS = 40
COLUMNS = 6


def tile(image: sitk.Image, center_mm: np.ndarray, reach_mm: float) -> np.ndarray:
    """Axial slice around a point, with the tissue around the tumor at 1."""
    count = int(WIDTH_MM / STEP_MM)
    x, y, z = (center_mm - np.asarray([WIDTH_MM / 2, WIDTH_MM / 2, 0])).tolist()
    grid = Grid((count, count, 1), (STEP_MM, STEP_MM, 1.0), (x, y, z))
    values = sitk.GetArrayFromImage(
        sitk.Resample(image, grid.blank(), sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    )[0]
    axis = (np.arange(count) - count / 2) * STEP_MM
    around = np.hypot(*np.meshgrid(axis, axis)) > reach_mm
    tissue = values[around & (values > 0.3 * np.median(values))]
    return values / max(float(np.median(tissue)), 1e-6)


def phantom_tiles(seed: int) -> list[tuple[str, np.ndarray]]:
    tiles = []
    for number, family in enumerate([*FAMILIES, *FAMILIES]):
        spec = PhantomSpec(seed=seed + number, lesions=4, family=family, scanner="mixed", follow_up=False)
        head = HEADS[number % 4 // 2] if number % 2 else ""
        if head:
            file = str(SAMPLES / head)
            spec = PhantomSpec(seed=seed + number, lesions=4, family=family, head=file, brain_only=True)
        patient = sample_patient(spec)
        lesion = min(patient.lesions, key=lambda x: abs(np.log(x.volume_cc / (2.0 if number < 6 else 0.6))))
        center = np.asarray(patient.to_head.GetInverse().TransformPoint(lesion.center_mm.tolist()))
        image = render_mr(patient, planning_grid(patient))
        where = "real head" if head else patient.scanner.name
        tiles.append((f"{family}, {where}, {lesion.volume_cc:.1f} cm3", tile(image, center, lesion.radius_mm + 4)))
    return tiles


def real_tiles() -> list[tuple[str, np.ndarray]]:
    """Slices through the tumor that cut it in at least 40 voxels."""
    folder = SAMPLES / "pyradiomics_brain1"
    image, label = (sitk.ReadImage(str(folder / f"brain1_{kind}.nrrd")) for kind in ("image", "label"))
    inside, grid = sitk.GetArrayFromImage(label) > 0, Grid.of(label)
    tiles = []
    for k in np.flatnonzero(inside.sum(axis=(1, 2)) >= LEAST_VOXELS):
        j, i = np.argwhere(inside[k]).mean(axis=0)
        radius = float(np.sqrt(inside[k].sum() * grid.spacing_mm[0] * grid.spacing_mm[1] / np.pi))
        tiles.append((f"brain1, slice {k}", tile(image, grid.to_lps(np.asarray([[i, j, k]]))[0], radius + 3)))
    return tiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--shuffled", action="store_true")
    options = parser.parse_args()
    if not SAMPLES.is_dir():
        parser.error(f"the real samples are absent: no folder {SAMPLES.name} (set RTRESPONSECAM_SAMPLES)")
    groups = {"phantom": phantom_tiles(options.seed), "real tumors": real_tiles()}
    everything = [(kind, name, picture) for kind, tiles in groups.items() for name, picture in tiles]
    if options.shuffled:
        order = np.random.default_rng(options.seed).permutation(len(everything))
        everything = [everything[n] for n in order]
        for number, (kind, name, _) in enumerate(everything, start=1):
            print(f"{number}: {kind}, {name}")
    rows = -(-len(everything) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(12, 2.2 * rows), layout="constrained")
    for axis in axes.ravel():
        axis.set_axis_off()
    for number, (axis, (_, name, picture)) in enumerate(zip(axes.ravel(), everything, strict=False), start=1):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=WHITEST)
        axis.set_title(str(number) if options.shuffled else name, fontsize=7)
    if not options.shuffled:
        figure.suptitle("Rows 1 and 2: phantom lesions. Below: slices of a real brain tumor.", fontsize=9)
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
