"""Normalization of free text in headers, so that names and descriptions of different writers can be compared."""

from __future__ import annotations

import re
import unicodedata


def folded(text: str) -> str:
    """Return the text in lower case, without accents, in composed form (NFKC)."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()
    return unicodedata.normalize("NFKC", plain)


def apart_at_capitals(text: str) -> str:
    """Return the text with a blank before each capital that follows a small letter: ``PostGd`` becomes two words."""
    return re.sub(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])", " ", text)
