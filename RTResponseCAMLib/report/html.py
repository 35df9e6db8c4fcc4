"""The report: one self-contained HTML file that says what was found, how sure it is, and where it came from."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape

from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.report.figures import as_data_uri, draw_lesion
from RTResponseCAMLib.study import Prediction, Result

TEMPLATE = "report.html.jinja"


def write_report(result: Result, path: Path, notice: str) -> None:
    """Write the report of one study; everything from outside is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
    )
    head = head_intensity(result.study.mr)
    lesions = [(p, _bar(p), as_data_uri(draw_lesion(result, p, head))) for p in result.predictions]
    text = environment.get_template(TEMPLATE).render(
        notice=notice,
        study=result.study,
        cautions=result.cautions,
        lesions=lesions,
        scale=result.scale,
        cut=result.cut,
        signed=result.form == "signed",
        provenance=result.provenance,
        prescription=result.study.plan.prescription if result.study.plan else None,
    )
    path.write_text(text, encoding="utf-8")


def _bar(prediction: Prediction) -> dict[str, float]:
    """Places on the probability bar, percent."""
    return {
        "low": 100 * prediction.p_response_low,
        "width": 100 * (prediction.p_response_high - prediction.p_response_low),
        "at": 100 * prediction.p_response,
    }
