"""One MRML node per thing: volumes, segmentation, isodose models. LPS becomes RAS here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from RTResponseCAMLib.imaging.grid import Grid

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ijk_to_ras(grid: Grid) -> npt.NDArray[np.float64]:
    """4 × 4 matrix from voxel indices to RAS mm: the one place where LPS is turned into RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = grid.axes
    matrix[:3, 3] = grid.origin_mm
    return np.asarray(LPS_TO_RAS @ matrix)


def ras(point_lps: Sequence[float]) -> tuple[float, float, float]:
    """One LPS point in RAS, mm."""
    x, y, z = point_lps
    return -x, -y, z


def volume_node(scene: Any, image: sitk.Image, name: str) -> Any:
    """Scalar volume with its own display node; whole-number images are stored as int16."""
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(_vtk_matrix(ijk_to_ras(Grid.of(image))))
    node.SetAndObserveImageData(_vtk_image(_compact(sitk.GetArrayViewFromImage(image))))
    display = scene.AddNode(slicer.vtkMRMLScalarVolumeDisplayNode())
    display.AutoWindowLevelOff()
    node.SetAndObserveDisplayNodeID(display.GetID())
    return node


def segmentation_node(scene: Any, name: str, reference: Any) -> Any:
    """Empty segmentation in the geometry of a volume node."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    return node


def add_segment(segmentation: Any, mask: npt.NDArray[np.bool_], grid: Grid, name: str, color: Sequence[float]) -> str:
    """Add a binary labelmap ``[z, y, x]`` as a segment; returns its id."""
    import slicer

    data = slicer.vtkOrientedImageData()
    data.DeepCopy(_vtk_image(mask.astype(np.uint8)))
    data.SetGeometryFromImageToWorldMatrix(_vtk_matrix(ijk_to_ras(grid)))
    return str(segmentation.AddSegmentFromBinaryLabelmapRepresentation(data, name, list(color)))


def isodose_node(scene: Any, dose: sitk.Image, level_gy: float, name: str, color: Sequence[float]) -> Any | None:
    """Isodose surface as a model shown as lines in slice views; None when the dose never reaches the level."""
    import vtk

    values = sitk.GetArrayViewFromImage(dose)
    if not values.min() < level_gy < values.max():
        return None
    # A border of zeros closes the surface where the dose box cuts it.
    grid = Grid.of(dose)
    padded = grid.crop((-1, -1, -1), (grid.size[0] + 2, grid.size[1] + 2, grid.size[2] + 2))
    surface = vtk.vtkFlyingEdges3D()
    surface.SetInputData(_vtk_image(np.pad(values, 1)))
    surface.SetValue(0, level_gy)
    surface.ComputeNormalsOff()
    surface.ComputeScalarsOff()
    matrix = vtk.vtkTransform()
    matrix.SetMatrix(_vtk_matrix(ijk_to_ras(padded)))
    placed = vtk.vtkTransformPolyDataFilter()
    placed.SetTransform(matrix)
    placed.SetInputConnection(surface.GetOutputPort())
    placed.Update()
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", name)
    node.SetAndObservePolyData(placed.GetOutput())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetColor(*color)
    display.SetScalarVisibility(False)
    display.SetVisibility2D(True)
    display.SetSliceIntersectionThickness(2)
    display.SetOpacity(0.35)
    return node


def _compact(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.dtype.kind != "f":
        return values
    low, high = float(values.min()), float(values.max())
    if low >= -32768 and high <= 32767 and high - low > 255 and np.array_equal(values[::4], np.rint(values[::4])):
        whole = values.astype(np.int16)
        if np.array_equal(whole, values):
            return whole
    return values


def _vtk_image(values: npt.NDArray[Any]) -> Any:
    import vtk
    from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(values.shape))
    flat = np.ascontiguousarray(values).ravel()
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True, array_type=get_vtk_array_type(flat.dtype)))
    return image


def _vtk_matrix(matrix: npt.NDArray[np.float64]) -> Any:
    import vtk

    result = vtk.vtkMatrix4x4()
    result.DeepCopy(matrix.ravel().tolist())
    return result
