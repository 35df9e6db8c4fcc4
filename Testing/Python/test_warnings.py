"""The table of warnings: complete, unambiguous, and the only place that says what a warning does."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from RTResponseCAMLib.warnings import Severity, Warning, WarningCode, by_severity, withhold_class

LIBRARY = Path(__file__).parents[2] / "RTResponseCAMLib"
SOURCES = [p for p in LIBRARY.rglob("*.py") if p.name != "warnings.py"]
TEXT = "\n".join(p.read_text() for p in SOURCES)


def filled(code: WarningCode) -> Warning:
    names = {name: spec for _, name, spec, _ in string.Formatter().parse(code.template) if name}
    return code(**{name: 1.5 if spec else "x" for name, spec in names.items()})


@pytest.mark.parametrize("code", WarningCode)
def test_every_template_can_be_filled_and_every_code_is_used(code):
    warning = filled(code)
    assert warning.text
    assert "{" not in warning.text
    assert warning.as_json() == {"code": code.value, "severity": code.severity.value, "text": warning.text}
    assert re.search(rf"WarningCode\.{code.name}\b", TEXT), f"{code.name} is used nowhere"


def test_codes_are_unique_and_written_with_dashes():
    values = [code.value for code in WarningCode]
    assert len(set(values)) == len(values) == len(WarningCode.__members__)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value) for value in values)


def test_a_missing_value_is_an_error():
    with pytest.raises(KeyError):
        WarningCode.DOSE_SUMMED(count=2)


def test_what_withholds_a_class_is_serious():
    assert all(c.severity is Severity.SERIOUS for c in WarningCode if c.withholds_class or c.flags_map)


@pytest.mark.parametrize(
    ("code", "withholds"),
    [("NOT_T1C", True), ("VOLUME_RANGE", True), ("PATCH_LIMIT", True), ("MR_EDGE", True), ("DOSE_NEEDED", True),
     ("DOSE_RBE_MODEL", True), ("HOLLOW_OUTLINE", True), ("NO_DOSE", False), ("COARSE_MR", False)],
)  # fmt: skip
def test_what_withholds_a_class(code, withholds):
    assert withhold_class([filled(WarningCode[code])]) is withholds


def test_the_serious_ones_come_first_and_once():
    note, usual, serious = (filled(WarningCode[n]) for n in ("DOSE_SUMMED", "SLICE_GAP", "GAP_IN_LESION"))
    assert by_severity([note, usual, serious, usual]) == (serious, usual, note)
    assert [w.labeled()[:9] for w in by_severity([note, serious])] == ["serious: ", "note: the"]


def test_nothing_else_decides_by_the_text_or_the_code_of_a_warning():
    """Comparisons with strings hide an effect from the table."""
    assert re.findall(r"\.code (?:==|!=|in) ?[\"'({\[]", TEXT) == []
    assert re.findall(r"[\"'][^\"']*[\"'] in (?:w|c|warning|caution)\.text", TEXT) == []
    assert re.findall(r"Warning\([\"']", TEXT) == []
