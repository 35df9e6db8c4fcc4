"""Labels from volume changes: match the islands of a baseline mask to those of a follow-up mask, and compare them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import SimpleITK as sitk

from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.imaging.grid import Grid, same_grid
from RTResponseCAMLib.imaging.labels import label_structures, read_volume
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.response.conventions import CONVENTIONS, INDETERMINATE, RESPONSE, classify
from RTResponseCAMLib.response.matching import match_lesions
from RTResponseCAMLib.response.trajectory import nearest_in_window
from RTResponseCAMLib.response.volume import Volume, change_interval, volume_interval
from RTResponseCAMLib.study import Lesion, Structure

THRESHOLD = CONVENTIONS["volume-20"]
MIN_VOXELS = 8


@dataclass(frozen=True)
class LaterMask:
    """Mask of a follow-up in the patient space of the planning mask, and its day (None: unknown)."""

    name: str
    path: Path
    days: int | None


def islands_of(mask: sitk.Image, values: tuple[int, ...]) -> tuple[Structure, ...]:
    """Islands (connected regions) of a mask that are large enough to be lesions; numbers are those of ``region``."""
    return _large(mask, label_structures(mask, values))


def islands_of_each(mask: sitk.Image) -> tuple[Structure, ...]:
    """As `islands_of`, for each label separately: touching regions of different labels stay separate."""
    return _large(mask, label_structures(mask))


def _large(mask: sitk.Image, structures: tuple[Structure, ...]) -> tuple[Structure, ...]:
    smallest = MIN_VOXELS * Grid.of(mask).voxel_cc
    return tuple(s for s in structures if contour_volume_cc(s) >= smallest * 0.99)


def nearest_three_months(later: list[LaterMask]) -> LaterMask | None:
    """The follow-up nearest day 90 within days 60 to 120; None when no dated follow-up lies there."""
    index = nearest_in_window([m.days for m in later])
    return None if index is None else later[index]


def label_rows(
    rows: list[CohortRow],
    lesions: tuple[Structure, ...],
    *,
    mask: sitk.Image,
    later: LaterMask,
    find: Callable[[sitk.Image], tuple[Structure, ...]],
) -> tuple[list[CohortRow], list[str]]:
    """Fill days, ratio, label and certainty of the rows of one case from a follow-up mask; also remarks.

    The follow-up mask must exist; an absent mask does not mean a volume of zero.

    Parameters
    ----------
    lesions : structures of the rows, contoured on ``mask``.
    find : function that returns the regions of the follow-up mask that may match them.
    """
    follow_up = read_volume(later.path)
    if not same_grid(Grid.of(mask), Grid.of(follow_up), tolerance_mm=0.1):
        return rows, [f"{later.path.name}: lies on another grid than the baseline mask; its lesions stay unknown"]
    planned = tuple(Lesion(str(n), s) for n, s in enumerate(lesions))
    regions = find(follow_up)
    matches, new = match_lesions(planned, regions)
    before = {lesion.id: volume_interval(lesion.structure) for lesion in planned}
    after = [volume_interval(region) for region in regions]
    remarks = [f"{later.path.name}: {len(new)} new lesion(s), not in the cohort"] if new else []
    labeled = []
    for row, match in zip(rows, matches, strict=True):
        planning_volume, later_volume = match.volumes(before, after)
        labeled.append(
            labeled_row(
                row,
                planning_volume,
                after=later_volume,
                days=later.days,
                source=f"volume, {later.name}, {match.status}",
            )
        )
    return labeled, remarks


def labeled_row(row: CohortRow, before: Volume, *, after: Volume, days: int | None, source: str) -> CohortRow:
    """Row with the label of its volume change: a decrease of more than 20 % is a response."""
    change = change_interval(before, after)
    category = classify(THRESHOLD, change, growth=None)
    return replace(
        row,
        days_to_follow_up=days,
        volume_ratio=after.cc / before.cc,
        label=0 if change.value < THRESHOLD.response else 1,
        certainty="indeterminate" if category == INDETERMINATE else "certain",
        label_source=source if category != RESPONSE or after.cc > 0 else f"{source} (gone)",
    )
