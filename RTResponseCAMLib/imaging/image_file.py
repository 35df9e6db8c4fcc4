"""Writing of image files."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from RTResponseCAMLib.errors import OutputError


def write_image(image: sitk.Image, path: Path) -> None:
    """Write a compressed image file; other threads continue during writing.

    Raises
    ------
    OutputError : the file cannot be written.
    """
    try:
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    except RuntimeError as error:
        raise OutputError(path.name, "the image could not be written", "Check free space and permissions") from error
