"""Eclipse's prostate plan among the real samples: structures, dose and its own dose-volume tables."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from RTResponseCAMLib.study import Dose, Structure


def read_eclipse(folder: Path) -> tuple[Dose, list[tuple[Structure, float, np.ndarray]]]:
    """The dose; then each structure, its stated volume (cm³) and its table of dose (Gy) and volume (%)."""
    dose = Dose(sitk.ReadImage(str(folder / "EclipseProstate_Dose.nrrd"), sitk.sitkFloat32), ())
    with (folder / "EclipseProstate_DvhTable_Eclipse.csv").open(encoding="utf-8-sig") as file:
        head, *rows = csv.reader(file)
    found = []
    for number in range(len(head) // 2):
        reader = vtkXMLPolyDataReader()
        reader.SetFileName(str(folder / f"EclipseProstate_Structures.seg/EclipseProstate_Structures.seg_{number}.vtp"))
        reader.Update()
        drawn = reader.GetOutput()
        points = vtk_to_numpy(drawn.GetPoints().GetData()) * [-1.0, -1.0, 1.0]  # RAS to LPS
        contours = []
        for n in range(drawn.GetNumberOfCells()):
            cell = drawn.GetCell(n)  # the next call uses the same object again
            contours.append(points[[cell.GetPointId(i) for i in range(cell.GetNumberOfPoints())]])
        table = np.asarray([[float(v) for v in row[2 * number : 2 * number + 2]] for row in rows if row[2 * number]])
        stated_cc = float(head[2 * number + 1].split("of ")[1].split(" ")[0])
        found.append((Structure(number + 1, head[2 * number], "", tuple(contours)), stated_cc, table))
    return dose, found
