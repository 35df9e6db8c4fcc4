"""Output files of a result: ``result.json``, ``lesions.csv``, ``cam.nrrd``, ``subregions.seg.nrrd``, scene, report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from RTResponseCAMLib.imaging.image_file import write_image
from RTResponseCAMLib.imaging.planes import centroid_mm
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.study import Prediction, Result
from RTResponseCAMLib.subregion.select import Selection
from RTResponseCAMLib.tables import write_table
from RTResponseCAMLib.warnings import Warning, by_severity
from RTResponseCAMLib.workflow.output import RESEARCH_ONLY, new_folder, write_labels
from RTResponseCAMLib.workflow.predict import Stages
from RTResponseCAMLib.workflow.subregion import contour_subregions

SCHEMA_VERSION = 3  # 3: "warnings" instead of "cautions", "subregion_threshold" instead of "cam_cut"; 2: "link"
CSV_COLUMNS = (
    "id", "name", "volume_cc", "p_response", "p_response_low", "p_response_high", "label",
    "dose_mean_gy", "d98_gy", "d50_gy", "d2_gy", "prescription_gy", "coverage", "dose_unit", "warnings",
)  # fmt: skip


def write_result(
    result: Result,
    out: Path,
    *,
    overwrite: bool = False,
    scene: Callable[[Result, Path], None] | None = None,
    pictures: bool = False,
    progress: Progress = no_progress,
    stages: Stages | None = None,
    report: bool = True,
    more: Callable[[Path], None] | None = None,
) -> None:
    """Write all files of a result into ``out``; the folder appears only when it is complete.

    Parameters
    ----------
    scene : function that writes ``scene.mrb``, such as `write_scene`; None: no scene.
    pictures : write images of Slicer's slice views for each lesion (needs trame-slicer).
    report : write ``report.html`` (needs matplotlib and jinja2).
    more : function that writes additional files of the result into the folder given to it.

    Raises
    ------
    OutputError : ``out`` exists or cannot be written, or a required package is missing.
    """
    stages = stages or Stages()
    if report:  # if matplotlib or jinja2 is missing, fail before anything is written
        from RTResponseCAMLib.report.html import write_report
    with new_folder(out, overwrite) as folder:
        stages.begin("write result")
        progress(0.0, "writing the result")
        text = json.dumps(result_json(result), indent=2, allow_nan=False, ensure_ascii=False)
        (folder / "result.json").write_text(text + "\n", encoding="utf-8")
        _write_csv(result, folder / "lesions.csv")
        write_image(result.cam, folder / "cam.nrrd")
        _write_segments(result, folder / "subregions.seg.nrrd")
        (folder / "evidence").mkdir()
        for prediction in result.predictions:
            write_image(prediction.evidence, folder / "evidence" / f"{prediction.lesion.id}.nrrd")
        if report:
            stages.begin("report")
            progress(0.1, "writing the report")
            subregions, warnings = contour_subregions(
                result, Selection("value", result.subregion_threshold), progress=subprogress(progress, 0.1, 0.4)
            )
            write_report(result, folder / "report.html", notice=RESEARCH_ONLY, contoured=subregions, warnings=warnings)
        if scene is not None:
            stages.begin("scene")
            progress(0.6, "writing the scene")
            scene(result, folder / "scene.mrb")
        if pictures:
            stages.begin("slice views")
            progress(0.9, "rendering slice views")
            from RTResponseCAMLib.viewer import picture_lesions

            picture_lesions(result, folder)
        if more is not None:
            stages.begin("more")
            more(folder)
        stages.begin("")
        progress(0.99, "done")  # last point to cancel: afterwards the folder is renamed
    progress(1.0, "done")


def result_json(result: Result) -> dict[str, Any]:
    """Return the content of ``result.json``; numbers are not rounded, units are in the key names."""
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": RESEARCH_ONLY,
        "patient": result.study.patient,
        "link": "logit",
        "cam_scale": result.scale,
        "subregion_threshold": result.subregion_threshold,
        "provenance": dict(result.provenance),
        "warnings": _warnings(result.warnings),
        "lesions": [_lesion_json(prediction) for prediction in result.predictions],
    }


def _lesion_json(prediction: Prediction) -> dict[str, Any]:
    dose = prediction.dose
    return {
        "id": prediction.lesion.id,
        "name": prediction.lesion.structure.name,
        "roi_number": prediction.lesion.structure.number,
        "center_lps_mm": [round(float(c), 3) for c in centroid_mm(prediction.lesion.structure)],
        "volume_cc": prediction.volume_cc,
        "p_response": prediction.p_response,
        "p_response_interval": [prediction.p_response_low, prediction.p_response_high],
        "label": prediction.label,
        "class_threshold": prediction.class_threshold,
        "evidence_total": prediction.total,
        "evidence_bias": prediction.bias,
        "bias_from_volume": prediction.from_volume,
        "contributions": dict(prediction.contributions),
        "training_distance": prediction.training_distance,
        "training_p": prediction.training_p,
        "map_checks": dict(prediction.checks),
        "evidence_map": f"evidence/{prediction.lesion.id}.nrrd",
        "dose": None if dose is None else dict(vars(dose)),
        "warnings": _warnings(prediction.warnings),
    }


def _warnings(warnings: tuple[Warning, ...]) -> list[dict[str, str]]:
    return [w.as_json() for w in by_severity(warnings)]


def _write_csv(result: Result, path: Path) -> None:
    rows = []
    for p in result.predictions:
        row: dict[str, Any] = {"id": p.lesion.id, "name": p.lesion.structure.name, "label": p.label}
        row |= {name: f"{getattr(p, name):.4f}" for name in CSV_COLUMNS[2:6]}
        if p.dose is not None:
            row["dose_mean_gy"] = f"{p.dose.mean_gy:.4f}"
            row |= {name: f"{getattr(p.dose, name):.4f}" for name in CSV_COLUMNS[8:13]}
            row["dose_unit"] = result.study.dose.unit if result.study.dose is not None else None
        row["warnings"] = "; ".join(w.labeled() for w in by_severity(p.warnings))
        rows.append(row)
    write_table(path, CSV_COLUMNS, rows=rows)


def _write_segments(result: Result, path: Path) -> None:
    names = [f"{p.lesion.id} evidence > {result.subregion_threshold:g}" for p in result.predictions]
    write_labels(result.subregions, names, path=path, ids=[p.lesion.id for p in result.predictions])


def write_scene(result: Result, path: Path) -> None:
    """Write the scene outside the application, with slicer-core."""
    from RTResponseCAMLib.scene.save import write_result_scene
    from RTResponseCAMLib.scene.vtk_logging import silence_vtk

    with silence_vtk():
        write_result_scene(result, path)
