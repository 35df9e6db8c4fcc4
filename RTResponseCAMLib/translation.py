"""Translation of the sentences that the library shows in the panel.

The panel installs Slicer's translation function. Without it, as on the command line, texts stay English. Warnings in
files are always English, and error messages are not translated yet.
"""

from __future__ import annotations

from collections.abc import Callable


def _english(text: str) -> str:
    return text


_translate: list[Callable[[str], str]] = [_english]


def install(translate: Callable[[str], str]) -> None:
    """Use ``translate`` for every sentence from now on: it takes an English template and returns its translation."""
    _translate[0] = translate


def tr(text: str) -> str:
    """Return the translation of a template; its placeholders ``{name}`` are filled afterwards by ``str.format``."""
    return _translate[0](text)
