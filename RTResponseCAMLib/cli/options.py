"""Options that several commands share; `command.typer_function` turns each field into one option."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from RTResponseCAMLib.dicom.options import ReadOptions
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.progress import Progress
from RTResponseCAMLib.study import Study


class Device(str, Enum):
    """Device on which a model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Interpolation(str, Enum):
    """Interpolation of the dose between grid points."""

    LINEAR = "linear"
    CUBIC = "cubic"
    QUINTIC = "quintic"


Json = Annotated[bool, Option("--json", help="print the result as JSON on standard output")]


@dataclass(frozen=True)
class OutOptions:
    """Folder of the results."""

    out: Annotated[Path, Option("--out", metavar="DIR", help="folder of the results, created by the command")]
    overwrite: Annotated[bool, Option("--overwrite", help="replace an existing DIR")] = False


@dataclass(frozen=True)
class ModelOptions:
    """Model for the prediction, and its device."""

    model: Annotated[
        Path | None,
        Option("--model", metavar="BUNDLE", help="folder of a bundle (default: the included phantom model)"),
    ] = None
    device: Annotated[Device, Option("--device", help="where the model runs; auto: CUDA when PyTorch supports it")] = (
        Device.AUTO
    )


@dataclass(frozen=True)
class FolderOptions:
    """How to read a study, and which object to use where several conflict (Docs/pages/reference/reading_rules.md)."""

    study: Annotated[Path, Argument(help="folder of the DICOM export, in any order and nesting")]
    series: Annotated[str | None, Option("--series", help="part of the Series Description of the planning MR")] = None
    course: Annotated[
        str | None, Option("--course", help="name (C2) or label of the course, if the folder has several")
    ] = None
    plan: Annotated[
        str | None, Option("--plan", metavar="NAME", help="label or file name of the plan, if several match")
    ] = None
    structures: Annotated[
        str | None, Option("--structures", metavar="NAME", help="label or file name of the structure set")
    ] = None
    roi: Annotated[list[str], Option("--roi", help="ROI to use as a lesion (repeatable)")] = field(default_factory=list)
    visit: Annotated[
        list[str],
        Option(
            "--visit", metavar="TEXT",
            help="part of the Series Description of a follow-up that is not recognized (repeatable)",
        ),
    ] = field(default_factory=list)  # fmt: skip

    def reading(self) -> ReadOptions:
        """Options for reading the study."""
        return ReadOptions(
            series=self.series,
            rois=tuple(self.roi),
            course=self.course,
            plan=self.plan,
            structures=self.structures,
            visits=tuple(self.visit),
        )


@dataclass(frozen=True)
class StudyOptions(FolderOptions):
    """How to read a study with its dose."""

    prescription: Annotated[
        list[str],
        Option(
            "--prescription", metavar="GY|ROI=GY",
            help="prescribed dose in Gy of every target, or of one ROI; overrides the plan (repeatable)",
        ),
    ] = field(default_factory=list)  # fmt: skip
    isodose: Annotated[
        float | None, Option("--isodose", metavar="PERCENT", help="prescription isodose in percent of the dose maximum")
    ] = None
    dose_file: Annotated[
        list[str],
        Option(
            "--dose", metavar="FILE",
            help="RTDOSE to use, if several differ; several are summed; \"none\" leaves the dose out (repeatable)",
        ),
    ] = field(default_factory=list)  # fmt: skip
    dose_fractions: Annotated[
        int | None,
        Option("--dose-fractions", metavar="N", help="number of fractions in a FRACTION or BEAM dose (1: all)"),
    ] = None

    def reading(self) -> ReadOptions:
        """Options for reading the study.

        Raises
        ------
        StudyError : ``--prescription`` is not a dose, or gives two doses for every target.
        """
        total: float | None = None
        named: dict[str, float] = {}
        for text in self.prescription:
            name, _, value = text.rpartition("=")
            try:
                dose = float(value)
            except ValueError as error:
                raise StudyError("--prescription", f"is '{text}', expected GY or ROI=GY", "Correct it") from error
            if not name and total is not None:
                raise StudyError("--prescription", "gives two doses for every target", "Give one, or ROI=GY")
            if name:
                named[name] = dose
            else:
                total = dose
        return ReadOptions(
            prescription_gy=total,
            prescriptions_gy=named,
            isodose_percent=self.isodose,
            series=self.series,
            rois=tuple(self.roi),
            course=self.course,
            plan=self.plan,
            structures=self.structures,
            doses=tuple(self.dose_file),
            dose_fractions=self.dose_fractions,
            visits=tuple(self.visit),
        )

    def load(self, progress: Progress) -> Study:
        """Read the study; raises as `load_study`."""
        from RTResponseCAMLib.dicom.load import load_study

        return load_study(self.study, progress=progress, **vars(self.reading()))
