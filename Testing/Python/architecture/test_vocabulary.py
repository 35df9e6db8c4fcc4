"""Retired words stay out of what users read: documentation, README, command line, panel, reports and warnings.

The words in use are in CONTRIBUTING.md. The archive and the changelog keep the words of their time.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from RTResponseCAMLib.cli.application import commands
from RTResponseCAMLib.warnings import WarningCode

ROOT = Path(__file__).parents[3]
RETIRED = {
    r"cautions?": "warning",
    r"doubts?|doubtful": "quality flag, uncertain",
    r"judg(e|es|ed|ing|ement|ements|ment)": "predict, evaluate, assess",
    r"arms?": "approach",
    r"ceiling": "voxel-supervised upper bound",
    r"occupanc(y|ies)": "partial-volume fraction",
    r"hottest": "highest evidence, top 20 %",
    r"what[- ]if": "simulated boost",
    r"said|spoken|unasked": "stated, listed",
    r"draws? again|drawn|draw": "reconstruct, sample, contour, plot",
    r"untrained heads|labels permuted": "weight-randomization control, label-permutation control",
    r"smallness|half[-_]cc|coarseness|lessened|heard": "evidence_l2, shrinkage_volume_cc, mr_voxel_volume_ratio",
    r"other views": "augmented copies",
    r"the cut|a cut|own cut": "threshold",
    r"rooms?|floors|nouns?|verbs?": "package, layer, domain type, workflow",
    r"cell-level points": "biopsy / cell-density points",
    r"proposals?": "proposed contour",
    r"speaks? (for|against)": "indicates, positive evidence",
    r"half-written": "incomplete",
    r"colou?rs? turn|nobody|whoever": "plain words",
    r"tumours?|centres?|colou(r|rs|red)|grey|millimetres?|labelled|neighbours?": "US spelling",
    r"normalis\w+|standardis\w+|optimis\w+|randomis\w+": "US spelling",
}  # fmt: skip
PATTERN = re.compile(r"(?<![\w-])(" + "|".join(RETIRED) + r")(?![\w-])", re.IGNORECASE)


def documentation() -> Iterator[tuple[str, str]]:
    pages = ROOT / "Docs" / "pages"
    for path in (*sorted(pages.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        if "archive" not in path.parts:
            text = path.read_text(encoding="utf-8")
            yield path.relative_to(ROOT).as_posix(), re.sub(r"```.*?```|`[^`\n]*`", " ", text, flags=re.DOTALL)


def panel() -> Iterator[tuple[str, str]]:
    form = ElementTree.parse(ROOT / "RTResponseCAM" / "Resources" / "UI" / "RTResponseCAM.ui")
    for element in form.iter("string"):
        yield "RTResponseCAM.ui", element.text or ""
    sections = sorted((ROOT / "RTResponseCAMLib" / "gui").glob("*.py"))
    for path in (ROOT / "RTResponseCAM" / "RTResponseCAM.py", *sections):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                yield path.name, str(ast.literal_eval(node.args[0]))


def reports() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "RTResponseCAMLib" / "report").glob("*.jinja")):
        text = path.read_text(encoding="utf-8")
        yield path.name, re.sub(r"<style>.*?</style>|\{%.*?%\}|\{\{.*?\}\}", " ", text, flags=re.DOTALL)


def command_line() -> Iterator[tuple[str, str]]:
    for command in commands():
        yield f"{command.group} {command.name}", command.help


def warnings() -> Iterator[tuple[str, str]]:
    for code in WarningCode:
        yield code.value, f"{code.value.replace('-', ' ')}: {code.template}"


@pytest.mark.parametrize("texts", [documentation, panel, reports, command_line, warnings])
def test_no_retired_word_is_left(texts):
    found = [f"{where}: {match.group(0)!r} in '…{text[max(match.start() - 30, 0) : match.end() + 30]}…'"
             for where, text in texts() for match in PATTERN.finditer(text)]  # fmt: skip
    assert found == []


def test_the_list_finds_what_it_is_for():
    assert [m.group(0) for m in PATTERN.finditer("The doubts of this arm; a judged tumour was drawn.")] == [
        "doubts", "arm", "judged", "tumour", "drawn",
    ]  # fmt: skip
    assert not PATTERN.search("an alarm, a warning, withdrawn contours, color, the charm of armed forces")
    assert sum(1 for _ in panel()) > 100
