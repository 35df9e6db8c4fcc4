"""Whether patient groups are different people: one person under two groups would be trained on and evaluated on.

The manifest tells people apart by ``patient_group_id`` alone. What was read tells more: one scan under two groups,
copied or anonymized anew, is one person; one Patient ID under two groups may be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.dicom.privacy import pseudonym
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.study import Study

MOST_NAMED = 5
LEVELS = 4096  # of a scan's values, from the least to the greatest
FIX = "Give one person one patient_group_id, or leave the copy out"


@dataclass(frozen=True)
class Source:
    """Where a lesion comes from.

    Attributes
    ----------
    group : ``patient_group_id``.
    scan : digest of the planning MR's voxels, whatever its files are and are called.
    person : key of the DICOM Patient ID; "" where there is none.
    """

    group: str
    scan: str
    person: str = ""


def source_of(study: Study, group: str) -> Source:
    """Source of the lesions of a study.

    A scan is told by its size and how many voxels have which value, so that it is known again when it was turned or
    flipped by a converter; cropped, defaced or resampled it is another.
    """
    voxels = sitk.GetArrayViewFromImage(study.mr)
    finite = [np.isfinite(plane) for plane in voxels]
    low = min((float(p[k].min()) for p, k in zip(voxels, finite, strict=True) if k.any()), default=0.0)
    high = max((float(p[k].max()) for p, k in zip(voxels, finite, strict=True) if k.any()), default=0.0)
    step = max(high - low, 1e-12) / (LEVELS - 1)
    counts = np.zeros(LEVELS, dtype=np.int64)
    for plane, known in zip(voxels, finite, strict=True):
        level = np.rint((plane[known].astype(np.float64) - low) / step)
        counts += np.bincount(level.astype(np.intp), minlength=LEVELS)
    digest = hashlib.blake2b(counts.astype("<i8").tobytes(), digest_size=12, person=b"MR")
    digest.update(str(sorted(study.mr.GetSize())).encode())
    unknown = study.patient == pseudonym("", "P-")
    return Source(group, digest.hexdigest(), "" if unknown else study.patient)


def shared_scans(sources: Iterable[Source]) -> list[tuple[str, ...]]:
    """Groups that hold one scan, for each scan that has several."""
    return _shared((s.scan, s.group) for s in sources)


def refuse_shared_scans(sources: Iterable[Source], where: Path) -> None:
    """Refuse a cohort that has one scan under two groups.

    Raises
    ------
    CohortError : it has.
    """
    found = shared_scans(sources)
    if found:
        raise CohortError(where, f"has one planning MR under several patient groups: {named(found)}", FIX)


def shared_people(sources: Iterable[Source]) -> list[str]:
    """What to say of groups that hold one DICOM Patient ID: one sentence, or none."""
    found = _shared((s.person, s.group) for s in sources)
    consequence = "if they are one person, an approach is evaluated on people it was trained on"
    return [f"patient groups hold one DICOM Patient ID ({named(found)}): {consequence}"] if found else []


def _shared(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    groups: dict[str, set[str]] = {}
    for key, group in pairs:
        if key:
            groups.setdefault(key, set()).add(group)
    return sorted(tuple(sorted(names)) for names in groups.values() if len(names) > 1)


def named(found: list[tuple[str, ...]]) -> str:
    """Sets of groups in words, the first few of them."""
    texts = [" and ".join(f"'{name}'" for name in names[:MOST_NAMED]) for names in found[:MOST_NAMED]]
    more = sum(map(len, found)) - sum(len(names[:MOST_NAMED]) for names in found[:MOST_NAMED])
    return "; ".join(texts) + (f"; and {more} more" if more else "")
