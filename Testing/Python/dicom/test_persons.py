"""Whether two headers are of one person, and what a date is."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.dates import image_date, parse_date
from RTResponseCAMLib.dicom.identity import Verdict, compare, is_placeholder, person_key
from RTResponseCAMLib.dicom.index import Entry


def entry(number="", name="", birth="", sex="", **more):
    header = Dataset()
    header.PatientID, header.PatientName, header.PatientBirthDate, header.PatientSex = number, name, birth, sex
    for keyword, value in more.items():
        setattr(header, keyword, value)
    return Entry(None, header)


FULL = ("17", "Doe^Jane", "19600203", "F")


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        (FULL, FULL, Verdict.SAME),
        (FULL, ("17", "", "", ""), Verdict.SAME),
        (FULL, ("17", "DOE^JANE=別名", "1960.02.03", "f"), Verdict.SAME),
        (FULL, ("17", "Smith^Ann", "19600203", "F"), Verdict.SAME_IN_PART),
        (FULL, ("17", "Doe^Jane", "19600204", "F"), Verdict.SAME_IN_PART),
        (FULL, ("17", "Smith^Ann", "19600204", "F"), Verdict.OTHER),
        (FULL, ("18", "Doe^Jane", "19600203", "F"), Verdict.SAME_IN_PART),
        (FULL, ("18", "Doe^Jane^Mary", "19600203", "F"), Verdict.SAME_IN_PART),
        (FULL, ("18", "Doe^Jane", "", ""), Verdict.OTHER),
        (FULL, ("18", "", "", ""), Verdict.OTHER),
        (FULL, ("", "Doe^Jane", "", ""), Verdict.SAME),
        (FULL, ("", "Roe^Jim", "", ""), Verdict.OTHER),
        (FULL, ("ANON", "ANON", "", ""), Verdict.OPEN),
        (("ANON", "", "", "F"), ("ANON", "", "", "F"), Verdict.OPEN),
        (("ANON", "", "", "F"), ("ANON", "", "", "M"), Verdict.OTHER),
        (("0000", "x", "19000101", "O"), ("0000", "xx", "19500101", "M"), Verdict.OPEN),
        (("ANON-12", "", "", ""), ("ANON-12", "", "", ""), Verdict.SAME),
        (("ANON-12", "", "", ""), ("ANON-13", "", "", ""), Verdict.OTHER),
        (("", "", "", ""), ("", "", "", ""), Verdict.OPEN),
    ],
)
def test_persons(one, other, verdict):
    assert compare(entry(*one), entry(*other)).verdict is verdict
    assert compare(entry(*other), entry(*one)).verdict is verdict  # in whichever order


def test_ids_of_two_issuers_are_not_compared():
    one, other = entry(*FULL, IssuerOfPatientID="A"), entry("99", *FULL[1:], IssuerOfPatientID="B")
    assert compare(one, other).verdict is Verdict.SAME


def test_reasons_name_tags_and_no_values():
    found = compare(entry(*FULL), entry("17", "Roe^Jim", "19500101", "M"))
    assert found.other
    assert "Patient's Name (0010,0010)" in found.reason
    assert not any(word in found.reason for word in ("Doe", "Roe", "1960", "1950"))


def test_persons_whose_ids_prove_nothing_get_keys_of_their_own():
    keys = {person_key(entry("ANON", name)) for name in ("Doe^Jane", "Roe^Jim")}
    assert len(keys) == 2
    assert person_key(entry("17", "Doe^Jane")) == person_key(entry("17", "Roe^Jim")) == "17"


@pytest.mark.parametrize("text", ["", "ANON", "Anonymous^^", "0000", "XXX", "removed", "de-identified", "Anon^Patient"])
def test_placeholders(text):
    assert is_placeholder(text)


@pytest.mark.parametrize("text", ["4711", "ANON-0012", "Anand^Roy", "PHANTOM-4-0001", "Test17"])
def test_no_placeholders(text):
    assert not is_placeholder(text)


@pytest.mark.parametrize(
    "text", ["20200420", "2020.04.20", "2020-04-20", "2020/04/20", " 20200420 ", "20200420131500.5"]
)
def test_dates_in_every_form(text):
    assert parse_date(text) == np.datetime64("2020-04-20")


@pytest.mark.parametrize("text", ["", "20.04.2020", "2020-04/20", "20201345", "April 2020", "2020042"])
def test_what_is_no_date(text):
    assert parse_date(text) is None


@pytest.mark.parametrize("placeholder", ["19000101", "19700101", "19791231", "20991231"])
def test_the_first_believable_date_counts_and_others_are_compared(placeholder):
    header = Dataset()
    header.AcquisitionDate, header.SeriesDate, header.StudyDate = placeholder, "20200105", "20200101"
    found = image_date(Entry(None, header))
    assert found.day == np.datetime64("2020-01-05")
    assert found.source == "Series Date (0008,0021)"
    reason = "in the future" if placeholder > "2" else "before 1980"
    assert found.problems == (f"Acquisition Date (0008,0022): it lies {reason}",)
    assert found.differing == (("Study Date (0008,0020)", -4),)
