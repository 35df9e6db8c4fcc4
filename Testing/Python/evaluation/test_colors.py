"""Every approach has a color in the figures, those that the list does not know as well."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb

from RTResponseCAMLib.report.comparison_figures import COLORS, color_of, draw_curves, draw_differences


def found(names):
    line = [[0.0, 0.5, 1.0], [0.0, 0.7, 1.0]]
    curves = {"roc": line, "pr": line, "calibration": line, "decision": line, "treat_all": [0.3, 0.1, 0.0]}
    auc = {"value": 0.7, "low": 0.6, "high": 0.8}
    arms = {name: {"title": name, "metrics": {"auc": auc}, "curves": curves} for name in names}
    pairs = [{"one": "volume", "other": name, "value": 0.1, "low": 0.0, "high": 0.2} for name in names[1:]]
    return {"arms": arms, "non_response": 5, "lesions": 20, "differences": pairs}


def test_a_comparison_with_approaches_of_the_users_own_is_drawn():
    names = ["volume", "network", "my-features", "theirs"]
    figures = draw_curves(found(names), True), draw_differences(found(names))
    lines = {line.get_label(): line.get_color() for line in figures[0].axes[0].lines}
    own = [lines[f"{name} (0.70)"] for name in names]
    assert own[:2] == [COLORS["volume"], COLORS["network"]]
    assert len({to_rgb(c) for c in own}) == 4
    assert len(figures[1].axes) == 2


def test_colors_of_many_approaches_differ():
    names = [*COLORS, *(f"own {n}" for n in range(15))]
    colors = np.array([to_rgb(color_of(n, names)) for n in names])
    assert len(np.unique(colors, axis=0)) == len(names)
