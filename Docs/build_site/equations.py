r"""MkDocs hook: LaTeX equations become MathML when the site is built, so that pages need no script and no network.

A line ``$$ … \tag{3} $$`` is a numbered equation with the anchor ``eq-3``; ``$…$`` within a line is inline math.
Code is left alone.
"""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

BLOCK = re.compile(r"^\$\$(.+?)\$\$\s*$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<![\\$\w])\$(?!\s)([^$\n`]+?)(?<!\s)\$(?![\w$])")
TAG = re.compile(r"\\tag\{(\w+)\}")
FENCED = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def _numbered(match: re.Match[str]) -> str:
    latex = match.group(1).strip()
    tag = TAG.search(latex)
    mathml = convert(TAG.sub("", latex).strip(), display="block")
    if tag is None:
        return f'<div class="equation">{mathml}</div>\n'
    return f'<div class="equation" id="eq-{tag.group(1)}">{mathml}<span class="number">({tag.group(1)})</span></div>\n'


def _inline(match: re.Match[str]) -> str:
    # Without the span, Markdown takes a line that begins with <math> for a block.
    return f"<span>{convert(match.group(1))}</span>"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace equations outside code by MathML."""
    parts = FENCED.split(markdown)
    for index in range(0, len(parts), 2):
        parts[index] = BLOCK.sub(_numbered, parts[index])
        parts[index] = INLINE.sub(_inline, parts[index])
    return "".join(parts)
