"""HTML report of a result: one self-contained file with predictions, their uncertainty and their origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from RTResponseCAMLib.cam.checks import AGREES, OWN, STEADY
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.models.familiarity import UNLIKELY
from RTResponseCAMLib.models.registry import entry_of
from RTResponseCAMLib.report.dvh_figure import histogram_figure
from RTResponseCAMLib.report.figures import as_data_uri, plot_lesion
from RTResponseCAMLib.study import GY, Prediction, Result
from RTResponseCAMLib.subregion.contoured import ContouredSubregion
from RTResponseCAMLib.subregion.summary import summary_text
from RTResponseCAMLib.warnings import Warning, by_severity

TEMPLATE = "report.html.jinja"
READ_A_RESULT = "https://rtresponsecam.github.io/SlicerRTResponseCAM/read_a_result.html"
CHART_INCHES = (5.4, 3.7)


def write_report(
    result: Result,
    path: Path,
    *,
    notice: str,
    contoured: Sequence[ContouredSubregion] = (),
    warnings: Sequence[Warning] = (),
) -> None:
    """Write the report of one study; all text from outside is escaped.

    Parameters
    ----------
    contoured : subregions that are shown with their lesions.
    warnings : warnings of the contouring; they name the lesions that are not contoured.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
    )
    environment.filters["by_severity"] = by_severity
    head = head_intensity(result.study.mr)
    lesions = [(p, _bar(p), as_data_uri(plot_lesion(result, p, head=head))) for p in result.predictions]
    text = environment.get_template(TEMPLATE).render(
        notice=notice,
        study=result.study,
        warnings=by_severity((*result.warnings, *warnings)),
        unit=result.study.dose.unit if result.study.dose is not None else GY,
        subregions={
            subregion.prediction.lesion.id: _subregion(subregion) for subregion in contoured if subregion.mask.any()
        },
        lesions=lesions,
        check_limits={
            "noise": f"at least {STEADY:g}",
            "shift": f"at least {STEADY:g}",
            "agreement": f"at least {AGREES:g}",
            "fixed_pattern": f"at most {OWN:g}",
        },
        model_titles={name: entry_of(name).title for p in result.predictions for name in p.contributions},
        unlikely=f"{UNLIKELY:g}",
        scale=result.scale,
        subregion_threshold=result.subregion_threshold,
        read_a_result=READ_A_RESULT,
        provenance=result.provenance,
        prescription=result.study.plan.prescription if result.study.plan else None,
    )
    path.write_text(text, encoding="utf-8")


def _subregion(subregion: ContouredSubregion) -> dict[str, Any]:
    """Return chart, table and sentences of subregion subregion."""
    figures = subregion.statistics
    rows = [("subregion", figures.volume_cc, figures.subregion)]
    rest_cc = subregion.voxels.volume_cc(subregion.voxels.inside & ~subregion.mask)
    rows.append(("rest of lesion", rest_cc, figures.rest))
    histograms = [h for _, _, h in rows if h is not None]
    partners = {"rest of lesion": "subregion"}
    figure = (
        histogram_figure(histograms, ["subregion"], notice="", companions=partners, inches=CHART_INCHES)
        if histograms
        else None
    )
    sentences = [*summary_text(figures), *(c.text for c in figures.warnings)]
    return {"rows": rows, "chart": None if figure is None else as_data_uri(figure), "summary": sentences}


def _bar(prediction: Prediction) -> dict[str, float]:
    """Return positions on the probability bar, percent."""
    return {
        "low": 100 * prediction.p_response_low,
        "width": 100 * (prediction.p_response_high - prediction.p_response_low),
        "at": 100 * prediction.p_response,
        "threshold": 100 * prediction.class_threshold,
    }
