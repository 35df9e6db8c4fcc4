"""Comparison of the patients of two objects by Patient ID, name, birth date and sex together.

Rules (`compare`): a placeholder ID (one that stands for "removed") is ignored. Equal IDs are one person unless two of
name, birth date and sex differ. Different IDs are two persons unless name and birth date both agree. Without IDs, any
difference makes two persons. With nothing to compare, the verdict is OPEN.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from RTResponseCAMLib.dicom.dates import parse_date
from RTResponseCAMLib.dicom.free_text import folded
from RTResponseCAMLib.dicom.index import Entry

# Placeholders that anonymizers write for an ID or a name. With a number behind it, the text is a pseudonym, which
# distinguishes persons.
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
    """Result of a comparison: the verdict, the attributes that differ, and the attributes that agree."""

    verdict: Verdict
    differs: tuple[str, ...] = ()
    agrees: tuple[str, ...] = ()

    @property
    def other(self) -> bool:
        """Whether the objects are of two persons."""
        return self.verdict is Verdict.OTHER

    @property
    def reason(self) -> str:
        """Text that names the attributes that differ, without their values, which identify the patient."""
        return f"{' and '.join(self.differs)}{self.though}"

    @property
    def though(self) -> str:
        """End of a sentence that names the attributes that agree; "" where none agrees."""
        verb = "agrees" if len(self.agrees) == 1 else "agree"
        return f", though {' and '.join(self.agrees)} {verb}" if self.agrees else ""


def compare(first: Entry, second: Entry) -> Comparison:
    """Return the comparison of the patients of two objects."""
    agreement: dict[str, bool] = {}
    first_id, second_id = (_identifier(e) for e in (first, second))
    issuers = {_plain(e.text("IssuerOfPatientID")) for e in (first, second)} - {""}
    if first_id and second_id and len(issuers) < 2:
        agreement[ID] = first_id == second_id
    for title, values in (
        (NAME, tuple(_name_parts(e) for e in (first, second))),
        (BIRTH, tuple(_birth(e) for e in (first, second))),
        (SEX, tuple(s if (s := _plain(e.text("PatientSex"))) in ("m", "f") else "" for e in (first, second))),
    ):
        if values[0] and values[1]:
            agreement[title] = _agree(*values)
    differs = tuple(title for title, same in agreement.items() if not same)
    agrees = tuple(title for title, same in agreement.items() if same)
    return Comparison(_verdict(agreement), differs, agrees)


def is_placeholder(text: str) -> bool:
    """Whether an ID or a name is a placeholder for "removed"."""
    parts = [part for part in re.split(r"[\^\s,_]+", _plain(text)) if part]
    return all(PLACEHOLDER.fullmatch(part) for part in parts)


def person_key(entry: Entry) -> str:
    """Return the text from which a patient's pseudonym is made.

    This is the Patient ID. Where it is absent or a placeholder, name, birth date and Study Instance UID are added.
    """
    patient_id = entry.text("PatientID")
    if _identifier(entry):
        return patient_id
    return "\n".join([patient_id, *(entry.text(k) for k in ("PatientName", "PatientBirthDate", "StudyInstanceUID"))])


def _verdict(agreements: dict[str, bool]) -> Verdict:
    differing = [title for title, same in agreements.items() if not same]
    if not agreements:
        return Verdict.OPEN
    if not differing:
        return Verdict.SAME if ID in agreements or NAME in agreements or BIRTH in agreements else Verdict.OPEN
    if ID not in agreements:
        return Verdict.OTHER
    if agreements[ID]:
        return Verdict.SAME_IN_PART if len(differing) == 1 else Verdict.OTHER
    agreed = agreements.get(NAME) and agreements.get(BIRTH) and agreements.get(SEX) is not False
    return Verdict.SAME_IN_PART if agreed else Verdict.OTHER


def _agree(first: object, second: object) -> bool:
    """Whether two values agree: they are equal, or all parts of the shorter name are in the longer name.

    A second name is often left out.
    """
    if isinstance(first, frozenset) and isinstance(second, frozenset):
        return first <= second or second <= first
    return first == second


def _identifier(entry: Entry) -> str:
    """Return the Patient ID, "" where it is absent or a placeholder."""
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
