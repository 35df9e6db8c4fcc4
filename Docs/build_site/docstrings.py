"""Griffe extension: entries ``name : text`` of this project's docstrings become numpydoc entries with a description."""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTIONS = {"Parameters", "Attributes", "Raises", "Returns", "Yields", "Warns"}
ENTRY = re.compile(r"^(?P<names>[\w.*]+(?:, [\w.*]+)*) : (?P<text>.*)$")
# Sphinx-like cross-references with one backtick are code here.
CODE = re.compile(r"(?<!`)`(?!`)([^`\n]+)(?<!`)`(?!`)|``([^`\n]+)``")


def numpydoc(text: str) -> str:
    """Rewrite the entries of all sections of one docstring."""
    lines, out, inside, split = text.splitlines(), [], False, False
    for index, line in enumerate(lines):
        following = lines[index + 1].strip() if index + 1 < len(lines) else ""
        if line.strip() in SECTIONS and set(following) == {"-"}:
            inside, split = True, False
        elif inside and set(line.strip()) == {"-"}:
            pass
        elif inside and line and not line.startswith(" "):
            match = ENTRY.match(line)
            split = match is not None
            # One entry may explain several parts: "batch : … . voxels : …" stays one description.
            if match is not None:
                out += [match["names"], f"    {match['text']}"]
                continue
        elif inside and split and line.startswith("    "):
            out.append("    " + line.strip())
            continue
        out.append(line)
    return CODE.sub(lambda m: f"`{m.group(1) or m.group(2)}`", "\n".join(out))


class Docstrings(griffe.Extension):
    """Apply `numpydoc` to every docstring that is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class or function."""
        if obj.docstring is not None:
            obj.docstring.value = numpydoc(obj.docstring.value)
