"""What lies in a folder: every DICOM object in it, in whatever order, nesting and naming."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import NotDicom, read_header
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.progress import Progress, silent
from RTResponseCAMLib.study import Caution

IMAGE_MODALITIES = ("MR", "CT", "PT")
MAX_FILES = 100_000
TAGS = [
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "Modality", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "StudyDate", "SeriesDate", "AcquisitionDate", "SeriesDescription", "ContrastBolusAgent",
    "PatientName", "PatientID", "OtherPatientIDs", "IssuerOfPatientID", "PatientBirthDate", "AccessionNumber",
    "EchoTime", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "ImageType",
    "SeriesTime", "AcquisitionTime", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
    "ReferencedRTPlanSequence", "ReferencedStructureSetSequence", "ReferencedFrameOfReferenceSequence",
    "ReferencedSeriesSequence", "StructureSetROISequence", "StructureSetLabel", "StructureSetDate", "RTPlanLabel",
    "RTPlanDate", "DoseUnits", "DoseType", "DoseSummationType", "Manufacturer",
]  # fmt: skip
# Manufacturer of what this program exports: subregions in a study's folder are results, not its targets.
OWN_EXPORT = "RTResponseCAM (research use only)"


@dataclass(frozen=True)
class Entry:
    """One DICOM file: its place and its header without pixels and contours."""

    path: Path
    header: Dataset

    def text(self, keyword: str) -> str:
        """Value of an attribute as text, "" when absent."""
        value = self.header.get(keyword)
        return "" if value is None else str(value).strip()

    @property
    def modality(self) -> str:
        """Modality (0008,0060)."""
        return self.text("Modality")

    @property
    def uid(self) -> str:
        """SOP Instance UID (0008,0018)."""
        return self.text("SOPInstanceUID")


@dataclass(frozen=True)
class Index:
    """Everything found below one folder.

    Attributes
    ----------
    series : Series Instance UID → its image files (MR, CT, PT), a frozen mapping by use.
    structures : RTSTRUCT and SEG objects.
    plans, doses, registrations : RTPLAN, RTDOSE and REG objects.
    others : modalities that are not used here, with their number of files.
    cautions : files that were passed over, and why.
    """

    folder: Path
    series: dict[str, tuple[Entry, ...]]
    structures: tuple[Entry, ...]
    plans: tuple[Entry, ...]
    doses: tuple[Entry, ...]
    registrations: tuple[Entry, ...]
    others: dict[str, int]
    cautions: tuple[Caution, ...]

    def headers(self) -> list[Dataset]:
        """One header of each series and those of all other objects: what they say of the patient."""
        first = [files[0] for files in self.series.values()]
        entries = (*first, *self.structures, *self.plans, *self.doses, *self.registrations)
        return [entry.header for entry in entries]


def index_folder(folder: Path, progress: Progress = silent) -> Index:
    """Read the header of every file below ``folder``; repeated objects are taken once.

    Raises
    ------
    StudyError : the folder does not exist or holds no DICOM file.
    """
    if not folder.is_dir():
        raise StudyError(folder, "there is no such folder", "Give the folder that holds the DICOM export")
    paths = sorted(Path(root) / name for root, _, names in os.walk(folder) for name in names)
    if len(paths) > MAX_FILES:
        raise StudyError(folder, f"holds {len(paths)} files, more than {MAX_FILES}", "Give the folder of one patient")
    entries: dict[str, Entry] = {}
    cautions: list[Caution] = []
    repeated = 0
    for number, path in enumerate(paths):
        if number % 32 == 0:
            progress(number / len(paths), "reading headers")
        if path.exists() and not path.is_file():
            continue  # a pipe or device would be waited for
        try:
            entry = Entry(path, read_header(path, TAGS))
        except NotDicom:
            continue
        except StudyError as error:
            cautions.append(Caution("unreadable-file", f"{path.name} {error.what}; it is left out"))
            continue
        except OSError as error:
            cautions.append(Caution("unreadable-file", f"{path.name} cannot be opened ({error.strerror})"))
            continue
        repeated += entry.uid in entries
        entries.setdefault(entry.uid, entry)
    if repeated:
        cautions.append(Caution("repeated-object", f"{repeated} file(s) repeat a SOP Instance UID; each is taken once"))
    if not entries:
        reason = f"; {cautions[0].text}" if cautions else ""
        raise StudyError(folder, f"holds no DICOM object{reason}", "Give the folder of a Gamma Knife DICOM export")
    return _sorted_by_kind(folder, entries.values(), tuple(cautions))


def _sorted_by_kind(folder: Path, entries: Iterable[Entry], cautions: tuple[Caution, ...]) -> Index:
    series: dict[str, list[Entry]] = {}
    kinds: dict[str, list[Entry]] = {"RTSTRUCT": [], "SEG": [], "RTPLAN": [], "RTDOSE": [], "REG": []}
    others: dict[str, int] = {}
    own = 0
    for entry in entries:
        if entry.text("Manufacturer") == OWN_EXPORT:
            own += 1
        elif entry.modality in kinds:
            kinds[entry.modality].append(entry)
        elif entry.modality in IMAGE_MODALITIES:
            series.setdefault(entry.text("SeriesInstanceUID"), []).append(entry)
        else:
            name = entry.modality or "unknown"
            others[name] = others.get(name, 0) + 1
    if own:
        text = f"{own} object(s) were exported by this program and are not read as a part of the study"
        cautions = (*cautions, Caution("own-export", text))
    return Index(
        folder,
        {uid: tuple(files) for uid, files in series.items()},
        tuple(kinds["RTSTRUCT"] + kinds["SEG"]),
        tuple(kinds["RTPLAN"]),
        tuple(kinds["RTDOSE"]),
        tuple(kinds["REG"]),
        others,
        cautions,
    )


def date_of(
    entry: Entry, keywords: tuple[str, ...] = ("AcquisitionDate", "SeriesDate", "StudyDate")
) -> np.datetime64 | None:
    """The first of these dates that is there: acquisition, series or study."""
    for keyword in keywords:
        text = entry.text(keyword)
        if len(text) == 8 and text.isdigit():
            try:
                return np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:]}")
            except ValueError:
                continue
    return None
