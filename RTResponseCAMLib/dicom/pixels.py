"""Stored pixel values: uncompressed and RLE data are decoded here and by pydicom, the rest by GDCM.

GDCM misreads 32-bit big-endian words, and damaged files are a risk for a decoder in C: it decodes only the rest.
"""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.files import new_file, save, transfer_syntax
from RTResponseCAMLib.dicom.validation import EXPORT_AGAIN, whole_number
from RTResponseCAMLib.errors import StudyError

MAX_PIXEL_BYTES = 2**30
RLE = "1.2.840.10008.1.2.5"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN}
# Codecs of GDCM that are lossless or that scanners use; without video and JPIP references.
BY_GDCM = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91)}


@dataclass(frozen=True)
class PixelFormat:
    """Storage format of pixels: frames × rows × columns, bits allocated and stored, signed or not."""

    frames: int
    rows: int
    columns: int
    allocated: int
    stored: int
    signed: bool

    @property
    def bytes(self) -> int:
        """Size of the uncompressed pixels, bytes."""
        return self.frames * self.rows * self.columns * self.allocated // 8


def pixel_format(path: Path, header: Dataset, *, photometric: tuple[str, ...] = ("MONOCHROME2",)) -> PixelFormat:
    """Return the description of the pixels, and check that the file can hold them.

    Every attribute that changes the meaning of pixels is applied, or refused with an error that names it.

    Parameters
    ----------
    photometric : accepted values of Photometric Interpretation (0028,0004).

    Raises
    ------
    StudyError : an attribute absent or out of range, color or inverted pixels, stored bits that are not the lowest, a
        lookup table, more than 1 GB, or a file that is cut short.
    """
    if whole_number(path, header, keyword="SamplesPerPixel", low=1, high=4, default=1) != 1:
        raise StudyError(path, "is a color image, expected one sample per pixel", "Export the original series")
    interpretation = str(header.get("PhotometricInterpretation", "") or "MONOCHROME2").upper()
    if interpretation not in photometric:
        problem = f"PhotometricInterpretation (0028,0004) is {interpretation}, expected {' or '.join(photometric)}"
        reason = ": its low values are bright" if interpretation == "MONOCHROME1" else ""
        raise StudyError(path, problem + reason, "Export the original series as MONOCHROME2")
    if header.get("ModalityLUTSequence"):
        problem = "maps its pixels through a lookup table (Modality LUT Sequence 0028,3000), which is not read"
        raise StudyError(path, problem, "Export it with Rescale Slope and Intercept")
    allocated = whole_number(path, header, keyword="BitsAllocated", low=1, high=32)
    stored = whole_number(path, header, keyword="BitsStored", low=1, high=allocated, default=allocated)
    high = whole_number(path, header, keyword="HighBit", low=0, high=31, default=stored - 1)
    if high != stored - 1:
        problem = f"HighBit (0028,0102) is {high}, expected {stored - 1}: Bits Stored (0028,0101) less 1"
        raise StudyError(path, problem, EXPORT_AGAIN)
    layout = PixelFormat(
        frames=whole_number(path, header, keyword="NumberOfFrames", low=1, high=100_000, default=1),
        rows=whole_number(path, header, keyword="Rows", low=1, high=65535),
        columns=whole_number(path, header, keyword="Columns", low=1, high=65535),
        allocated=allocated,
        stored=stored,
        signed=whole_number(path, header, keyword="PixelRepresentation", low=0, high=1) == 1,
    )
    if allocated not in (1, 8, 16, 32):
        raise StudyError(path, f"BitsAllocated (0028,0100) is {allocated}, expected 8, 16 or 32", EXPORT_AGAIN)
    if layout.bytes > MAX_PIXEL_BYTES:
        size = f"declares {layout.bytes / 2**30:.1f} GB of pixels (Rows, Columns, NumberOfFrames)"
        raise StudyError(path, size, "Remove it")
    if transfer_syntax(header) in UNCOMPRESSED and path.stat().st_size < layout.bytes:
        raise StudyError(
            path,
            f"is cut short: {path.stat().st_size} bytes, but its pixels alone need {layout.bytes}",
            "Copy or export the file again",
        )
    return layout


def padding_of(header: Dataset) -> tuple[int, int] | None:
    """Return the lowest and highest stored value of padding pixels (0028,0120; 0121); None without padding.

    A value that is not an integer is ignored. Both are as stated: a signed value may be stated as unsigned.
    """
    try:
        value, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
        if value in (None, ""):
            return None
        return int(value), int(value if limit in (None, "") else limit)
    except (TypeError, ValueError):
        return None


