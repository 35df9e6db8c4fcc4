"""Many synthetic patients and the manifest that names their labels."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import SimpleITK as sitk

from RTResponseCAMLib.cohort.manifest import CohortRow, write_manifest
from RTResponseCAMLib.phantom.patient import draw_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.phantom.write import write_patient
from RTResponseCAMLib.progress import Progress, silent


def write_cohort(
    base: PhantomSpec,
    patients: int,
    folder: Path,
    variants: tuple[Variant, ...],
    workers: int = 1,
    progress: Progress = silent,
) -> None:
    """Write ``folder/P0001/…`` and ``folder/manifest.csv``; the variants take turns from patient to patient."""
    folder.mkdir(parents=True, exist_ok=True)
    specs = [replace(base, patient=number + 1, variant=variants[number % len(variants)]) for number in range(patients)]
    rows: list[CohortRow] = []
    with ProcessPoolExecutor(max_workers=workers, initializer=_one_thread) as pool:
        jobs = [pool.submit(_write_one, spec, folder) for spec in specs]
        try:
            for done, job in enumerate(jobs, start=1):
                rows += job.result()
                progress(done / patients, f"patient {done} of {patients}")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    write_manifest(folder, rows)


def _one_thread() -> None:
    """Each worker keeps to its own core, and leaves Ctrl-C to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _write_one(spec: PhantomSpec, folder: Path) -> list[CohortRow]:
    name = f"P{spec.patient:04d}"
    patient = draw_patient(spec)
    write_patient(patient, folder / name)
    return [
        CohortRow(
            patient_group=name,
            course="1",
            lesion=lesion.name,
            study=folder / name / "dicom",
            days_to_follow_up=patient.days,
            volume_ratio=lesion.volume_ratio,
            label=int(lesion.non_response),
            certainty="certain",
            label_source=f"phantom truth ({spec.variant.value})",
        )
        for lesion in patient.lesions
    ]
