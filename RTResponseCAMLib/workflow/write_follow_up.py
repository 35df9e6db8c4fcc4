"""Output files of follow-ups: ``follow_up.json``, ``visits.csv``, transforms, lesions on the planning grid, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib import __version__
from RTResponseCAMLib.imaging.fraction import mask
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.rigid import as_transform
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.response.conventions import CONVENTIONS, Convention
from RTResponseCAMLib.response.trajectory import (
    TARGET_DAYS,
    WINDOW_DAYS,
    ResponseAssessment,
    Trajectory,
    Visit,
    assess,
    three_month_label,
)
from RTResponseCAMLib.response.volume import Change, Volume
from RTResponseCAMLib.tables import write_table
from RTResponseCAMLib.warnings import WarningCode, by_severity
from RTResponseCAMLib.workflow.follow_up import FollowedStudy, VisitResult
from RTResponseCAMLib.workflow.output import RESEARCH_ONLY, new_folder, write_labels
from RTResponseCAMLib.workflow.visit import ON_PLAN

SCHEMA_VERSION = 2  # 2: "warnings" instead of "cautions", "category" instead of "word"
COLUMNS = (
    "lesion", "name", "visit", "days", "status", "source", "volume_cc", "volume_low_cc", "volume_high_cc",
    "baseline_cc", "change", "change_low", "change_high", "longest_diameter_mm",
)  # fmt: skip


def write_follow_up(
    followed: FollowedStudy,
    out: Path,
    *,
    overwrite: bool = False,
    label_convention: Convention = CONVENTIONS["volume-20"],
    window_days: tuple[int, int] = WINDOW_DAYS,
    target_days: int = TARGET_DAYS,
    report: bool = True,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write all files into ``out``; the folder appears only when it is complete. Returns the content of the JSON.

    Raises
    ------
    OutputError : ``out`` exists or cannot be written.
    """
    labels = {
        t.lesion: three_month_label(t, label_convention, target_days=target_days, window_days=window_days)
        for t in followed.trajectories
    }
    content = follow_up_json(
        followed, label_convention, labels=labels, window_days=window_days, target_days=target_days
    )
    with new_folder(out, overwrite) as folder:
        progress(0.0, "writing the follow-ups")
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        (folder / "follow_up.json").write_text(text + "\n", encoding="utf-8")
        _write_csv(followed, folder / "visits.csv")
        for visit in followed.visits:
            if visit.registration is not None:
                transform = as_transform(visit.registration.to_follow_up)
                sitk.WriteTransform(transform, str(folder / f"{visit.name}_registration.tfm"))
            if visit.regions:
                _write_regions(followed, visit, folder / f"{visit.name}_lesions.seg.nrrd")
        if report:
            progress(0.5, "writing the report")
            _write_report(followed, content, label_convention, labels, folder / "report.html")
    progress(1.0, "done")
    return content


def follow_up_json(
    followed: FollowedStudy,
    convention: Convention,
    *,
    labels: dict[str, ResponseAssessment],
    window_days: tuple[int, int],
    target_days: int = TARGET_DAYS,
) -> dict[str, Any]:
    """Return the content of ``follow_up.json``; changes are fractions (−0.2: 20 % smaller)."""
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": RESEARCH_ONLY,
        "program": f"RTResponseCAM {__version__}",
        "patient": followed.study.patient,
        "day_zero": followed.study.day_zero,
        "boundary_mm": followed.boundary_mm,
        "label_convention": vars(convention),
        "label_target_days": target_days,
        "label_window_days": list(window_days),
        "warnings": [w.as_json() for w in followed.study.warnings],
        "remarks": _remarks(followed),
        "visits": [_visit_json(v) for v in followed.visits],
        "lesions": [
            {
                "id": t.lesion,
                "name": t.roi,
                "baseline": _volume_json(t.baseline),
                "baseline_longest_diameter_mm": t.baseline_diameters.longest_mm,
                "label": _assessment_json(labels[t.lesion]),
                "visits": [
                    {
                        "visit": v.name,
                        "days": v.days,
                        "status": v.status,
                        "source": v.source,
                        "merged_with": list(v.merged_with),
                        "volume": _volume_json(v.volume),
                        "longest_diameter_mm": v.diameters.longest_mm if v.diameters else None,
                        "conventions": _assessments_json(t, v),
                        "warnings": [w.as_json() for w in v.warnings],
                    }
                    for v in t.visits
                ],
            }
            for t in followed.trajectories
        ],
    }


