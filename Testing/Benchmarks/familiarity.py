"""How often a lesion is unlike the training lesions: unseen ones of the same family, and those of other families.

    python Testing/Benchmarks/familiarity.py OUT [--families texture,…] [--sets 3]

The distribution is that of 69 lesions (one cohort of `convolutional.py`) and of all cohorts together; the unseen
lesions are those of the same benchmark. The threshold was looked at on the family "texture"; the others follow.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from convolutional import folder_of
from families import load

from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.familiarity import Familiarity
from RTResponseCAMLib.phantom.families import FAMILIES
from RTResponseCAMLib.samples.sample import LesionSample, patch_of


def share(familiarity: Familiarity, patches: list[Patch]) -> float:
    """Share of the lesions that are unlike the training lesions, %."""
    return 100 * float(np.mean([bool(familiarity.unlikeness(patch).words) for patch in patches]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--sets", type=int, default=3)
    options = parser.parse_args()
    families = options.families.split(",")
    unseen = {f: [patch_of(x.sample) for x in load(folder_of(options.out, f, "unseen"))[0]] for f in families}
    print("unlike, % of unseen lesions of: " + ", ".join(families))
    for family in families:
        cohorts: list[list[LesionSample]] = [
            [x.sample for x in load(folder_of(options.out, family, f"learn{k}"))[0]] for k in range(options.sets)
        ]
        for samples in (cohorts[0], [sample for cohort in cohorts for sample in cohort]):
            familiarity = Familiarity.of_samples(samples)
            cells = " ".join(f"{share(familiarity, unseen[other]):<6.1f}" for other in families)
            print(f"trained on {len(samples)} of {family:<12}{cells}", flush=True)


if __name__ == "__main__":
    main()
