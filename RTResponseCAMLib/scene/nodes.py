"""Creates and reads MRML nodes: volumes, segmentations, isodose models. Converts between LPS and RAS."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import find_objects

from RTResponseCAMLib.errors import GeometryError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.resample import as_stored
from RTResponseCAMLib.study import GY, GY_RBE

SHEAR = 1e-3
LABELMAP = "Binary labelmap"  # the representation's name in every segmentation
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

DOSE_UNIT = "DicomRtImport.DoseUnitName"  # attribute defined by SlicerRT


def ijk_to_ras(grid: Grid) -> npt.NDArray[np.float64]:
    """4 × 4 matrix from voxel indices (i, j, k) to RAS, mm. The only conversion of a grid from LPS to RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = grid.axes
    matrix[:3, 3] = grid.origin_mm
    return np.asarray(LPS_TO_RAS @ matrix)


def ras(point_lps: Sequence[float]) -> tuple[float, float, float]:
    """Convert one point from LPS to RAS, mm."""
    x, y, z = point_lps
    return -x, -y, z


def volume_node(scene: Any, image: sitk.Image, *, name: str) -> Any:
    """Add a scalar volume with its own display node; returns it. Images of integers are stored as int16."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", unused_name(scene, name))
    node.SetIJKToRASMatrix(_vtk_matrix(ijk_to_ras(Grid.of(image))))
    stored = as_stored(image)  # a reference is needed: the array view does not keep the image alive
    node.SetAndObserveImageData(_vtk_image(sitk.GetArrayViewFromImage(stored)))
    volume_display(scene, node)
    return node


def volume_display(scene: Any, volume: Any) -> tuple[Any, bool]:
    """Display node of a volume, and whether it was created by this call: a user may have deleted it."""
    import slicer

    first_display = volume.GetDisplayNode()
    if first_display is not None and first_display.IsA("vtkMRMLVolumeDisplayNode"):
        return first_display, False
    if first_display is not None:  # the legend is now first; views use the first display node
        scene.RemoveNode(first_display)
    display = scene.AddNode(slicer.vtkMRMLScalarVolumeDisplayNode())
    display.AutoWindowLevelOff()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")  # without colors a slice view renders endlessly
    volume.SetAndObserveDisplayNodeID(display.GetID())
    return display, True


def fill_volume(node: Any, image: sitk.Image) -> None:
    """Replace voxels and grid of an existing volume node."""
    node.SetIJKToRASMatrix(_vtk_matrix(ijk_to_ras(Grid.of(image))))
    node.SetAndObserveImageData(_vtk_image(sitk.GetArrayViewFromImage(image)))


def image_of(volume: Any) -> sitk.Image:
    """Voxels of a scalar volume node as an LPS image, float32.

    Raises
    ------
    GeometryError : no voxels, several components, or sheared slices.
    """
    grid = grid_of(volume)
    return grid.image(voxels_of(volume).astype(np.float32))


def voxels_of(volume: Any) -> npt.NDArray[Any]:
    """View ``[z, y, x]`` of a scalar volume's voxels."""
    return _oriented_voxels(volume.GetImageData())


