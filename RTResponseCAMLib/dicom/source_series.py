"""Source series: the DICOM slices of the planning MR that exported contours, segments and maps reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.frames import Slice, slices_of
from RTResponseCAMLib.dicom.index import index_folder
from RTResponseCAMLib.dicom.privacy import pseudonym
from RTResponseCAMLib.dicom.references import contoured_on
from RTResponseCAMLib.dicom.stacks import choose_stack
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.study import Study

ON_SLICE_MM = 0.05
REPEATED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip


@dataclass(frozen=True)
class SourceSeries:
    """Slices of the planning MR.

    Attributes
    ----------
    slices : ascending along the normal.
    regular : evenly spaced and not sheared: the voxels of the study's MR are the pixels of these slices.
    header : all attributes of the first file, without pixels.
    """

    slices: tuple[Slice, ...]
    regular: bool
    header: Dataset

    def slice_at(self, point_mm: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Slice | None:
        """Slice on which a point ``(3,)`` (LPS, mm) lies; None when it lies between slices."""
        normal = self.slices[0].axes[2]
        distances_mm = [abs(float((slice_.position - point_mm) @ normal)) for slice_ in self.slices]
        nearest = int(np.argmin(distances_mm))
        # Stated positions may be rounded: a voxel then lies less than one unit of the last decimal off its slice.
        tolerance_mm = max(ON_SLICE_MM, self.slices[nearest].precision_mm if self.regular else 0.0)
        return self.slices[nearest] if distances_mm[nearest] <= tolerance_mm else None


def find_source_series(folder: Path, study: Study, *, progress: Progress = no_progress) -> SourceSeries:
    """Find the files of a study's planning MR.

    Raises
    ------
    StudyError : the series is not in the folder, the number of slices differs from that of the study, or a UID is
        missing.
    """
    index = index_folder(folder, progress)
    series = [files for uid, files in index.series.items() if pseudonym(uid) == study.sources["mr_series"]]
    if not series:
        raise StudyError(
            folder, "does not hold the series of the planning MR, which exported objects reference",
            "Give the folder from which the study was read",
        )  # fmt: skip
    structure_sets = [
        structures for structures in index.structures if pseudonym(structures.uid) == study.sources.get("rtstruct")
    ]
    slices = [slice_ for entry in series[0] for slice_ in slices_of(entry)]
    stack = choose_stack(slices, lambda: contoured_on(structure_sets[0], series[0]) if structure_sets else {})
    grid = Grid.of(study.mr)
    if stack.regular and len(stack.slices) != grid.size[2]:
        raise StudyError(
            folder, f"holds {len(stack.slices)} slices of the planning MR; {grid.size[2]} were read",
            "Restore the missing files, or read the study again",
        )  # fmt: skip
    header = complete(read_header(stack.slices[0].path))
    for keyword in ("FrameOfReferenceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not str(header.get(keyword, "") or ""):
            problem = f"lacks {keyword}, which exported objects must contain"
            raise StudyError(stack.slices[0].path, problem, "Export the MR with its identifiers")
    return SourceSeries(stack.slices, stack.regular, header)


def complete(header: Dataset) -> Dataset:
    """The header, with attributes that an object of the same study must have added as empty where missing."""
    for keyword in REPEATED:
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def describe(data: Dataset, source_series: SourceSeries) -> None:
    """Copy the patient and study attributes and the frame of reference from the source series into ``data``."""
    for keyword in (*REPEATED, "IssuerOfPatientID", "FrameOfReferenceUID"):
        if keyword in source_series.header:
            setattr(data, keyword, str(source_series.header[keyword].value))
    in_unicode(data)


def in_unicode(data: Dataset) -> None:
    """Set UTF-8 as the character set: ROI names and descriptions may not fit the character set of the MR."""
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName = str(data.PatientName)
    data.ReferringPhysicianName = str(data.ReferringPhysicianName)
