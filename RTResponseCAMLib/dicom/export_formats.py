"""Registry of the export formats of a result; each format has one writer in this package."""

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
    """Input of a writer.

    Attributes
    ----------
    source_series : instances of the planning MR, which the exported object references.
    regions : subregions.
    cam, scale : evidence map on the voxels of the MR, and the name of its scale.
    """

    source_series: SourceSeries
    regions: Sequence[Region]
    cam: sitk.Image
    scale: str


Made = tuple[Dataset, tuple[Warning, ...]]


@dataclass(frozen=True)
class ExportFormat:
    """One export format.

    Attributes
    ----------
    name, file : name of the format, and name of its file.
    make : writer; it returns the dataset and warnings.
    needs_regions : the format holds subregions, and at least one must exist.
    package : Python package that the writer requires, "" for none.
    """

    name: str
    file: str
    make: Callable[[ExportInput], Made]
    needs_regions: bool = True
    package: str = ""


def _rtstruct(inputs: ExportInput) -> Made:
    return rtstruct(inputs.source_series, inputs.regions, label="RTResponseCAM", version=__version__)


def _segmentation(inputs: ExportInput) -> Made:
    return segmentation(inputs.source_series, inputs.regions, version=__version__), ()


def _parametric_map(inputs: ExportInput) -> Made:
    return parametric_map(inputs.source_series, inputs.cam, scale=inputs.scale, version=__version__), ()


_FORMATS = [
    ExportFormat("rtstruct", "RS_subregions.dcm", _rtstruct),
    ExportFormat("seg", "SEG_subregions.dcm", _segmentation, package=HIGHDICOM),
    ExportFormat("map", "PM_evidence.dcm", _parametric_map, needs_regions=False, package=HIGHDICOM),
]


def formats() -> tuple[ExportFormat, ...]:
    """Return all formats, in the order in which they are written."""
    return tuple(_FORMATS)


def format_of(name: str) -> ExportFormat:
    """Return the format with a name.

    Raises
    ------
    OutputError : no format has this name.
    """
    by_name = {export_format.name: export_format for export_format in _FORMATS}
    if name not in by_name:
        raise OutputError("format", f"'{name}' is not a known format", f"Choose one of {', '.join(by_name)}")
    return by_name[name]


def register_format(added: ExportFormat) -> None:
    """Add a format.

    Raises
    ------
    OutputError : another format has the same name or file.
    """
    if any(added.name == registered.name or added.file == registered.file for registered in _FORMATS):
        raise OutputError("format", f"two formats are called '{added.name}' or write {added.file}", "Rename one")
    _FORMATS.append(added)


def unregister_format(name: str) -> None:
    """Remove a format that `register_format` added."""
    _FORMATS[:] = [registered for registered in _FORMATS if registered.name != name]
