"""Reference graphs (RTDOSE → RTPLAN → RTSTRUCT or SEG → MR), and the reason when a structure set matches no MR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from RTResponseCAMLib.dicom.identity import Verdict, compare
from RTResponseCAMLib.dicom.index import Entry, Index
from RTResponseCAMLib.dicom.plans import PlanChoice, choose_plan, doses_by_frame
from RTResponseCAMLib.dicom.references import (
    contour_images,
    frames_of,
    map_into,
    referenced_images,
    referenced_series,
)
from RTResponseCAMLib.dicom.registration import Links
from RTResponseCAMLib.dicom.series_kind import t1c_score
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.rigid import Matrix
from RTResponseCAMLib.warnings import Warning, WarningCode

REGISTRATION_CODES = {WarningCode.REGISTRATION_LEFT_OUT, WarningCode.REGISTRATIONS_DIFFER}


@dataclass(frozen=True)
class ReferenceGraph:
    """The objects of one treatment that are used together: one path through the references.

    Attributes
    ----------
    images : files of the planning series.
    structures : RTSTRUCT or SEG.
    choice : the plan and its doses, and how they were chosen.
    doses : RTDOSE files in use: those of the plan, otherwise those found by frame of reference.
    t1c_score : score of the planning series, see `series_kind.t1c_score`.
    to_images : rigid map of the structures' points into the images' frame; None when both have the same frame.
    warnings : how the objects were matched.
    """

    images: tuple[Entry, ...]
    structures: Entry
    choice: PlanChoice
    doses: tuple[Entry, ...]
    t1c_score: int
    to_images: Matrix | None = None
    warnings: tuple[Warning, ...] = field(default=())

    @property
    def plan(self) -> Entry | None:
        """RTPLAN; None when there is none."""
        return self.choice.plan


def reference_graphs_of(
    index: Index, structures: Entry, *, links: Links, wanted_plan: str | None
) -> list[ReferenceGraph]:
    """Reference graphs of a structure set, one for each image series that it belongs to."""
    patient_series = {uid: files for uid, files in index.series.items() if not compare(files[0], structures).other}
    series_uids, warnings = _contoured_on(index, structures, links, patient_series)
    choice = choose_plan(index, structures, wanted=wanted_plan)
    doses = choice.doses
    if not doses:
        doses = doses_by_frame(index, structures)
        warnings += [WarningCode.DOSE_BY_FRAME()] if doses else []
    graphs = []
    for uid in series_uids:
        files = patient_series[uid]
        graph_warnings, matrix = list(warnings), None
        structure_frames, image_frames = frames_of(structures), frames_of(files[0])
        if structure_frames and image_frames and not structure_frames & image_frames:
            matrix = map_into(links, structures, images=files[0])
            if matrix is None:
                continue
            graph_warnings.append(WarningCode.MOVED_STRUCTURES())
        objects = (("structure set", structures), ("plan", choice.plan), *(("dose", dose) for dose in doses))
        graph_warnings += _identity_warnings(files[0], objects)
        graphs.append(
            ReferenceGraph(files, structures, choice, doses, t1c_score(files[0]), matrix, tuple(graph_warnings))
        )
    return graphs


def _identity_warnings(images: Entry, objects: Sequence[tuple[str, Entry | None]]) -> list[Warning]:
    """Warn about objects whose patient identity agrees only partly with that of the images."""
    names_by_difference: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for name, entry in objects:
        comparison = compare(images, entry) if entry is not None else None
        if comparison is not None and comparison.verdict is Verdict.SAME_IN_PART:
            names_by_difference.setdefault((comparison.differs, comparison.agrees), []).append(name)
    return [
        WarningCode.IDENTITY_DIFFERS(what=", ".join(dict.fromkeys(names)), differs=" and ".join(differs),
                                     agrees=" and ".join(agrees))
        for (differs, agrees), names in names_by_difference.items()
    ]  # fmt: skip


def _contoured_on(
    index: Index, structures: Entry, links: Links, own: dict[str, tuple[Entry, ...]]
) -> tuple[list[str], list[Warning]]:
    """Series UIDs that a structure set belongs to, and warnings on how they were found.

    Tried in this order: referenced series, listed images, images of the contours, frame of reference, registration.

    Parameters
    ----------
    own : series to choose from, by Series Instance UID.
    """
    referenced_uids = referenced_series(structures, index)
    series_uids = [uid for uid in referenced_uids if uid in own]
    if len(series_uids) > 1 and structures.modality == "RTSTRUCT":  # series of the contours' images first
        contoured_uids = index.series_of_images(contour_images(structures))
        series_uids.sort(key=lambda uid: contoured_uids.index(uid) if uid in contoured_uids else len(contoured_uids))
    if series_uids:
        return series_uids, []
    image_series_uids = [uid for uid in index.series_of_images(referenced_images(structures)) if uid in own]
    if image_series_uids:
        return image_series_uids[:1], [WarningCode.SERIES_BY_IMAGES(source="that of the images it lists")]
    if not referenced_uids and structures.modality == "RTSTRUCT":
        image_series_uids = [uid for uid in index.series_of_images(contour_images(structures)) if uid in own]
        if image_series_uids:
            return image_series_uids[:1], [
                WarningCode.SERIES_BY_IMAGES(source="that of its contours' images (3006,0016)")
            ]
    frames = frames_of(structures)
    series_uids = [uid for uid, files in own.items() if frames & frames_of(files[0])]
    if series_uids and referenced_uids:
        return series_uids, [WarningCode.SERIES_BY_FRAME()]
    if series_uids:
        return series_uids, [WarningCode.SERIES_BY_IMAGES(source="that of its frame of reference (3006,0024)")]
    return [uid for uid, files in own.items() if map_into(links, structures, images=files[0]) is not None], []


def why_unlinked(
    index: Index, structures: Entry, *, links: Links, registration_warnings: Sequence[Warning] = ()
) -> StudyError:
    """Error with the first reason that applies why a structure set belongs to none of the image series."""
    series_uids, _ = _contoured_on(index, structures, links, index.series)
    for uid in series_uids:
        comparison = compare(index.series[uid][0], structures)
        if comparison.other:
            return StudyError(
                structures.path,
                f"belongs to another patient than the images it was contoured on: different {comparison.reason}",
                "Export plan and MR of one patient, under the same identity",
            )
    frames = frames_of(structures)
    if not frames and not referenced_series(structures):
        return StudyError(
            structures.path,
            "names neither a frame of reference (3006,0010; 3006,0024) nor images (3006,0016), so it matches no series",
            "Export the structure set with its references",
        )
    without_frame = [files[0] for files in index.series.values() if not frames_of(files[0])]
    if frames and len(without_frame) == len(index.series):
        return StudyError(
            without_frame[0].path,
            "has no Frame of Reference UID (0020,0052), and is not the series that the structures reference",
            "Export the MR with its frame of reference",
        )
    reasons = [w.text for w in registration_warnings if w.code in REGISTRATION_CODES]
    mixed_series = [
        uid for uid, files in index.series.items() if len({entry.text("FrameOfReferenceUID") for entry in files}) > 1
    ]
    if not reasons and mixed_series:
        reasons = ["the slices of a series state several frames of reference"]
    return StudyError(
        structures.path,
        "; ".join(["lies in another frame of reference (0020,0052) than every image series of the folder", *reasons]),
        "Export structure set and MR from the same plan, or the registration (REG) between them",
    )
