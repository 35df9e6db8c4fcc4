"""Sentences of the library that reach the panel pass through its translation function; names are gone before."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from RTResponseCAMLib import translation
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.error_templates import TEMPLATES
from RTResponseCAMLib.errors import StudyError
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


@pytest.fixture(scope="module")
def collect():
    script = LIBRARY.parent / "Testing" / "Translation" / "collect.py"
    spec = importlib.util.spec_from_file_location("collect", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_templates_of_errors_are_those_of_the_code(collect):
    """`python Testing/Translation/collect.py` writes them again."""
    assert collect.text_of_file() == collect.FILE.read_text(encoding="utf-8")


def test_sentences_are_collected_from_arguments_names_and_tables(collect):
    source = """
FIX = "Export it again"
TEXTS = {1: "first text", 2: f"second {x} and {y.x}"}
def load(path):
    problem, other = f"has {len(rows)} rows {path!r}", "not an argument"
    if path:
        problem = "holds {nothing} of use"
    raise StudyError(path, problem, FIX)
def save(path):
    raise OutputError(path, TEXTS[path] + ("; is full" if path else "of it all"), "Free")
def ask(path):
    raise QuestionError(path, "two of one", "Choose", option="x", choices=[(1, "the first one")])
"""
    assert set(collect.of_module(source)) == {
        "has {rows} rows {path}", "holds {nothing} of use", "Export it again", "first text",
        "second {x} and {x2}", "; is full", "of it all", "two of one", "the first one",
    }  # fmt: skip


def test_errors_are_translated_by_their_templates_with_their_values_in_place(shouting):
    wrong = []
    for template in TEMPLATES:
        names = re.findall(r"(?<!\{)\{(\w+)\}", template)
        text = template.format(**{name: f"7{n}.5" for n, name in enumerate(names)})
        error = StudyError("file.dcm", text, "Check free space and permissions")
        assert str(error) == f"file.dcm: {text}. Check free space and permissions."
        if error.translated() != f"file.dcm: {text.upper()}. CHECK FREE SPACE AND PERMISSIONS.":
            wrong.append(error.translated())
    assert wrong == []


def test_joined_and_unknown_sentences(shouting):
    assert translation.tr_sentence("lies beyond the scan; has two colors") == "lies beyond the scan; has two colors"
    known = TEMPLATES[TEMPLATES.index("Check free space and permissions")]
    assert translation.tr_sentence(f"{known}; has two colors") == f"{known.upper()}; has two colors"


def test_errors_stay_english_without_a_panel():
    assert StudyError("", "is not as it was", "Check free space and permissions").translated() == (
        "is not as it was. Check free space and permissions."
    )


def test_a_real_error_of_the_reader_is_translated(tmp_path, shouting):
    with pytest.raises(StudyError) as caught:
        load_study(tmp_path / "absent")
    assert caught.value.what.upper() in caught.value.translated()
    assert caught.value.fix.upper() in caught.value.translated()


@pytest.mark.parametrize("path", sorted((LIBRARY / "gui").glob("*.py")), ids=lambda p: p.stem)
def test_the_panel_shows_errors_in_its_language(path):
    assert "str(error)" not in path.read_text(encoding="utf-8")
