"""Sentences of the library that reach the panel pass through its translation function; names are gone before."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from RTResponseCAMLib import translation
from RTResponseCAMLib.warnings import Warning, WarningCode

LIBRARY = Path(translation.__file__).parent


@pytest.fixture
def shouting():
    """A language in which everything outside the placeholders is loud."""

    def translate(text: str) -> str:
        return "".join(p if p.startswith("{") else p.upper() for p in re.split(r"(\{[^}]*\})", text))

    before = translation._translate[0]
    translation.install(translate)
    yield
    translation.install(before)


def test_a_warning_is_translated_by_its_template_and_its_text_stays_english(shouting):
    warning = WarningCode.DOSE_SUMMED(count=2, reason="all of the plan")
    assert warning.translated() == "THE DOSE IS THE SUM OF 2 RTDOSE FILES (all of the plan)"
    assert warning.text == "the dose is the sum of 2 RTDOSE files (all of the plan)"
    assert warning.as_json()["text"] == warning.text


def test_a_warning_without_values_keeps_its_text(shouting):
    assert Warning(WarningCode.DOSE_SUMMED, "as it is").translated() == "as it is"
    assert WarningCode.NO_INTERVAL().translated().startswith("THE MODEL GIVES NO INTERVAL")


def test_values_do_not_tell_warnings_apart():
    made, plain = WarningCode.MODEL(text="a"), Warning(WarningCode.MODEL, "a")
    assert made == plain
    assert len({made, plain}) == 1


def test_a_name_is_removed_from_text_and_values():
    warning = WarningCode.REPEATED_ROI_NAME(name="GTV Muster")
    clean = warning.reworded(lambda text: text.replace("Muster", "…"))
    assert "Muster" not in clean.text + clean.translated() + str(clean.values)
    assert clean.translated() == "several ROIs have the name 'GTV …'; later ones are shown as 'GTV …#2' …"


def test_every_template_can_be_filled_after_translation(shouting):
    for code in WarningCode:
        names = re.findall(r"\{(\w+)(:[^}]*)?\}", code.template)
        values = {name: 1.5 if spec else "x" for name, spec in names}
        assert code(**values).translated()


def test_without_a_panel_texts_are_english():
    assert translation.tr("Choose the {role}.") == "Choose the {role}."


PANEL_TEXTS = ("scene/problems.py", "scene/placement.py", "scene/doses.py", "subregion/summary.py")


@pytest.mark.parametrize("name", PANEL_TEXTS)
def test_sentences_of_the_panel_are_templates(name):
    """A sentence in an f-string cannot be translated: there is none in files that only write for the panel."""
    tree = ast.parse((LIBRARY / name).read_text(encoding="utf-8"))
    texts = [
        "".join(v.value for v in node.values if isinstance(v, ast.Constant))
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
    ]
    assert [t for t in texts if len(t.split()) > 2] == []
