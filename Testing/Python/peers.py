"""Programs of others that tests compare with; a test says so, and is left out, where one is not installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def plastimatch() -> str:
    """An independent reader and rasterizer of RTSTRUCT."""
    beside = Path(sys.executable).parent / "plastimatch"
    found = str(beside) if beside.exists() else shutil.which("plastimatch")
    if not found:
        pytest.skip("plastimatch is not installed (Linux only): no independent rasterizer to compare with")
    return found


def dicom_errors(path: Path) -> list[str]:
    """Errors that David Clunie's validator finds in an object."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools): the object is not validated")
    found = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60).stderr
    return [line for line in found.splitlines() if line.startswith("Error")]
