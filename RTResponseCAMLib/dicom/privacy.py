"""What keeps patients unnamed: salted one-way keys for identifiers, and texts freed of names, numbers and UIDs.

The same identifier gives the same key on the same machine, so that results link to inputs; without the salt, a key
cannot be found again by trying all record numbers.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from pydicom.dataset import Dataset

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
        for header in headers:
            for part in re.split(r"[\^=\s,;]+", str(header.get("PatientName", "") or "")):
                words.add(part)
            for keyword in IDENTIFIERS:
                words.update(re.split(r"[\\\s,'\[\]]+", str(header.get(keyword, "") or "")))
        kept = sorted((w for w in words if len(w) >= 3), key=len, reverse=True)
        # Whole words only: a patient called Rand must not blank "random".
        joined = "|".join(re.escape(w) for w in kept)
        self._words = re.compile(rf"(?<![^\W_])(?:{joined})(?![^\W_])", re.IGNORECASE) if kept else None

    def __call__(self, text: str) -> str:
        """The text without names, numbers and UIDs."""
        text = UID.sub(lambda found: f"uid-{pseudonym(found.group())}", text)
        return self._words.sub(HIDDEN, text) if self._words else text