def grid_of(volume: Any) -> Grid:
    """Grid (LPS) of a volume node or of an oriented labelmap.

    Raises
    ------
    GeometryError : no voxels, several components, voxels without extent, or sheared slices.
    """
    import vtk

    matrix = vtk.vtkMatrix4x4()
    if hasattr(volume, "GetIJKToRASMatrix"):
        volume.GetIJKToRASMatrix(matrix)
        image, name = volume.GetImageData(), f"volume '{volume.GetName()}'"
    else:
        volume.GetImageToWorldMatrix(matrix)
        image, name = volume, "the segment"
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise GeometryError(name, "contains no voxels", "Load the image again")
    if image.GetNumberOfScalarComponents() != 1:
        raise GeometryError(name, "has several values per voxel", "Choose a scalar volume")
    array = np.asarray([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    lps = LPS_TO_RAS @ array
    low = image.GetExtent()[0:6:2]
    origin = lps[:3, 3] + lps[:3, :3] @ np.asarray(low)
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    if steps.min() < 1e-6:
        raise GeometryError(name, "has voxels without extent", "Load the image again")
    axes = lps[:3, :3] / steps
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        raise GeometryError(name, "has sheared slices (gantry tilt)", "Resample it to a rectangular grid first")
    i, j, k = (int(n) for n in image.GetDimensions())
    return Grid((i, j, k), tuple(steps.tolist()), tuple(origin.tolist()), tuple(axes.ravel().tolist()))


def segment_mask(segmentation: Any, segment_id: str) -> tuple[npt.NDArray[np.bool_], Grid]:
    """Mask ``[z, y, x]`` of a segment, cropped to its bounding box, and the grid of the mask.

    Raises
    ------
    GeometryError : the segment is empty.
    """
    import slicer

    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    empty = GeometryError(f"segment '{segment.GetName()}'", "is empty", "Contour the lesion, or remove the segment")
    labelmap, value = segment.GetRepresentation(LABELMAP), segment.GetLabelValue()
    if labelmap is None:  # a surface: converted to a temporary labelmap; the segmentation stays unchanged
        labelmap, value = slicer.vtkOrientedImageData(), 1
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        if not logic.GetSegmentBinaryLabelmapRepresentation(segmentation, segment_id, labelmap, False):
            raise empty
    if labelmap.GetNumberOfPoints() == 0 or labelmap.GetPointData().GetScalars() is None:
        raise empty
    voxels = _oriented_voxels(labelmap) == value  # segments may share one labelmap
    if not voxels.any():
        raise empty
    return cropped(voxels, grid_of(labelmap))


def cropped(voxels: npt.NDArray[np.bool_], grid: Grid) -> tuple[npt.NDArray[np.bool_], Grid]:
    """Crop a non-empty mask ``[z, y, x]`` to its bounding box; returns the mask and its grid."""
    box = find_objects(voxels.astype(np.uint8))[0]
    low, size = (tuple(int(getter(s)) for s in reversed(box)) for getter in (_start, _length))
    return voxels[box], grid.crop((low[0], low[1], low[2]), (size[0], size[1], size[2]))


def fingerprint(values: npt.NDArray[Any], grid: Grid) -> str:
    """Fingerprint of voxels and geometry: equal strings mean equal voxels in the same place."""
    return f"{zlib.crc32(np.ascontiguousarray(values).data):08x}{place_of(grid)}"


def place_of_volume(volume: Any) -> str:
    """Fingerprint of a volume's geometry, see `place_of`; "" when the geometry cannot be read (no voxels, sheared)."""
    try:
        return place_of(grid_of(volume))
    except GeometryError:
        return ""


def place_of(grid: Grid) -> str:
    """Fingerprint of a grid's geometry: equal strings mean the same place."""
    geometry = np.round([*grid.spacing_mm, *grid.origin_mm, *grid.direction], 2) + 0.0
    return f"{zlib.crc32(geometry.tobytes()):08x}{grid.size}"


def segmentation_node(scene: Any, name: str, *, reference: Any) -> Any:
    """Add an empty segmentation with the geometry of a volume node; returns it."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", unused_name(scene, name))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    return node


def add_segment(
    segmentation: Any, mask: npt.NDArray[np.bool_], *, grid: Grid, name: str, color: Sequence[float]
) -> str:
    """Add a mask ``[z, y, x]`` as a binary labelmap segment; returns the segment id."""
    return str(
        segmentation.AddSegmentFromBinaryLabelmapRepresentation(oriented_labelmap(mask, grid), name, list(color))
    )


def oriented_labelmap(mask: npt.NDArray[np.bool_], grid: Grid) -> Any:
    """Mask ``[z, y, x]`` as a vtkOrientedImageData with its geometry in RAS."""
    import slicer

    data = slicer.vtkOrientedImageData()
    data.DeepCopy(_vtk_image(mask.astype(np.uint8)))
    data.SetGeometryFromImageToWorldMatrix(_vtk_matrix(ijk_to_ras(grid)))
    return data


def isodose_node(scene: Any, dose: sitk.Image, *, level_gy: float, name: str, color: Sequence[float]) -> Any | None:
    """Add an isodose surface as a model, shown as lines in slice views; None when the dose does not cross the level."""
    import vtk

    values = sitk.GetArrayViewFromImage(dose)
    if not values.min() < level_gy < values.max():
        return None
    # A border of zeros closes the surface at the border of the dose grid.
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
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", unused_name(scene, name))
    node.SetAndObservePolyData(placed.GetOutput())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetColor(*color)
    display.SetScalarVisibility(False)
    display.SetVisibility2D(True)
    display.SetSliceIntersectionThickness(2)
    display.SetOpacity(0.35)
    return node


def _start(part: slice) -> int:
    return int(part.start)


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def _oriented_voxels(image: Any) -> npt.NDArray[Any]:
    from vtk.util.numpy_support import vtk_to_numpy

    return np.asarray(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(tuple(reversed(image.GetDimensions()))))


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


def dose_unit(node: Any) -> str:
    """Unit of a dose volume, "Gy" or "Gy (RBE)", from SlicerRT's attribute; "Gy" when it is missing."""
    stated = str(node.GetAttribute(DOSE_UNIT) or "")
    return GY_RBE if "RBE" in stated.upper() else GY


def remove_with_display(scene: Any, node: Any) -> None:
    """Remove a node and its display node."""
    display_node = node.GetDisplayNode()
    scene.RemoveNode(node)
    if display_node is not None and display_node.GetScene() is not None:  # the application removes it with its node
        scene.RemoveNode(display_node)


def unused_name(scene: Any, name: str) -> str:
    """The name, with a number when a node of the scene already has it, so that two studies have different names."""
    names = (name, *(f"{name} ({suffix})" for suffix in range(2, 1000)))
    return next(candidate for candidate in names if scene.GetFirstNodeByName(candidate) is None)