def stored_frames(
    path: Path, header: Dataset, *, photometric: tuple[str, ...] = ("MONOCHROME2",)
) -> npt.NDArray[np.integer[Any]]:
    """Return integers as stored, ``(frames, rows, columns)``, without rescaling.

    Raises
    ------
    StudyError : see `pixel_format`; also pixels that are absent or cannot be decoded.
    """
    layout = pixel_format(path, header, photometric=photometric)
    shape = (layout.frames, layout.rows, layout.columns)
    syntax = transfer_syntax(header)
    try:
        if syntax in UNCOMPRESSED or syntax == "":
            return _plain(path, layout, big_endian=syntax == BIG_ENDIAN).reshape(shape)
        if syntax == RLE:
            return _without_spare(np.asarray(pydicom.dcmread(path, force=True).pixel_array).reshape(shape), layout)
        if syntax in BY_GDCM:
            return _by_gdcm(path, layout).reshape(shape)
    except StudyError:
        raise
    except Exception as reason:  # decoders may raise any exception on damaged bytes
        raise StudyError(path, f"its pixels cannot be decoded ({type(reason).__name__})", EXPORT_AGAIN) from reason
    raise StudyError(path, f"has the transfer syntax {syntax} (0002,0010), which is not read", "Export it uncompressed")


def _plain(path: Path, layout: PixelFormat, big_endian: bool) -> npt.NDArray[np.integer[Any]]:
    content: bytes | None = _last_element(path, layout, big_endian)
    if content is None:
        content = pydicom.dcmread(path, force=True, specific_tags=["PixelData"]).get("PixelData")
    if content is None or len(content) < layout.bytes:
        n_bytes = 0 if content is None else len(content)
        raise StudyError(
            path, f"has {n_bytes} bytes of pixels, expected {layout.bytes}", "Copy or export the file again"
        )
    count = layout.frames * layout.rows * layout.columns
    if layout.allocated == 1:
        bits = np.frombuffer(content, dtype=np.uint8, count=(count + 7) // 8)
        return np.unpackbits(bits, count=count, bitorder="little")
    dtype = f"{'>' if big_endian else '<'}{'i' if layout.signed else 'u'}{layout.allocated // 8}"
    return _without_spare(np.frombuffer(content, dtype=dtype, count=count), layout)


def _without_spare(values: npt.NDArray[np.integer[Any]], layout: PixelFormat) -> npt.NDArray[np.integer[Any]]:
    """Return values without the bits above those stored, which may hold overlays; the two shifts keep the sign."""
    spare = layout.allocated - layout.stored
    return (values << spare) >> spare if spare else values


def _last_element(path: Path, layout: PixelFormat, big_endian: bool) -> bytes | None:
    """Return the pixels without parsing the file again; None where they are not at its end.

    Pixels are nearly always at the end of the file.
    """
    length = layout.bytes + layout.bytes % 2
    with path.open("rb") as handle:
        size = handle.seek(0, 2)
        if size < length + 12:
            return None
        handle.seek(size - length - 12)
        content = handle.read()
    order = ">" if big_endian else "<"
    tag, length_bytes = struct.pack(f"{order}HH", 0x7FE0, 0x0010), struct.pack(f"{order}I", length)
    explicit = content[:4] == tag and content[4:8] in (b"OW\0\0", b"OB\0\0") and content[8:12] == length_bytes
    implicit = content[4:8] == tag and content[8:12] == length_bytes
    return content[12:] if explicit or implicit else None


def _by_gdcm(path: Path, layout: PixelFormat) -> npt.NDArray[np.integer[Any]]:
    """Decode a copy that holds the pixels and their description only.

    From the original file, GDCM would apply any rescaling, and for enhanced images not the one of each frame. The copy
    also holds no patient data.
    """
    source = pydicom.dcmread(path, force=True)
    copy = new_file(SECONDARY_CAPTURE, "1.2.826.0.1.3680043.8.498.2")
    copy.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
    for keyword in ("SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        setattr(copy, keyword, source[keyword].value)
    copy.PhotometricInterpretation = "MONOCHROME2"
    copy.PixelRepresentation, copy.NumberOfFrames = int(layout.signed), layout.frames
    copy.add_new("PixelData", "OB", source.PixelData)
    copy["PixelData"].is_undefined_length = True
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pixels.dcm"
        save(copy, file)
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(file))))
