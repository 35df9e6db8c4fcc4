"""Dates of objects: parsed in every form that writers use, and accepted only where they are plausible.

Warnings contain no dates, because dates of service identify patients. Differences are given in days.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from RTResponseCAMLib.dicom.index import Entry

# DA; the ACR-NEMA form with dots; forms of other writers with dashes or slashes; DT, which begins with a DA.
FORMS = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})(?:\d{2}.*)?")
EARLIEST = np.datetime64("1980-01-01")  # earlier dates, before the first clinical MR, are placeholders
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
    """Date on which an object was made.

    Attributes
    ----------
    day : None when unknown.
    source : title of the attribute that states the day.
    problems : attributes without a usable date, each with the reason.
    differing : attributes that state another day, each with the difference in days (positive: later).
    """

    day: np.datetime64 | None
    source: str = ""
    problems: tuple[str, ...] = ()
    differing: tuple[tuple[str, int], ...] = ()


def parse_date(text: str) -> np.datetime64 | None:
    """Return the day of a DA or DT value (dots, dashes and slashes allowed); None for any other text."""
    match = FORMS.fullmatch(text.strip())
    if not match:
        return None
    year, _, month, day = match.groups()
    try:
        return np.datetime64(f"{year}-{month}-{day}")
    except ValueError:
        return None


def image_date(entry: Entry) -> ObjectDate:
    """Return the day of a scan.

    Content Date, the day on which the object was written, counts only where no other attribute states a day.
    """
    scan = object_date(entry, IMAGE_DATES)
    if scan.day is not None:
        return scan
    written = object_date(entry, ("ContentDate",))
    return replace(written, problems=(*scan.problems, *written.problems))


def object_date(entry: Entry, keywords: Iterable[str]) -> ObjectDate:
    """Return the day of the first attribute in ``keywords`` with a plausible day, compared with the others.

    Differences of one day are ignored.
    """
    problems: list[str] = []
    days: list[tuple[str, np.datetime64]] = []
    for keyword in keywords:
        text = entry.text(keyword)
        if not text:
            continue
        day = parse_date(text)
        reason = "it is not a date of the form YYYYMMDD" if day is None else _unbelievable(day)
        if day is None or reason:
            problems.append(f"{TITLES[keyword]}: {reason}")
        else:
            days.append((TITLES[keyword], day))
    if not days:
        return ObjectDate(None, "", tuple(problems))
    source, first_day = days[0]
    differences = [(title, int((day - first_day).astype(int))) for title, day in days[1:]]
    return ObjectDate(first_day, source, tuple(problems), tuple((title, n) for title, n in differences if abs(n) > 1))


def days_between(earlier: np.datetime64, later: np.datetime64) -> int:
    """Return the number of whole days from one date to another."""
    return int((later - earlier).astype(int))


def all_alike(entries: Iterable[Entry]) -> bool:
    """Whether all dates of the objects, in all attributes, are the same day."""
    days = {parse_date(e.text(k)) for e in entries for k in TITLES if e.text(k)}
    return len(days) == 1 and None not in days


def _unbelievable(day: np.datetime64) -> str:
    if day < EARLIEST:
        return "it lies before 1980"
    if day > np.datetime64("today") + np.timedelta64(1, "D"):
        return "it lies in the future"
    return ""
