"""What a map costs beside one forward pass of the same network, and beside gradient CAMs of it.

    python Testing/Benchmarks/cam_cost.py [--size 48] [--repeats 15]

Own implementation of all methods on the shipped network; peers (captum, torchcam, MONAI) are measured when they are
installed. Medians of runs that take turns; only the ratios mean something.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from RTResponseCAMLib.cam.gradient import METHODS, gradient_map
from RTResponseCAMLib.cam.pixelwise import find_evidence
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.network.bundle import load_bundle
from RTResponseCAMLib.network.card import default_bundle


def patch_of(size: int) -> Patch:
    rng = np.random.default_rng(0)
    grid = Grid((size,) * 3, (1.0,) * 3, (0.0, 0.0, 0.0))
    radius = np.linalg.norm(grid.points() - (size - 1) / 2, axis=-1)
    inside = np.clip(size / 2 - 8 - radius, 0, 1).astype(np.float32)
    return Patch(grid, rng.normal(3, 1, grid.shape).astype(np.float32), np.ones(grid.shape, np.float32), inside, False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    bundle, patch = load_bundle(default_bundle(), "cpu"), patch_of(options.size)
    inputs = [torch.from_numpy(a)[None, None] for a in (patch.mr, patch.occupancy, patch.dose)]

    def forward() -> None:
        with torch.inference_mode():
            bundle.network(*inputs)

    runs: dict[str, Callable[[], object]] = {
        "forward pass": forward,
        "pixel-wise CAM, prediction included": lambda: find_evidence(bundle, [patch]),
    }
    for method in METHODS:
        runs[f"{method}, code"] = lambda m=method: gradient_map(bundle, patch, m, "code")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.repeats + 2):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if turn >= 2:  # the first turns warm up
                seconds[name].append(time.perf_counter() - began)
    one = float(np.median(seconds["forward pass"]))
    print(f"patch of {options.size}³ voxels, {torch.get_num_threads()} threads, forward pass {1000 * one:.0f} ms")
    for name, values in seconds.items():
        print(f"  {name:<38}{np.median(values) / one:6.2f} × forward")


if __name__ == "__main__":
    main()
