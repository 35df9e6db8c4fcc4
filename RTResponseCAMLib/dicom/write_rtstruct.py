"""Write voxel regions as RTSTRUCT: contours along voxel edges on the slices of the planning MR.

Contours along voxel edges let a reader restore the same voxels. Every structure set is UNAPPROVED. Every ROI is
AUTOMATIC, or SEMIAUTOMATIC when it was edited by hand. The ROI description contains the meaning of the contours and the
model. Holes are written as keyhole contours, because some readers fill a contour that lies inside another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage, generate_uid

from RTResponseCAMLib.dicom.files import decimal, new_file
from RTResponseCAMLib.dicom.frames import Slice
from RTResponseCAMLib.dicom.index import OWN_EXPORT
from RTResponseCAMLib.dicom.source_series import SourceSeries, describe
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.outlines import keyholed, pixel_edges
from RTResponseCAMLib.warnings import Warning, WarningCode

NAME_LENGTH, DESCRIPTION_LENGTH = 64, 1024


@dataclass(frozen=True)
class Region:
    """Voxels to be exported as one ROI.

    Attributes
    ----------
    name : at most 64 characters.
    description : meaning and origin of the region, at most 1024 characters; no patient data.
    mask : ``[z, y, x]`` on ``grid``.
    grid : its voxels are voxels of the planning MR.
    color : display color, red, green, blue in 0…255.
    kind : RT ROI Interpreted Type; no planning system uses "CONTROL" as a target.
    edited : the contour was edited by hand: it is SEMIAUTOMATIC.
    """

    name: str
    description: str
    mask: np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]
    grid: Grid
    color: tuple[int, int, int] = (230, 60, 20)
    kind: str = field(default="CONTROL")
    edited: bool = False


def rtstruct(
    source_series: SourceSeries, regions: Sequence[Region], *, label: str, version: str
) -> tuple[Dataset, tuple[Warning, ...]]:
    """RTSTRUCT of the regions, and warnings; regions without voxels are omitted with a warning."""
    now = datetime.now()
    data = new_file(RTStructureSetStorage, generate_uid())
    describe(data, source_series)
    data.Modality, data.SeriesInstanceUID, data.SeriesNumber = "RTSTRUCT", generate_uid(), 9001
    data.SeriesDescription = "RTResponseCAM subregions, RESEARCH"
    data.OperatorsName = ""
    data.Manufacturer, data.ManufacturerModelName, data.SoftwareVersions = OWN_EXPORT, "RTResponseCAM", version
    data.InstanceCreationDate, data.InstanceCreationTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    data.InstanceNumber = 1
    data.StructureSetLabel = label[:16]
    data.StructureSetDescription = "Research use only. Contours of a classifier's evidence; not reviewed."
    data.StructureSetDate, data.StructureSetTime = data.InstanceCreationDate, data.InstanceCreationTime
    data.ReferencedFrameOfReferenceSequence = [_referenced_frame(source_series)]
    data.StructureSetROISequence, data.ROIContourSequence, data.RTROIObservationsSequence = [], [], []
    warnings = []
    for region in regions:
        contours, off_slice_mm = _contours(region, source_series)
        if not contours:
            warnings.append(WarningCode.EMPTY_REGION(name=region.name))
            continue
        if off_slice_mm:
            positions = ", ".join(f"{position:.1f}" for position in off_slice_mm)
            warnings.append(WarningCode.NO_SLICE(name=region.name, places=positions))
        _add(data, region, contours)
    data.ApprovalStatus = "UNAPPROVED"
    return data, tuple(warnings)


def _add(data: Dataset, region: Region, contours: list[Dataset]) -> None:
    roi_number = len(data.StructureSetROISequence) + 1
    roi = Dataset()
    roi.ROINumber, roi.ROIName = roi_number, region.name[:NAME_LENGTH]
    roi.ReferencedFrameOfReferenceUID = data.FrameOfReferenceUID
    roi.ROIDescription = region.description[:DESCRIPTION_LENGTH]
    roi.ROIGenerationAlgorithm = "SEMIAUTOMATIC" if region.edited else "AUTOMATIC"
    roi.ROIGenerationDescription = OWN_EXPORT
    roi.ROIVolume = decimal(float(region.mask.sum()) * region.grid.voxel_cc)
    data.StructureSetROISequence.append(roi)
    item = Dataset()
    item.ReferencedROINumber, item.ROIDisplayColor = roi_number, list(region.color)
    item.ContourSequence = contours
    data.ROIContourSequence.append(item)
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = roi_number
    observation.RTROIInterpretedType, observation.ROIInterpreter = region.kind, ""
    data.RTROIObservationsSequence.append(observation)


def _contours(region: Region, source_series: SourceSeries) -> tuple[list[Dataset], list[float]]:
    """Contour items, and the positions (mm along the normal) of planes that lie on no slice of the MR."""
    contours: list[Dataset] = []
    off_slice_mm: list[float] = []
    for k, plane in enumerate(region.mask):
        outlines = keyholed(pixel_edges(plane)) if plane.any() else []
        for n, outline in enumerate(outlines):
            points = region.grid.to_lps(np.column_stack([outline, np.full(len(outline), float(k))]))
            slice_ = source_series.slice_at(points[0])
            if slice_ is None and n == 0:
                off_slice_mm.append(float(points[0] @ source_series.slices[0].axes[2]))
            contours.append(_contour(points, slice_, len(contours) + 1))
    return contours, off_slice_mm


def _contour(points: np.ndarray[Any, Any], at: Slice | None, number: int) -> Dataset:
    item = Dataset()
    if at is not None:
        item.ContourImageSequence = [_image(at)]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.ContourNumber = number
    item.NumberOfContourPoints = len(points)
    item.ContourData = [decimal(round(float(c), 4)) for c in points.ravel()]
    return item


def _image(slice_: Slice) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = slice_.entry.text("SOPClassUID")
    item.ReferencedSOPInstanceUID = slice_.entry.uid
    if slice_.entry.header.get("NumberOfFrames") is not None:
        item.ReferencedFrameNumber = slice_.frame + 1
    return item


def _referenced_frame(source_series: SourceSeries) -> Dataset:
    images = {slice_.entry.uid: slice_ for slice_ in source_series.slices}
    series = Dataset()
    series.SeriesInstanceUID = str(source_series.header.SeriesInstanceUID)
    series.ContourImageSequence = [_image(slice_) for slice_ in images.values()]
    for item in series.ContourImageSequence:
        if "ReferencedFrameNumber" in item:
            del item.ReferencedFrameNumber
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # retired SOP class that RT objects still reference here
    study.ReferencedSOPInstanceUID = str(source_series.header.StudyInstanceUID)
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = str(source_series.header.FrameOfReferenceUID)
    frame.RTReferencedStudySequence = [study]
    return frame
