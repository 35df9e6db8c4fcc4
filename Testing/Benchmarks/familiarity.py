"""How often a lesion is unlike the training lesions: unseen ones of the same family, and those of other families.

    python Testing/Benchmarks/familiarity.py OUT [--families texture,…] [--sets 3]

The distribution is that of 69 lesions (one cohort of `convolutional.py`) and of all cohorts together; the unseen
lesions are those of the same benchmark. The threshold was looked at on the family "texture"; the others follow.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from convolutional import folder_of
from convolutional_stress import SCANS
from families import load, one_thread

from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.augmentation import Scan, as_scanned
from RTResponseCAMLib.models.familiarity import Familiarity, properties_of
from RTResponseCAMLib.phantom.families import FAMILIES
from RTResponseCAMLib.samples.sample import LesionSample, patch_of

CHANGED = 60  # unseen lesions whose scan is changed


def share(familiarity: Familiarity, lesions: list[dict[str, float]]) -> float:
    """Share of lesions of the given properties that are unlike the training lesions, %."""
    return 100 * float(np.mean([bool(familiarity.unlikeness_of(properties).words) for properties in lesions]))


def rescanned(patches: list[Patch], scan: Scan) -> list[dict[str, float]]:
    """Properties of the lesions as another scan shows them."""
    found = []
    for number, patch in enumerate(patches):
        rng = np.random.default_rng([number, 5])
        mr = as_scanned(patch.mr, scan, spacing_mm=patch.grid.spacing_mm[0], rng=rng)
        found.append(properties_of(replace(patch, mr=mr)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--sets", type=int, default=3)
    options = parser.parse_args()
    one_thread()
    families = options.families.split(",")
    lesions = {f: load(folder_of(options.out, f, "unseen"))[0] for f in families}
    unseen = {f: [properties_of(patch_of(x.sample)) for x in found] for f, found in lesions.items()}
    print("unlike, % of unseen lesions of: " + ", ".join(families))
    for family in families:
        cohorts: list[list[LesionSample]] = [
            [x.sample for x in load(folder_of(options.out, family, f"learn{k}"))[0]] for k in range(options.sets)
        ]
        for samples in (cohorts[0], [sample for cohort in cohorts for sample in cohort]):
            familiarity = Familiarity.of_samples(samples)
            cells = " ".join(f"{share(familiarity, unseen[other]):<6.1f}" for other in families)
            print(f"trained on {len(samples)} of {family:<12}{cells}", flush=True)
        patches = [patch_of(x.sample) for x in lesions[family][:CHANGED]]
        cells = ", ".join(f"{name} {share(familiarity, rescanned(patches, scan)):.0f}" for name, scan in SCANS.items())
        print(f"  the same, unseen lesions of {family}, changed: {cells}", flush=True)


if __name__ == "__main__":
    main()