def _remarks(followed: FollowedStudy) -> list[str]:
    """Return the warnings about single lesions; all proposed contours are combined in one sentence."""
    lesion_warnings = [(t.lesion, v.name, c) for t in followed.trajectories for v in t.visits for c in v.warnings]
    proposed = [f"{lesion} at {visit}" for lesion, visit, c in lesion_warnings if c.code is WarningCode.PROPOSED_REGION]
    remarks = [
        f"{lesion}, {visit}: {c.text}"
        for lesion, visit, c in lesion_warnings
        if c.code is not WarningCode.PROPOSED_REGION
    ]
    if proposed:
        remarks.append(f"proposed contours (review required): {', '.join(proposed)}")
    return remarks


def _visit_json(visit: VisitResult) -> dict[str, Any]:
    registration = visit.registration
    return {
        "visit": visit.name,
        "description": visit.description,
        "days": visit.days,
        "date_source": visit.date_source,
        "problem": visit.problem,
        "registration": None
        if registration is None
        else {
            "method": registration.method,
            "disagreement_mm": registration.disagreement_mm,
            "edge_correlation": registration.similarity,
            "overlap": registration.overlap,
            "planning_to_follow_up_lps_mm": registration.to_follow_up.tolist(),
        },
        "regions": [
            {"name": r.name, "lesion": r.lesion or None, "source": r.source, "label": label}
            for label, r in enumerate(visit.regions, start=1)
        ],
        "new_regions": [{"name": name, "volume_cc": cc} for name, cc in visit.new],
        "warnings": [w.as_json() for w in visit.warnings],
    }


def _volume_json(volume: Volume | None) -> dict[str, float] | None:
    return None if volume is None else dict(vars(volume))


def _assessments_json(trajectory: Trajectory, visit: Visit) -> dict[str, dict[str, Any]]:
    """The category of a visit by each convention."""
    return {
        name: _assessment_json(assess(trajectory, visit, convention=convention))
        for name, convention in CONVENTIONS.items()
    }


def _assessment_json(assessment: ResponseAssessment) -> dict[str, Any]:
    change: Change | None = assessment.change
    return {
        "category": assessment.category,
        "visit": assessment.visit,
        "days": assessment.days,
        "change": None if change is None else change.value,
        "change_interval": None if change is None else [change.low, change.high],
        "reason": assessment.reason,
    }


def _write_csv(followed: FollowedStudy, path: Path) -> None:
    rows = []
    for t in followed.trajectories:
        for v in t.visits:
            assessment = assess(t, v, convention=CONVENTIONS["volume-20"])
            volume, change = v.volume, assessment.change
            volumes = (volume.cc, volume.low_cc, volume.high_cc) if volume else ("", "", "")
            changes = (change.value, change.low, change.high) if change else ("", "", "")
            rows.append(
                [t.lesion, t.roi, v.name, v.days, v.status, v.source]
                + [_number(n) for n in (*volumes, v.baseline.cc, *changes)]
                + [f"{v.diameters.longest_mm:.2f}" if v.diameters else ""]
            )
    write_table(path, COLUMNS, rows=rows)


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4f}"


def _write_regions(followed: FollowedStudy, visit: VisitResult, path: Path) -> None:
    """Write regions on the planning grid, to be edited and used as a mask; names start with the plan's lesion."""
    grid = Grid.of(followed.study.mr)
    labels = np.zeros(grid.shape, dtype=np.uint8 if len(visit.regions) < 256 else np.uint16)
    for label, region in enumerate(visit.regions, start=1):
        labels[mask(region.structure, grid)] = label
    image = grid.image(labels)
    image.SetMetaData(ON_PLAN, "1")
    write_labels(image, [region.name for region in visit.regions], path=path)


def _write_report(
    followed: FollowedStudy,
    content: dict[str, Any],
    convention: Convention,
    labels: dict[str, ResponseAssessment],
    path: Path,
) -> None:
    from RTResponseCAMLib.report.follow_up import write_follow_up_report

    visits = [(t, v) for t in followed.trajectories for v in t.visits]
    rows = [
        {
            "lesion": t.lesion,
            "visit": v,
            "categories": [assess(t, v, convention=c).category for c in CONVENTIONS.values()],
        }
        for t, v in visits
    ]
    values = {
        "notice": RESEARCH_ONLY,
        "patient": followed.study.patient,
        "day_zero": followed.study.day_zero,
        "boundary_mm": followed.boundary_mm,
        "convention": convention,
        "target_days": content["label_target_days"],
        "window_days": content["label_window_days"],
        "warnings": by_severity(followed.study.warnings),
        "visits": followed.visits,
        "trajectories": followed.trajectories,
        "labels": [(t, labels[t.lesion]) for t in followed.trajectories],
        "rows": rows,
        "remarks": content["remarks"],
        "conventions": list(CONVENTIONS),
        "sources": list(CONVENTIONS.values()),
    }
    write_follow_up_report(values, path)
