"""Whether two objects are of the same person: Patient ID, name, birth date and sex together.

Rules (`compare`): an ID that stands for "removed" proves nothing. Equal IDs are one person unless two of name, birth
date and sex differ. Different IDs are two persons unless name and birth date both agree. Without IDs, anything that
differs makes two persons, and nothing in common leaves it open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from RTResponseCAMLib.dicom.dates import parse_date
from RTResponseCAMLib.dicom.free_text import folded
from RTResponseCAMLib.dicom.index import Entry

# What anonymizers write in place of an ID or a name; a number behind it makes it a pseudonym, which tells persons apart
PLACEHOLDER = re.compile(
    r"(anon[a-z]*|anonimo|no\s?name|unknown|none|null|n/?a|removed|deleted|de-?identified|de-?id|hidden|masked|blank"
    r"|patient|patientid|subject|test|dummy|x+|0+|\*+|-+|\?+)"
)
ID, NAME, BIRTH, SEX = (
    "Patient ID (0010,0020)",
    "Patient's Name (0010,0010)",
    "Patient's Birth Date (0010,0030)",
    "Patient's Sex (0010,0040)",
)


class Verdict(Enum):
    """SAME, SAME_IN_PART (something differs, more agrees), OPEN (nothing to compare), OTHER."""

    SAME = "same"
    SAME_IN_PART = "same in part"
    OPEN = "open"
    OTHER = "other"


@dataclass(frozen=True)
class Comparison:
    """The verdict, and the attributes that differ and that agree."""

    verdict: Verdict
    differs: tuple[str, ...] = ()
    agrees: tuple[str, ...] = ()

    @property
    def other(self) -> bool:
        """They are two persons."""
        return self.verdict is Verdict.OTHER

    @property
    def reason(self) -> str:
        """What differs, in words; without values, which are the patient's."""
        return f"{' and '.join(self.differs)}{self.though}"

    @property
    def though(self) -> str:
        """What agrees all the same, as the end of a sentence; "" where nothing does."""
        verb = "agrees" if len(self.agrees) == 1 else "agree"
        return f", though {' and '.join(self.agrees)} {verb}" if self.agrees else ""


def compare(one: Entry, other: Entry) -> Comparison:
    """Compare the persons of two objects."""
    found: dict[str, bool] = {}
    a, b = (_identifier(e) for e in (one, other))
    issuers = {_plain(e.text("IssuerOfPatientID")) for e in (one, other)} - {""}
    if a and b and len(issuers) < 2:
        found[ID] = a == b
    for title, values in (
        (NAME, tuple(_name_parts(e) for e in (one, other))),
        (BIRTH, tuple(_birth(e) for e in (one, other))),
        (SEX, tuple(s if (s := _plain(e.text("PatientSex"))) in ("m", "f") else "" for e in (one, other))),
    ):
        if values[0] and values[1]:
            found[title] = _agree(*values)
    differs = tuple(title for title, same in found.items() if not same)
    agrees = tuple(title for title, same in found.items() if same)
    return Comparison(_verdict(found), differs, agrees)


def is_placeholder(text: str) -> bool:
    """Whether an ID or a name stands for "removed"."""
    parts = [part for part in re.split(r"[\^\s,_]+", _plain(text)) if part]
    return all(PLACEHOLDER.fullmatch(part) for part in parts)


def person_key(entry: Entry) -> str:
    """What a person's pseudonym is made from: the ID, or where it proves nothing, all that there is of the study."""
    number = entry.text("PatientID")
    if _identifier(entry):
        return number
    return "\n".join([number, *(entry.text(k) for k in ("PatientName", "PatientBirthDate", "StudyInstanceUID"))])


def _verdict(found: dict[str, bool]) -> Verdict:
    differing = [title for title, same in found.items() if not same]
    if not found:
        return Verdict.OPEN
    if not differing:
        return Verdict.SAME if ID in found or NAME in found or BIRTH in found else Verdict.OPEN
    if ID not in found:
        return Verdict.OTHER
    if found[ID]:
        return Verdict.SAME_IN_PART if len(differing) == 1 else Verdict.OTHER
    agreed = found.get(NAME) and found.get(BIRTH) and found.get(SEX) is not False
    return Verdict.SAME_IN_PART if agreed else Verdict.OTHER


def _agree(one: object, other: object) -> bool:
    """Equal; of names, every part of the shorter one in the longer (a second name is often left out)."""
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        return one <= other or other <= one
    return one == other


def _identifier(entry: Entry) -> str:
    """Patient ID, "" where it is absent or stands for "removed"."""
    text = _plain(entry.text("PatientID"))
    return "" if is_placeholder(text) else text


def _name_parts(entry: Entry) -> frozenset[str]:
    text = _plain(entry.text("PatientName").split("=")[0])
    if is_placeholder(text):
        return frozenset()
    return frozenset(part for part in re.split(r"[\^\s,.]+", text) if len(part) > 1 or not part.isascii())


def _birth(entry: Entry) -> str:
    day = parse_date(entry.text("PatientBirthDate"))
    return "" if day is None or str(day) <= "1900-01-01" else str(day)


def _plain(text: str) -> str:
    return folded(text).strip()
