"""Free text of headers as words: one way to compare names and descriptions, whoever wrote them."""

from __future__ import annotations

import re
import unicodedata


def folded(text: str) -> str:
    """Lower case without accents, in composed form: what remains equal however a text was typed."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()
    return unicodedata.normalize("NFKC", plain)


def apart_at_capitals(text: str) -> str:
    """The text with a blank before each capital that follows a small letter: ``PostGd`` is two words."""
    return re.sub(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])", " ", text)
