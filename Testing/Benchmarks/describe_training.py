"""Add the distribution of the training lesions to the card of a bundle that was trained before cards stored it.

    python Testing/Benchmarks/describe_training.py [BUNDLE] --seed 101 --patients 240
        [--variants darker,texture,volume] [--family coarse] [--scanner ideal] [--workers 2]

The options are those of the command in the card ("cohort"); the lesions are sampled as `phantom cohort` samples them,
but not written as DICOM. `rtresponsecam train` stores the distribution by itself.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from families import one_thread
from learning_sets import measured_patient, undescribed
from phantom_benchmark import MATRIX

from RTResponseCAMLib.models.card import CARD, default_bundle
from RTResponseCAMLib.models.familiarity import Familiarity
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.samples.sample import LesionSample


def samples_of(spec: PhantomSpec) -> list[LesionSample]:
    return [lesion.sample for lesion, _ in measured_patient(spec, undescribed)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=default_bundle())
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--patients", type=int, required=True)
    parser.add_argument("--variants", default="darker,texture,volume")
    parser.add_argument("--family", default="coarse")
    parser.add_argument("--scanner", default="ideal")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    variants = [Variant(name) for name in options.variants.split(",")]
    base = PhantomSpec(seed=options.seed, follow_up=False, family=options.family, scanner=options.scanner, **MATRIX)
    specs = [replace(base, patient=n + 1, variant=variants[n % len(variants)]) for n in range(options.patients)]
    with ProcessPoolExecutor(options.workers, initializer=one_thread) as pool:
        samples = [sample for found in pool.map(samples_of, specs) for sample in found]
    familiarity = Familiarity.of_samples(samples)
    if familiarity is None:
        parser.error("too few lesions")
    path = options.bundle / CARD
    card = json.loads(path.read_text(encoding="utf-8"))
    stated = card["held_out"]["lesions"]
    if stated != len(samples):
        parser.error(f"the card states {stated} training lesions, these are {len(samples)}: other options were used")
    order = list(card)
    place = order.index("schedule") if "schedule" in order else len(order)
    items = [(name, card[name]) for name in order if name != "familiarity"]
    items.insert(place, ("familiarity", familiarity.as_json()))
    path.write_text(json.dumps(dict(items), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path}: {len(samples)} lesions")


if __name__ == "__main__":
    main()
