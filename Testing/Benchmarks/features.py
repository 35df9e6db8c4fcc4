"""What the features of one lesion cost, beside pyradiomics called as its manual shows, on one core and in one run.

    python Testing/Benchmarks/features.py [--volume 1.0] [--runs 15]

The lesion is a ball of 1 cm³ in a phantom's MR of 256 × 256 × 180 voxels. Ours sample, crop and fill the contours
themselves; the peers are given the mask and the whole image, or both cropped. Medians and least times, in milliseconds.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import SimpleITK as sitk
import torch
from dvh import drawn

from RTResponseCAMLib.imaging.fraction import fraction_inside
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.phantom.patient import planning_grid, render_mr, sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec
from RTResponseCAMLib.samples.gradient import gradient_features
from RTResponseCAMLib.samples.radiomics import mr_features, read_settings, why_unavailable

MATRIX = {"columns": 256, "rows": 256, "slices": 180}
CROP_VOXELS = 14


def clock(name: str, work: Callable[[], object], runs: int) -> None:
    work()
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    print(f"{name:<52}{1e3 * np.median(seconds):9.1f}{1e3 * min(seconds):9.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volume", type=float, default=1.0, metavar="CM3")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)
    patient = sample_patient(PhantomSpec(seed=5, patient=1, lesions=1, **MATRIX))
    image = render_mr(patient, planning_grid(patient))
    head = head_intensity(image)
    radius = (options.volume * 3000 / (4 * np.pi)) ** (1 / 3)
    structure = drawn(np.full(3, radius), np.asarray(Grid.of(image).to_lps(np.asarray([[128, 128, 90]]) + 0.3)[0]))
    print(f"{'a lesion of ' + format(options.volume, 'g') + ' cm³, one core':<52}{'median':>9}{'least':>9}  ms")
    clock("gradient features (90)", lambda: gradient_features(image, structure, unit=head.median), options.runs)
    reason = why_unavailable()
    if reason:
        print(f"radiomics: NOT MEASURED: {reason}")
        return
    from radiomics import featureextractor

    logging.getLogger("radiomics").setLevel(logging.ERROR)
    settings = read_settings()
    original = deepcopy(settings)
    original["mr"]["imageType"] = {"Original": {}}
    clock(
        "radiomics, original classes",
        lambda: mr_features(image, head, structure=structure, settings=original),
        options.runs,
    )
    clock(
        "radiomics, all filters", lambda: mr_features(image, head, structure=structure, settings=settings), options.runs
    )
    inside = fraction_inside(structure, Grid.of(image)) >= 0.5
    mask = Grid.of(image).image(inside.astype(np.uint8))
    places = np.argwhere(inside)
    low = np.maximum(places.min(axis=0) - CROP_VOXELS, 0)[::-1]
    high = np.minimum(places.max(axis=0) + CROP_VOXELS + 1, inside.shape)[::-1]
    threshold = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    for name, chosen, runs in (("original classes", original, options.runs), ("all filters", settings, 3)):
        extractor = featureextractor.RadiomicsFeatureExtractor(deepcopy(chosen["mr"]))
        clock(
            f"pyradiomics alone, cropped, {name}",
            lambda e=extractor: e.execute(image[threshold], mask[threshold]),
            runs,
        )
        clock(f"pyradiomics alone, whole image, {name}", lambda e=extractor: e.execute(image, mask), min(runs, 2))


if __name__ == "__main__":
    main()
