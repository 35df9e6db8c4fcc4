"""Subregions of a prediction: contouring, statistics, output files, and warnings about lesions not contoured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.dosimetry.dvh import Dvh
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.study import Result
from RTResponseCAMLib.subregion.boost import SimulatedBoost, simulated_boost
from RTResponseCAMLib.subregion.contoured import ContouredSubregion
from RTResponseCAMLib.subregion.select import Selection, padded
from RTResponseCAMLib.subregion.statistics import measure
from RTResponseCAMLib.subregion.summary import summary_text
from RTResponseCAMLib.subregion.voxels import lesion_voxels
from RTResponseCAMLib.tables import write_table
from RTResponseCAMLib.warnings import Warning, WarningCode
from RTResponseCAMLib.workflow.output import RESEARCH_ONLY, new_folder, write_labels


def contour_subregions(
    result: Result,
    selection: Selection,
    *,
    anyway: bool = False,
    boost_gy: float | None = None,
    interpolation: str = "linear",
    progress: Progress = no_progress,
) -> tuple[tuple[ContouredSubregion, ...], tuple[Warning, ...]]:
    """Contour and measure a subregion in every lesion without quality flags; warnings name the other lesions.

    Parameters
    ----------
    anyway : also contour lesions with quality flags; the flags are stored with the subregions.
    boost_gy : D98 of a subregion that the simulated boost reaches, Gy; None: no boost.
    """
    study = result.study
    prescription = study.plan.prescription if study.plan is not None else None
    subregions, warnings = [], []
    for index, prediction in enumerate(result.predictions):
        lesion_progress = subprogress(progress, index / len(result.predictions), (index + 1) / len(result.predictions))
        structure, quality_flags = prediction.lesion.structure, prediction.quality_flags
        if quality_flags and not anyway:
            warnings.append(WarningCode.NOT_CONTOURED(name=structure.name, quality_flags="; ".join(quality_flags)))
            continue
        voxels = lesion_voxels(result.cam, structure, dose=study.dose)
        if not selection.clip:
            voxels = padded(voxels, selection.margin_mm, dose=study.dose)
        prescription_gy = prescription.dose_for(structure) if prescription is not None else None
        mask, statistics = measure(
            voxels,
            selection,
            dose=study.dose,
            prescription_gy=prescription_gy,
            interpolation=interpolation,
            progress=lesion_progress,
        )
        boost = None
        if boost_gy is not None and study.dose is not None:
            boost = simulated_boost(
                voxels,
                mask,
                dose=study.dose,
                wish_gy=boost_gy,
                fractions=prescription.fractions if prescription else None,
            )
        subregions.append(ContouredSubregion(prediction, voxels, mask, statistics, boost, quality_flags))
        if not mask.any():
            warnings.append(WarningCode.EMPTY_SUBREGION(what=f"{structure.name}: no voxel exceeds the threshold"))
    if study.dose is None:
        warnings.append(WarningCode.NO_DOSE(reason="the study has no dose: subregions have volumes only"))
    progress(1.0)
    return tuple(subregions), tuple(warnings)


def write_subregions(
    result: Result,
    contoured: Sequence[ContouredSubregion],
    *,
    warnings: Sequence[Warning],
    out: Path,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write ``subregions.json``, ``subregions.csv``, ``subregions.seg.nrrd`` and ``dvh.png``; returns the JSON.

    Raises
    ------
    OutputError : ``out`` exists, or cannot be written.
    """
    from RTResponseCAMLib.report.dvh_figure import plot_histograms

    content = {
        "notice": RESEARCH_ONLY,
        "patient": result.study.patient,
        "cam_scale": result.scale,
        "provenance": dict(result.provenance),
        "subregions": [
            as_row(subregion)
            | {"boost": _boost(subregion.boost), "summary": summary_text(subregion.statistics, subregion.boost)}
            for subregion in contoured
        ],
        "warnings": [w.as_json() for w in (*result.warnings, *warnings)],
    }
    progress(0.2, "writing subregions")
    with new_folder(out, overwrite) as folder:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "subregions.json").write_text(text + "\n", encoding="utf-8")
        rows = [as_row(subregion) | {"warnings": "; ".join(as_row(subregion)["warnings"])} for subregion in contoured]
        write_table(folder / "subregions.csv", list(rows[0]) if rows else ["lesion"], rows=rows)
        write_labels(
            label_map(result, contoured),
            [f"{subregion.prediction.lesion.id} subregion" for subregion in contoured],
            path=folder / "subregions.seg.nrrd",
            ids=[subregion.prediction.lesion.id for subregion in contoured],
        )
        histograms, partners = _charted(contoured)
        if histograms:
            targets = list(dict.fromkeys(partners.values()))
            plot_histograms(histograms, targets, path=folder / "dvh.png", notice=RESEARCH_ONLY, companions=partners)
        progress(0.99, "done")
    progress(1.0, "done")
    return content


