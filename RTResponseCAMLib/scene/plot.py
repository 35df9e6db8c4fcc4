"""Dose-volume histograms as a Slicer chart: one table and one series per histogram, in one reused chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from RTResponseCAMLib.dosimetry.dvh import Dvh
from RTResponseCAMLib.scene.lesions import PREFIX

DVH = f"{PREFIX}DVH"
COLORS = ((1.0, 0.2, 0.55), (0.35, 0.6, 0.95))
VOLUME = "volume / %"


def show_histograms(scene: Any, title: str, *, histograms: Sequence[Dvh]) -> Any:
    """Show cumulative histograms in the scene; returns the chart. Nodes of an earlier call are replaced."""
    nodes = [scene.GetNthNodeByClass(n, "vtkMRMLNode") for n in range(scene.GetNumberOfNodesByClass("vtkMRMLNode"))]
    chart = next((n for n in nodes if n.GetAttribute(DVH) == "chart"), None)
    for node in nodes:
        if node.GetAttribute(DVH) not in (None, "chart"):
            scene.RemoveNode(node)
    if chart is None:
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Dose of the subregion")
        chart.SetAttribute(DVH, "chart")
    chart.RemoveAllPlotSeriesNodeIDs()
    for histogram, color in zip(histograms, COLORS, strict=False):
        chart.AddAndObservePlotSeriesNodeID(_series(scene, histogram, color).GetID())
    chart.SetTitle(title)
    chart.SetXAxisTitle(f"{_dose(histograms[0])} ({histograms[0].interpolation})" if histograms else "dose")
    chart.SetYAxisTitle(VOLUME)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 103.0)
    return chart


def _dose(histogram: Dvh) -> str:
    return f"dose / {histogram.unit}"


def _series(scene: Any, histogram: Dvh, color: tuple[float, float, float]) -> Any:
    from vtkmodules.util.numpy_support import numpy_to_vtk

    dose, volume = histogram.cumulative()
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", f"DVH {histogram.name}")
    table.SetAttribute(DVH, "table")
    for name, values in ((_dose(histogram), dose), (VOLUME, 100 * volume / histogram.volume_cc)):
        column = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
        column.SetName(name)
        table.AddColumn(column)
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", f"{histogram.name} ({histogram.volume_cc:.3f} cm³)")
    series.SetAttribute(DVH, "series")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(_dose(histogram))
    series.SetYColumnName(VOLUME)
    series.SetPlotType(series.PlotTypeScatter)
    series.SetMarkerStyle(series.MarkerStyleNone)
    series.SetLineWidth(2)
    series.SetColor(*color)
    return series
