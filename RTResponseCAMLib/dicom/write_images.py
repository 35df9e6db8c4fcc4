"""Write regions as DICOM SEG and the evidence map as Parametric Map (highdicom), on the slices of the planning MR.

RTDOSE is never written: evidence is not a dose, and a planning system must not import it as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from RTResponseCAMLib.dicom.files import read_header
from RTResponseCAMLib.dicom.index import OWN_EXPORT
from RTResponseCAMLib.dicom.source_series import SourceSeries, complete, in_unicode
from RTResponseCAMLib.dicom.write_rtstruct import Region
from RTResponseCAMLib.errors import OutputError, StudyError
from RTResponseCAMLib.imaging.grid import Grid

if TYPE_CHECKING:
    from highdicom.content import AlgorithmIdentificationSequence

MODEL_NAME = "RTResponseCAM"


def segmentation(source_series: SourceSeries, regions: Sequence[Region], *, version: str) -> Dataset:
    """Binary SEG with one segment per region; empty frames are omitted.

    Raises
    ------
    OutputError : highdicom is not installed, or no region contains a voxel.
    StudyError : the slices of the MR are unevenly spaced or sheared, so that voxels do not match their pixels.
    """
    hd = _highdicom()
    from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    non_empty = [region for region in regions if region.mask.any()]
    if not non_empty:
        raise OutputError("", "no region contains a voxel", "Choose a lower threshold")
    sources, frames = _sources(source_series)
    pixels = np.stack([_on_frames(r.mask, r.grid, source_series, frames, bool) for r in non_empty], axis=-1).astype(
        np.uint8
    )
    segments = [
        SegmentDescription(
            segment_number=segment_number,
            segment_label=region.name[:64],
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=hd.sr.CodedConcept("14799000", "SCT", "Neoplasm, Secondary"),
            algorithm_type=SegmentAlgorithmTypeValues.SEMIAUTOMATIC
            if region.edited
            else SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=_algorithm(version),
            tracking_uid=generate_uid(),
            tracking_id=region.name[:64],
            anatomic_regions=[codes.SCT.Brain],
        )
        for segment_number, region in enumerate(non_empty, start=1)
    ]
    dataset: Dataset = Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        content_label="SUBREGIONS",
        content_description="Research use only; not reviewed",
        series_description="RTResponseCAM subregions, RESEARCH",
        **_equipment(9002, version),
    )
    for item, region in zip(dataset.SegmentSequence, non_empty, strict=True):
        item.SegmentDescription = region.description[:1024]
    in_unicode(dataset)
    return dataset


def parametric_map(source_series: SourceSeries, cam: sitk.Image, *, scale: str, version: str) -> Dataset:
    """Parametric Map (RESEARCH) of the raw evidence map, float32, on the slices with evidence; 0 outside lesions.

    Raises
    ------
    OutputError : highdicom is not installed, or the map is empty.
    StudyError : the slices of the MR are unevenly spaced or sheared.
    """
    hd = _highdicom()
    from pydicom.sr.codedict import codes

    sources, frames = _sources(source_series)
    values = sitk.GetArrayFromImage(cam)
    pixels = _on_frames(values, Grid.of(cam), source_series, frames, np.float32)
    frames_with_evidence = np.flatnonzero(pixels.reshape(len(pixels), -1).any(axis=1))
    if not len(frames_with_evidence):
        raise OutputError("", "the map is empty", "Predict first")
    if len(sources) > 1:  # classic slices: from the first to the last slice with evidence
        span = slice(int(frames_with_evidence[0]), int(frames_with_evidence[-1]) + 1)
        sources, pixels = sources[span], pixels[span]
    maximum = float(np.abs(pixels).max())
    quantity = hd.sr.CodedConcept("RTR-1", "99RTRESPONSECAM", "Local evidence for non-response")
    dataset: Dataset = hd.pm.ParametricMap(
        source_images=sources,
        pixel_array=pixels,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            hd.pm.RealWorldValueMapping(
                lut_label="EVIDENCE",
                lut_explanation=scale[:64],
                unit=codes.UCUM.NoUnits,
                value_range=(-float(np.finfo(np.float32).max), float(np.finfo(np.float32).max)),
                slope=1.0,
                intercept=0.0,
                quantity_definition=quantity,
            )
        ],
        voi_lut_transformations=[
            hd.VOILUTTransformation(0.0, 2 * maximum, voi_lut_function=hd.VOILUTFunctionValues.LINEAR_EXACT)
        ],
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        content_label="EVIDENCE",
        content_description="Research use only; larger values favor non-response",
        series_description="RTResponseCAM evidence (CAM), RESEARCH",
        **_equipment(9003, version),
    )
    dataset.BodyPartExamined = "BRAIN"  # an unpaired body part needs no Laterality
    in_unicode(dataset)
    return dataset


def _highdicom() -> Any:
    try:
        import highdicom
    except ImportError as error:
        fix = "Install it (pip install 'RTResponseCAM[dicom]'), or export RTSTRUCT only"
        raise OutputError("highdicom", "is missing: SEG and Parametric Map need it", fix) from error
    return highdicom


def _equipment(series: int, version: str) -> dict[str, Any]:
    return {
        "series_instance_uid": generate_uid(),
        "series_number": series,
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": OWN_EXPORT,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": version,
        "device_serial_number": "none",
    }


def _algorithm(version: str) -> AlgorithmIdentificationSequence:
    from highdicom.content import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    return AlgorithmIdentificationSequence(
        name="RTResponseCAM pixel-wise CAM", family=codes.DCM.ArtificialIntelligence, version=version
    )


def _sources(source_series: SourceSeries) -> tuple[list[Dataset], list[int]]:
    """Source objects, and for each of their frames the index of its slice (-1: not a slice of this stack)."""
    if not source_series.regular:
        raise StudyError(
            source_series.slices[0].path.parent, "holds an MR of uneven or sheared slices: voxels are not pixels of it",
            "Export RTSTRUCT, whose contours are in millimeters",
        )  # fmt: skip
    paths = list(dict.fromkeys(slice_.path for slice_ in source_series.slices))
    sources = [complete(read_header(path)) for path in paths]
    if len(sources) < len(source_series.slices):
        frames = [-1] * int(sources[0].NumberOfFrames)
        for index, slice_ in enumerate(source_series.slices):
            frames[slice_.frame] = index
        return sources[:1], frames
    return sources, list(range(len(sources)))


def _on_frames(
    values: npt.NDArray[Any], grid: Grid, source_series: SourceSeries, frames: Sequence[int], kind: Any
) -> npt.NDArray[Any]:
    """Voxels ``[z, y, x]`` of a box of the MR on all frames ``(frame, row, column)``; omits voxels outside the MR.

    Raises
    ------
    StudyError : the box is not parallel to the slices of the MR.
    """
    rows, columns = source_series.slices[0].shape
    first = source_series.slices[0]
    if np.abs(np.asarray(grid.direction).reshape(3, 3).T - np.asarray(first.axes)).max() > 1e-3:
        problem = "holds slices with another orientation than the voxels of the study"
        raise StudyError(first.path.parent, problem, "Load the study from this folder, and predict again")
    start = grid.to_lps(np.zeros((1, 3)))[0] - first.position
    step = grid.spacing_mm[2]
    i, j, k = (
        round(float(start @ axis) / s)
        for axis, s in zip(first.axes, (first.steps[1], first.steps[0], step), strict=True)
    )
    volume = np.zeros((len(source_series.slices), rows, columns), dtype=kind)
    target_slices, source_slices = [], []
    for begin, size, limit in zip((k, j, i), values.shape, volume.shape, strict=True):
        low, high = max(begin, 0), min(begin + size, limit)
        target_slices.append(slice(low, max(low, high)))
        source_slices.append(slice(low - begin, max(low, high) - begin))
    volume[tuple(target_slices)] = values[tuple(source_slices)]
    on_frames = np.zeros((len(frames), rows, columns), dtype=kind)
    for frame, slice_index in enumerate(frames):
        if slice_index >= 0:
            on_frames[frame] = volume[slice_index]
    return on_frames
