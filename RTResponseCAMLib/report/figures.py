"""Figures of a lesion: three planes, MR with contour and isodoses above, MR with evidence below. Fixed scales."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from RTResponseCAMLib.colors import EVIDENCE_RANGE, ISODOSE_COLORS, evidence_palette, isodose_levels
from RTResponseCAMLib.imaging.fraction import box_fraction
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import centroid_mm
from RTResponseCAMLib.imaging.resample import HeadIntensity, resample
from RTResponseCAMLib.study import GY, Prediction, Result

STEP_MM, MOST_PIXELS = 0.5, 500
PLACES = {"left": 0.03, "right": 0.92, "bottom": 0.01, "top": 0.955, "wspace": 0.03, "hspace": 0.03}
MIN_FIELD_MM, MARGIN_MM = 36.0, 12.0
# Array axes of [z, y, x] that run down and right, and the letters at the left and top edge (patient's right
# is on the viewer's left, as radiology shows it).
PLANES = (("axial", 0, "R", "A"), ("coronal", 1, "R", "S"), ("sagittal", 2, "A", "S"))


@dataclass(frozen=True)
class LesionPlane:
    """Data plotted in one plane through a lesion, in patient axes; arrays ``[row, column]``."""

    mr: npt.NDArray[np.float32]
    fraction: npt.NDArray[np.float32]
    cam: npt.NDArray[np.float32]
    dose: npt.NDArray[np.float32] | None


def lesion_planes(result: Result, prediction: Prediction) -> tuple[list[LesionPlane], float]:
    """Return the planes of `PLANES` through a lesion's centroid, and half of their width, mm.

    Only the planes are resampled, with at most `MOST_PIXELS` per side: memory does not depend on the lesion's size.
    """
    structure = prediction.lesion.structure
    extent = float(np.ptp(np.concatenate(structure.contours), axis=0).max())
    field = max(extent + 2 * MARGIN_MM, MIN_FIELD_MM)
    step = max(STEP_MM, field / MOST_PIXELS)
    count = int(field / step) | 1
    half = (count - 1) / 2 * step
    dose = result.study.dose if prediction.dose is not None else None
    planes = []
    for _, axis, _, _ in PLANES:
        middle = 2 - axis  # index in (x, y, z) of the axis normal to the plane
        size = [1 if n == middle else count for n in range(3)]
        x, y, z = (float(c) - (0.0 if n == middle else half) for n, c in enumerate(centroid_mm(structure)))
        grid = Grid((size[0], size[1], size[2]), (step,) * 3, (x, y, z))
        cam = sitk.Resample(result.cam, grid.blank(), sitk.Transform(), sitk.sitkNearestNeighbor, 0.0, sitk.sitkFloat32)
        planes.append(
            LesionPlane(
                np.squeeze(sitk.GetArrayFromImage(resample(result.study.mr, grid, smooth=True, outside=0.0)), axis),
                np.squeeze(box_fraction(structure, grid), axis),
                np.squeeze(sitk.GetArrayFromImage(cam), axis),
                None if dose is None else np.squeeze(sitk.GetArrayFromImage(resample(dose.image, grid)), axis),
            )
        )
    return planes, half


def plot_lesion(result: Result, prediction: Prediction, *, head: HeadIntensity) -> Figure:
    """Return the figure of one lesion: two rows of three planes."""
    planes, half = lesion_planes(result, prediction)
    figure = Figure(figsize=(9.6, 6.5), facecolor="black")
    FigureCanvasAgg(figure)
    # Fixed positions: an automatic layout renders everything twice.
    axes = figure.subplots(2, 3, gridspec_kw=PLACES)
    low, high = max(head.median - 2.2 * head.iqr, 0.0), head.median + 3.2 * head.iqr
    norm, colors = (
        Normalize(*EVIDENCE_RANGE),
        ListedColormap(evidence_palette().tolist()),
    )
    levels = isodose_levels(result.study)
    for column, ((name, axis, left, top), plane) in enumerate(zip(PLANES, planes, strict=True)):
        for row in (0, 1):
            ax: Axes = axes[row, column]
            _image(ax, plane.mr, half, "gray", Normalize(low, high), upside_down=axis != 0)
            if row == 1:
                evidence = np.where(plane.fraction >= 0.5, plane.cam, 0.0)
                _image(ax, evidence, half, colors, norm, axis != 0, alpha=0.75)
            elif plane.dose is not None:
                _lines(ax, plane.dose, half, levels, axis != 0)
            _contour(ax, plane.fraction, half, axis != 0)
            _letters(ax, left, top, half)
        axes[0, column].set_title(name, color="white", fontsize=11)
    axes[0, 0].set_ylabel("MR, GTV, isodoses", color="white")
    axes[1, 0].set_ylabel("MR, GTV, evidence", color="white")
    _legends(figure, axes, result, norm, colors, levels if planes[0].dose is not None else (), half)
    return figure


def as_data_uri(figure: Figure) -> str:
    """Return a figure as a PNG in a ``data:`` URI, so that the report is one file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor=figure.get_facecolor())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _image(
    ax: Axes,
    values: npt.NDArray[np.float32],
    half: float,
    colors: str | ListedColormap,
    norm: Normalize,
    upside_down: bool,
    alpha: float = 1.0,
) -> None:
    # Rows run to posterior (axial) or to superior (coronal, sagittal); the latter are plotted from bottom to top.
    ax.imshow(
        values,
        cmap=colors,
        norm=norm,
        alpha=alpha,
        interpolation="nearest",
        origin="lower" if upside_down else "upper",
        extent=(-half, half, -half, half),
    )
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_color("0.3")


