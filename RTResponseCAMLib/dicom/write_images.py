"""DICOM SEG of regions and Parametric Map of the evidence, by highdicom, on the planning MR's own slices.

Never RTDOSE: evidence is not a dose, and no planning system may take it for one.
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
    """A binary SEG with a segment per region; empty frames are left out.

    Raises
    ------
    OutputError : highdicom is missing, or no region holds a voxel.
    StudyError : the MR's slices are uneven, so that voxels are not pixels of them.
    """
    hd = _highdicom()
    from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    drawn = [region for region in regions if region.mask.any()]
    if not drawn:
        raise OutputError("", "no region holds a voxel", "Choose a lower threshold")
    sources, frames = _sources(source_series)
    pixels = np.stack([_on_frames(r.mask, r.grid, source_series, frames, bool) for r in drawn], axis=-1).astype(
        np.uint8
    )
    segments = [
        SegmentDescription(
            segment_number=number,
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
        for number, region in enumerate(drawn, start=1)
    ]
    found: Dataset = Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        content_label="SUBREGIONS",
        content_description="Research use only; not reviewed",
        series_description="RTResponseCAM subregions, RESEARCH",
        **_equipment(9002, version),
    )
    for item, region in zip(found.SegmentSequence, drawn, strict=True):
        item.SegmentDescription = region.description[:1024]
    in_unicode(found)
    return found


def parametric_map(source_series: SourceSeries, cam: sitk.Image, *, scale: str, version: str) -> Dataset:
    """The raw evidence as float32 frames, RESEARCH, on those slices that hold any; 0 outside lesions.

    Raises
    ------
    OutputError : highdicom is missing, or the map is empty.
    StudyError : the MR's slices are uneven.
    """
    hd = _highdicom()
    from pydicom.sr.codedict import codes

    sources, frames = _sources(source_series)
    values = sitk.GetArrayFromImage(cam)
    pixels = _on_frames(values, Grid.of(cam), source_series, frames, np.float32)
    used = np.flatnonzero(pixels.reshape(len(pixels), -1).any(axis=1))
    if not len(used):
        raise OutputError("", "the map is empty", "Predict first")
    if len(sources) > 1:  # classic slices: those between the first and the last that hold anything
        span = slice(int(used[0]), int(used[-1]) + 1)
        sources, pixels = sources[span], pixels[span]
    top = float(np.abs(pixels).max())
    quantity = hd.sr.CodedConcept("RTR-1", "99RTRESPONSECAM", "Local evidence for non-response")
    found: Dataset = hd.pm.ParametricMap(
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
            hd.VOILUTTransformation(0.0, 2 * top, voi_lut_function=hd.VOILUTFunctionValues.LINEAR_EXACT)
        ],
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        content_label="EVIDENCE",
        content_description="Research use only; larger speaks for non-response",
        series_description="RTResponseCAM evidence (CAM), RESEARCH",
        **_equipment(9003, version),
    )
    found.BodyPartExamined = "BRAIN"  # unpaired: spares Laterality
    in_unicode(found)
    return found


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
    """Source objects, and for each frame of theirs the slice that it shows (-1: none of this stack)."""
    if not source_series.regular:
        raise StudyError(
            source_series.slices[0].path.parent, "holds an MR of uneven or sheared slices: voxels are not its pixels",
            "Export RTSTRUCT, whose contours are in millimeters",
        )  # fmt: skip
    paths = list(dict.fromkeys(one.path for one in source_series.slices))
    sources = [complete(read_header(path)) for path in paths]
    if len(sources) < len(source_series.slices):
        frames = [-1] * int(sources[0].NumberOfFrames)
        for number, one in enumerate(source_series.slices):
            frames[one.frame] = number
        return sources[:1], frames
    return sources, list(range(len(sources)))


def _on_frames(
    values: npt.NDArray[Any], grid: Grid, source_series: SourceSeries, frames: Sequence[int], kind: Any
) -> npt.NDArray[Any]:
    """Voxels of a box of the MR on all frames ``(frame, row, column)``; what lies outside the MR is cut off.

    Raises
    ------
    StudyError : the box does not run along the MR's slices.
    """
    rows, columns = source_series.slices[0].shape
    first = source_series.slices[0]
    if np.abs(np.asarray(grid.direction).reshape(3, 3).T - np.asarray(first.axes)).max() > 1e-3:
        what = "holds slices that run otherwise than the voxels of the study"
        raise StudyError(first.path.parent, what, "Load the study from this folder, and predict again")
    start = grid.to_lps(np.zeros((1, 3)))[0] - first.position
    step = grid.spacing_mm[2]
    i, j, k = (
        round(float(start @ axis) / s)
        for axis, s in zip(first.axes, (first.steps[1], first.steps[0], step), strict=True)
    )
    whole = np.zeros((len(source_series.slices), rows, columns), dtype=kind)
    into, own = [], []
    for begin, size, limit in zip((k, j, i), values.shape, whole.shape, strict=True):
        low, high = max(begin, 0), min(begin + size, limit)
        into.append(slice(low, max(low, high)))
        own.append(slice(low - begin, max(low, high) - begin))
    whole[tuple(into)] = values[tuple(own)]
    placed = np.zeros((len(frames), rows, columns), dtype=kind)
    for frame, number in enumerate(frames):
        if number >= 0:
            placed[frame] = whole[number]
    return placed
