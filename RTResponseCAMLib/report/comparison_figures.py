"""Figures of a comparison: ROC, precision-recall, calibration and decision curves, differences, and held-out maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from RTResponseCAMLib.colors import EVIDENCE_RANGE, evidence_palette
from RTResponseCAMLib.evaluation.results import CohortResult


def plot_curves(cohort_result: CohortResult, *, folds: bool) -> Figure:
    """Return four panels (ROC, precision-recall, calibration, decision); ``folds``: predictions of several models."""
    figure = Figure(figsize=(11.5, 10.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    (roc, pr), (calibration, decision) = figure.subplots(2, 2)
    for approach in cohort_result.approaches.values():
        color, width, lines = approach.color, 2.2 if approach.explains else 1.4, approach.curves
        auc = approach.metrics["auc"].value
        label = f"{approach.title} ({'–' if auc is None else format(auc, '.2f')})"
        roc.plot(*lines.roc, label=label, color=color, lw=width)
        pr.plot(*lines.pr, color=color, lw=width)
        calibration.plot(*lines.calibration, marker="o", ms=4, color=color, lw=width)
        decision.plot(*lines.decision, color=color, lw=width)
    prevalence = cohort_result.non_response / cohort_result.lesions
    roc.plot([0, 1], [0, 1], "k:", lw=1)
    pr.axhline(prevalence, color="k", ls=":", lw=1)
    calibration.plot([0, 1], [0, 1], "k:", lw=1)
    first_curves = next(iter(cohort_result.approaches.values())).curves
    decision.plot(first_curves.decision[0], first_curves.treat_all, "k--", lw=1, label="all")
    decision.axhline(0, color="k", ls=":", lw=1, label="none")
    decision.set_ylim(-0.1, max(prevalence * 1.15, 0.1))
    _label(roc, "ROC (predictions of all folds)" if folds else "ROC", "1 − specificity", "sensitivity")
    _label(pr, "Precision and recall of non-response", "recall", "precision")
    _label(calibration, "Calibration, quintiles of the lesions", "predicted p(non-response)", "observed fraction")
    _label(decision, "Decision curve", "threshold of p(non-response)", "net benefit")
    roc.legend(fontsize=8, loc="lower right", title="AUC within folds" if folds else "AUC", title_fontsize=8)
    decision.legend(fontsize=8, loc="upper right")
    return figure


def plot_differences(cohort_result: CohortResult) -> Figure:
    """Return a plot of the AUC of each approach with its interval, and of its difference from the reference."""
    names, reference = list(cohort_result.approaches), cohort_result.reference
    figure = Figure(figsize=(11.5, 0.9 + 0.36 * len(names)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    positions = np.arange(len(names))[::-1]
    for position, name in zip(positions, names, strict=True):
        color = cohort_result.approaches[name].color
        auc = cohort_result.approaches[name].metrics["auc"]
        _bar(left, position, (auc.low, auc.value, auc.high), color)
        for pair in cohort_result.differences:
            if {pair.one, pair.other} == {reference, name} and name != reference:
                ends = pair.low, pair.value, pair.high
                signed = ends if pair.one == name else tuple(None if end is None else -end for end in ends[::-1])
                _bar(right, position, signed, color)
    left.set_yticks(positions, [cohort_result.approaches[n].title for n in names], fontsize=9)
    left.axvline(0.5, color="k", ls=":", lw=1)
    right.axvline(0, color="k", ls=":", lw=1)
    _label(left, "AUC, 95 % interval", "", "")
    _label(right, f"AUC minus that of: {cohort_result.approaches[reference].title}", "", "")
    return figure


def plot_gallery(gallery: Sequence[Mapping[str, Any]]) -> Figure:
    """Return a plot of held-out lesions in their largest axial slice: MR above, MR with evidence below."""
    count = len(gallery)
    columns = min(count, 6)
    rows = -(-count // columns)
    figure = Figure(figsize=(11.5, 4.3 * rows), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    palette, norm = ListedColormap(evidence_palette()), Normalize(*EVIDENCE_RANGE)
    for index, entry in enumerate(gallery):
        above, below = (axes[2 * (index // columns) + k, index % columns] for k in (0, 1))
        middle = int(np.argmax(entry["fraction"].sum(axis=(1, 2))))
        mr, inside, map_ = (entry[k][middle] for k in ("mr", "fraction", "map"))
        for axis in (above, below):
            axis.imshow(mr, cmap="gray", vmin=np.percentile(mr, 2), vmax=np.percentile(mr, 99.5))
        below.imshow(np.ma.masked_where(inside < 0.5, map_), cmap=palette, norm=norm, alpha=0.75)
        above.contour(inside, [0.5], colors="#ffd166", linewidths=1)
        truth = "non-response" if entry["label"] else "response"
        above.set_title(f"{entry['lesion']}\n{entry['volume_cc']:.2f} cm³, {truth}", fontsize=8)
        below.set_title(
            f"p(non-response) {entry['p']:.2f}, threshold {entry['threshold']:.2f}",
            fontsize=8,
            color="#1c2530" if entry["right"] else "#b00020",
        )
    for axis in axes.ravel():
        axis.set_axis_off()
    bar = figure.colorbar(ScalarMappable(norm, palette), ax=axes, orientation="horizontal", fraction=0.02, aspect=60)
    bar.set_label("evidence (logit) for non-response; raw, not a probability", fontsize=8)
    return figure


def _bar(axis: Axes, place: float, ends: tuple[float | None, ...], color: str) -> None:
    """Plot interval and value; ``ends`` are low, value and high."""
    low, value, high = ends
    if low is None or value is None or high is None:
        return
    axis.plot([low, high], [place, place], color=color, lw=2.5, solid_capstyle="butt")
    axis.plot(value, place, "o", color=color, ms=6, mec="white")


def _label(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
