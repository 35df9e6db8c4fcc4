"""Damaged and malicious files: a corpus of small real objects, ways to spoil them, and the readers that must endure it.

Each reader ends in a value or in one of the library's own errors. Used by the tests (hundreds of inputs) and by
``Testing/Benchmarks/hostile_input.py`` (ten thousand, in processes that are watched).
"""

from __future__ import annotations

import io
import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from quirks import make_enhanced, write_registration, write_segmentation

from RTResponseCAMLib.cohort.manifest import read_cohort
from RTResponseCAMLib.cohort.sheets import by_header, read_sheet
from RTResponseCAMLib.dicom.files import NotDicom, read_header
from RTResponseCAMLib.dicom.index import TAGS, Entry, Index
from RTResponseCAMLib.dicom.inspect import inspect_folder
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.dicom.mr import read_series
from RTResponseCAMLib.dicom.registration import read_links
from RTResponseCAMLib.dicom.rtdose import read_plan_dose
from RTResponseCAMLib.dicom.rtplan import read_plan
from RTResponseCAMLib.dicom.rtstruct import read_structures
from RTResponseCAMLib.dicom.seg import read_segments
from RTResponseCAMLib.dicom.targets import choose_lesions
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.imaging.labels import label_structures, read_mr, read_volume
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.imaging.transform_file import read_transform
from RTResponseCAMLib.phantom.patient import sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec
from RTResponseCAMLib.phantom.write import write_patient

TINY = {"columns": 40, "rows": 44, "slices": 24, "spacing_mm": (4.8, 4.6, 6.6)}
LENGTHS = (0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 2**31 + 5, 65536)
WORDS = ("", "NaN", "-1", "0", "1e400", "../../../../tmp/escape", "=cmd|' /C calc'!A0", "\0\0", "9" * 400, "ü" * 40)
NUMBERS = ("65535", "100000", "-5", "0", "1e300", "nan", "2147483647", "0.0000001")


def corpus(folder: Path, samples: Path | None) -> list[tuple[str, bytes, str]]:
    """(reader, content, file name) of every object that is spoiled; real samples too where they are present."""
    export = folder / "export"
    write_patient(sample_patient(PhantomSpec(seed=6, lesions=2, second_series=True, **TINY)), export)
    dicom = export / "dicom"
    series = sorted((dicom / "t1c").glob("*.dcm"))
    found = [("series", p.read_bytes(), p.name) for p in series[:2]]
    found += [(kind, (dicom / "plan_t1c" / name).read_bytes(), name) for kind, name in
              (("structures", "RS.dcm"), ("dose", "RD.dcm"), ("plan", "RP.dcm"))]  # fmt: skip
    mask = np.zeros((24, 44, 40), bool)
    mask[8:12, 10:20, 10:20] = True
    write_segmentation(folder / "seg.dcm", series, {"met": mask})
    write_registration(folder / "reg.dcm", "1.2.3", "1.2.4", np.eye(4))
    found += [(kind, (folder / f"{kind}.dcm").read_bytes(), f"{kind}.dcm") for kind in ("seg", "reg")]
    found.append(("series", make_enhanced(dicom / "t2").read_bytes(), "enhanced.dcm"))
    labels = sitk.GetImageFromArray(mask.astype(np.uint8))
    for name in ("mask.nrrd", "mask.nii.gz", "mask.nii", "mask.mha"):
        sitk.WriteImage(labels, str(folder / name))
        found.append(("volume", (folder / name).read_bytes(), name))
    sitk.WriteTransform(sitk.Euler3DTransform(), str(folder / "move.tfm"))
    found.append(("transform", (folder / "move.tfm").read_bytes(), "move.tfm"))
    for path in [*sorted(dicom.rglob("*.dcm"))[::12], *sorted((dicom / "plan_t1c").iterdir())]:
        found.append(("study", path.read_bytes(), "__".join(path.relative_to(dicom).parts)))
    (folder / "pristine").write_text(str(dicom))
    found.append(
        ("manifest", b"patient_group_id,course,lesion,study,label,label_source\na,1,x,.,0,y\n", "manifest.csv")
    )
    found.append(("sheet", _sheet(), "sheet.xlsx"))
    if samples is not None:
        kinds = {
            "MR": "series",
            "RTSTRUCT": "structures",
            "RTDOSE": "dose",
            "RTPLAN": "plan",
            "SEG": "seg",
            "CT": "series",
        }
        for path in sorted([*samples.glob("pydicom_test_files/*.dcm"), *samples.glob("highdicom_seg/*.dcm")]):
            try:
                kind = kinds.get(str(read_header(path).get("Modality")))
            except (RTResponseError, NotDicom):
                kind = "series"
            if kind and path.stat().st_size < 400_000:
                found.append((kind, path.read_bytes(), path.name))
    return found


def _sheet() -> bytes:
    from openpyxl import Workbook

    book, buffer = Workbook(), io.BytesIO()
    book.active.append(["a", "b"])
    book.active.append([1, "x"])
    book.save(buffer)
    return buffer.getvalue()


def spoil(content: bytes, rng: np.random.Generator) -> bytes:
    """One of many ways to damage bytes; DICOM objects are also spoiled attribute by attribute."""
    ways: list[Callable[[bytes, np.random.Generator], bytes]] = [
        _flip, _flip, _cut, _drop, _insert, _length, _length, _repeat,
    ]  # fmt: skip
    if content[128:132] == b"DICM":
        ways += [_attribute] * 5 + [_nest, _deflate]
    for _ in range(int(rng.integers(1, 3))):
        content = ways[int(rng.integers(len(ways)))](content, rng)
    return content


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    spoiled = bytearray(content)
    reach = len(spoiled) if rng.random() < 0.4 else min(len(spoiled), 2500)  # headers matter more than pixels
    for place in rng.integers(0, max(reach, 1), int(rng.integers(1, 24))) if spoiled else ():
        spoiled[place] = int(rng.integers(256))
    return bytes(spoiled)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(0, len(content) + 1))]


