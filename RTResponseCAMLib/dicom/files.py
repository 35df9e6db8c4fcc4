"""Read and write DICOM files safely, under pydicom 2.4 and 3.

A header is parsed only after its transfer syntax is checked: a deflated file of 1 MB can unpack to gigabytes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RTStructureSetStorage
from pydicom.valuerep import format_number_as_ds

from RTResponseCAMLib.errors import StudyError

UNDEFINED_LENGTH = 0xFFFFFFFF
MAX_FILE_BYTES = 512 * 1024 * 1024
OF_THE_COPY = ("InstanceCreationDate", "InstanceCreationTime", "SpecificCharacterSet", "StorageMediaFileSetUID")
DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}


class NotDicom(Exception):  # noqa: N818 - a finding about a file, not a failure
    """The file is not DICOM. Folders hold many such files; they are skipped."""


def read_header(path: Path, tags: list[str] | None = None) -> Dataset:
    """Return the readable attributes of a file without its pixels; only ``tags`` when given.

    Raises
    ------
    NotDicom : the file is not DICOM.
    StudyError : the file is DICOM, but deflated, larger than 512 MB or damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = handle.read(132)
    part10 = start[128:132] == b"DICM"
    # Files without a preamble are accepted only when they begin with a group of identifying attributes.
    if not part10 and start[:2] not in (b"\x08\x00", b"\x02\x00"):
        raise NotDicom(path)
    if size > MAX_FILE_BYTES:
        raise StudyError(path, f"is {size // 2**20} MB, above the limit of 512 MB for one object", "Remove it")
    try:
        if part10 and str(read_file_meta_info(path).get("TransferSyntaxUID", "")) in DEFLATED:
            raise StudyError(
                path,
                "is deflated (0002,0010), which is not read because a small file can unpack to gigabytes",
                "Export it as Explicit VR Little Endian",
            )
        data = pydicom.dcmread(path, stop_before_pixels=True, force=not part10, specific_tags=tags)
        present = "SOPClassUID" in data and bool(str(data.SOPClassUID))
        if present:
            _check_whole(path, data)
            _settle(data, nested=tags is not None)
    except StudyError:
        raise
    except Exception as error:  # the parser may raise any exception on damaged bytes
        reason = f"cannot be parsed as DICOM ({type(error).__name__})"
        raise StudyError(path, reason, "Copy or export the file again") from error
    if not present:
        raise NotDicom(path)
    return data


def _settle(data: Dataset, nested: bool) -> None:
    """Convert every value, and delete values that cannot be converted; pydicom converts at first access only.

    With ``nested``, items of sequences are converted too. Complete objects are not, because most numbers of a
    structure set are never used.
    """
    for tag in list(data.keys()):
        try:
            element = data[tag]
            for item in element.value if nested and element.VR == "SQ" else ():
                _settle(item, nested)
        except Exception:  # the parser may raise any exception on damaged bytes
            del data[tag]


def _check_whole(path: Path, data: Dataset) -> None:
    """Refuse a file that ends within an attribute: pydicom reads it without an error, and contours are lost."""
    for tag in data.keys():  # noqa: SIM118 - iterating a dataset would convert its elements
        element = data.get_item(tag)
        if isinstance(element, RawDataElement) and element.length != UNDEFINED_LENGTH:
            n_bytes = len(element.value or b"")
            if n_bytes < element.length:
                raise StudyError(
                    path,
                    f"is cut short: attribute {element.tag} has {n_bytes} of {element.length} bytes",
                    "Copy or export the file again",
                )


def content_key(path: Path) -> str:
    """Return a hash of the content of an object, without the attributes that copying changes.

    It is equal for copies in any uncompressed encoding. For a damaged file it is the hash of the bytes.
    """
    key = hashlib.sha256()
    try:
        _add_content(key, pydicom.dcmread(path, force=True))
    except Exception:  # the parser may raise any exception on damaged bytes
        key.update(path.read_bytes())
    return key.hexdigest()


def _add_content(key: Any, data: Dataset) -> None:
    for element in data:
        if element.keyword in OF_THE_COPY:
            continue
        key.update(f"{element.tag} ".encode())
        if element.VR == "SQ":
            for item in element.value:
                key.update(b"item")
                _add_content(key, item)
        else:
            key.update(element.value if isinstance(element.value, bytes) else str(element.value).encode())


def transfer_syntax(header: Dataset) -> str:
    """Return the Transfer Syntax UID (0002,0010), "" without meta information (then implicit little endian)."""
    meta = getattr(header, "file_meta", None)
    return str(meta.get("TransferSyntaxUID", "") or "") if meta is not None else ""


def new_file(sop_class: str, uid: str) -> FileDataset:
    """Return an empty object with file meta information.

    RTSTRUCT is implicit little endian, because an explicit DS is limited to 64 kB per contour.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, uid
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if sop_class == RTStructureSetStorage else ExplicitVRLittleEndian
    meta.ImplementationClassUID = "1.2.826.0.1.3680043.8.498.1"
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = sop_class, uid
    return data


def save(data: Dataset, path: Path) -> None:
    """Write a conformant file with pydicom 2.4 or 3."""
    implicit = data.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    if int(pydicom.__version__.split(".")[0]) >= 3:
        data.save_as(path, enforce_file_format=True)
        return
    legacy: dict[str, Any] = {"write_like_original": False}
    data.is_little_endian, data.is_implicit_VR = True, implicit
    data.save_as(path, **legacy)


def decimal(value: float) -> str:
    """Return a decimal string (DS) of at most 16 characters that keeps its exponent."""
    return str(format_number_as_ds(float(value)))
