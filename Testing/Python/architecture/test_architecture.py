"""The architecture keeps its rules: layers, lists, lazy imports, nothing unpickled, a README that works."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LIBRARY = ROOT / "RTResponseCAMLib"
SOURCES = sorted(LIBRARY.rglob("*.py"))
BLOCK = """
import importlib, pkgutil, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
import RTResponseCAMLib
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)


def modules() -> list[str]:
    return [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in SOURCES]


def test_everything_but_network_and_evaluation_imports_without_torch_sklearn_slicer_and_qt():
    blocked = {"torch", "slicer", "qt", "ctk", "vtk", "vtkmodules", "trame_slicer", "radiomics", "sklearn"}
    scale_space = ("classifier", "model", "preparation", "stem", "training")
    conv = ("autoencoder", "classifier", "encoder", "energy", "model", "pretraining", "training")
    torch = (
        *(f"models.scale_space.{name}" for name in scale_space),
        *(f"models.conv.{name}" for name in conv),
        *(f"models.{name}" for name in ("evidence", "smoothing", "supervision")),
    )
    others = (
        "cam.gradient",
        "workflow.evaluate",
        "gui.",
        "evaluation.",
    )
    free = [m for m in modules() if not m.startswith(tuple(f"RTResponseCAMLib.{n}" for n in torch + others))]
    done = run(BLOCK.replace("{blocked}", repr(blocked)) + "".join(f"import {m}\n" for m in free))
    assert done.returncode == 0, done.stderr
    assert len(free) > 35


def test_nothing_but_the_panel_imports_slicer_or_qt_at_import_time():
    done = run(
        BLOCK.replace("{blocked}", repr({"slicer", "qt", "ctk", "vtk", "trame_slicer"}))
        + "\n".join(f"import {m}" for m in modules() if ".gui." not in m)
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "Testing/Benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(path):
    """Benchmarks run for hours and seldom: a name that moved must be noticed without them."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            file = path.with_name(f"{node.module}.py")
            if node.module.startswith("RTResponseCAMLib"):
                inner = ROOT / node.module.replace(".", "/")
                file = inner / "__init__.py" if inner.is_dir() else inner.with_suffix(".py")
            elif node not in tree.body or importlib.util.find_spec(node.module.split(".")[0]) is not None:
                continue  # another package, or a peer that only this benchmark asks for
            source = file.read_text()
            missing = [x.name for x in node.names if not re.search(rf"\b{x.name}\b", source)]
            if missing and file.name == "__init__.py":
                missing = [name for name in missing if not file.with_name(f"{name}.py").is_file()]
            assert missing == [], f"{path.name} imports from {node.module}"


def test_importing_the_library_takes_under_a_tenth_of_a_second():
    code = "import time; t = time.perf_counter(); import RTResponseCAMLib; print(time.perf_counter() - t)"
    assert min(float(run(code).stdout) for _ in range(3)) < 0.1


def test_the_cmake_list_names_every_file_of_the_library():
    text = (LIBRARY / "CMakeLists.txt").read_text()
    listed = set(re.findall(r"^  ([\w/]+)$", text.split("MODULE_PYTHON_RESOURCES")[0], re.MULTILINE))
    assert listed == {str(p.relative_to(LIBRARY).with_suffix("")) for p in SOURCES}


BY_PLACE = {  # functions that take more than two arguments by place, and why
    "subprogress": "a progress and the two ends of its share",
    "forward": "PyTorch calls it", "pool": "tensors of a network", "evidence": "tensors of a network",
    "masked_mean": "tensors of a network", "smoothing_weight": "tensors of a network", "blur": "tensors of a network",
    "stem_features": "tensors of a network", "local_energies": "tensors of a network",
    "features": "tensors of a network",
    "fixed_bands": "tensors of a network", "calibrated": "a forward pass and how to read it",
}  # fmt: skip


def test_arguments_beyond_the_first_two_are_named():
    """Commands are called by name alone; what begins with an underscore is nobody else's."""
    found = []
    for path in SOURCES:
        if path.parent.name == "cli":
            continue
        body = ast.parse(path.read_text()).body
        for node in [*body, *(m for c in body if isinstance(c, ast.ClassDef) for m in c.body)]:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in BY_PLACE:
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
                if len([name for name in names if name not in ("self", "cls")]) > 2:
                    found.append(f"{path.name}:{node.lineno} {node.name}")
    assert found == []


def test_no_file_is_longer_than_a_newcomer_reads():
    read = [p for p in SOURCES if p.name != "error_templates.py"]  # a list for translators, written by a script
    assert {p.name: n for p in read if (n := len(p.read_text().splitlines())) > 400} == {}


@pytest.mark.parametrize("pattern", [r"\bpickle\b", r"torch\.load\(", r"joblib\.load", r"[^a-z_.]eval\("])
def test_nothing_unsafe_is_loaded(pattern):
    found = [p.name for p in SOURCES if re.search(pattern, p.read_text())]
    assert found == []


def test_the_layers_hold():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_readme_names_the_two_commands_and_the_makefile_has_them():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_says_research_use_only():
    assert "Research use only" in (ROOT / "README.md").read_text()
