"""Later scans beside a plan: which series they are, what was drawn on them, and what maps them onto the plan."""

from __future__ import annotations

from RTResponseCAMLib.dicom.chain import Chain, frames_of, map_into, referenced_series, t1c_score
from RTResponseCAMLib.dicom.index import Entry, Index, date_of
from RTResponseCAMLib.dicom.registration import Links
from RTResponseCAMLib.study import FollowUp


def find_follow_ups(index: Index, chain: Chain, links: Links) -> tuple[FollowUp, ...]:
    """T1c series of the same patient on later days, earliest first; series of unknown date at the end."""
    planned, planning = date_of(chain.images[0]), chain.images[0]
    patient = planning.text("PatientID")
    found: list[tuple[tuple[bool, int], FollowUp]] = []
    for uid, files in index.series.items():
        first = files[0]
        if files is chain.images or first.modality != "MR" or t1c_score(first) < 3:
            continue
        if first.text("PatientID") not in ("", patient) and patient:
            continue
        date = date_of(first)
        days = None if date is None or planned is None else int((date - planned).astype(int))
        if days is not None and days <= 0:
            continue
        matrix = map_into(links, first, planning)
        same = bool(frames_of(first) & frames_of(planning))
        rows = tuple(tuple(float(c) for c in row) for row in matrix) if matrix is not None and not same else None
        names = tuple(str(entry.path) for entry in files)
        drawn = tuple(str(entry.path) for entry in _drawn_on(index, uid))
        later = FollowUp(first.text("SeriesDescription"), days, names, drawn, same, rows)
        found.append(((days is None, days or 0), later))
    return tuple(follow_up for _, follow_up in sorted(found, key=lambda item: item[0]))


def _drawn_on(index: Index, series_uid: str) -> list[Entry]:
    """Structure sets first, then segmentations, that name the series."""
    return [entry for entry in index.structures if series_uid in referenced_series(entry)]
