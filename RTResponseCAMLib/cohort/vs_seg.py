"""Importer of Vestibular-Schwannoma-SEG (TCIA, CC BY): real GammaPlan exports of a benign tumor, without labels.

``VS-SEG-001/<study>/<series>/*.dcm`` as downloaded, or ``vs_gk_1_t1/`` after the publishers' conversion. The plan
exists once per MR; the reference graph of the contrast-enhanced T1 is used. The tumor has the name TV, tv, AN or
another one; it is found by name, never by its position in the list.
"""

from __future__ import annotations

import re
from pathlib import Path

from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.dicom.index import index_folder
from RTResponseCAMLib.dicom.load import contents_of, find_reference_graph
from RTResponseCAMLib.dicom.privacy import Scrubber
from RTResponseCAMLib.dicom.rtstruct import read_structures
from RTResponseCAMLib.errors import CohortError, RTResponseError
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.progress import Progress, no_progress

DOWNLOADED = re.compile(r"VS-SEG-(\d+)$", re.IGNORECASE)
CONVERTED = re.compile(r"vs_gk_(\d+)_t1$", re.IGNORECASE)
TUMOR = re.compile(r"\s*(tv|an|vs|gtv|tumou?r)\b", re.IGNORECASE)
NOT_TUMOR = re.compile(r"brainstem|modiolus|cochlea|test|\*|skull|vol\b|vol\s*\d|men\b", re.IGNORECASE)


def import_vs_seg(source: Path, progress: Progress = no_progress) -> tuple[list[CohortRow], list[str]]:
    """One row per patient: the tumor on the T1; labels are unknown, because no response was recorded.

    Raises
    ------
    CohortError : no patient folder.
    """
    matches = [p for p in sorted(source.rglob("*")) if DOWNLOADED.fullmatch(p.name) or CONVERTED.fullmatch(p.name)]
    folders = [p for p in matches if p.is_dir()]
    if not folders:
        raise CohortError(source, "holds no VS-SEG-<n> or vs_gk_<n>_t1 folder", "Give the folder of the data set")
    rows, remarks = [], []
    for folder_index, folder in enumerate(folders, start=1):
        progress((folder_index - 1) / len(folders), f"patient {folder_index} of {len(folders)}")
        try:
            rows.append(_row(folder))
        except RTResponseError as error:
            remarks.append(f"{folder.name}: left out: {error.what}")
    return rows, remarks


def _row(folder: Path) -> CohortRow:
    match = DOWNLOADED.fullmatch(folder.name) or CONVERTED.fullmatch(folder.name)
    assert match is not None
    index = index_folder(folder)
    graph = find_reference_graph(contents_of(index))
    structures, _ = read_structures(graph.structures.path)
    contoured = [s for s in structures if s.contours and not NOT_TUMOR.search(s.name)]
    candidates = [s for s in contoured if TUMOR.match(s.name)] or contoured
    if not candidates:
        names = ", ".join(s.name for s in structures)
        raise CohortError(folder, f"has no ROI that looks like the tumor; it has {names}", "Name it in the manifest")
    largest = max(candidates, key=contour_volume_cc)
    return CohortRow(
        patient_group=f"VS-SEG-{int(match.group(1)):03d}",
        course="1",
        lesion=Scrubber([graph.images[0].header, graph.structures.header])(largest.name), study=folder,
        volume_cc=contour_volume_cc(largest), label_source="unknown: vestibular schwannoma, no response recorded",
    )  # fmt: skip
