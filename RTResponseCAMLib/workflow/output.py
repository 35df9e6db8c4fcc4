"""Atomic output: results are written under a temporary name beside the target and renamed at the end."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from RTResponseCAMLib.errors import ExistsError, OutputError
from RTResponseCAMLib.imaging.image_file import write_image

RESEARCH_ONLY = "Research use only. Not a medical device; not for clinical decisions."


def check_free(out: Path, overwrite: bool) -> None:
    """Raise an error for an existing target before any work is done.

    Raises
    ------
    ExistsError : the target exists and must not be replaced.
    """
    if os.path.lexists(out) and not overwrite:
        raise ExistsError(out, "exists already", "Choose another --out, or give --overwrite to replace it")


def keep_inputs(out: Path, inputs: Iterable[Path]) -> None:
    """Raise an error if replacing ``out`` would delete an input.

    Raises
    ------
    ExistsError : an input is ``out``, or lies in it.
    """
    for path in inputs:
        if out.exists() and path.exists() and out.resolve() in (path.resolve(), *path.resolve().parents):
            raise ExistsError(out, f"holds the input {path}, which --overwrite would delete", "Choose another --out")


@contextmanager
def new_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder; it is renamed to ``out`` when the block succeeds, and deleted otherwise.

    Raises
    ------
    OutputError : the target exists, or cannot be written (disk full, no permission).
    """
    check_free(out, overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    except OSError as error:
        raise _refused(out, error) from error
    try:
        yield partial
        partial.chmod(0o755)
        if os.path.lexists(out):
            check_free(out, overwrite)  # the target may have been created in the meantime
            old = partial.with_suffix(".old")
            out.rename(old)
            try:
                partial.rename(out)
            except OSError:
                old.rename(out)  # restore the previous target
                raise
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        else:
            partial.rename(out)
    except OSError as error:
        raise _refused(out, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_labels(labels: sitk.Image, names: list[str], *, path: Path, ids: list[str] | None = None) -> None:
    """Write a label map as NRRD with the header fields of a Slicer segmentation.

    Label n has the name ``names[n - 1]``.

    Raises
    ------
    OutputError : the file cannot be written.
    """
    image = sitk.Image(labels)
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    for index, name in enumerate(names):
        image.SetMetaData(f"Segment{index}_ID", ids[index] if ids else f"S{index + 1}")
        image.SetMetaData(f"Segment{index}_Name", name)
        image.SetMetaData(f"Segment{index}_LabelValue", str(index + 1))
        image.SetMetaData(f"Segment{index}_Layer", "0")
        image.SetMetaData(f"Segment{index}_Color", "1.0 0.2 0.55")
    write_image(image, path)


def _refused(out: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(out, "the disk is full; nothing was written", "Free some space or choose another --out")
    return OutputError(out, f"cannot be written ({error.strerror or error})", "Choose another --out")
