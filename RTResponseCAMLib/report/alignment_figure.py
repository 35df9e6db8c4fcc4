"""Scatter plot of measured values against the evidence at points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from RTResponseCAMLib.imaging.planes import Array64

IN_LEGEND = 10


def plot_alignment(
    values: Sequence[float],
    draws: Array64,
    *,
    kinds: Sequence[str],
    title: str,
    scale: str,
    path: Path,
    notice: str,
) -> None:
    """Write a scatter plot; bars are standard deviations due to the localization error, colors are point types."""
    figure = Figure(figsize=(7.2, 5.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    palette = colormaps["tab10"]
    names = sorted(set(kinds))
    for color_index, name in enumerate(names):
        indices = [n for n, kind in enumerate(kinds) if kind == name]
        axes.errorbar(
            draws[indices, 0], [values[n] for n in indices], xerr=draws[indices].std(axis=1), fmt="o", ms=4, lw=0.8,
            alpha=0.8, color=palette(color_index % 10), label=name or "points",
        )  # fmt: skip
    if 1 < len(names) <= IN_LEGEND:
        axes.legend(fontsize=8)
    axes.set_xlabel(f"evidence map: {scale}", fontsize=9)
    axes.set_ylabel("measured value")
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    figure.suptitle(notice, fontsize=8, x=0.01, ha="left")
    figure.savefig(path)
