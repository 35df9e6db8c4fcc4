"""Which objects belong together: RTDOSE → RTPLAN → RTSTRUCT or SEG → MR, and why a structure set belongs to no MR."""

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
    """The objects of one treatment that are used together.

    Attributes
    ----------
    images : files of the planning series.
    structures : RTSTRUCT or SEG.
    choice : the plan and the doses, and how they were chosen; ``plan`` and ``doses`` are what is used.
    to_images : rigid map of the structures' points into the images' frame, None when both lie in the same.
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
        """RTPLAN, None without one."""
        return self.choice.plan


def reference_graphs_of(
    index: Index, structures: Entry, *, links: Links, wanted_plan: str | None
) -> list[ReferenceGraph]:
    """Chains that begin with a structure set, one for each image series that it belongs to."""
    own = {uid: files for uid, files in index.series.items() if not compare(files[0], structures).other}
    named, warnings = _contoured_on(index, structures, links, own)
    choice = choose_plan(index, structures, wanted=wanted_plan)
    doses = choice.doses
    if not doses:
        doses = doses_by_frame(index, structures)
        warnings += [WarningCode.DOSE_BY_FRAME()] if doses else []
    graphs = []
    for uid in named:
        files = own[uid]
        own_warnings, matrix = list(warnings), None
        frames, theirs = frames_of(structures), frames_of(files[0])
        if frames and theirs and not frames & theirs:
            matrix = map_into(links, structures, images=files[0])
            if matrix is None:
                continue
            own_warnings.append(WarningCode.MOVED_STRUCTURES())
        objects = (("structure set", structures), ("plan", choice.plan), *(("dose", d) for d in doses))
        own_warnings += _identity_warnings(files[0], objects)
        graphs.append(
            ReferenceGraph(files, structures, choice, doses, t1c_score(files[0]), matrix, tuple(own_warnings))
        )
    return graphs


def _identity_warnings(images: Entry, objects: Sequence[tuple[str, Entry | None]]) -> list[Warning]:
    """Name the objects whose person agrees with the images' only in part."""
    parts: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for name, entry in objects:
        found = compare(images, entry) if entry is not None else None
        if found is not None and found.verdict is Verdict.SAME_IN_PART:
            parts.setdefault((found.differs, found.agrees), []).append(name)
    return [
        WarningCode.IDENTITY_DIFFERS(what=", ".join(dict.fromkeys(names)), differs=" and ".join(differs),
                                     agrees=" and ".join(agrees))
        for (differs, agrees), names in parts.items()
    ]  # fmt: skip


def _contoured_on(
    index: Index, structures: Entry, links: Links, own: dict[str, tuple[Entry, ...]]
) -> tuple[list[str], list[Warning]]:
    """Series that a structure set belongs to: by reference, by its images, by its contours' images, by its frame."""
    stated = referenced_series(structures, index)
    named = [uid for uid in stated if uid in own]
    if len(named) > 1 and structures.modality == "RTSTRUCT":  # those of its contours' images first
        drawn = index.series_of_images(contour_images(structures))
        named.sort(key=lambda uid: drawn.index(uid) if uid in drawn else len(drawn))
    if named:
        return named, []
    listed = [uid for uid in index.series_of_images(referenced_images(structures)) if uid in own]
    if listed:
        return listed[:1], [WarningCode.SERIES_BY_IMAGES(source="that of the images it lists")]
    if not stated and structures.modality == "RTSTRUCT":
        listed = [uid for uid in index.series_of_images(contour_images(structures)) if uid in own]
        if listed:
            return listed[:1], [WarningCode.SERIES_BY_IMAGES(source="that of its contours' images (3006,0016)")]
    frames = frames_of(structures)
    named = [uid for uid, files in own.items() if frames & frames_of(files[0])]
    if named and stated:
        return named, [WarningCode.SERIES_BY_FRAME()]
    if named:
        return named, [WarningCode.SERIES_BY_IMAGES(source="that of its frame of reference (3006,0024)")]
    return [uid for uid, files in own.items() if map_into(links, structures, images=files[0]) is not None], []


def why_unlinked(
    index: Index, structures: Entry, *, links: Links, registration_warnings: Sequence[Warning] = ()
) -> StudyError:
    """Why a structure set belongs to none of the image series: the cause that holds."""
    named, _ = _contoured_on(index, structures, links, index.series)
    for uid in named:
        found = compare(index.series[uid][0], structures)
        if found.other:
            return StudyError(
                structures.path,
                f"belongs to another patient than the images it was contoured on, by {found.reason}",
                "Export plan and MR of one patient, under the same identity",
            )
    frames = frames_of(structures)
    if not frames and not referenced_series(structures):
        return StudyError(
            structures.path,
            "names neither a frame of reference (3006,0010; 3006,0024) nor images (3006,0016), so no series is its own",
            "Export the structure set with its references",
        )
    bare = [files[0] for files in index.series.values() if not frames_of(files[0])]
    if frames and len(bare) == len(index.series):
        return StudyError(
            bare[0].path,
            "states no Frame of Reference UID (0020,0052), and is not the series that the structures name",
            "Export the MR with its frame of reference",
        )
    unused = [w.text for w in registration_warnings if w.code in REGISTRATION_CODES]
    several = [uid for uid, files in index.series.items() if len({e.text("FrameOfReferenceUID") for e in files}) > 1]
    if not unused and several:
        unused = ["the slices of a series state several frames of reference"]
    return StudyError(
        structures.path,
        "; ".join(["lies in another frame of reference (0020,0052) than every image series of the folder", *unused]),
        "Export structure set and MR from the same plan, or the registration (REG) between them",
    )
