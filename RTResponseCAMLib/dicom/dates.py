"""Dates of objects: read in every form that writers use, and believed only where they can be true.

No warning names a date: dates of service are identifying. Differences are given in days.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from RTResponseCAMLib.dicom.index import Entry

# DA; the form of ACR-NEMA with dots, and the ones of other writers with dashes or slashes; DT, which begins with a DA.
FORMS = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})(?:\d{2}.*)?")
EARLIEST = np.datetime64("1980-01-01")  # before the first clinical MR, dates are placeholders
IMAGE_DATES = ("AcquisitionDate", "AcquisitionDateTime", "SeriesDate", "StudyDate")
TITLES = {
    "AcquisitionDate": "Acquisition Date (0008,0022)",
    "AcquisitionDateTime": "Acquisition DateTime (0008,002A)",
    "SeriesDate": "Series Date (0008,0021)",
    "StudyDate": "Study Date (0008,0020)",
    "ContentDate": "Content Date (0008,0023)",
    "RTPlanDate": "RT Plan Date (300A,0006)",
    "StructureSetDate": "Structure Set Date (3006,0008)",
}


@dataclass(frozen=True)
class ObjectDate:
    """When an object was made.

    Attributes
    ----------
    day : None when unknown.
    source : title of the attribute that says it.
    problems : attributes that hold no usable date, and why.
    differing : attributes that state another day, and by how many days it is later.
    """

    day: np.datetime64 | None
    source: str = ""
    problems: tuple[str, ...] = ()
    differing: tuple[tuple[str, int], ...] = ()


def parse_date(text: str) -> np.datetime64 | None:
    """Day of a DA or DT value, dots, dashes and slashes allowed; None when it is none."""
    found = FORMS.fullmatch(text.strip())
    if not found:
        return None
    year, _, month, day = found.groups()
    try:
        return np.datetime64(f"{year}-{month}-{day}")
    except ValueError:
        return None


def image_date(entry: Entry) -> ObjectDate:
    """Day of a scan; Content Date, when the object was written, only where nothing else states one."""
    scan = object_date(entry, IMAGE_DATES)
    if scan.day is not None:
        return scan
    written = object_date(entry, ("ContentDate",))
    return replace(written, problems=(*scan.problems, *written.problems))


def object_date(entry: Entry, keywords: Iterable[str]) -> ObjectDate:
    """The first of some attributes that holds a believable day; the others are compared with it."""
    problems: list[str] = []
    days: list[tuple[str, np.datetime64]] = []
    for keyword in keywords:
        text = entry.text(keyword)
        if not text:
            continue
        day = parse_date(text)
        reason = "it is no date of the form YYYYMMDD" if day is None else _unbelievable(day)
        if day is None or reason:
            problems.append(f"{TITLES[keyword]}: {reason}")
        else:
            days.append((TITLES[keyword], day))
    if not days:
        return ObjectDate(None, "", tuple(problems))
    source, first = days[0]
    other = [(title, int((day - first).astype(int))) for title, day in days[1:]]
    return ObjectDate(first, source, tuple(problems), tuple((title, n) for title, n in other if abs(n) > 1))


def days_between(earlier: np.datetime64, later: np.datetime64) -> int:
    """Whole days from one date to another."""
    return int((later - earlier).astype(int))


def all_alike(entries: Iterable[Entry]) -> bool:
    """Whether every date of some objects is the same one, in all attributes."""
    days = {parse_date(e.text(k)) for e in entries for k in TITLES if e.text(k)}
    return len(days) == 1 and None not in days


def _unbelievable(day: np.datetime64) -> str:
    if day < EARLIEST:
        return "it lies before 1980"
    if day > np.datetime64("today") + np.timedelta64(1, "D"):
        return "it lies in the future"
    return ""
