"""Index of a folder: every DICOM object in it, in any order, nesting and naming.

Objects are sorted by SOP Class; the Modality counts only where the class is unknown.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from RTResponseCAMLib.dicom.files import NotDicom, content_key, read_header
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.warnings import Warning, WarningCode

STORAGE = "1.2.840.10008.5.1.4.1.1."
IMAGE_CLASSES = {
    STORAGE + end: modality
    for modality, ends in {
        "MR": ("4", "4.1", "4.4"), "CT": ("2", "2.1", "2.2"), "PT": ("128", "128.1", "130"),
    }.items()
    for end in ends
}  # fmt: skip
ION_PLAN = STORAGE + "481.8"
OBJECT_CLASSES = {
    STORAGE + "481.3": "RTSTRUCT", STORAGE + "66.4": "SEG", STORAGE + "66.7": "SEG", STORAGE + "481.5": "RTPLAN",
    ION_PLAN: "RTPLAN", STORAGE + "481.2": "RTDOSE", STORAGE + "66.1": "REG", STORAGE + "66.3": "REG",
}  # fmt: skip
IMAGE_MODALITIES = ("MR", "CT", "PT")
MAX_FILES = 100_000
SAME_PLANE, LEAST_JOINED = 0.01, 3
TAGS = [
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "Modality", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "StudyDate", "SeriesDate", "AcquisitionDate", "AcquisitionDateTime", "SeriesDescription",
    "ContrastBolusAgent", "ContrastBolusAgentSequence", "ContrastBolusVolume",
    "PatientName", "PatientID", "OtherPatientIDs", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "AccessionNumber", "SeriesNumber", "EchoTime", "InstanceNumber", "AcquisitionNumber",
    "TemporalPositionIdentifier", "TriggerTime", "ImageType", "SeriesTime", "AcquisitionTime", "ContentTime",
    "InversionTime", "FlipAngle", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
    "ReferencedRTPlanSequence", "ReferencedStructureSetSequence", "ReferencedFrameOfReferenceSequence",
    "ReferencedSeriesSequence", "StructureSetROISequence", "StructureSetLabel", "StructureSetDate",
    "StructureSetTime", "RTPlanLabel", "RTPlanDate", "PlanIntent", "ApprovalStatus", "ContentDate",
    "DoseUnits", "DoseType", "DoseSummationType", "Manufacturer",
]  # fmt: skip
# Manufacturer of this program's exports: subregions in a study's folder are results, not targets.
OWN_EXPORT = "RTResponseCAM (research use only)"


@dataclass(frozen=True)
class Entry:
    """One DICOM file: its path, and its header without pixels and contours."""

    path: Path
    header: Dataset

    def text(self, keyword: str) -> str:
        """Return the value of an attribute as text, "" when absent."""
        value = self.header.get(keyword)
        return "" if value is None else str(value).strip()

    @property
    def modality(self) -> str:
        """Kind of the object, by SOP Class (0008,0016), else by Modality (0008,0060)."""
        sop_class = self.text("SOPClassUID")
        return IMAGE_CLASSES.get(sop_class) or OBJECT_CLASSES.get(sop_class) or self.text("Modality")

    @property
    def uid(self) -> str:
        """SOP Instance UID (0008,0018)."""
        return self.text("SOPInstanceUID")


@dataclass(frozen=True)
class Index:
    """All objects below one folder.

    Attributes
    ----------
    series : Series Instance UID → its image files (MR, CT, PT); the mapping is not changed after it is made.
    structures : RTSTRUCT and SEG objects.
    plans, doses, registrations : RTPLAN, RTDOSE and REG objects.
    others : modalities that are not used here, with their number of files.
    warnings : files that were skipped, and why.
    joined : Series Instance UID → UID of the series with which the series was joined.
    """

    folder: Path
    series: dict[str, tuple[Entry, ...]]
    structures: tuple[Entry, ...]
    plans: tuple[Entry, ...]
    doses: tuple[Entry, ...]
    registrations: tuple[Entry, ...]
    others: dict[str, int]
    warnings: tuple[Warning, ...]
    joined: dict[str, str] = field(default_factory=dict)

    def headers(self) -> list[Dataset]:
        """Return one header of each series and those of all other objects; they hold the patient's identifiers."""
        first = [files[0] for files in self.series.values()]
        entries = (*first, *self.structures, *self.plans, *self.doses, *self.registrations)
        return [entry.header for entry in entries]

    def series_of_images(self, uids: Iterable[str]) -> list[str]:
        """Return the UIDs of series that hold images with the given SOP Instance UIDs, most images first."""
        wanted = set(uids)
        hits = {uid: sum(e.uid in wanted for e in files) for uid, files in self.series.items()}
        return sorted((uid for uid, count in hits.items() if count), key=lambda uid: -hits[uid])

    def twin_of(self, entry: Entry) -> Entry | None:
        """Return another object with the same SOP Instance UID, None without one.

        Its content differs, because identical copies count once.
        """
        for other in (*self.structures, *self.plans, *self.doses):
            if entry.uid and other.uid == entry.uid and other.path != entry.path:
                return other
        return None


