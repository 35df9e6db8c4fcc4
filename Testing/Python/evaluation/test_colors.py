"""Every approach has a color in the figures, those of the user's tables as well."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb

from RTResponseCAMLib.evaluation.results import Approach, CohortResult, Curves, Difference, Figure
from RTResponseCAMLib.models.feature_table import COLORS, table_entry
from RTResponseCAMLib.models.registry import entries
from RTResponseCAMLib.report.comparison_figures import plot_curves, plot_differences

LINE = ([0.0, 0.5, 1.0], [0.0, 0.7, 1.0])


def result_of(models) -> CohortResult:
    auc = Figure(0.7, 0.6, 0.8)
    curves = Curves(LINE, LINE, LINE, LINE, [0.3, 0.1, 0.0])
    approaches = {
        e.name: Approach(
            e.title,
            e.color,
            (),
            False,
            "",
            "",
            e.baseline,
            e.reference,
            e.explains,
            {"auc": auc},
            0.1,
            0.2,
            {},
            curves,
            1,
        )
        for e in models
    }
    names = list(approaches)
    pairs = tuple(Difference(0.1, 0.0, 0.2, names[0], name) for name in names[1:])
    return CohortResult(20, 5, 10, approaches, pairs)


def test_a_comparison_with_tables_of_the_users_own_is_drawn():
    models = [*entries()[:2], table_entry("mine", 0), table_entry("theirs", 1)]
    figures = plot_curves(result_of(models), folds=True), plot_differences(result_of(models))
    lines = {line.get_label(): line.get_color() for line in figures[0].axes[0].lines}
    assert [lines[f"{e.title} (0.70)"] for e in models] == [e.color for e in models]
    right = figures[1].axes[1]
    drawn = [line.get_xdata() for line in right.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 2.5]
    assert [tuple(ends) for ends in drawn] == [(-0.2, -0.0)] * 3  # of each but the reference, less the reference
    assert "Volume only" in right.get_title()


def test_colors_of_models_and_tables_differ():
    colors = np.array([to_rgb(e.color) for e in entries()] + [to_rgb(color) for color in COLORS])
    assert len(np.unique(colors, axis=0)) == len(colors)
