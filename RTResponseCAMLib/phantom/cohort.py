"""Write many synthetic patients and a manifest with their labels."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from RTResponseCAMLib.cohort.manifest import CohortRow, write_manifest
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.phantom.patient import LESION_COUNTS, sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.phantom.write import write_patient
from RTResponseCAMLib.processes import parallel_map
from RTResponseCAMLib.progress import Progress, no_progress


def write_cohort(
    base: PhantomSpec,
    patients: int,
    *,
    folder: Path,
    variants: tuple[Variant, ...],
    workers: int = 1,
    progress: Progress = no_progress,
    total: int | None = None,
) -> None:
    """Write ``folder/P0001/…`` and ``folder/manifest.csv``; the variants alternate from patient to patient.

    ``total`` is the number of lesions of all patients together, distributed as in mixed practice.

    Raises
    ------
    RTResponseError : ``total`` is less than one lesion per patient, or more than five.
    """
    folder.mkdir(parents=True, exist_ok=True)
    specs = [replace(base, patient=index + 1, variant=variants[index % len(variants)]) for index in range(patients)]
    if total is not None:
        counts = lesion_counts(base.seed, patients, total=total)
        specs = [replace(spec, lesions=count) for spec, count in zip(specs, counts, strict=True)]
    rows: list[CohortRow] = []
    with closing(parallel_map(partial(_write_one, folder=folder), specs, workers=workers)) as found:
        for done, written in enumerate(found, start=1):
            rows += written
            progress(done / patients, f"patient {done} of {patients}")
    write_manifest(folder, rows)


def lesion_counts(seed: int, patients: int, *, total: int) -> list[int]:
    """Number of lesions of each patient: sampled from `LESION_COUNTS`, then adjusted by single lesions to ``total``."""
    values, shares = zip(*LESION_COUNTS, strict=True)
    if not min(values) * patients <= total <= max(values) * patients:
        problem = f"is {total} lesions for {patients} patients, expected {min(values)} to {max(values)} each"
        raise RTResponseError("--total-lesions", problem, "Change the number of patients or of lesions")
    rng = np.random.default_rng([seed, 69])
    counts = rng.choice(values, size=patients, p=shares)
    while (excess := int(counts.sum()) - total) != 0:
        step = -1 if excess > 0 else 1
        adjustable = np.flatnonzero(counts > min(values)) if step < 0 else np.flatnonzero(counts < max(values))
        counts[rng.choice(adjustable)] += step
    return [int(c) for c in counts]


def _origin(spec: PhantomSpec) -> str:
    return spec.variant.value if spec.family == "coarse" else f"{spec.family}, {spec.variant.value}"


def _write_one(spec: PhantomSpec, folder: Path) -> list[CohortRow]:
    name = f"P{spec.patient:04d}"
    patient = sample_patient(spec)
    write_patient(patient, folder / name)
    return [
        CohortRow(
            patient_group=f"S{spec.seed}-{name}",  # patients of two cohorts are different people
            course="1",
            lesion=lesion.name,
            study=folder / name / "dicom",
            days_to_follow_up=patient.days,
            volume_ratio=lesion.volume_ratio,
            label=int(lesion.non_response),
            certainty="certain",
            label_source=f"phantom truth ({_origin(spec)})",
        )
        for lesion in patient.lesions
    ]
