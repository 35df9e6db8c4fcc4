"""Compare evidence maps of one or more patients with biopsy / cell-density points, registered slides and habitats."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.errors import CohortError, OutputError
from RTResponseCAMLib.imaging.resample import resample_nearest
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.study import Result
from RTResponseCAMLib.subregion.alignment import Alignment, align, habitats
from RTResponseCAMLib.subregion.points import Point, Sampled, sample_map
from RTResponseCAMLib.subregion.select import Selection, select
from RTResponseCAMLib.subregion.voxels import LesionVoxels, lesion_voxels
from RTResponseCAMLib.tables import write_table
from RTResponseCAMLib.warnings import Warning, WarningCode
from RTResponseCAMLib.workflow.output import RESEARCH_ONLY, new_folder

FEW = 10  # with fewer patients, a bootstrap over patients is unreliable
RADIUS_MM = 1.5  # radius of the sphere around a point; the default of the command line
NOTE = "An evidence map explains the model, not the tissue. Resected lesions are a selection of treatment failures."


@dataclass(frozen=True)
class Aligned:
    """Points of one study with the evidence sampled at them, and the rows of its habitats.

    ``patient`` is the pseudonym.
    """

    patient: str
    sampled: Sampled
    habitats: tuple[Mapping[str, str | float], ...]
    warnings: tuple[Warning, ...]


def align_study(
    result: Result,
    points: Sequence[Point],
    *,
    radius_mm: float,
    error_mm: float,
    labels: sitk.Image | None = None,
    names: Mapping[int, str] | None = None,
    selection: Selection | None = None,
    seed: int = 0,
) -> Aligned:
    """Sample the evidence map of one study at its points, and measure the overlap of its subregions with habitats.

    Parameters
    ----------
    radius_mm : radius of the sphere around a point in which the evidence is averaged, mm.
    error_mm : standard deviation of the localization error along each axis, mm.
    labels : label map of the habitats, in LPS mm of the planning MR, on any grid.
    names : habitat name of each label.
    selection : rule for the subregions; by default, voxels above the subregion threshold of the result.
    """
    patient = result.study.patient
    lesions = [(p.lesion.id, lesion_voxels(result.cam, p.lesion.structure, dose=None)) for p in result.predictions]
    sampled, warnings = sample_map(lesions, points, radius_mm=radius_mm, error_mm=error_mm, seed=seed)
    warnings = (*result.warnings, *warnings)
    for prediction in result.predictions:
        if quality_flags := prediction.quality_flags:
            where = f"{patient}, {prediction.lesion.id}"
            warnings = (*warnings, WarningCode.FLAGGED_EVIDENCE(where=where, quality_flags="; ".join(quality_flags)))
    rows: list[dict[str, str | float]] = []
    if labels is not None:
        lesion_labels = {name: _on(labels, voxels) for name, voxels in lesions}
        subregions = [
            (name, voxels, select(voxels, selection or Selection("value", result.subregion_threshold)))
            for name, voxels in lesions
        ]
        rows = [{"patient": patient, **row} for row in habitats(subregions, lesion_labels, names=names or {})]
        if not rows:
            warnings = (*warnings, WarningCode.NO_HABITAT(patient=patient))
    return Aligned(patient, sampled, tuple(rows), warnings)


def points_summary(result: Result, points: Sequence[Point]) -> list[str]:
    """Return a summary of the evidence at one study's points: one sentence per point type, without intervals."""
    aligned = align_study(result, points, radius_mm=RADIUS_MM, error_mm=0.0)
    sampled_points = aligned.sampled.points
    sentences = [f"{len(sampled_points)} of {len(points)} points lie in lesions."]
    for kind in sorted({p.kind for p in sampled_points}):
        values, draws, turned, patients = _of_kind([aligned], kind)
        try:
            alignment = align(values, draws, turned=turned, patients=patients)
        except OutputError as error:
            sentences.append(f"{kind or 'points'}: {error.what}.")
            continue
        sentences.append(
            f"{kind or 'points'}: Spearman ρ = {alignment.rho:+.2f} with the mean evidence within {RADIUS_MM:g} mm "
            f"({alignment.points} points, p = {alignment.spatial_p:.3f} against rotated maps; "
            "no interval: one patient)."
        )
    return sentences


