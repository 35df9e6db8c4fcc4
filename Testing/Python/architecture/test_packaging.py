"""What Slicer's ExtensionsIndex asks of a repository, as far as a repository can answer."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from RTResponseCAMLib.report.html import READ_A_RESULT

ROOT = Path(__file__).parents[3]
MODULE = ROOT / "RTResponseCAM"
CMAKE = (ROOT / "CMakeLists.txt").read_text()


def listed(text: str, name: str) -> set[str]:
    block = re.search(rf"set\({name}\n(.*?)\n  \)", text, re.DOTALL).group(1)
    return {line.strip().replace("${MODULE_NAME}", "RTResponseCAM") for line in block.splitlines()}


def meta(name: str) -> str:
    return re.search(rf'set\({name} "(.*)"\)', CMAKE).group(1)


def test_the_modules_cmake_list_names_every_file_of_the_module():
    text = (MODULE / "CMakeLists.txt").read_text()
    files = {str(f.relative_to(MODULE)) for f in MODULE.rglob("*") if f.is_file() and "__pycache__" not in f.parts}
    assert listed(text, "MODULE_PYTHON_SCRIPTS") == {f for f in files if f.endswith(".py")}
    assert listed(text, "MODULE_PYTHON_RESOURCES") == {f for f in files if f.startswith("Resources/")}


def test_the_librarys_cmake_list_names_every_file_that_is_no_python():
    """A report without its template would fail in Slicer alone."""
    library = ROOT / "RTResponseCAMLib"
    files = {f.relative_to(library).as_posix() for f in library.rglob("*") if f.is_file() and f.suffix != ".pyc"}
    others = {f for f in files if not f.endswith(".py") and f != "CMakeLists.txt"}
    assert listed((library / "CMakeLists.txt").read_text(), "MODULE_PYTHON_RESOURCES") == others


def test_every_in_application_test_is_registered():
    folder = ROOT / "Testing" / "Slicer"
    registered = set(re.findall(r"SCRIPT (\w+)\.py", (folder / "CMakeLists.txt").read_text()))
    assert registered == {f.stem for f in folder.glob("*.py")}
    assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)" in (MODULE / "CMakeLists.txt").read_text()
    assert "add_subdirectory(Testing)" in CMAKE
    assert "add_subdirectory(Slicer)" in (ROOT / "Testing" / "CMakeLists.txt").read_text()


def test_no_python_file_would_be_taken_for_a_module_by_mistake():
    assert [f.name for f in MODULE.glob("*.py")] == ["RTResponseCAM.py"]
    assert list(ROOT.glob("*.py")) == []


def test_the_module_runs_nothing_and_imports_nothing_heavy_on_import():
    tree = ast.parse((MODULE / "RTResponseCAM.py").read_text())
    kinds = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.Assign)
    others = [n for n in tree.body if not isinstance(n, kinds)]
    assert [type(n).__name__ for n in others] == ["Expr", "Try"]  # the docstring, and the way to the library
    names = {a.name for n in tree.body if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in tree.body if isinstance(n, ast.ImportFrom)}
    roots = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert roots == {"qt", "slicer", "vtk", "RTResponseCAMLib"}
    values = [n.value for n in tree.body if isinstance(n, ast.Assign)]
    assert all(isinstance(v, (ast.Constant, ast.Tuple)) for v in values)


def test_the_classes_follow_slicers_names():
    tree = ast.parse((MODULE / "RTResponseCAM.py").read_text())
    classes = [n.name for n in tree.body if isinstance(n, ast.ClassDef)]
    assert classes == [f"RTResponseCAM{n}" for n in ("", "Widget", "Logic", "Test")]


def test_the_module_file_holds_slicers_entry_points_and_little_else():
    assert len((MODULE / "RTResponseCAM.py").read_text().splitlines()) <= 300


def test_every_text_of_the_panel_can_be_translated():
    """Words that are put on a widget pass through the translation function."""
    pattern = re.compile(r"\.(?:text|toolTip) = [\"']\w")
    found = [p.name for p in (ROOT / "RTResponseCAMLib" / "gui").glob("*.py") if pattern.search(p.read_text())]
    assert found == []


def test_the_widgets_of_the_form_name_parameters_that_exist():
    form = (MODULE / "Resources" / "UI" / "RTResponseCAM.ui").read_text()
    named = set(re.findall(r'"SlicerParameterName" stdset="0">\s*<string>(\w+)</string>', form))
    tree = ast.parse((ROOT / "RTResponseCAMLib" / "gui" / "parameters.py").read_text())
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "PanelParameters")
    known = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign)}
    assert len(named) >= 18
    assert named <= known


def test_the_index_entry_agrees_with_cmake():
    entry = json.loads((ROOT / "Resources" / "ExtensionsIndex" / "RTResponseCAM.json").read_text())
    allowed = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies",
               "dicom_support_rule", "build_subdirectory", "enabled", "tier"}  # fmt: skip
    assert {"$schema", "category", "scm_url"} <= set(entry) <= allowed
    assert entry["category"] == "Radiotherapy"
    assert entry["build_dependencies"] == meta("EXTENSION_DEPENDS").split()
    assert entry["scm_url"].removesuffix(".git") == meta("EXTENSION_HOMEPAGE")
    assert entry["scm_url"].split("/")[-1] == "SlicerRTResponseCAM.git"
    assert re.search(r"^project\(RTResponseCAM\)$", CMAKE, re.MULTILINE)


@pytest.mark.parametrize("name", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_icon_and_screenshots_are_raw_files_of_this_repository(name):
    for url in meta(name).split():
        assert url.startswith("https://raw.githubusercontent.com/RTResponseCAM/SlicerRTResponseCAM/main/")
        path = ROOT / url.split("/main/")[1]
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_icon_is_128_pixels_square():
    from matplotlib.image import imread

    for path in (ROOT / "Resources" / "Icons", MODULE / "Resources" / "Icons"):
        assert np.asarray(imread(path / "RTResponseCAM.png")).shape[:2] == (128, 128)


def test_the_repository_is_small_and_has_unix_line_ends():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    files = [ROOT / name for name in done.stdout.splitlines()] or [f for f in ROOT.rglob("*.py")]
    files = [f for f in files if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 20e6
    binary = {".png", ".gif", ".safetensors"}
    assert [f.name for f in files if f.suffix not in binary and b"\r\n" in f.read_bytes()] == []


def test_the_home_page_says_what_the_index_wants():
    readme = (ROOT / "README.md").read_text()
    for needed in (
        "# RTResponseCAM",
        "Apache",
        "2506.17536",
        "Docs/pages/tutorials/inspect_heatmap.md",
        "panel.gif",
        "patent",
    ):
        assert needed in readme
    assert (ROOT / "LICENSE").read_text().lstrip().startswith("Apache License")
    description = meta("EXTENSION_DESCRIPTION")
    assert 60 < len(description) < 400
    assert not meta("EXTENSION_HOMEPAGE").split("/")[-1].startswith("SlicerSlicer")


def test_the_tutorial_shows_each_step_with_pictures_that_exist():
    folder = ROOT / "Docs" / "pages" / "tutorials"
    text = "".join((folder / f"{name}.md").read_text() for name in ("inspect_heatmap", "contour_subregion"))
    for step in ("Load sample", "Predict", "Create segment", "Export"):
        assert step in text
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(pictures) >= 3
    assert all((folder / p).resolve().is_file() for p in pictures)


def test_panel_and_report_link_the_page_that_explains_a_result():
    form = (MODULE / "Resources" / "UI" / "RTResponseCAM.ui").read_text()
    assert f"&lt;a href=&quot;{READ_A_RESULT}&quot;" in form
    site = re.search(r"^site_url: (\S+)$", (ROOT / "Docs" / "mkdocs.yml").read_text(), re.MULTILINE).group(1)
    page = READ_A_RESULT.removeprefix(site).removesuffix(".html")
    assert (ROOT / "Docs" / "pages" / f"{page}.md").is_file()
