"""What keeps patients unnamed: salted one-way keys for identifiers, and texts freed of names, numbers and UIDs.

The same identifier gives the same key on the same machine, so that results link to inputs; without the salt, a key
cannot be found again by trying all record numbers.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from pydicom.dataset import Dataset

from RTResponseCAMLib.errors import RTResponseError

SALT_VARIABLE = "RTRESPONSECAM_SALT"
UID = re.compile(r"(?<!\d)\d+(?:\.\d+){5,}(?!\d)")
IDENTIFIERS = ("PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "IssuerOfPatientID")
HIDDEN = "***"


def pseudonym(text: str, prefix: str = "") -> str:
    """Short one-way key of an identifier (HMAC-SHA-256 under `salt`): no UID, name or number leaves the loader."""
    return prefix + hmac.new(salt(), text.encode("utf-8", "replace"), "sha256").hexdigest()[:12]


@lru_cache(maxsize=1)
def salt() -> bytes:
    """Secret of this machine: from the environment (to share it between machines), else made once and kept."""
    given = os.environ.get(SALT_VARIABLE)
    if given:
        return given.encode()
    home = os.environ.get("APPDATA") or os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    path = Path(home) / "RTResponseCAM" / "salt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_bytes()
        with os.fdopen(handle, "wb") as file:
            fresh = secrets.token_hex(16).encode()
            file.write(fresh)
        return fresh
    except OSError:  # no place to keep it: keys then link within this run only
        return secrets.token_hex(16).encode()


class Scrubber:
    """Removes from texts what the headers of a study say of the patient."""

    def __init__(self, headers: Iterable[Dataset]) -> None:
        words: set[str] = set()
        short: set[str] = set()
        for header in headers:
            for part in re.split(r"[\^=\s,;]+", str(header.get("PatientName", "") or "")):
                (words if len(part) > 2 else short).add(part)
            for keyword in IDENTIFIERS:
                words.update(re.split(r"[\\\s,'\[\]]+", str(header.get(keyword, "") or "")))
            words.update(_dates(str(header.get("PatientBirthDate", "") or "")))
        # Whole words only: a patient called Rand must not blank "random"; and one called Is or To not every sentence,
        # so names of two letters are looked for as names are written.
        long = {w for w in words if len(w) > 2}
        written = {form for w in short if len(w) == 2 for form in (w.capitalize(), w.upper())}
        self._words = [_any_of(kept, flag) for kept, flag in ((long, re.IGNORECASE), (written, 0)) if kept]

    def __call__(self, text: str) -> str:
        """The text without names, numbers and UIDs."""
        text = UID.sub(lambda found: f"uid-{pseudonym(found.group())}", text)
        for words in self._words:
            text = words.sub(HIDDEN, text)
        return text


def _any_of(words: set[str], flag: int) -> re.Pattern[str]:
    joined = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![^\W_])(?:{joined})(?![^\W_])", flag)


def _dates(day: str) -> set[str]:
    """A DICOM date as people write it."""
    if not re.fullmatch(r"\d{8}", day):
        return set()
    y, m, d = day[:4], day[4:6], day[6:]
    return {sep.join(order) for sep in "-./" for order in ((y, m, d), (d, m, y), (m, d, y))}


@contextmanager
def unnamed_errors(scrub: Scrubber) -> Iterator[None]:
    """Errors that speak of ROIs or series, freed of what the headers say of the patient; the place stays."""
    try:
        yield
    except RTResponseError as error:
        raise error.reworded(scrub) from error