def write_alignment(
    aligned: Sequence[Aligned],
    scale: str,
    *,
    out: Path,
    overwrite: bool = False,
    progress: Progress = no_progress,
    markups: Callable[[Sequence[Point], Path], None] | None = None,
) -> dict[str, Any]:
    """Write ``alignment.json``, ``samples.csv``, ``habitats.csv`` and a scatter plot per point type; returns the JSON.

    Parameters
    ----------
    scale : meaning of the map's values.
    markups : function that writes a patient's points as Slicer markups, such as `scene.points.save_points`.

    Raises
    ------
    OutputError : ``out`` exists or cannot be written.
    """
    from RTResponseCAMLib.report.alignment_figure import plot_alignment

    samples = [(a.patient, n, p) for a in aligned for n, p in enumerate(a.sampled.points)]
    rows = [row for a in aligned for row in a.habitats]
    warnings = list(dict.fromkeys(c for a in aligned for c in a.warnings))
    patient_count = len({a.patient for a in aligned})
    if 0 < patient_count < FEW:
        warnings.append(WarningCode.FEW_PATIENTS(count=patient_count, few=FEW))
    kinds = sorted({p.kind for _, _, p in samples})
    alignments: dict[str, dict[str, Any] | str] = {}
    with new_folder(out, overwrite) as folder:
        for index, kind in enumerate(kinds):
            progress(index / len(kinds), f"points of type '{kind}'")
            values, draws, turned, patients = _of_kind(aligned, kind)
            try:
                alignment = align(values, draws, turned=turned, patients=patients)
            except OutputError as error:
                alignments[kind] = error.what
                warnings.append(WarningCode.NO_ALIGNMENT(kind=kind, reason=error))
                continue
            alignments[kind] = asdict(alignment)
            name = "points.png" if len(kinds) == 1 else f"points_{index + 1}.png"
            plot_alignment(
                values,
                draws,
                kinds=[kind] * len(values),
                title=_title(kind, alignment),
                scale=scale,
                path=folder / name,
                notice=RESEARCH_ONLY,
            )
        content: dict[str, Any] = {
            "notice": RESEARCH_ONLY,
            "note": NOTE,
            "cam_scale": scale,
            "points": len(samples),
            "alignment": alignments,
            "habitats": rows,
            "warnings": [w.as_json() for w in warnings],
        }
        content = _finite(content)
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "alignment.json").write_text(text + "\n", encoding="utf-8")
        sampled = _sample_rows(aligned)
        write_table(folder / "samples.csv", list(sampled[0]) if sampled else ["patient"], rows=sampled)
        if rows:
            write_table(folder / "habitats.csv", list(rows[0]), rows=rows)
        for index, study in enumerate(aligned, start=1):
            if markups is not None and study.sampled.points:
                markups(study.sampled.points, folder / f"points_{index}_{study.patient}.mrk.json")
        progress(1.0, "done")
    return content


def points_of(points: Sequence[Point], study: str, *, studies: Sequence[str]) -> list[Point]:
    """Return the points of one study. With a single study, points without a study name belong to it.

    Raises
    ------
    CohortError : points name a study that does not exist, or name no study although there are several.
    """
    unknown_studies = sorted({p.study for p in points} - set(studies))
    if unknown_studies and not (len(studies) == 1 and unknown_studies == [""]):
        problem = (
            f"has the studies {', '.join(repr(u) for u in unknown_studies[:5])}; the folders are {', '.join(studies)}"
        )
        raise CohortError("the points' column 'study'", problem, "Use the folder names in this column")
    return [p for p in points if p.study in ("", study)]


def _of_kind(
    aligned: Sequence[Aligned], kind: str
) -> tuple[list[float], npt.NDArray[np.float64], npt.NDArray[np.float64], list[str]]:
    values, draws, turned, patients = [], [], [], []
    for study_points in aligned:
        indices = [n for n, p in enumerate(study_points.sampled.points) if p.kind == kind]
        values += [study_points.sampled.points[n].value for n in indices]
        draws.append(study_points.sampled.draws[indices])
        turned.append(study_points.sampled.turned[indices])
        patients += [study_points.patient] * len(indices)
    return values, np.concatenate(draws), np.concatenate(turned), patients


def _title(kind: str, alignment: Alignment) -> str:
    interval = "" if alignment.low is None else f" ({alignment.low:.2f} to {alignment.high:.2f})"
    spatial = "" if alignment.spatial_p is None else f", spatial p {alignment.spatial_p:.3f}"
    return (
        f"{kind or 'points'}: ρ {alignment.rho:.2f}{interval}{spatial}; "
        f"{alignment.points} points of {alignment.patients} patient(s)"
    )


def _sample_rows(aligned: Sequence[Aligned]) -> list[dict[str, Any]]:
    rows = []
    for study_points in aligned:
        for n, point in enumerate(study_points.sampled.points):
            position = {f"{axis}_lps_mm": round(c, 3) for axis, c in zip("xyz", point.place_mm, strict=True)}
            evidence = {
                "evidence": study_points.sampled.draws[n, 0],
                "evidence_sd": study_points.sampled.draws[n].std(),
            }
            identity = {"patient": study_points.patient, "lesion": study_points.sampled.lesions[n], "type": point.kind}
            rows.append({**identity, **position, "value": point.value, **evidence})
    return rows


def _on(labels: sitk.Image, voxels: LesionVoxels) -> npt.NDArray[np.int_]:
    return np.asarray(sitk.GetArrayFromImage(resample_nearest(labels, voxels.grid)), dtype=np.int_)


def _finite(content: Any) -> Any:
    """Replace NaN and infinity by None, because JSON has no such numbers."""
    if isinstance(content, dict):
        return {k: _finite(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(v) for v in content]
    return None if isinstance(content, float) and not np.isfinite(content) else content
