"""Importer of UCSF-BMSR: segmented metastases before radiosurgery; no dose and no follow-up, therefore no labels.

``…/100101A/100101A_T1post.nii.gz`` and ``100101A_seg.nii.gz`` (1: metastasis). The first six characters are the
patient, the letter is the scan; it is not proven that the letters follow the order of time.
"""

from __future__ import annotations

import re
from pathlib import Path

from RTResponseCAMLib.cohort.labels import islands_of
from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.errors import CohortError, RTResponseError
from RTResponseCAMLib.imaging.labels import read_volume
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.progress import Progress, no_progress

FOLDER = re.compile(r"(\d{6})([A-Z])$", re.IGNORECASE)
METASTASIS = (1,)


def import_ucsf_bmsr(source: Path, progress: Progress = no_progress) -> tuple[list[CohortRow], list[str]]:
    """Rows of every metastasis, and remarks.

    Raises
    ------
    CohortError : no scan folder.
    """
    folders = [p for p in sorted(source.rglob("*")) if p.is_dir() and FOLDER.fullmatch(p.name)]
    if not folders:
        raise CohortError(source, "holds no scan folder such as 100101A", "Give the folder of the data set")
    rows, remarks = [], []
    for folder_index, folder in enumerate(folders, start=1):
        progress((folder_index - 1) / len(folders), f"scan {folder_index} of {len(folders)}")
        match = FOLDER.fullmatch(folder.name)
        assert match is not None
        files = {p.name.lower(): p for p in folder.iterdir()}
        mr, mask = (files.get(f"{folder.name}_{suffix}.nii.gz".lower()) for suffix in ("T1post", "seg"))
        if mr is None or mask is None:
            remarks.append(f"{folder.name}: no T1post or no seg; left out")
            continue
        try:
            islands = islands_of(read_volume(mask), METASTASIS)
        except RTResponseError as error:
            remarks.append(f"{folder.name}: left out: {error.what}")
            continue
        rows += [
            CohortRow(
                patient_group=f"UCSF-{match.group(1)}", course=match.group(2).upper(),
                lesion=f"{folder.name} lesion {s.number}", mr=mr, mask=mask, mask_values=METASTASIS, region=s.number,
                volume_cc=contour_volume_cc(s), label_source="unknown: no follow-up in the data set",
            )
            for s in islands
        ]  # fmt: skip
    return rows, remarks
