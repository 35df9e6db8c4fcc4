"""``phantom study`` and ``phantom cohort``: synthetic patients with known truth."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

from typer import Option

from RTResponseCAMLib.cli.bar import close
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cli.options import OutOptions
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.progress import Progress

Voxels = tuple[int, int, int]


class Variants(str, Enum):
    """Visibility of the resistant subregion in the MR."""

    DARKER = "darker"
    TEXTURE = "texture"
    VOLUME = "volume"
    SCANNER = "scanner"
    SITE = "site"
    NONE = "none"


class DoseFiles(str, Enum):
    """How the dose is exported."""

    ONE = "one"
    PER_TARGET = "per-target"


@dataclass(frozen=True)
class PhantomOptions:
    """Options that both phantom commands share."""

    seed: Annotated[int, Option("--seed", help="same seed, same patients")] = 1
    lesions: Annotated[int | None, Option("--lesions", help="targets per patient (default: random, 1 to 5)")] = None
    spacing: Annotated[
        tuple[float, float, float], Option("--spacing", metavar="MM MM MM", help="MR voxel: columns, rows, slices, mm")
    ] = (1.0, 1.0, 1.0)
    tilt: Annotated[float, Option("--tilt", metavar="DEG", help="tilt of the MR slices, degrees")] = 0.0
    dose_files: Annotated[DoseFiles, Option("--dose-files", help="RTDOSE: one, or one per target")] = DoseFiles.ONE
    second_series: Annotated[bool, Option("--second-series", help="also write a T2 series and its plan")] = False
    no_rtplan: Annotated[bool, Option("--no-rtplan", help="do not write an RTPLAN")] = False
    no_follow_up: Annotated[bool, Option("--no-follow-up", help="do not write a follow-up MR")] = False
    family: Annotated[
        str, Option("--family", metavar="NAME", help="how resistance arises; an unknown name lists them")
    ] = "coarse"
    scanner: Annotated[
        str,
        Option("--scanner", metavar="NAME", help="MR scanner, ideal or mixed; an unknown name lists them"),
    ] = "ideal"
    head: Annotated[
        str,
        Option("--head", metavar="FILE", help="NIfTI of a real T1 head for the lesions, with its voxels"),
    ] = ""
    brain_only: Annotated[bool, Option("--brain-only", help="the real head shows a brain without skull")] = False
    mid_treatment: Annotated[bool, Option("--mid-treatment", help="also write an MR of day 30")] = False


MATRIX_HELP = "size of the MR, voxels (default: {}); not with --head"
StudyMatrix = Annotated[
    Voxels | None, Option("--matrix", metavar="COLUMNS ROWS SLICES", help=MATRIX_HELP.format("208 240 168"))
]
CohortMatrix = Annotated[
    Voxels | None, Option("--matrix", metavar="COLUMNS ROWS SLICES", help=MATRIX_HELP.format("184 216 156"))
]


def phantom_study(
    options: PhantomOptions,
    out: OutOptions,
    *,
    variant: Annotated[Variants, Option("--variant", help="visibility of the resistant subregion")] = Variants.TEXTURE,
    patient: Annotated[int, Option("--patient", help="number of the patient; each number is another patient")] = 1,
    matrix: StudyMatrix = None,
    progress: Progress,
) -> None:
    """Write one synthetic patient."""
    from RTResponseCAMLib.phantom.patient import sample_patient
    from RTResponseCAMLib.phantom.write import write_patient
    from RTResponseCAMLib.workflow.output import new_folder

    spec = _spec(options, variant.value, _matrix(options, matrix, (208, 240, 168)), patient)
    with new_folder(out.out, out.overwrite) as folder:
        write_patient(sample_patient(spec), folder, progress=progress)
    close(progress)
    print(f"written: {out.out} (dicom/ and truth/)")


def phantom_cohort(
    options: PhantomOptions,
    out: OutOptions,
    *,
    patients: Annotated[int, Option("--patients", help="number of patients")],
    variants: Annotated[
        str, Option("--variants", help=f"comma-separated list from {', '.join(v.value for v in Variants)}")
    ] = "darker,texture,volume",
    workers: Annotated[int, Option("--workers", help="parallel processes", show_default="all cores")] = os.cpu_count()
    or 1,
    total_lesions: Annotated[
        int | None, Option("--total-lesions", metavar="N", help="number of lesions of all patients together")
    ] = None,
    matrix: CohortMatrix = None,
    progress: Progress,
) -> None:
    """Write many synthetic patients and a manifest."""
    from RTResponseCAMLib.phantom.cohort import write_cohort
    from RTResponseCAMLib.phantom.spec import Variant
    from RTResponseCAMLib.workflow.output import new_folder

    selected = tuple(Variant(name) for name in variants.split(","))
    with new_folder(out.out, out.overwrite) as folder:
        spec = _spec(options, selected[0].value, _matrix(options, matrix, (184, 216, 156)), 1)
        write_cohort(
            spec, patients, folder=folder, variants=selected, workers=workers, progress=progress, total=total_lesions
        )
    close(progress)
    print(f"written: {out.out}")


def _matrix(options: PhantomOptions, given: Voxels | None, default: Voxels) -> Voxels:
    if given is not None and options.head:
        problem = "does not go with a real head, whose voxels are those of the file"
        raise RTResponseError("--matrix", problem, "Leave out --matrix, or --head")
    return given or default


def _spec(options: PhantomOptions, variant: str, matrix: Voxels, patient: int) -> Any:
    from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant

    return PhantomSpec(
        seed=options.seed,
        patient=patient,
        variant=Variant(variant),
        lesions=options.lesions,
        columns=matrix[0],
        rows=matrix[1],
        slices=matrix[2],
        spacing_mm=options.spacing,
        tilt_deg=options.tilt,
        dose_files=options.dose_files.value,
        second_series=options.second_series,
        rtplan=not options.no_rtplan,
        follow_up=not options.no_follow_up,
        mid_treatment=options.mid_treatment,
        family=options.family,
        scanner=options.scanner,
        head=options.head,
        brain_only=options.brain_only,
    )


COMMANDS = (
    Command("study", "write one synthetic patient as DICOM, with the ground truth", phantom_study, "phantom"),
    Command("cohort", "write many synthetic patients and a manifest", phantom_cohort, "phantom"),
)