def _plane(half: float, count: int, upside_down: bool) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x = np.linspace(-half, half, count)
    return x, (x if upside_down else x[::-1])


def _contour(ax: Axes, fraction: npt.NDArray[np.float32], half: float, upside_down: bool) -> None:
    if fraction.max() > 0.5:
        x, y = _plane(half, len(fraction), upside_down)
        ax.contour(x, y, fraction, [0.5], colors=["#ffe633"], linewidths=1.4)


def _lines(ax: Axes, dose: npt.NDArray[np.float32], half: float, levels: tuple[float, ...], upside_down: bool) -> None:
    x, y = _plane(half, len(dose), upside_down)
    for level, color in zip(levels, ISODOSE_COLORS, strict=False):
        if dose.min() < level < dose.max():
            ax.contour(x, y, dose, [level], colors=[color], linewidths=1.1)


def _letters(ax: Axes, left: str, top: str, half: float) -> None:
    ax.text(-0.95 * half, 0, left, color="0.75", fontsize=9, va="center")
    ax.text(0, 0.93 * half, top, color="0.75", fontsize=9, ha="center", va="top")


def _legends(
    figure: Figure,
    axes: npt.NDArray[np.object_],
    result: Result,
    norm: Normalize,
    colors: ListedColormap,
    levels: tuple[float, ...],
    half: float,
) -> None:
    unit = result.study.dose.unit if result.study.dose is not None else GY
    lines = [Line2D([], [], color="#ffe633", label="GTV")]
    lines += [Line2D([], [], color=c, label=f"{v:g} {unit}") for v, c in zip(levels, ISODOSE_COLORS, strict=False)]
    axes[0, 2].legend(
        handles=lines, loc="upper right", fontsize=7.5, labelcolor="white", facecolor="0.1", framealpha=0.7
    )
    axes[0, 0].plot([0.9 * half - 10, 0.9 * half], [-0.9 * half] * 2, color="white", linewidth=2)
    axes[0, 0].text(0.9 * half - 5, -0.87 * half, "10 mm", color="white", fontsize=7.5, ha="center", va="bottom")
    bar = figure.colorbar(ScalarMappable(norm, colors), cax=figure.add_axes((0.93, 0.03, 0.014, 0.43)))
    label = "← response    evidence (logit)    non-response →"
    bar.set_label(label, color="white", fontsize=8)
    bar.ax.tick_params(colors="white", labelsize=8)
