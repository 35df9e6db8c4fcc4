"""The registry of export formats: what a result can be written as, each made by one writer of this package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import SimpleITK as sitk
from pydicom.dataset import Dataset

from RTResponseCAMLib import __version__
from RTResponseCAMLib.dicom.source_series import SourceSeries
from RTResponseCAMLib.dicom.write_images import parametric_map, segmentation
from RTResponseCAMLib.dicom.write_rtstruct import Region, rtstruct
from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.warnings import Warning

HIGHDICOM = "highdicom"


@dataclass(frozen=True)
class ExportInput:
    """What a writer is given.

    Attributes
    ----------
    source_series : the planning MR's instances, to which the object refers. regions : the subregions.
    cam, scale : the evidence on the MR's voxels, and the name of its scale.
    """

    source_series: SourceSeries
    regions: Sequence[Region]
    cam: sitk.Image
    scale: str


Made = tuple[Dataset, tuple[Warning, ...]]


@dataclass(frozen=True)
class ExportFormat:
    """One format: its name, its file, and its writer, which also returns what is to be known.

    ``needs_regions``: it holds subregions, and there must be one; ``package``: that it cannot be written without.
    """

    name: str
    file: str
    make: Callable[[ExportInput], Made]
    needs_regions: bool = True
    package: str = ""


def _rtstruct(given: ExportInput) -> Made:
    return rtstruct(given.source_series, given.regions, label="RTResponseCAM", version=__version__)


def _segmentation(given: ExportInput) -> Made:
    return segmentation(given.source_series, given.regions, version=__version__), ()


def _parametric_map(given: ExportInput) -> Made:
    return parametric_map(given.source_series, given.cam, scale=given.scale, version=__version__), ()


_FORMATS = [
    ExportFormat("rtstruct", "RS_subregions.dcm", _rtstruct),
    ExportFormat("seg", "SEG_subregions.dcm", _segmentation, package=HIGHDICOM),
    ExportFormat("map", "PM_evidence.dcm", _parametric_map, needs_regions=False, package=HIGHDICOM),
]


def formats() -> tuple[ExportFormat, ...]:
    """All formats, in the order in which they are written."""
    return tuple(_FORMATS)


def format_of(name: str) -> ExportFormat:
    """The format of a name.

    Raises
    ------
    OutputError : there is none.
    """
    known = {each.name: each for each in _FORMATS}
    if name not in known:
        raise OutputError("format", f"'{name}' is no known format", f"Choose one of {', '.join(known)}")
    return known[name]


def register_format(added: ExportFormat) -> None:
    """Add a format.

    Raises
    ------
    OutputError : another one has its name or its file.
    """
    if any(added.name == known.name or added.file == known.file for known in _FORMATS):
        raise OutputError("format", f"two formats are called '{added.name}' or write {added.file}", "Rename one")
    _FORMATS.append(added)


def unregister_format(name: str) -> None:
    """Take a format away that `register_format` added."""
    _FORMATS[:] = [known for known in _FORMATS if known.name != name]