def _drop(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(content) + 1))
    return content[:start] + content[start + int(rng.integers(1, 400)) :]


def _insert(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(content) + 1))
    return content[:start] + rng.bytes(int(rng.integers(1, 300))) + content[start:]


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(content) + 1))
    part = content[start : start + int(rng.integers(8, 600))]
    return content[:start] + part * int(rng.integers(2, 60)) + content[start:]


def _length(content: bytes, rng: np.random.Generator) -> bytes:
    """Four bytes that may be a length become a lie."""
    if len(content) < 8:
        return content
    start = int(rng.integers(0, min(len(content) - 4, 4000)))
    return content[:start] + struct.pack("<I", LENGTHS[int(rng.integers(len(LENGTHS)))]) + content[start + 4 :]


def _attribute(content: bytes, rng: np.random.Generator) -> bytes:
    """Remove, empty or replace one attribute somewhere in the tree, whatever its type allows."""
    try:
        data = pydicom.dcmread(io.BytesIO(content), force=True)
        holder: Dataset = data
        elements = list(holder)
        for _ in range(4):
            element = elements[int(rng.integers(len(elements)))]
            if element.VR != "SQ" or not element.value or rng.random() < 0.2:
                break
            holder = element.value[int(rng.integers(len(element.value)))]
            elements = list(holder)
        choice = rng.random()
        if choice < 0.3:
            del holder[element.tag]
        elif choice < 0.4:
            element.value = None
        elif element.VR in ("US", "UL", "SS", "SL"):
            element.value = int(rng.choice([0, 1, 65535, 32767]))
        elif element.VR in ("DS", "IS"):
            count = int(rng.integers(1, 8))
            element = pydicom.DataElement(element.tag, "LO", "\\".join(str(rng.choice(NUMBERS)) for _ in range(count)))
            holder[element.tag] = element
        elif element.VR == "SQ":
            element.value = [Dataset()] * int(rng.integers(0, 3))
        else:
            holder[element.tag] = pydicom.DataElement(element.tag, "LO", str(rng.choice(WORDS))[:60])
        return _encoded(data)
    except Exception:  # what pydicom cannot write is not an input; the bytes are flipped instead
        return _flip(content, rng)


def _nest(content: bytes, rng: np.random.Generator) -> bytes:
    """A sequence in a sequence in a sequence, of undefined length and never closed."""
    item = b"\x0c\x30\x02\x00" + b"SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    start = content.find(b"DICM") + 4 + int(rng.integers(0, 600))
    return content[:start] + item * int(rng.choice([3, 50, 900, 20_000])) + content[start:]


def _deflate(content: bytes, rng: np.random.Generator) -> bytes:
    """A header that says deflated, and a body that unpacks to far more than it is."""
    try:
        meta = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, force=True).file_meta
        meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
        buffer = pydicom.filebase.DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        pydicom.filewriter.write_file_meta_info(buffer, meta, enforce_standard=False)
    except Exception:  # already spoiled beyond pydicom
        return _flip(content, rng)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"\0" * 128 + b"DICM" + buffer.getvalue() + packer.compress(bytes(2**22)) + packer.flush()


def _encoded(data: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=False)
    return buffer.getvalue()


def read(kind: str, path: Path) -> str:
    """Give a file to its reader: "read", or "refused" with one of the library's errors; anything else escapes."""
    try:
        _READERS[kind](path)
    except (RTResponseError, NotDicom):
        return "refused"
    return "read"


def _series(path: Path) -> None:
    entry = Entry(path, read_header(path, TAGS))
    read_series((entry,))


def _structures(path: Path) -> None:
    structures, _ = read_structures(path)
    choose_lesions(path, structures)
    for structure in structures:
        if structure.contours:
            contour_volume_cc(structure)


def _seg(path: Path) -> None:
    read_segments(Entry(path, read_header(path, TAGS)))


def _reg(path: Path) -> None:
    read_links(Index(path.parent, {}, (), (), (), (Entry(path, read_header(path, TAGS)),), {}, ()))


def _volume(path: Path) -> None:
    label_structures(read_volume(path))
    read_mr(path)


def _sheet_reader(path: Path) -> None:
    by_header(path, read_sheet(path), needed=("a",))


def _study(path: Path) -> None:
    """The spoiled file in the place of its original, among the whole ones of its study."""
    whole = Path((path.parent.parent.parent / "pristine").read_text())
    with tempfile.TemporaryDirectory() as place:
        for original in whole.rglob("*.dcm"):
            name = "__".join(original.relative_to(whole).parts)
            os.symlink(path if name == path.name else original, Path(place) / name)
        try:
            inspect_folder(Path(place))
        finally:
            load_study(Path(place))


_READERS: dict[str, Callable[[Path], object]] = {
    "series": _series,
    "structures": _structures,
    "dose": lambda path: read_plan_dose((path,), dose_fractions=1),
    "plan": read_plan,
    "seg": _seg,
    "reg": _reg,
    "volume": _volume,
    "transform": read_transform,
    "manifest": lambda path: read_cohort(path.parent),
    "sheet": _sheet_reader,
    "study": _study,
}
