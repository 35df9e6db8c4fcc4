"""De-identification: salted one-way keys for identifiers, and removal of names, numbers and UIDs from texts.

The same identifier gives the same key on the same machine, so that results link to inputs. Without the salt, a key
cannot be reversed by trying all record numbers.
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
    """Return a short one-way key of an identifier (HMAC-SHA-256 with `salt`).

    It replaces every UID, name and number that leaves the loader.
    """
    return prefix + hmac.new(salt(), text.encode("utf-8", "replace"), "sha256").hexdigest()[:12]


@lru_cache(maxsize=1)
def salt() -> bytes:
    """Return the secret of this machine: from the environment (to share it), else from a file that is created once."""
    from_environment = os.environ.get(SALT_VARIABLE)
    if from_environment:
        return from_environment.encode()
    home = os.environ.get("APPDATA") or os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    path = Path(home) / "RTResponseCAM" / "salt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_bytes()
        with os.fdopen(handle, "wb") as file:
            new_salt = secrets.token_hex(16).encode()
            file.write(new_salt)
        return new_salt
    except OSError:  # the file cannot be used: keys then link within this run only
        return secrets.token_hex(16).encode()


class Scrubber:
    """Remove the patient's identifiers, taken from the headers of a study, from texts."""

    def __init__(self, headers: Iterable[Dataset]) -> None:
        identifiers: set[str] = set()
        short_names: set[str] = set()
        for header in headers:
            for part in re.split(r"[\^=\s,;]+", str(header.get("PatientName", "") or "")):
                (identifiers if len(part) > 2 else short_names).add(part)
            for keyword in IDENTIFIERS:
                identifiers.update(re.split(r"[\\\s,'\[\]]+", str(header.get(keyword, "") or "")))
            identifiers.update(_dates(str(header.get("PatientBirthDate", "") or "")))
        # Only complete words match: the name Rand must not blank "random". Names of two letters (Is, To) match only in
        # the spelling of names, so that they do not blank words of every sentence.
        long_identifiers = {w for w in identifiers if len(w) > 2}
        spellings = {form for w in short_names if len(w) == 2 for form in (w.capitalize(), w.upper())}
        self._words = [
            _any_of(texts, flag) for texts, flag in ((long_identifiers, re.IGNORECASE), (spellings, 0)) if texts
        ]

    def __call__(self, text: str) -> str:
        """Return the text without names, numbers and UIDs."""
        text = UID.sub(lambda match: f"uid-{pseudonym(match.group())}", text)
        for pattern in self._words:
            text = pattern.sub(HIDDEN, text)
        return text


def _any_of(words: set[str], flag: int) -> re.Pattern[str]:
    joined = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![^\W_])(?:{joined})(?![^\W_])", flag)


def _dates(day: str) -> set[str]:
    """Return the usual spellings of a DICOM date: three orders, with dashes, dots or slashes."""
    if not re.fullmatch(r"\d{8}", day):
        return set()
    y, m, d = day[:4], day[4:6], day[6:]
    return {sep.join(order) for sep in "-./" for order in ((y, m, d), (d, m, y), (m, d, y))}


@contextmanager
def unnamed_errors(scrub: Scrubber) -> Iterator[None]:
    """Remove the patient's identifiers from the texts of errors raised in the block; the place of an error stays."""
    try:
        yield
    except RTResponseError as error:
        raise error.reworded(scrub) from error
