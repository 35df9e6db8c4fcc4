"""Import a data set by name into a manifest, and check a manifest against the files it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from RTResponseCAMLib.cohort.case import read_case
from RTResponseCAMLib.cohort.identity import Source, named, shared_people, shared_scans, source_of
from RTResponseCAMLib.cohort.importers import importer_of
from RTResponseCAMLib.cohort.manifest import CohortRow, read_cohort, write_manifest
from RTResponseCAMLib.errors import CohortError, RTResponseError
from RTResponseCAMLib.imaging.planes import contour_volume_cc
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.warnings import WarningCode

VOLUME_TOLERANCE = 0.05


def import_cohort(name: str, source: Path, *, folder: Path, progress: Progress = no_progress) -> dict[str, Any]:
    """Write ``folder/manifest.csv`` and ``folder/import.json`` (counts and remarks); return the content of the latter.

    Raises
    ------
    CohortError : an unknown data set, or a source that is not a folder or does not hold the data set.
    """
    importer = importer_of(name)
    if not source.is_dir():
        raise CohortError(source, "there is no such folder", "Give the folder of the unpacked data set")
    rows, remarks = importer(source, progress)
    if not rows:
        reason = "; ".join(remarks[:5]) or "nothing was found"
        raise CohortError(source, f"gives no lesion: {reason}", "Check the folder")
    write_manifest(folder, rows)
    summary = {"data_set": name, **counts(rows), "remarks": remarks}
    (folder / "import.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    progress(1.0, "manifest written")
    return summary


def counts(rows: list[CohortRow]) -> dict[str, int]:
    """Numbers of patients, cases, lesions, and labels."""
    return {
        "patients": len({row.patient_group for row in rows}),
        "cases": len({row.case for row in rows}),
        "lesions": len(rows),
        "response": sum(row.label == 0 for row in rows),
        "non_response": sum(row.label == 1 for row in rows),
        "unknown": sum(row.label is None for row in rows),
        "indeterminate": sum(row.certainty == "indeterminate" for row in rows),
    }


def check_cohort(folder: Path, progress: Progress = no_progress) -> dict[str, Any]:
    """Read every case of a manifest; ``problems`` holds one sentence for each case that cannot be used.

    Raises
    ------
    CohortError : the manifest itself cannot be read.
    """
    rows = read_cohort(folder)
    cases: dict[tuple[Path | str, ...], list[tuple[int, CohortRow]]] = {}
    for line_number, row in enumerate(rows, start=2):
        cases.setdefault(row.case, []).append((line_number, row))
    problems, remarks = [], []
    sources: list[Source] = []
    for done, members in enumerate(cases.values()):
        progress(done / len(cases), f"case {done + 1} of {len(cases)}")
        line = f"line {members[0][0]}" + (f" to {members[-1][0]}" if len(members) > 1 else "")
        try:
            study = read_case([row for _, row in members])
        except RTResponseError as error:
            problems.append(f"{line}: {error}")
            continue
        sources.append(source_of(study, members[0][1].patient_group))
        remarks += [f"{line}: {c.text}" for c in study.warnings if c.code is not WarningCode.NO_DOSE]
        structures = {x.structure.name: x.structure for x in study.lesions}
        for line_number, row in members:
            volume = contour_volume_cc(structures[row.lesion])
            if row.volume_cc is not None and abs(volume / row.volume_cc - 1) > VOLUME_TOLERANCE:
                problem = f"column volume_cc is {row.volume_cc:g}, its contours hold {volume:.4g} cm³"
                problems.append(f"line {line_number}: {problem}")
    problems += [f"one planning MR under several patient groups: {named([names])}" for names in shared_scans(sources)]
    remarks += shared_people(sources)
    progress(1.0, "checked")
    return {**counts(list(rows)), "problems": problems, "remarks": remarks}
