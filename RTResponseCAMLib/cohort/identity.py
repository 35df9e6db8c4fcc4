"""Check that patient groups are different persons: one person in two groups would be in training and test sets.

The manifest distinguishes persons by ``patient_group_id`` only. The images give more information: one scan in two
groups, copied or anonymized again, is one person; one Patient ID in two groups may be one person.
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
LEVELS = 4096  # histogram levels from the smallest to the largest value of a scan
FIX = "Give one person one patient_group_id, or leave the copy out"


@dataclass(frozen=True)
class Source:
    """Group, scan and person of a lesion.

    Attributes
    ----------
    group : ``patient_group_id``.
    scan : digest of the voxels of the planning MR, independent of the format and the names of its files.
    person : key of the DICOM Patient ID; "" where there is none.
    """

    group: str
    scan: str
    person: str = ""


def source_of(study: Study, group: str) -> Source:
    """Source of the lesions of a study.

    The digest of the scan uses the image size and the histogram of the voxel values. It stays the same when a converter
    rotates or flips the scan. It changes when the scan is cropped, defaced or resampled.
    """
    voxels = sitk.GetArrayViewFromImage(study.mr)
    finite = [np.isfinite(plane) for plane in voxels]
    low = min((float(p[k].min()) for p, k in zip(voxels, finite, strict=True) if k.any()), default=0.0)
    high = max((float(p[k].max()) for p, k in zip(voxels, finite, strict=True) if k.any()), default=0.0)
    step = max(high - low, 1e-12) / (LEVELS - 1)
    counts = np.zeros(LEVELS, dtype=np.int64)
    for plane, is_finite in zip(voxels, finite, strict=True):
        level = np.rint((plane[is_finite].astype(np.float64) - low) / step)
        counts += np.bincount(level.astype(np.intp), minlength=LEVELS)
    digest = hashlib.blake2b(counts.astype("<i8").tobytes(), digest_size=12, person=b"MR")
    digest.update(str(sorted(study.mr.GetSize())).encode())
    unknown = study.patient == pseudonym("", "P-")
    return Source(group, digest.hexdigest(), "" if unknown else study.patient)


def shared_scans(sources: Iterable[Source]) -> list[tuple[str, ...]]:
    """Groups that share a scan: one tuple for each scan in several groups."""
    return _shared((s.scan, s.group) for s in sources)


def refuse_shared_scans(sources: Iterable[Source], where: Path) -> None:
    """Check that no scan belongs to two groups.

    Raises
    ------
    CohortError : one scan belongs to several groups.
    """
    shared = shared_scans(sources)
    if shared:
        raise CohortError(where, f"has one planning MR under several patient groups: {named(shared)}", FIX)


def shared_people(sources: Iterable[Source]) -> list[str]:
    """Remark about groups with the same DICOM Patient ID: a list of one sentence, or an empty list."""
    shared = _shared((s.person, s.group) for s in sources)
    consequence = "if they are one person, an approach is evaluated on people it was trained on"
    return [f"patient groups hold one DICOM Patient ID ({named(shared)}): {consequence}"] if shared else []


def _shared(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    groups: dict[str, set[str]] = {}
    for key, group in pairs:
        if key:
            groups.setdefault(key, set()).add(group)
    return sorted(tuple(sorted(names)) for names in groups.values() if len(names) > 1)


def named(groups: list[tuple[str, ...]]) -> str:
    """Text that lists the first few sets of groups."""
    texts = [" and ".join(f"'{name}'" for name in names[:MOST_NAMED]) for names in groups[:MOST_NAMED]]
    remaining = sum(map(len, groups)) - sum(len(names[:MOST_NAMED]) for names in groups[:MOST_NAMED])
    return "; ".join(texts) + (f"; and {remaining} more" if remaining else "")