def index_folder(folder: Path, progress: Progress = no_progress) -> Index:
    """Read the header of every file below ``folder``; copies of one object count once.

    Raises
    ------
    StudyError : the folder does not exist or holds no DICOM file.
    """
    if not folder.is_dir():
        problem = "is a file, expected a folder" if folder.is_file() else "there is no such folder"
        raise StudyError(folder, problem, "Give the folder that holds the DICOM export")
    paths = sorted(Path(root) / name for root, _, names in os.walk(folder) for name in names)
    if len(paths) > MAX_FILES:
        raise StudyError(folder, f"holds {len(paths)} files, more than {MAX_FILES}", "Give the folder of one patient")
    entries: dict[str, list[Entry]] = {}
    contents: dict[str, set[str]] = {}
    warnings: list[Warning] = []
    repeated = reused = 0
    for file_index, path in enumerate(paths):
        if file_index % 32 == 0:
            progress(file_index / len(paths), "reading headers")
        if path.exists() and not path.is_file():
            continue  # reading a pipe or a device would block
        try:
            entry = Entry(path, read_header(path, TAGS))
        except NotDicom:
            continue
        except StudyError as error:
            warnings.append(WarningCode.UNREADABLE_FILE(file=path.name, reason=error.what))
            continue
        except OSError as error:
            warnings.append(WarningCode.UNREADABLE_FILE(file=path.name, reason=f"cannot be opened ({error.strerror})"))
            continue
        same_uid = entries.setdefault(entry.uid, [])
        if same_uid:  # files are read completely only where a UID occurs twice
            keys = contents.setdefault(entry.uid, {content_key(same_uid[0].path)})
            key = content_key(path)
            if key in keys:
                repeated += 1
                continue
            keys.add(key)
            reused += entry.modality in IMAGE_MODALITIES
        same_uid.append(entry)
    if repeated:
        warnings.append(WarningCode.REPEATED_OBJECT(count=repeated))
    if reused:
        warnings.append(WarningCode.REUSED_UID(count=reused))
    if not entries:
        reason = f"; {warnings[0].text}" if warnings else ""
        raise StudyError(folder, f"holds no DICOM object{reason}", "Give the folder of a Gamma Knife DICOM export")
    return _sorted_by_kind(folder, [e for objects in entries.values() for e in objects], warnings)


def _sorted_by_kind(folder: Path, entries: Iterable[Entry], warnings: list[Warning]) -> Index:
    series: dict[str, list[Entry]] = {}
    kinds: dict[str, list[Entry]] = {"RTSTRUCT": [], "SEG": [], "RTPLAN": [], "RTDOSE": [], "REG": []}
    others, not_images = Counter[str](), Counter[str]()
    own_exports = 0
    for entry in entries:
        stated, kind = entry.text("Modality"), entry.modality
        if entry.text("Manufacturer") == OWN_EXPORT:
            own_exports += 1
        elif kind in kinds and (entry.text("SOPClassUID") in OBJECT_CLASSES or not _known(entry)):
            kinds[kind].append(entry)
            if stated and stated != kind:
                warnings.append(WarningCode.MODALITY_DIFFERS(file=entry.path.name, modality=stated, kind=kind))
        elif kind in IMAGE_MODALITIES and _is_image(entry):
            series.setdefault(entry.text("SeriesInstanceUID"), []).append(entry)
        else:
            name = class_name(entry) if kind in (*IMAGE_MODALITIES, *kinds) else kind or "unknown"
            others[name] += 1
            not_images[name] += kind in IMAGE_MODALITIES
    for name, count in not_images.items():
        if count:
            warnings.append(WarningCode.NOT_AN_IMAGE(count=count, kind=name))
    if own_exports:
        warnings.append(WarningCode.OWN_EXPORT(count=own_exports))
    joined = _join_single_files(series, warnings)
    return Index(
        folder,
        {uid: _usual_first(files) for uid, files in series.items()},
        tuple(kinds["RTSTRUCT"] + kinds["SEG"]),
        tuple(kinds["RTPLAN"]),
        tuple(kinds["RTDOSE"]),
        tuple(kinds["REG"]),
        dict(others),
        tuple(warnings),
        joined,
    )


