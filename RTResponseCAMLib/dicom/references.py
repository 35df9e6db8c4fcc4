"""What objects say of one another: referenced objects, series and images, and frames of reference."""

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
    """Items of a sequence; none where something else stands in its place."""
    value = data.get(keyword)
    return tuple(item for item in value if isinstance(item, Dataset)) if isinstance(value, Sequence) else ()


def referenced(entry: Entry, keyword: str) -> tuple[str, ...]:
    """SOP Instance UIDs that a sequence of references names."""
    return tuple(str(item.get("ReferencedSOPInstanceUID", "")) for item in items(entry.header, keyword))


def referenced_series(structures: Entry, index: Index | None = None) -> tuple[str, ...]:
    """Series Instance UIDs on which a structure set or segmentation was contoured; joined series have one."""
    named = [str(series.get("SeriesInstanceUID", "")) for series in _contoured_series(structures)]
    named += [
        str(series.get("SeriesInstanceUID", "")) for series in items(structures.header, "ReferencedSeriesSequence")
    ]
    joined = index.joined if index is not None else {}
    return tuple(dict.fromkeys(joined.get(uid, uid) for uid in named))


def referenced_images(structures: Entry) -> ImageReferences:
    """Images on which a structure set or segmentation was contoured, as far as it lists them."""
    listed = [i for series in _contoured_series(structures) for i in items(series, "ContourImageSequence")]
    series = items(structures.header, "ReferencedSeriesSequence")
    return _named_images([*listed, *(i for one in series for i in items(one, "ReferencedInstanceSequence"))])


def contour_images(structures: Entry) -> ImageReferences:
    """Images that single contours name; none where the object cannot be read."""
    try:
        return _contour_images(structures.path, structures.path.stat().st_mtime_ns)
    except (NotDicom, StudyError, OSError):
        return {}


def contoured_on(structures: Entry, images: Iterable[Entry]) -> ImageReferences:
    """Images that single contours name, else those that the object lists: whole series are listed, and more.

    Contours that name none of ``images`` say nothing.
    """
    single = contour_images(structures) if structures.modality == "RTSTRUCT" else {}
    return single if present(images) & set(single) else referenced_images(structures)


@lru_cache(maxsize=16)
def _contour_images(path: Path, _changed_ns: int) -> ImageReferences:
    """The whole object is read for them, once for each state of the file."""
    return _named_images(
        image
        for roi in items(read_header(path), "ROIContourSequence")
        for contour in items(roi, "ContourSequence")
        for image in items(contour, "ContourImageSequence")
    )


def _named_images(references: Iterable[Dataset]) -> ImageReferences:
    found: dict[str, frozenset[int]] = {}
    for item in references:
        uid = str(item.get("ReferencedSOPInstanceUID", ""))
        frames = frozenset(_numbers(item.get("ReferencedFrameNumber")))
        before = found.get(uid, frames)
        found[uid] = frames | before if frames and before else frozenset()
    return found


def _numbers(value: object) -> list[int]:
    """Frame numbers; none where something else stands in their place."""
    each = value if isinstance(value, (list, MultiValue)) else [value]
    return [int(str(n)) for n in each if str(n).isascii() and str(n).isdigit()]


def frames_of(entry: Entry) -> set[str]:
    """Frames of reference that an object lies in: of a structure set that lists none, those of its ROIs."""
    listed = {str(i.get("FrameOfReferenceUID", "")) for i in items(entry.header, "ReferencedFrameOfReferenceSequence")}
    frames = (listed | {entry.text("FrameOfReferenceUID")}) - {""}
    return frames or set(roi_frames(entry).values()) - {""}


def roi_frames(structures: Entry) -> dict[str, str]:
    """Frame of reference that each ROI of a structure set names for itself (3006,0024), by ROI Number as text."""
    rois = items(structures.header, "StructureSetROISequence")
    return {str(item.get("ROINumber")): str(item.get("ReferencedFrameOfReferenceUID", "") or "") for item in rois}


def map_into(links: Links, entry: Entry, *, images: Entry) -> Matrix | None:
    """Rigid map of an object's points into the frame of an image series by registration objects, if there is one."""
    for start in sorted(frames_of(entry)):
        for stop in sorted(frames_of(images)):
            found = map_between(links, start, stop=stop)
            if found is not None:
                return found
    return None


def present(entries: Iterable[Entry]) -> set[str]:
    """SOP Instance UIDs of objects."""
    return {entry.uid for entry in entries}


def _contoured_series(structures: Entry) -> list[Dataset]:
    return [
        series
        for frame in items(structures.header, "ReferencedFrameOfReferenceSequence")
        for study in items(frame, "RTReferencedStudySequence")
        for series in items(study, "RTReferencedSeriesSequence")
    ]
