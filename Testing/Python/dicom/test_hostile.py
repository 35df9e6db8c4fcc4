"""Damaged and malicious files end in a value or in a clear error, in bounded time and memory, and write nothing."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hostile import corpus, read, spoil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quirks import edit

from RTResponseCAMLib.cli import BAD_INPUT, main
from RTResponseCAMLib.dicom.files import NotDicom, read_header
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.errors import StudyError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def objects_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def objects(objects_folder):
    return corpus(objects_folder, None)


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(number=st.integers(0, 2**32 - 1))
@pytest.mark.slow
def test_spoiled_files_are_read_or_refused(objects, objects_folder, number):
    rng = np.random.default_rng([3, number])
    kind, content, name = objects[int(rng.integers(len(objects)))]
    path = objects_folder / "inputs" / str(number) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(spoil(content, rng))
    assert read(kind, path) in ("read", "refused")


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=400), part10=st.booleans())
def test_bytes_that_are_no_dicom_are_passed_over_or_refused(tmp_path_factory, content, part10):
    path = tmp_path_factory.mktemp("bytes") / "x.dcm"
    path.write_bytes((b"\0" * 128 + b"DICM" if part10 else b"\x08\x00") + content)
    with contextlib.suppress(StudyError, NotDicom):
        read_header(path)


def in_own_process(code: str, limit_mb: int) -> subprocess.CompletedProcess:
    """Run in a process whose memory is watched; prints the growth of its peak in MB as the last line."""
    program = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from RTResponseCAMLib.dicom.index import index_folder
        from RTResponseCAMLib.dicom.load import load_study
        from RTResponseCAMLib.errors import RTResponseError
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            {code}
        except RTResponseError as error:
            print(error)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """).replace("{code}", code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < limit_mb, done.stdout
    return done


@pytest.mark.slow
def test_a_deflate_bomb_is_refused_without_being_unpacked(own_study):
    """1 MB that unpacks to 1 GB."""
    path = own_study / "plan_t1c" / "RS.dcm"
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    pydicom.filewriter.write_file_meta_info(buffer, data.file_meta)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    with path.open("wb") as handle:
        handle.write(b"\0" * 128 + b"DICM" + buffer.getvalue())
        for _ in range(1024):
            handle.write(packer.compress(bytes(2**20)))
        handle.write(packer.flush())
    assert path.stat().st_size < 2**21
    done = in_own_process(f"load_study(Path({str(own_study)!r}))", 50)
    assert "holds no RTSTRUCT" in done.stdout


@pytest.mark.slow
def test_pixels_that_are_promised_but_not_there_are_not_waited_for(own_study):
    def change(data):
        data.Rows = data.Columns = 65535

    for path in (own_study / "t1c").glob("*.dcm"):
        edit(path, change)
    done = in_own_process(f"load_study(Path({str(own_study)!r}))", 100)
    assert "more than 268 million voxels" in done.stdout


@pytest.mark.slow
def test_a_length_of_two_gigabytes_in_a_small_file_is_refused(own_study):
    path = own_study / "plan_t1c" / "RS.dcm"
    content = path.read_bytes()
    place = content.index(b"\x06\x30\x39\x00") + 4  # ROI Contour Sequence, implicit: tag, then length
    path.write_bytes(content[:place] + struct.pack("<I", 2**31 + 16) + content[place + 4 :])
    done = in_own_process(f"load_study(Path({str(own_study)!r}))", 300)
    assert "RS.dcm" in done.stdout or "RTSTRUCT" in done.stdout


@pytest.mark.slow
def test_sequences_without_end_are_refused(own_study):
    path = own_study / "plan_t1c" / "RP.dcm"
    content = path.read_bytes()
    nested = (b"\x0c\x30\x02\x00SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff") * 50_000
    path.write_bytes(content + nested)
    done = in_own_process(
        f"print(sorted(c.code for c in load_study(Path({str(own_study)!r}), prescription_gy=20).warnings))", 300
    )
    assert "unreadable-file" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("names", [("../../escape", "=1+1", "x\0y"), ("..\\..\\escape", "<script>", "/etc/passwd")])
def test_roi_names_write_nothing_outside_the_folder(own_study, tmp_path, names):
    def rename(data):
        for item, name in zip(data.StructureSetROISequence, names, strict=False):
            item.ROIName = name

    edit(own_study / "plan_t1c" / "RS.dcm", rename)
    out = tmp_path / "deep" / "er" / "out"
    before = {p for p in tmp_path.rglob("*") if "dicom" not in p.parts}
    main(["--quiet", "predict", str(own_study), "--out", str(out), "--no-scene"])
    after = {p for p in tmp_path.rglob("*") if "dicom" not in p.parts} - before
    assert out in after
    assert all(p == out or out in p.parents or p in out.parents for p in after)
    assert ",=1" not in (out / "lesions.csv").read_text()
    assert "<script>" not in (out / "report.html").read_text()


@pytest.mark.slow
def test_a_folder_of_spoiled_files_is_one_clear_error(own_study, tmp_path, capsys):
    rng = np.random.default_rng(5)
    for path in own_study.rglob("*.dcm"):
        path.write_bytes(spoil(path.read_bytes(), rng)[: int(rng.integers(10, 3000))])
    code = main(["--quiet", "predict", str(own_study), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert code == BAD_INPUT
    assert said.startswith("error: ")
    assert "Traceback" not in said


def test_a_link_that_turns_back_on_itself_does_not_hang(own_study):
    os.symlink(own_study, own_study / "loop", target_is_directory=True)
    assert load_study(own_study).lesions


def test_an_attribute_of_an_unknown_type_counts_as_absent(own_study):
    """pydicom raises only when it is asked for the value."""
    path = next((own_study / "plan_t1c").glob("RD*"))
    content = path.read_bytes()
    place = content.index(b"\x28\x00\x03\x01US")
    path.write_bytes(content[: place + 4] + b"U7" + content[place + 6 :])
    header = read_header(path)
    assert "PixelRepresentation" not in header
    assert header.BitsAllocated == 16
    with pytest.raises(StudyError, match="lacks PixelRepresentation"):
        load_study(own_study)
