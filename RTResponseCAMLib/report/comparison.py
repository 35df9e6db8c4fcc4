"""HTML report of a comparison: one self-contained file with tables, curves, maps and reporting checklists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from RTResponseCAMLib.evaluation.results import Comparison
from RTResponseCAMLib.report.comparison_figures import plot_curves, plot_differences, plot_gallery
from RTResponseCAMLib.report.figures import as_data_uri

TEMPLATE = "comparison.html.jinja"
METRICS = (
    ("auc", "AUC"), ("pr_auc", "PR-AUC"), ("balanced_accuracy", "Balanced accuracy"), ("sensitivity", "Sensitivity"),
    ("specificity", "Specificity"), ("f1", "F1"), ("brier", "Brier"), ("calibration_slope", "Calibration slope"),
    ("calibration_intercept", "Calibration intercept"),
)  # fmt: skip


def write_comparison(
    comparison: Comparison,
    checklists: Mapping[str, Sequence[Mapping[str, str]]],
    *,
    gallery: Sequence[Mapping[str, Any]],
    path: Path,
) -> None:
    """Write the report; all text from outside is escaped.

    Parameters
    ----------
    gallery : held-out lesions with ``mr``, ``fraction`` and ``map`` ``[z, y, x]``.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(default=True), trim_blocks=True
    )
    cohorts = [
        (
            title,
            cohort_result,
            as_data_uri(plot_curves(cohort_result, folds=cohort_result is comparison.internal)),
            as_data_uri(plot_differences(cohort_result)),
        )
        for cohort_result, title in (
            (comparison.internal, "Cross-validation"),
            (comparison.external, "External cohort"),
        )
        if cohort_result is not None
    ]
    text = environment.get_template(TEMPLATE).render(
        **vars(comparison),
        metrics=METRICS,
        cohorts=cohorts,
        checklists=checklists,
        maps=as_data_uri(plot_gallery(gallery)) if gallery else "",
    )
    path.write_text(text, encoding="utf-8")