def as_row(subregion: ContouredSubregion) -> dict[str, Any]:
    """Return subregion subregion as plain values; volumes in cm³, doses in Gy, None where not defined."""
    figures, lesion = subregion.statistics, subregion.prediction.lesion
    row: dict[str, Any] = {
        "lesion": lesion.id,
        "name": lesion.structure.name,
        "label": subregion.prediction.label,
        "selection": figures.selection.as_text(),
        "threshold": figures.threshold,
        "dose_unit": None if figures.subregion is None else figures.subregion.unit,
        "volume_cc": figures.volume_cc,
        "share_of_lesion": figures.share,
    }
    for kind, histogram in (("", figures.subregion), ("rest_", figures.rest)):
        row |= {f"{kind}{key}": value for key, value in _doses(histogram).items()}
    association = figures.association
    row |= {
        "cold_share": figures.cold_share,
        "below_prescription": figures.below_prescription,
        "cam_dose_rho": None if association is None else association.rho,
        "cam_dose_rho_beyond_radial": None if association is None else association.rho_beyond_radial,
        "cam_dose_p": None if association is None else association.p,
    }
    for kind, robustness in (("shift", figures.shifts), ("threshold", figures.thresholds)):
        for key, pair in (
            ("volume_cc", robustness.volume_cc),
            ("mean_gy", robustness.mean_gy),
            ("d98_gy", robustness.d98_gy),
        ):
            row |= {f"{kind}_{key}_{end}": None if pair is None else pair[n] for n, end in enumerate(("low", "high"))}
        row[f"{kind}_least_dice"] = robustness.dice
    boost = () if subregion.boost is None else subregion.boost.warnings
    texts = [*subregion.quality_flags, *(c.text for c in (*figures.warnings, *boost))]
    return row | {"warnings": list(dict.fromkeys(texts))}


def label_map(result: Result, contoured: Sequence[ContouredSubregion]) -> sitk.Image:
    """Return a label map of the subregions, with labels from 1 in the order of the list.

    Its grid is that of the evidence map, or that of the MR if a subregion extends beyond the map. Where subregions
    overlap, the label of the later one is used.
    """
    grid = Grid.of(result.cam)
    voxel_indices = [
        grid.to_index(subregion.voxels.grid.points_of(subregion.mask))
        for subregion in contoured
        if subregion.mask.any()
    ]
    if any((p < -0.5).any() or (p > np.asarray(grid.size) - 0.5).any() for p in voxel_indices):
        grid = Grid.of(result.study.mr)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    for label, subregion in enumerate(contoured, start=1):
        index = np.rint(grid.to_index(subregion.voxels.grid.points_of(subregion.mask))).astype(int)
        index = index[((index >= 0) & (index < grid.size)).all(axis=1)]
        labels[index[:, 2], index[:, 1], index[:, 0]] = label
    return grid.image(labels)


def _doses(histogram: Dvh | None) -> Mapping[str, float | None]:
    if histogram is None:
        return dict.fromkeys(("mean_gy", "d98_gy", "d95_gy", "d50_gy", "d2_gy"))
    return {"mean_gy": histogram.mean_gy, **{f"d{x}_gy": histogram.dose_to_percent(x) for x in (98, 95, 50, 2)}}


def _boost(boost: SimulatedBoost | None) -> dict[str, Any] | None:
    if boost is None:
        return None
    figures = {k: v for k, v in vars(boost).items() if k != "warnings"}
    return figures | {"warnings": [w.text for w in boost.warnings]}


def _charted(contoured: Sequence[ContouredSubregion]) -> tuple[list[Dvh], dict[str, str]]:
    """Return histograms with unique names, and the name of the subregion for each rest of a lesion."""
    histograms, partners = [], {}
    for subregion in contoured:
        lesion = subregion.prediction.lesion.id
        for histogram in (subregion.statistics.subregion, subregion.statistics.rest):
            if histogram is not None:
                histograms.append(replace(histogram, name=f"{lesion} {histogram.name}"))
        partners[f"{lesion} rest of lesion"] = f"{lesion} subregion"
    return histograms, partners
