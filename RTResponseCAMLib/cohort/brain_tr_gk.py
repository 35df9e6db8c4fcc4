"""Importer of Brain-TR-GammaKnife (TCIA): real Gamma Knife plans with one label per lesion, no follow-up images.

Processed NRRD ``GK.103_1/GK.103_1_MR_t1.nrrd``, ``*dose*``, one mask per lesion ``GK.103_1_L…``; or DICOM
``GK_103/<course>/<series>``. The label is ``mri_type`` of later imaging: stable or recurrence. It is not a volume
change and cannot give the three-month label; ``label_source`` states this.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from RTResponseCAMLib.cohort.manifest import CohortRow
from RTResponseCAMLib.cohort.sheets import by_header, number_in, read_sheet, text_in
from RTResponseCAMLib.dicom.index import index_folder
from RTResponseCAMLib.dicom.load import contents_of, find_reference_graph
from RTResponseCAMLib.dicom.privacy import Scrubber
from RTResponseCAMLib.dicom.rtstruct import read_structures
from RTResponseCAMLib.dicom.targets import choose_lesions
from RTResponseCAMLib.errors import CohortError, RTResponseError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.labels import read_volume
from RTResponseCAMLib.progress import Progress, no_progress

COURSE = re.compile(r"GK\.(\d+)_(\d+)$", re.IGNORECASE)
LESION = re.compile(r"GK\.(\d+)_(\d+)_L_?(.+)\.nrrd$", re.IGNORECASE)
SUBJECT = re.compile(r"GK_(\d+)$", re.IGNORECASE)
SOURCE = "mri_type of later imaging, not a change of volume"
NEEDED = (
    "unique_pt_id", "Treatment Course", "Lesion #", "Lesion Location", "mri_type", "duration_tx_to_imag (months)",
    "Fractions", "Lesion Name in NRRD files",
)  # fmt: skip
DAYS_PER_MONTH = 30.44
MIN_LIKENESS = 0.6


def import_brain_tr_gk(source: Path, progress: Progress = no_progress) -> tuple[list[CohortRow], list[str]]:
    """Rows of every lesion below ``source`` (NRRD where there are any, else DICOM), and remarks.

    Raises
    ------
    CohortError : neither layout is found.
    """
    lines, remarks = _sheet(source)
    courses = sorted(p for p in source.rglob("GK.*") if p.is_dir() and COURSE.fullmatch(p.name))
    subjects = sorted(p for p in source.rglob("GK_*") if p.is_dir() and SUBJECT.fullmatch(p.name))
    if not courses and not subjects:
        raise CohortError(source, "holds neither GK.<patient>_<course> nor GK_<patient> folders", "Give its folder")
    rows: list[CohortRow] = []
    folders = courses or subjects
    for folder_index, folder in enumerate(folders, start=1):
        progress((folder_index - 1) / len(folders), f"folder {folder_index} of {len(folders)}")
        try:
            new_rows, notes = (_nrrd_course if courses else _dicom_subject)(folder, lines)
        except RTResponseError as error:
            new_rows, notes = [], [f"{folder.name}: left out: {error.what}"]
        rows += new_rows
        remarks += notes
    unused_names = [text_in(line[NEEDED[7]]) or text_in(line[NEEDED[3]]) for line in lines if not line.get("used")]
    if unused_names:
        remarks.append(f"{len(unused_names)} row(s) of the spreadsheet have no file: {', '.join(unused_names[:10])}")
    return rows, remarks


def _nrrd_course(folder: Path, lines: list[dict[str, Any]]) -> tuple[list[CohortRow], list[str]]:
    files = sorted(folder.glob("*.nrrd"))
    mr = next((p for p in files if re.search(r"_MR_", p.name, re.IGNORECASE)), None)
    dose = next((p for p in files if "dose" in p.name.lower()), None)
    if mr is None:
        return [], [f"{folder.name}: no MR; left out"]
    rows, remarks = [], []
    for path in files:
        match = LESION.fullmatch(path.name)
        if path in (mr, dose) or match is None or "skull" in match.group(3).lower():
            continue
        line = _line_of(lines, path.name.removesuffix(".nrrd"))
        if line is None:
            remarks.append(f"{path.name}: not in the spreadsheet; its label is unknown")
        rows.append(_row(match.group(1), match.group(2), path.name.removesuffix(".nrrd"), line, mr, path, dose))
    return rows, remarks


def _row(
    patient: str, course: str, name: str, line: dict[str, Any] | None, mr: Path | None, mask: Path | None,
    dose: Path | None, study: Path | None = None,
) -> CohortRow:  # fmt: skip
    label, days, fractions = None, None, None
    if line is not None:
        line["used"] = True
        label = {"stable": 0, "recurrence": 1}.get(text_in(line["mri_type"]).lower())
        months = number_in(line["duration_tx_to_imag (months)"])
        days = round(months * DAYS_PER_MONTH) if months is not None else None
        fraction_count = number_in(line["Fractions"])
        fractions = int(fraction_count) if fraction_count is not None else None
    volume = None
    if mask is not None:
        image = read_volume(mask)
        volume = float((sitk.GetArrayViewFromImage(image) > 0).sum()) * Grid.of(image).voxel_cc
    return CohortRow(
        patient_group=f"GK.{patient}", course=course, lesion=name, study=study, mr=mr, mask=mask, dose=dose,
        fractions=fractions, days_to_follow_up=days, volume_cc=volume, label=label,
        label_source=SOURCE if label is not None else "unknown",
    )  # fmt: skip


def _dicom_subject(folder: Path, lines: list[dict[str, Any]]) -> tuple[list[CohortRow], list[str]]:
    """One study folder per course, ordered by date; ROI names are matched to locations by text similarity."""
    match = SUBJECT.fullmatch(folder.name)
    assert match is not None
    rows, remarks = [], []
    for course_number, study in enumerate(
        sorted((p for p in folder.iterdir() if p.is_dir()), key=_study_date), start=1
    ):
        ids = (match.group(1), folder.name)
        course_lines = [
            line
            for line in lines
            if text_in(line["unique_pt_id"]) in ids and number_in(line["Treatment Course"]) == course_number
        ]
        try:
            new_rows, notes = _dicom_course(study, match.group(1), str(course_number), course_lines)
        except RTResponseError as error:  # other courses may be readable
            new_rows, notes = [], [f"left out: {error.what}"]
        rows += new_rows
        remarks += [f"{folder.name} course {course_number}: {text}" for text in notes]
    return rows, remarks


def _dicom_course(
    study: Path, patient: str, course: str, lines: list[dict[str, Any]]
) -> tuple[list[CohortRow], list[str]]:
    index = index_folder(study)
    graph = find_reference_graph(contents_of(index))
    structures, _ = read_structures(graph.structures.path)
    contoured = tuple(s for s in structures if not s.name.startswith("*"))
    lesions, _ = choose_lesions(graph.structures.path, contoured)
    scrub = Scrubber([graph.images[0].header, graph.structures.header])
    line_by_name = _locations([x.structure.name for x in lesions], lines)
    rows, remarks = [], []
    for lesion in lesions:
        line, name = line_by_name.get(lesion.structure.name), scrub(lesion.structure.name)
        if line is None:
            remarks.append(f"no location in the spreadsheet resembles ROI '{name}'")
        rows.append(_row(patient, course, name, line, None, None, None, study))
    return rows, remarks


def _study_date(path: Path) -> tuple[str, str]:
    match = re.match(r"(\d{2})-(\d{2})-(\d{4})", path.name)
    return (match.group(3) + match.group(1) + match.group(2) if match else "9999", path.name)


def _locations(names: list[str], lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Spreadsheet line of each ROI name: the most similar pairs first, each name and each line used once."""
    pairs = sorted(
        (
            (
                difflib.SequenceMatcher(None, _plain(name), _plain(text_in(line["Lesion Location"]))).ratio(),
                name,
                line_index,
            )
            for name in names
            for line_index, line in enumerate(lines)
        ),
        reverse=True,
    )
    line_by_name: dict[str, dict[str, Any]] = {}
    used_lines: set[int] = set()
    for similarity, name, line_index in pairs:
        if similarity >= MIN_LIKENESS and name not in line_by_name and line_index not in used_lines:
            line_by_name[name] = lines[line_index]
            used_lines.add(line_index)
    return line_by_name


def _line_of(lines: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """Line with this name, ignoring letter case and punctuation; if none, also ignoring trailing digits (a date)."""
    table: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        table[_plain(text_in(line["Lesion Name in NRRD files"]).removesuffix(".nrrd"))].append(line)
    for key in (_plain(name), re.sub(r"\d+$", "", _plain(name))):
        if len(table.get(key, ())) == 1:
            return table[key][0]
    return None


def _plain(text: str) -> str:
    text = text.casefold()
    for long, short in (("left", "lt"), ("right", "rt")):
        text = text.replace(long, short)
    return re.sub(r"[^a-z0-9]", "", text)


def _sheet(source: Path) -> tuple[list[dict[str, Any]], list[str]]:
    books = [p for p in sorted(source.rglob("*.xlsx")) if re.match(r"Brain.TR.GammaKnife", p.name, re.IGNORECASE)]
    if not books:
        return [], ["no Brain-TR-GammaKnife-Clinical-Information.xlsx: labels stay unknown"]
    return by_header(books[0], read_sheet(books[0], "lesion_level"), needed=NEEDED), []
