"""Figures of a comparison: ROC, precision-recall, calibration and decision curves, differences, and held-out maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_hex
from matplotlib.figure import Figure

from RTResponseCAMLib.appearance import EVIDENCE_RANGE, evidence_palette

# Colours that stay apart for colour-blind readers [Okabe & Ito 2008]; the baselines are grey.
COLORS = {
    "volume": "#9a9a9a", "clinical": "#c9c9c9", "radiomics": "#0072b2", "radiomics-filters": "#56b4e9",
    "dosiomics": "#009e73", "delta": "#cc79a7", "gradient": "#e69f00", "network": "#d55e00", "network-dose": "#000000",
}  # fmt: skip


def color_of(name: str, names: Sequence[str]) -> str:
    """Colour of an approach; those without one of their own get matplotlib's 20 in turn."""
    unnamed = [n for n in names if n not in COLORS]
    return COLORS[name] if name in COLORS else to_hex(colormaps["tab20"](unnamed.index(name) % 20))


def draw_curves(found: Mapping[str, Any], folds: bool) -> Figure:
    """Four panels: ROC, precision-recall, calibration, decision; ``folds``: predictions come from several models."""
    figure = Figure(figsize=(11.5, 10.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    (roc, pr), (calibration, decision) = figure.subplots(2, 2)
    for name, arm in found["arms"].items():
        style = {"color": color_of(name, list(found["arms"])), "lw": 2.2 if name.startswith("network") else 1.4}
        auc = arm["metrics"]["auc"]["value"]
        drawn = arm["curves"]
        roc.plot(*drawn["roc"], label=f"{arm['title']} ({auc:.2f})", **style)
        pr.plot(*drawn["pr"], **style)
        calibration.plot(*drawn["calibration"], marker="o", ms=4, **style)
        decision.plot(*drawn["decision"], **style)
    prevalence = found["non_response"] / found["lesions"]
    roc.plot([0, 1], [0, 1], "k:", lw=1)
    pr.axhline(prevalence, color="k", ls=":", lw=1)
    calibration.plot([0, 1], [0, 1], "k:", lw=1)
    thresholds = next(iter(found["arms"].values()))["curves"]["decision"][0]
    decision.plot(thresholds, next(iter(found["arms"].values()))["curves"]["treat_all"], "k--", lw=1, label="all")
    decision.axhline(0, color="k", ls=":", lw=1, label="none")
    decision.set_ylim(-0.1, max(prevalence * 1.15, 0.1))
    _label(roc, "ROC (predictions of all folds)" if folds else "ROC", "1 − specificity", "sensitivity")
    _label(pr, "Precision and recall of non-response", "recall", "precision")
    _label(calibration, "Calibration, fifths of the lesions", "predicted p(non-response)", "observed share")
    _label(decision, "Decision curve", "threshold of p(non-response)", "net benefit")
    roc.legend(fontsize=8, loc="lower right", title="AUC within folds" if folds else "AUC", title_fontsize=8)
    decision.legend(fontsize=8, loc="upper right")
    return figure


def draw_differences(found: Mapping[str, Any]) -> Figure:
    """AUC of each arm with its interval, and its difference from volume alone."""
    names = list(found["arms"])
    figure = Figure(figsize=(11.5, 0.9 + 0.36 * len(names)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(names))[::-1]
    for place, name in zip(places, names, strict=True):
        _bar(left, place, found["arms"][name]["metrics"]["auc"], color_of(name, names))
        for pair in found["differences"]:
            if {pair["one"], pair["other"]} == {"volume", name} and name != "volume":
                sign = 1 if pair["one"] == name else -1
                ends = [None if pair[k] is None else sign * pair[k] for k in ("low", "value", "high")]
                low, value, high = ends if sign > 0 else ends[::-1]
                _bar(right, place, {"low": low, "value": value, "high": high}, color_of(name, names))
    left.set_yticks(places, [found["arms"][n]["title"] for n in names], fontsize=9)
    left.axvline(0.5, color="k", ls=":", lw=1)
    right.axvline(0, color="k", ls=":", lw=1)
    _label(left, "AUC, 95 % interval", "", "")
    _label(right, "AUC less that of volume only", "", "")
    return figure


def draw_gallery(gallery: Sequence[Mapping[str, Any]]) -> Figure:
    """Held-out lesions, largest axial slice: MR above, MR with local evidence below."""
    count = len(gallery)
    columns = min(count, 6)
    rows = -(-count // columns)
    figure = Figure(figsize=(11.5, 4.3 * rows), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    palette, norm = ListedColormap(evidence_palette("signed")), Normalize(*EVIDENCE_RANGE["signed"])
    for place, entry in enumerate(gallery):
        above, below = (axes[2 * (place // columns) + k, place % columns] for k in (0, 1))
        middle = int(np.argmax(entry["occupancy"].sum(axis=(1, 2))))
        mr, inside, map_ = (entry[k][middle] for k in ("mr", "occupancy", "map"))
        for axis in (above, below):
            axis.imshow(mr, cmap="gray", vmin=np.percentile(mr, 2), vmax=np.percentile(mr, 99.5))
        below.imshow(np.ma.masked_where(inside < 0.5, map_), cmap=palette, norm=norm, alpha=0.75)
        above.contour(inside, [0.5], colors="#ffd166", linewidths=1)
        truth = "non-response" if entry["label"] else "response"
        above.set_title(f"{entry['lesion']}\n{entry['volume_cc']:.2f} cm³, {truth}", fontsize=8)
        below.set_title(
            f"p(non-response) {entry['p']:.2f}, cut {entry['cut']:.2f}",
            fontsize=8,
            color="#1c2530" if entry["right"] else "#b00020",
        )
    for axis in axes.ravel():
        axis.set_axis_off()
    bar = figure.colorbar(ScalarMappable(norm, palette), ax=axes, orientation="horizontal", fraction=0.02, aspect=60)
    bar.set_label("local logit of non-response; raw, not a probability", fontsize=8)
    return figure


def _bar(axis: Axes, place: float, estimate: Mapping[str, float | None], color: str) -> None:
    if estimate["value"] is None or estimate["low"] is None or estimate["high"] is None:
        return
    axis.plot([estimate["low"], estimate["high"]], [place, place], color=color, lw=2.5, solid_capstyle="butt")
    axis.plot(estimate["value"], place, "o", color=color, ms=6, mec="white")


def _label(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