def _usual_first(files: list[Entry]) -> tuple[Entry, ...]:
    """Return the files of a series, magnitude before phase, the most frequent Image Type first.

    The first file represents the series.
    """
    counts = Counter(entry.text("ImageType") for entry in files)
    return tuple(sorted(files, key=lambda entry: (is_part_of_signal(entry), -counts[entry.text("ImageType")])))


def is_part_of_signal(entry: Entry) -> bool:
    """Whether it is a phase, real or imaginary image, by the third or fourth value of its Image Type (P, R, I)."""
    value = entry.header.get("ImageType")
    kinds = [str(v).upper() for v in (value if value is not None and not isinstance(value, str) else ())]
    return bool({"P", "R", "I", "PHASE", "REAL", "IMAGINARY", "PHASE MAP"} & set(kinds[2:4]))


def class_name(entry: Entry) -> str:
    """Return the name of the SOP Class (0008,0016) where DICOM defines it, else the Modality."""
    name = UID(entry.text("SOPClassUID")).name
    return entry.modality or "unknown" if name == entry.text("SOPClassUID") else name.removesuffix(" Storage")


def _is_image(entry: Entry) -> bool:
    """Whether an object is an image, by SOP Class; an object of an unknown class needs pixels and a position."""
    if entry.text("SOPClassUID") in IMAGE_CLASSES:
        return True
    placed = entry.header.get("ImagePositionPatient") is not None or entry.header.get("NumberOfFrames") is not None
    return not _known(entry) and placed and entry.header.get("Rows") is not None


def _known(entry: Entry) -> bool:
    """Whether DICOM defines the SOP Class."""
    sop_class = UID(entry.text("SOPClassUID"))
    return bool(sop_class.name != str(sop_class))


def _join_single_files(series: dict[str, list[Entry]], warnings: list[Warning]) -> dict[str, str]:
    """Join slices that have one Series Instance UID each, as some scanners write them, into one series."""
    common_keys = ("FrameOfReferenceUID", "SeriesDescription", "Modality", "Rows", "Columns", "EchoTime", "ImageType")
    joined: dict[str, str] = {}
    # On some scanners, series and acquisition numbers increase with the slices: later passes ignore them.
    for keys in (
        (*common_keys, "StudyInstanceUID", "SeriesNumber", "AcquisitionNumber"),
        (*common_keys, "StudyInstanceUID"),
        common_keys,
    ):
        joined |= _joined_by(series, keys, warnings)
    return joined


def _joined_by(series: dict[str, list[Entry]], keys: tuple[str, ...], warnings: list[Warning]) -> dict[str, str]:
    groups_by_keys: defaultdict[tuple[str, ...], list[list[str]]] = defaultdict(list)
    for uid, files in series.items():
        if "StudyInstanceUID" not in keys and not files[0].text("FrameOfReferenceUID"):
            continue
        if len(files) != 1 or files[0].header.get("ImagePositionPatient") is None:
            continue
        groups = groups_by_keys[tuple(files[0].text(key) for key in keys)]
        for group in groups:
            if _same_plane(series[group[0]][0], files[0]):
                group.append(uid)
                break
        else:
            groups.append([uid])
    joined: dict[str, str] = {}
    for group in (g for groups in groups_by_keys.values() for g in groups):
        positions = {series[uid][0].text("ImagePositionPatient") for uid in group}
        if len(group) < LEAST_JOINED or len(positions) < len(group):
            continue
        for uid in group[1:]:
            series[group[0]] += series.pop(uid)
            joined[uid] = group[0]
        warnings.append(WarningCode.SERIES_JOINED(count=len(group)))
    return joined


def _same_plane(first: Entry, second: Entry) -> bool:
    """Whether two slices are parallel; False where an orientation does not have six numbers."""
    try:
        a, b = (np.asarray(e.header.get("ImageOrientationPatient"), dtype=np.float64) for e in (first, second))
        return a.shape == b.shape == (6,) and float(np.abs(a - b).max()) < SAME_PLANE
    except (TypeError, ValueError):
        return False
