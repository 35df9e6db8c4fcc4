"""A planted identity (name, number, birth date, UIDs) appears in no output, log or default file name."""

from __future__ import annotations

import logging
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from quirks import edit, write_segmentation

from RTResponseCAMLib.cli import DONE, main
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.dicom.privacy import SALT_VARIABLE, Scrubber, pseudonym, salt

NAME, NUMBER, BIRTH, ACCESSION = "Zweistein^Walpurga", "MRN-4711-0815", "19610427", "ACC998877"
PLANTED = ("zweistein", "walpurga", "mrn-4711", "4711-0815", "19610427", "1961-04-27", "acc998877")


@pytest.fixture(scope="module")
def planted(study_folder, tmp_path_factory) -> Path:
    """The study under a real-looking identity, which ROI, series and file names repeat."""
    folder = Path(shutil.copytree(study_folder / "dicom", tmp_path_factory.mktemp("planted") / "dicom"))
    for path in sorted(folder.rglob("*.dcm")):

        def change(data):
            data.PatientName, data.PatientID, data.PatientBirthDate = NAME, NUMBER, BIRTH
            data.AccessionNumber, data.OtherPatientIDs = ACCESSION, NUMBER
            data.ReferringPhysicianName = "Doktor^Faust"
            if "SeriesDescription" in data:
                data.SeriesDescription = f"{data.SeriesDescription} Zweistein"
            for item in data.get("StructureSetROISequence", ()):
                item.ROIName = str(item.ROIName).replace("GTV 1", f"GTV Walpurga {NUMBER}")
            if "RTPlanLabel" in data:
                data.RTPlanLabel = "Zweistein GK"

        edit(path, change)
    (folder / f"{NAME.replace('^', '_')}_damaged.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0\0\0garbage")
    uid = pydicom.dcmread(next((folder / "t1c").glob("*.dcm")), stop_before_pixels=True).SOPInstanceUID
    (folder / f"MR.{uid}.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0\0\0garbage")
    return folder


@pytest.fixture(scope="module")
def uids(planted) -> set[str]:
    found = set()
    for path in planted.rglob("*.dcm"):
        content = path.read_bytes()
        found |= {u.decode() for u in re.findall(rb"2\.25\.\d{10,}|1\.2\.826\.0\.1\.3680043\.8\.498\.\d{10,}", content)}
    assert len(found) > 50
    return found


def everything(folder: Path) -> dict[str, bytes]:
    """Names and contents of all files, and of the members of archives."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".mrb":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    found[name] = archive.read(name)
    return found


def assert_clean(contents: dict[str, bytes], uids: set[str]) -> None:
    for name, content in contents.items():
        text = (name.encode() + b"\n" + content).lower()
        for word in PLANTED:
            assert word.encode() not in text, f"{word} in {name}"
            assert word.encode("utf-16-le") not in text, f"{word} in {name}"
        leaked = [uid for uid in uids if uid.encode() in content]
        assert not leaked, f"{leaked[0]} in {name}"


@pytest.mark.slow
def test_predictions_name_nobody(planted, uids, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    assert main(["--quiet", "predict", str(planted), "--out", str(tmp_path / "out")]) == DONE
    said = capfd.readouterr()
    assert_clean(everything(tmp_path / "out"), uids)
    printed = (said.out + said.err).replace(str(tmp_path), "")
    assert_clean({"console": printed.encode(), "log": caplog.text.encode()}, uids)
    assert "uid-" in (tmp_path / "out" / "result.json").read_text()


@pytest.mark.slow
def test_follow_ups_name_nobody(planted, uids, tmp_path, capfd):
    folder = Path(shutil.copytree(planted, tmp_path / "in"))
    series = sorted((folder / "follow_up").glob("*.dcm"))
    first = pydicom.dcmread(series[0])
    mask = np.zeros((len(series), first.Rows, first.Columns), bool)
    mask[30:36, 60:70, 50:60] = True
    write_segmentation(folder / "seg.dcm", series, {f"met {NAME}": mask})
    assert main(["--quiet", "follow-up", str(folder), "--out", str(tmp_path / "out")]) == DONE
    assert_clean({**everything(tmp_path / "out"), "console": capfd.readouterr().out.encode()}, uids)


def test_a_visit_that_fails_names_nobody(planted, uids, tmp_path, capfd):
    folder = Path(shutil.copytree(planted, tmp_path / "in"))
    for number, path in enumerate(sorted((folder / "follow_up").glob("*.dcm"))):
        if number in (20, 21, 22, 23):
            path.unlink()
        else:
            path.rename(path.with_name(f"MR_Zweistein_{number:03d}.dcm"))
    assert main(["--quiet", "follow-up", str(folder), "--out", str(tmp_path / "out")]) == DONE
    said = capfd.readouterr().out
    assert "the step to the next slice" in said
    assert_clean({**everything(tmp_path / "out"), "console": said.encode()}, uids)


def test_inspection_names_nobody(planted, uids, capfd):
    for extra in ([], ["--json"]):
        assert main(["--quiet", "inspect", str(planted), *extra]) == DONE
        assert_clean({"console": capfd.readouterr().out.encode()}, uids)


def test_cohorts_name_nobody(planted, uids, tmp_path):
    source = tmp_path / "VS-SEG-001"
    shutil.copytree(planted, source / "study")
    assert main(["--quiet", "cohort", "import", "vs-seg", str(tmp_path), "--out", str(tmp_path / "out")]) == DONE
    assert_clean(everything(tmp_path / "out"), uids)


def test_the_key_is_stable_and_depends_on_the_salt(planted, monkeypatch):
    one = load_study(planted, with_dose=False).patient
    assert one == load_study(planted, with_dose=False).patient == pseudonym(NUMBER, "P-")
    monkeypatch.setenv(SALT_VARIABLE, "another")
    salt.cache_clear()
    assert load_study(planted, with_dose=False).patient != one
    salt.cache_clear()


def test_the_salt_is_made_once_and_kept_private(tmp_path, monkeypatch):
    monkeypatch.delenv(SALT_VARIABLE, raising=False)
    monkeypatch.delenv("APPDATA", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    salt.cache_clear()
    first = salt()
    salt.cache_clear()
    assert salt() == first
    assert len(first) >= 32
    assert (tmp_path / "RTResponseCAM" / "salt").stat().st_mode & 0o077 == 0
    salt.cache_clear()


def test_whole_words_are_hidden_and_others_kept():
    header = pydicom.Dataset()
    header.PatientName, header.PatientID = "Rand^Al", "12345"
    scrub = Scrubber([header])
    assert scrub("random RAND rand_1 Al 12345 123456") == "random *** ***_1 *** *** 123456"
    header.PatientName, header.PatientBirthDate = "Is^To", "19500102"
    short = Scrubber([header])
    assert short("what is to be: Is TO 1950-01-02 02.01.1950 19500102") == "what is to be: *** *** *** *** ***"
    assert re.fullmatch(r"x uid-[0-9a-f]{12} y", scrub("x 1.2.840.113619.2.55.3.1 y"))
    assert scrub("T1 1.5 2.0.1 mm") == "T1 1.5 2.0.1 mm"
