"""Chart of cumulative dose-volume histograms: targets in color, all other structures in gray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from RTResponseCAMLib.dosimetry.dvh import Dvh
from RTResponseCAMLib.study import GY

IN_LEGEND = 14


def plot_histograms(
    histograms: Sequence[Dvh],
    targets: Sequence[str],
    *,
    path: Path,
    notice: str,
    companions: Mapping[str, str] | None = None,
) -> None:
    """Write the chart of `histogram_figure`."""
    histogram_figure(histograms, targets, notice=notice, companions=companions).savefig(path)


def histogram_figure(
    histograms: Sequence[Dvh],
    targets: Sequence[str],
    *,
    notice: str,
    companions: Mapping[str, str] | None = None,
    inches: tuple[float, float] = (9, 5.4),
) -> Figure:
    """Return the chart; structures that are neither targets nor companions are gray.

    Parameters
    ----------
    targets : names of the structures that are plotted in color.
    companions : name of a structure → target; it is plotted dashed, in the color of that target.
    """
    figure = Figure(figsize=inches, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    palette, partner = colormaps["tab10"], companions or {}
    color_index = {name: index for index, name in enumerate(targets)}
    order = {h.name: (h.name not in color_index and h.name not in partner) for h in histograms}
    for histogram in sorted(histograms, key=lambda h: order[h.name]):
        dose, volume = histogram.cumulative()
        is_target, target = histogram.name in color_index, partner.get(histogram.name, histogram.name)
        volume_cc = histogram.volume_cc
        size = f"{volume_cc:.3g} cm³" if volume_cc < 1000 else f"{volume_cc:.0f} cm³"
        outside_note = f", {100 * histogram.outside:.0f} % outside the dose" if histogram.outside >= 0.005 else ""
        axes.plot(
            dose,
            100 * volume / volume_cc,
            label=f"{histogram.name} ({size}{outside_note})",
            color=palette(color_index[target] % 10) if target in color_index else "#9a9a9a",
            lw=2.0 if is_target else 1.2,
            ls="--" if histogram.name in partner else "-",
        )
    axes.set_xlim(left=0)
    axes.set_ylim(0, 103)
    axes.set_xlabel(f"dose / {histograms[0].unit if histograms else GY}")
    axes.set_ylabel("volume receiving at least this dose / %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if len(histograms) <= IN_LEGEND:
        axes.legend(fontsize=8, loc="upper right")
    kind = histograms[0].interpolation if histograms else ""
    figure.suptitle(f"{notice}   Dose between grid points: {kind}.".strip(), fontsize=8, x=0.01, ha="left")
    return figure
