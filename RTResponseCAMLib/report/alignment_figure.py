"""Map against measurement, point by point."""

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
    """Write a scatter plot; bars are the standard deviation for the localization error, colors the types."""
    figure = Figure(figsize=(7.2, 5.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    palette = colormaps["tab10"]
    names = sorted(set(kinds))
    for number, name in enumerate(names):
        own = [n for n, kind in enumerate(kinds) if kind == name]
        axes.errorbar(
            draws[own, 0], [values[n] for n in own], xerr=draws[own].std(axis=1), fmt="o", ms=4, lw=0.8, alpha=0.8,
            color=palette(number % 10), label=name or "points",
        )  # fmt: skip
    if 1 < len(names) <= IN_LEGEND:
        axes.legend(fontsize=8)
    axes.set_xlabel(f"map: {scale}", fontsize=9)
    axes.set_ylabel("measured value")
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    figure.suptitle(notice, fontsize=8, x=0.01, ha="left")
    figure.savefig(path)
