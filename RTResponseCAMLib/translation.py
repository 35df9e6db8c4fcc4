"""Translation of the sentences that the library shows in the panel.

The panel installs Slicer's translation function. Without it, as on the command line, texts stay English. Warnings and
errors in files are always English.

Warnings keep the template that they were made from. Errors are made from f-strings all over the library; a list of
their templates, written from the code, recovers it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache


def _english(text: str) -> str:
    return text


_translate: list[Callable[[str], str]] = [_english]


def install(translate: Callable[[str], str]) -> None:
    """Use ``translate`` for every sentence from now on: it takes an English template and returns its translation."""
    _translate[0] = translate


def tr(text: str) -> str:
    """Return the translation of a template; its placeholders ``{name}`` are filled afterwards by ``str.format``."""
    return _translate[0](text)


def tr_sentence(text: str) -> str:
    """Return the translation of a sentence of an error, with its values in place.

    The template is the one with the most text of those in `error_templates` that the sentence fits. Sentences that
    fit none are returned as they are; of several, joined by semicolons, each is translated by itself.
    """
    if _translate[0] is _english:
        return text
    found = _filled(text)
    if found is not None:
        return found
    return "; ".join(_filled(part) or part for part in text.split("; "))


def _filled(text: str) -> str | None:
    for pattern, template in _patterns():
        match = pattern.fullmatch(text)
        if match:
            return tr(template).format(**match.groupdict())
    return None


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return a pattern for each template, those with the most text first."""
    from RTResponseCAMLib.error_templates import TEMPLATES

    found = []
    for template in TEMPLATES:
        parts = re.split(r"(?<!\{)\{(\w+)\}", template)
        literals = [part.replace("{{", "{").replace("}}", "}") for part in parts[::2]]
        groups = [f"(?P<{name}>.*?)" for name in parts[1::2]]
        pattern = "".join(a + b for a, b in zip(map(re.escape, literals), [*groups, ""], strict=True))
        found.append((sum(map(len, literals)), re.compile(pattern, re.DOTALL), template))
    return [(pattern, template) for _, pattern, template in sorted(found, key=lambda f: -f[0])]
