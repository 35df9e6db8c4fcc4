"""How far the logit of the convolutional classifier moves when only the scan changes, and how often it says so.

    python Testing/Benchmarks/convolutional_stress.py OUT --encoder ENCODER [--models conv,scale-space]
        [--families vessels,perfusion] [--lesions 60] [--workers 2]

Models are fitted on the first cohort of each family of `convolutional.py` (69 lesions). Of unseen lesions the same scan
is blurred, made noisier, resampled, or taken by another scanner. Printed are the median absolute change of the logit,
the share of classes that flip, and the share of lesions whose class is withheld because the scan is unlike those of the
training (`models.familiarity`); both for all lesions and for those that are not withheld.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from convolutional import APART, UNSEEN_SEED, folder_of
from families import load, one_thread
from single_lesions import measured

from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.augmentation import Scan, as_scanned
from RTResponseCAMLib.models.calibration import Calibrated
from RTResponseCAMLib.models.familiarity import Familiarity
from RTResponseCAMLib.models.registry import entry_of
from RTResponseCAMLib.phantom.families import FAMILIES
from RTResponseCAMLib.phantom.scanner import SCANNERS
from RTResponseCAMLib.phantom.single import single_lesion

SCANS = {
    "the scan itself": Scan(),
    "blur 0.5 mm": Scan(blur_mm=0.5),
    "blur 0.8 mm": Scan(blur_mm=0.8),
    "noise 3 %": Scan(noise=0.125),
    "noise 6 %": Scan(noise=0.25),
    "1.5 mm voxels": Scan(voxel_mm=(1.5, 1.5, 1.5)),
}
OTHER = "another scanner"


@dataclass(frozen=True)
class Change:
    """Of one lesion: change of the logit, whether its class flips, and whether it is withheld."""

    model: str
    change: str
    logit: float
    flips: bool
    withheld: bool


def changed(family: str, number: int, patch: Patch) -> dict[str, Patch]:
    """The lesion as other scans show it."""
    spacing = patch.grid.spacing_mm[0]
    found = {}
    for name, scan in SCANS.items():
        rng = np.random.default_rng([number, 5])
        sides = tuple(max(side, 1.0) for side in scan.voxel_mm)
        mr = as_scanned(patch.mr, scan, spacing_mm=spacing, rng=rng)
        found[name] = replace(patch, mr=mr, mr_spacing_mm=(sides[2], sides[1], sides[0]))
    first = APART * 100 * list(FAMILIES).index(family)
    given = {"families": (family,), "patient": first + number // 2}
    own = single_lesion(UNSEEN_SEED, first + number, **given)
    names = sorted(SCANNERS)
    other = names[(names.index(own.scanner) + 1 + number % (len(names) - 1)) % len(names)]
    lesion, _ = measured(
        single_lesion(UNSEEN_SEED, first + number, scanner=other, **given), patient="other", name="GTV 1"
    )
    return {**found, OTHER: lesion.sample.patch}


def run(out: Path, encoder: str, models: tuple[str, ...], family: str, count: int) -> list[Change]:
    train, _ = load(folder_of(out, family, "learn0"))
    unseen = load(folder_of(out, family, "unseen"))[0][:count]
    familiarity = Familiarity.of_samples([x.sample for x in train])
    variants = [changed(family, n, x.sample.patch) for n, x in enumerate(unseen)]
    rows = []
    for name in models:
        model = entry_of(name).model({"encoder": encoder} if name == "conv" else {})
        fitted = Calibrated(model).fit([x.sample for x in train])
        before = fitted.predict([x.sample for x in unseen])
        for change in (*SCANS, OTHER):
            after = fitted.predict([replace(x.sample, patch=v[change]) for x, v in zip(unseen, variants, strict=True)])
            for a, b, v in zip(before, after, variants, strict=True):
                flips = (1 - a.p_response >= fitted.threshold) != (1 - b.p_response >= fitted.threshold)
                withheld = bool(familiarity.unlikeness(v[change]).words)
                rows.append(Change(name, change, abs(b.total - a.total), flips, withheld))
    return rows


def show(rows: list[Change], key: Callable[[Change], bool]) -> str:
    kept = [r for r in rows if key(r)]
    if not kept:
        return "-"
    return f"{np.median([r.logit for r in kept]):.2f} ({100 * np.mean([r.flips for r in kept]):.0f} %)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", default="")
    parser.add_argument("--models", default="conv,scale-space")
    parser.add_argument("--families", default="vessels,perfusion")
    parser.add_argument("--lesions", type=int, default=60)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    models = tuple(options.models.split(","))
    with ProcessPoolExecutor(options.workers, initializer=one_thread) as pool:
        jobs = [
            pool.submit(run, options.out, options.encoder, models, family, options.lesions)
            for family in options.families.split(",")
        ]
        rows = [row for job in jobs for row in job.result()]
    print(f"{'model, change':<36}{'withheld':<12}{'all: |dlogit| (flips)':<26}not withheld")
    for name in models:
        for change in (*SCANS, OTHER):
            mine = [r for r in rows if (r.model, r.change) == (name, change)]
            share = 100 * np.mean([r.withheld for r in mine])
            cells = f"{share:<12.0f}{show(mine, lambda _: True):<26}{show(mine, lambda r: not r.withheld)}"
            print(f"{f'{name}, {change}':<36}{cells}")


if __name__ == "__main__":
    main()
