"""HTML report of follow-ups: one self-contained file with every visit, its registration and its measurements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from RTResponseCAMLib.report.figures import as_data_uri
from RTResponseCAMLib.report.follow_up_figures import plot_registration, plot_trajectories

TEMPLATE = "follow_up.html.jinja"


def write_follow_up_report(content: Mapping[str, Any], path: Path) -> None:
    """Write the report; all text from outside is escaped.

    Parameters
    ----------
    content : values of the template, see ``workflow.write_follow_up``; ``visits`` are `VisitResult`.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
    )
    visits = [
        (
            visit,
            as_data_uri(plot_registration([(o.name, o.planning, o.follow_up, o.upside_down) for o in visit.overlays]))
            if visit.overlays
            else "",
        )
        for visit in content["visits"]
    ]
    first, last = content["window_days"]
    plot = as_data_uri(plot_trajectories(content["trajectories"], (first, last), target_days=content["target_days"]))
    text = environment.get_template(TEMPLATE).render(**{**content, "visits": visits}, plot=plot)
    path.write_text(text, encoding="utf-8")
