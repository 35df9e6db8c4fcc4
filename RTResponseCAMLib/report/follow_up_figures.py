"""Figures of follow-ups: registration as checkerboard and difference, and each lesion's volume over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from RTResponseCAMLib.response.trajectory import PROPOSED, TARGET_DAYS, Trajectory
from RTResponseCAMLib.response.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

TILE_MM = 22
LOWEST = 0.05
SHOWN = (0.0, 1.7)
COLORS = ("#1553b5", "#b54708", "#26734d", "#7a3e9d", "#8c6d1f", "#b3261e", "#3a7d8c", "#5a6675")
Plane = npt.NDArray[np.float32]


def plot_registration(planes: Sequence[tuple[str, Plane, Plane, bool]]) -> Figure:
    """Return a figure with two rows: both heads in a checkerboard, and their difference.

    Parameters
    ----------
    planes : name, planning MR, follow-up, and whether rows run from bottom to top.
    """
    figure = Figure(figsize=(9.6, 6.6), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3, gridspec_kw={"left": 0.04, "right": 0.99, "bottom": 0.01, "top": 0.94, "wspace": 0.02,
                                              "hspace": 0.02})  # fmt: skip
    for column, (name, planning, follow_up, upside_down) in enumerate(planes):
        origin = "lower" if upside_down else "upper"
        rows, columns = np.indices(planning.shape) // TILE_MM
        board = np.where((rows + columns) % 2 == 0, planning, follow_up)
        axes[0, column].imshow(board, cmap="gray", vmin=SHOWN[0], vmax=SHOWN[1], origin=origin)
        difference = np.where((planning > 0) & (follow_up > 0), follow_up - planning, 0.0)
        axes[1, column].imshow(difference, cmap="RdBu_r", vmin=-1.0, vmax=1.0, origin=origin)
        axes[0, column].set_title(name, color="white", fontsize=11)
    for ax in axes.ravel():
        ax.set_xticks([])
        ax.set_yticks([])
    axes[0, 0].set_ylabel("checkerboard: plan and follow-up", color="white")
    axes[1, 0].set_ylabel("follow-up − plan (red: brighter)", color="white")
    return figure


def plot_trajectories(
    trajectories: Sequence[Trajectory], window_days: tuple[int, int], *, target_days: int = TARGET_DAYS
) -> Figure:
    """Return a plot of the volume relative to the plan, with its interval, over the days since the plan.

    Visits of unknown day are plotted at the right.
    """
    figure = Figure(figsize=(9.6, 4.6))
    FigureCanvasAgg(figure)
    ax: Axes = figure.subplots()
    figure.subplots_adjust(left=0.08, right=0.79, bottom=0.13, top=0.95)
    last = max([window_days[1], *(v.days or 0 for t in trajectories for v in t.visits)])
    ax.axvspan(*window_days, color="#eef0f2", zorder=0)
    ax.axvline(target_days, color="#c5ccd4", linewidth=1, zorder=1)
    for level, text in ((1.2, "+20 %"), (0.8, "−20 %"), (0.35, "−65 %")):
        ax.axhline(level, color="#8b96a3", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        ax.text(last * 1.055, level, text, va="center", fontsize=8, color="#5a6675")
    for index, trajectory in enumerate(trajectories):
        shift = last * 0.006 * (index - (len(trajectories) - 1) / 2)
        _plot_one(ax, trajectory, COLORS[index % len(COLORS)], shift, last * 1.02)
    ax.set_yscale("log")
    ax.set_ylim(0.045, max(3.0, ax.get_ylim()[1]))
    ax.set_yticks([0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 1.0, 1.2, 2.0, 3.0])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(-last * 0.04, last * 1.05)
    ax.set_xlabel("days after the plan (gray: window of the label)")
    ax.set_ylabel("volume relative to the plan")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.legend(loc="center left", bbox_to_anchor=(1.08, 0.5), fontsize=8.5, frameon=False)
    return figure


def _plot_one(ax: Axes, trajectory: Trajectory, color: str, shift: float, day_unknown: float) -> None:
    days, middle, low, high = (
        [0.0 + shift],
        [1.0],
        [_share(trajectory.baseline, "low")],
        [_share(trajectory.baseline, "high")],
    )
    marked: list[tuple[float, float, str]] = []
    for visit in trajectory.visits:
        day = (day_unknown if visit.days is None else visit.days) + shift
        if visit.volume is None:
            ax.text(day, 0.052, "?", color=color, ha="center", fontsize=11, fontweight="bold")
            continue
        if visit.days is None:
            continue
        relative_volume = visit.volume.cc / visit.baseline.cc
        days.append(day)
        middle.append(max(relative_volume, LOWEST))
        vanished = visit.status == "vanished"
        low.append(LOWEST if vanished else max(visit.volume.low_cc / visit.baseline.cc, 0.9 * LOWEST))
        high.append(LOWEST if vanished else max(visit.volume.high_cc / visit.baseline.cc, LOWEST))
        if vanished or visit.status == PROPOSED:
            marked.append((day, middle[-1], "v" if vanished else "o"))
    errors = np.abs(np.asarray([np.subtract(middle, low), np.subtract(high, middle)]))
    name = f"{trajectory.lesion} {trajectory.roi}"
    ax.errorbar(
        days, middle, errors, color=color, marker="o", markersize=5, linewidth=1.4, elinewidth=1, capsize=2.5,
        label=name if len(name) < 24 else name[:22] + "…",
    )  # fmt: skip
    for visit in trajectory.visits:
        if visit.days is None and visit.volume is not None:  # no line connects a visit of unknown day
            y = max(visit.volume.cc / visit.baseline.cc, LOWEST)
            bounds = [max(v / visit.baseline.cc, LOWEST) for v in (visit.volume.low_cc, visit.volume.high_cc)]
            ax.plot([day_unknown + shift] * 2, bounds, color=color, linewidth=1)
            ax.plot(day_unknown + shift, y, "D", markersize=5, markerfacecolor="white", markeredgecolor=color)
            ax.text(day_unknown + shift, y * 1.08, f"{visit.name}, day ?", color=color, fontsize=8, ha="right")
    for day, y, marker in marked:
        size = 9 if marker == "v" else 5
        ax.plot(day, y, marker, markersize=size, markerfacecolor="white", markeredgecolor=color, zorder=5)


def _share(volume: Volume, side: str) -> float:
    return float(getattr(volume, f"{side}_cc") / volume.cc)
