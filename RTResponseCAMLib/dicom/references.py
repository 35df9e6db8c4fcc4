"""References between DICOM objects: referenced objects, series, images and frames of reference."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from RTResponseCAMLib.dicom.files import NotDicom, read_header
from RTResponseCAMLib.dicom.frames import ImageReferences
from RTResponseCAMLib.dicom.index import Entry, Index
from RTResponseCAMLib.dicom.registration import Links, map_between
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.rigid import Matrix


def items(data: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Items of a sequence attribute; empty when the attribute is absent or is not a sequence."""
    value = data.get(keyword)
    return tuple(item for item in value if isinstance(item, Dataset)) if isinstance(value, Sequence) else ()


def referenced(entry: Entry, keyword: str) -> tuple[str, ...]:
    """SOP Instance UIDs listed in a sequence of references."""
    return tuple(str(item.get("ReferencedSOPInstanceUID", "")) for item in items(entry.header, keyword))


def referenced_series(structures: Entry, index: Index | None = None) -> tuple[str, ...]:
    """Series Instance UIDs on which a structure set or segmentation was contoured; joined series share one UID."""
    series_uids = [str(series.get("SeriesInstanceUID", "")) for series in _contoured_series(structures)]
    series_uids += [
        str(series.get("SeriesInstanceUID", "")) for series in items(structures.header, "ReferencedSeriesSequence")
    ]
    joined = index.joined if index is not None else {}
    return tuple(dict.fromkeys(joined.get(uid, uid) for uid in series_uids))


def referenced_images(structures: Entry) -> ImageReferences:
    """Images that a structure set or segmentation lists as those on which it was contoured."""
    listed = [image for series in _contoured_series(structures) for image in items(series, "ContourImageSequence")]
    series = items(structures.header, "ReferencedSeriesSequence")
    return _named_images(
        [*listed, *(image for series_item in series for image in items(series_item, "ReferencedInstanceSequence"))]
    )


def contour_images(structures: Entry) -> ImageReferences:
    """Images referenced by single contours; empty when the object cannot be read."""
    try:
        return _contour_images(structures.path, structures.path.stat().st_mtime_ns)
    except (NotDicom, StudyError, OSError):
        return {}


def contoured_on(structures: Entry, images: Iterable[Entry]) -> ImageReferences:
    """Images referenced by single contours if any of them is among ``images``; otherwise the images the object lists.

    The list of the object is less specific: it may contain a complete series and further images.
    """
    per_contour = contour_images(structures) if structures.modality == "RTSTRUCT" else {}
    return per_contour if present(images) & set(per_contour) else referenced_images(structures)


@lru_cache(maxsize=16)
def _contour_images(path: Path, _changed_ns: int) -> ImageReferences:
    """Images referenced by single contours: read the complete object, once per modification time of the file."""
    return _named_images(
        image
        for roi in items(read_header(path), "ROIContourSequence")
        for contour in items(roi, "ContourSequence")
        for image in items(contour, "ContourImageSequence")
    )


def _named_images(references: Iterable[Dataset]) -> ImageReferences:
    frames_by_uid: dict[str, frozenset[int]] = {}
    for item in references:
        uid = str(item.get("ReferencedSOPInstanceUID", ""))
        frames = frozenset(_numbers(item.get("ReferencedFrameNumber")))
        previous = frames_by_uid.get(uid, frames)
        frames_by_uid[uid] = frames | previous if frames and previous else frozenset()
    return frames_by_uid


def _numbers(value: object) -> list[int]:
    """Frame numbers; values that are not decimal numbers are skipped."""
    values = value if isinstance(value, (list, MultiValue)) else [value]
    return [int(str(n)) for n in values if str(n).isascii() and str(n).isdigit()]


def frames_of(entry: Entry) -> set[str]:
    """Frame of Reference UIDs of an object; for a structure set that lists none, those of its ROIs."""
    listed = {
        str(item.get("FrameOfReferenceUID", "")) for item in items(entry.header, "ReferencedFrameOfReferenceSequence")
    }
    frames = (listed | {entry.text("FrameOfReferenceUID")}) - {""}
    return frames or set(roi_frames(entry).values()) - {""}


def roi_frames(structures: Entry) -> dict[str, str]:
    """Frame of Reference UID of each ROI of a structure set (3006,0024), keyed by ROI Number as text."""
    rois = items(structures.header, "StructureSetROISequence")
    return {str(item.get("ROINumber")): str(item.get("ReferencedFrameOfReferenceUID", "") or "") for item in rois}


def map_into(links: Links, entry: Entry, *, images: Entry) -> Matrix | None:
    """Rigid map (REG) of an object's points into the frame of an image series; None when no registration links them."""
    for start in sorted(frames_of(entry)):
        for stop in sorted(frames_of(images)):
            matrix = map_between(links, start, stop=stop)
            if matrix is not None:
                return matrix
    return None


def present(entries: Iterable[Entry]) -> set[str]:
    """SOP Instance UIDs of the objects."""
    return {entry.uid for entry in entries}


def _contoured_series(structures: Entry) -> list[Dataset]:
    return [
        series
        for frame in items(structures.header, "ReferencedFrameOfReferenceSequence")
        for study in items(frame, "RTReferencedStudySequence")
        for series in items(study, "RTReferencedSeriesSequence")
    ]
