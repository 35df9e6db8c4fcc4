"""How many voxels a small ball covers, and what voxel counting makes of its volume, over many positions on the grid.

    python Testing/Benchmarks/small_target_voxels.py [--volume-cc 0.05] [--positions 1000] [--seed 1]

Voxels of 1 mm; contours lie on the slices, through the voxel centers. Printed are the smallest and the largest count.
"""

from __future__ import annotations

import argparse

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volume-cc", type=float, default=0.05)
    parser.add_argument("--positions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    radius = (3000 * options.volume_cc / (4 * np.pi)) ** (1 / 3)
    rng = np.random.default_rng(options.seed)
    reach = int(np.ceil(radius)) + 2
    z, y, x = np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij")
    counts = []
    for center in rng.uniform(-0.5, 0.5, (options.positions, 3)):
        away = [np.abs(axis - c) for axis, c in zip((x, y, z), center, strict=True)]
        nearest = sum(np.maximum(a - 0.5, 0) ** 2 for a in away)  # of each voxel's points to the center, squared
        farthest = sum((a + 0.5) ** 2 for a in away)
        in_slice = np.maximum(away[0] - 0.5, 0) ** 2 + np.maximum(away[1] - 0.5, 0) ** 2 + away[2] ** 2
        counts.append(
            (
                (nearest < radius**2).sum(),
                (farthest <= radius**2).sum(),
                (sum(a**2 for a in away) <= radius**2).sum(),
                (in_slice < radius**2).sum(),
            )
        )
    names = ("voxels touched by the ball", "completely inside", "center inside", "touched by a contour in its slice")
    print(f"ball of {options.volume_cc:g} cm³, diameter {2 * radius:.2f} mm, voxels of 1 mm³")
    for name, values in zip(names, np.asarray(counts).T, strict=True):
        print(f"{name}: {values.min()} to {values.max()}, mean {values.mean():.1f}")


if __name__ == "__main__":
    main()
