"""Collect the sentences of the library's errors as templates for translators, from the code that raises them.

    python Testing/Translation/collect.py [--check]

Written is ``RTResponseCAMLib/error_templates.py``. A sentence is the second or third argument of an error, or what is
assigned to a name that is given there, in the same function or on the top level of the module. Values of an f-string
become placeholders. ``--check`` writes nothing and fails if the file is not current.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARY, FILE = ROOT / "RTResponseCAMLib", ROOT / "RTResponseCAMLib" / "error_templates.py"
ERRORS = {"StudyError", "QuestionError", "GeometryError", "ModelError", "CohortError", "OutputError", "ExistsError"}
HEAD = '''"""Sentences of errors as templates for translators; written by ``Testing/Translation/collect.py``."""

from __future__ import annotations


def _(text: str) -> str:
    """Mark a text for Slicer's collection of translatable texts."""
    return text


TEMPLATES: tuple[str, ...] = (
'''
WIDTH = 120
NOT_IN_PANEL = ("cli", "cohort", "evaluation", "phantom")  # packages whose errors only the command line shows


def template(node: ast.JoinedStr) -> str:
    """An f-string with named placeholders instead of its expressions; each name occurs once."""
    parts, names = [], []
    for value in node.values:
        if isinstance(value, ast.Constant):
            parts.append(str(value.value).replace("{", "{{").replace("}", "}}"))
            continue
        words = re.findall(r"[a-z_]+", ast.unparse(value.value).lower())  # type: ignore[attr-defined]
        name = next((w for w in reversed(words) if w.strip("_") and w not in ("join", "sorted", "len")), "value")
        names.append(name)
        parts.append("{" + name + (str(names.count(name)) if names.count(name) > 1 else "") + "}")
    return "".join(parts)


def sentences(node: ast.AST) -> Iterator[str]:
    """Every text of an expression that holds at least two words."""
    if isinstance(node, ast.JoinedStr):
        text = template(node)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value  # its braces are those of ``str.format``
    else:
        if isinstance(node, (ast.IfExp, ast.BoolOp)):
            parts = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
        elif isinstance(node, ast.Subscript):  # of a table of texts, not its key
            parts = [node.value]
        else:
            parts = list(ast.iter_child_nodes(node))
        for part in parts:
            yield from sentences(part)
        return
    if len(re.findall(r"[A-Za-z]{2,}", re.sub(r"\{\w+\}", "", text))) >= 2:
        yield text


def assigned(tree: ast.AST, name: str) -> Iterator[ast.AST]:
    """The values that are assigned to a name anywhere below ``tree``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    yield node.value
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    for element, value in zip(target.elts, node.value.elts, strict=False):
                        if isinstance(element, ast.Name) and element.id == name:
                            yield value
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)) and node.value is not None:
            yield from [node.value] if isinstance(node.target, ast.Name) and node.target.id == name else []


def of_module(source: str) -> Iterator[str]:
    """Every sentence of the errors that a module makes."""
    tree = ast.parse(source)
    tops = ast.Module([n for n in tree.body if isinstance(n, (ast.Assign, ast.AnnAssign))], [])
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS):
            continue
        around = [f for f in functions if f.lineno <= node.lineno <= (f.end_lineno or f.lineno)]
        keywords = [k.value for k in node.keywords if k.arg == "choices"]
        for argument in [*node.args[1:3], *keywords]:
            yield from sentences(argument)
            for name in {n.id for n in ast.walk(argument) if isinstance(n, ast.Name)}:
                for place in [*around, tops]:
                    for value in assigned(place, name):
                        yield from sentences(value)


def text_of_file() -> str:
    """Content of the file of templates."""
    sources = sorted(p for p in LIBRARY.rglob("*.py") if p != FILE and p.parent.name not in NOT_IN_PANEL)
    found = sorted({text for path in sources for text in of_module(path.read_text(encoding="utf-8"))})
    lines = []
    for text in found:
        line = f"    _({quoted(text)}),"
        lines.append(line if len(line) <= WIDTH else wrapped(text))
    return HEAD + "\n".join(lines) + "\n)\n"


def quoted(text: str) -> str:
    """A text as a literal in the formatter's quotes."""
    escaped = text.replace("\\", "\\\\")
    return f"'{escaped}'" if '"' in text and "'" not in text else '"' + escaped.replace('"', '\\"') + '"'


def wrapped(text: str) -> str:
    """A long text as adjacent literals, which the formatter leaves as they are."""
    lines, line = [], ""
    for word in re.findall(r"\S+\s*", text):
        if len(quoted(line + word)) > WIDTH - 8:
            lines.append(line)
            line = ""
        line += word
    return "    _(\n" + "\n".join(f"        {quoted(part)}" for part in [*lines, line]) + "\n    ),"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = text_of_file()
    if not options.check:
        FILE.write_text(text, encoding="utf-8")
    elif FILE.read_text(encoding="utf-8") != text:
        sys.exit(f"{FILE.name} is not current: python Testing/Translation/collect.py")


if __name__ == "__main__":
    main()
