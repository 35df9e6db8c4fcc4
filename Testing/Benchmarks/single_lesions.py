"""Cohorts of single synthetic lesions with labels, features and planted truth: a tenth of the time of whole heads.

`make` samples lesions by `phantom.single`, contours them, and measures what `evaluate` measures on the planning MR.
Each patient is one file; what is there is not made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from learning_sets import described

from RTResponseCAMLib.cohort.identity import Source
from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.evaluation.store import write_arrays, write_case, write_json
from RTResponseCAMLib.imaging.patch import sample_patch
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.phantom.patient import contours_of, finer_in_plane
from RTResponseCAMLib.phantom.single import SingleLesion, single_lesion
from RTResponseCAMLib.samples.cohort import CohortLesion
from RTResponseCAMLib.samples.sample import LesionSample, patch_of
from RTResponseCAMLib.study import Structure


@dataclass(frozen=True)
class Cohort:
    """What is to be made: ``counts`` lesions of each patient, of one family; the first has the number ``first``.

    Cohorts of one seed share the synthetic heads, which take longer to make than a lesion.
    """

    folder: Path
    family: str
    seed: int
    first: int
    counts: tuple[int, ...]


def contoured(found: SingleLesion) -> Structure:
    """The lesion as a physicist contours it, slice by slice."""
    fine = finer_in_plane(found.grid)
    level = found.lesion.level(fine.points() - found.lesion.center_mm)
    contours = contours_of(level, fine)
    return Structure(1, "GTV 1", "GTV", contours, (255, 60, 40))


def measured(found: SingleLesion, *, patient: str, name: str) -> tuple[CohortLesion, np.ndarray]:
    """Sample of a lesion, and its planted voxels on the patch."""
    structure, mr = contoured(found), found.outer.image(found.mr)
    patch = sample_patch(mr, found.unit, structure=structure, dose=None, prescription_gy=None, spacing_mm=1.0)
    row = CohortRow(
        patient_group=patient, course="1", lesion=name, study=Path(), label=int(found.lesion.non_response),
        certainty="certain",
    )  # fmt: skip
    prescription = found.lesion.prescription_gy
    clinical = {"clinical": {"clinical_rx_gy": prescription} if prescription is not None else {}}
    sample = LesionSample(
        patch, contour_volume_cc(structure), {**described(mr, found.unit, structure), **clinical}, patient=patient,
        lesion=name, label=row.label,
    )  # fmt: skip
    points = patch_of(sample).grid.points() - found.lesion.center_mm
    planted = (found.lesion.level(points) > 0) & (found.lesion.resistance(points) > 0)
    return CohortLesion(row, sample, Source(patient, "")), planted


def make(cohorts: Sequence[Cohort], pool: ProcessPoolExecutor) -> None:
    """Make what is missing."""
    jobs = []
    for cohort in cohorts:
        cohort.folder.mkdir(parents=True, exist_ok=True)
        start = 0
        for patient, count in enumerate(cohort.counts):
            jobs.append(pool.submit(_measure, cohort, patient, range(start, start + count)))
            start += count
    for job in jobs:
        job.result()


def _measure(cohort: Cohort, patient: int, numbers: range) -> None:
    if (cohort.folder / f"{patient:05d}.json").is_file():
        return
    person = cohort.first + patient
    name = f"S{cohort.seed}-{person}"
    pairs = [
        measured(
            single_lesion(cohort.seed, cohort.first + number, families=(cohort.family,), patient=person),
            patient=name,
            name=f"GTV {k}",
        )
        for k, number in enumerate(numbers, start=1)
    ]
    write_arrays(cohort.folder / f"{patient:05d}.truth.npz", {str(n): planted for n, (_, planted) in enumerate(pairs)})
    rows = [{"group": x.row.patient_group, "lesion": x.row.lesion, "label": x.row.label} for x, _ in pairs]
    write_json(cohort.folder / f"{patient:05d}.rows", rows)
    write_case(cohort.folder, patient, lesions=[x for x, _ in pairs], positions=numbers)
