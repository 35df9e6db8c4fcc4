"""A result as an MRML scene: MR, evidence, dose, isodoses, segmentation, in one subject hierarchy.

The same code fills Slicer's own scene and the scene of the slicer-core wheel.
"""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.appearance import ISODOSE_COLORS, isodose_levels
from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.occupancy import box_occupancy, structure_box
from RTResponseCAMLib.imaging.planes import centroid_mm
from RTResponseCAMLib.imaging.resample import head_intensity
from RTResponseCAMLib.scene import display
from RTResponseCAMLib.scene.nodes import add_segment, isodose_node, ras, segmentation_node, volume_node
from RTResponseCAMLib.study import Result, Study

FIELD_MM = 200.0


@dataclass(frozen=True)
class SceneNodes:
    """The nodes of one result."""

    mr: Any
    cam: Any
    dose: Any | None
    isodoses: tuple[Any, ...]
    lesions: Any
    subregions: Any


def new_scene() -> Any:
    """Scene of the slicer-core wheel, with Slicer's default colours.

    Raises
    ------
    OutputError : slicer-core is not installed.
    """
    try:
        import slicer
    except ImportError as error:
        raise OutputError(
            "slicer-core", "is not installed, so no scene can be made", "Install RTResponseCAM[mrml]"
        ) from error
    scene = slicer.vtkMRMLScene()
    colors = slicer.vtkMRMLColorLogic()
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return scene


def build_scene(scene: Any, result: Result) -> SceneNodes:
    """Add the nodes of a result to a scene, with their display and hierarchy."""
    study = result.study
    mr = volume_node(scene, study.mr, f"MR {study.mr_description}".strip())
    head = head_intensity(study.mr)
    display.show_mr(mr, max(head.median - 2.2 * head.spread, 0.0), head.median + 3.2 * head.spread)
    cam = volume_node(scene, result.cam, "Evidence for non-response (CAM)")
    display.show_evidence(scene, cam, result.form, result.scale)
    for key, value in result.provenance.items():
        cam.SetAttribute(f"RTResponseCAM.{key}", value)
    cam.AddNodeReferenceID("RTResponseCAM.sourceMR", mr.GetID())
    dose, isodoses = _add_dose(scene, study)
    lesions = _add_lesions(scene, study, mr)
    subregions = _add_subregions(scene, result, mr)
    nodes = SceneNodes(mr, cam, dose, isodoses, lesions, subregions)
    _arrange(scene, study, nodes)
    largest = max(result.predictions, key=lambda p: p.volume_cc).lesion
    display.set_up_views(scene, mr, cam, ras(centroid_mm(largest.structure).tolist()), FIELD_MM)
    return nodes


def save_scene(scene: Any, path: Path) -> None:
    """Write the scene as ``.mrb``.

    Raises
    ------
    OutputError : the bundle could not be written.
    """
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLStorableNode")
        if node.GetSaveWithScene() and node.GetStorageNode() is None and node.GetModifiedSinceRead():
            node.AddDefaultStorageNode()
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLStorageNode")):
        storage = scene.GetNthNodeByClass(index, "vtkMRMLStorageNode")
        if storage.IsA("vtkMRMLVolumeArchetypeStorageNode"):
            storage.SetCompressionParameter("gzip_fastest")  # twice as fast, a few percent larger
        if storage.IsA("vtkMRMLSegmentationStorageNode"):
            storage.SetCropToMinimumExtent(True)  # else as many voxels as the MR: six seconds for ten lesions
    # The bundle is zipped here, without deflating again what is compressed already. Slicer wants absolute paths.
    with tempfile.TemporaryDirectory(dir=path.resolve().parent) as place:
        folder = Path(place) / path.stem
        folder.mkdir()
        if not scene.SaveSceneToSlicerDataBundleDirectory(str(folder), None):
            raise OutputError(path, "the scene could not be written", "Check free space and permissions")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bundle:
            for file in sorted(f for f in folder.rglob("*") if f.is_file()):
                bundle.write(file, file.relative_to(place))


def _add_dose(scene: Any, study: Study) -> tuple[Any | None, tuple[Any, ...]]:
    if study.dose is None:
        return None, ()
    node = volume_node(scene, study.dose.image, "Dose (Gy)")
    node.SetAttribute("DicomRtImport.DoseVolume", "1")
    node.SetAttribute("DicomRtImport.DoseUnitName", "GY")
    node.SetAttribute("DicomRtImport.DoseUnitValue", "1.0")
    display.show_dose(node, float(sitk.GetArrayViewFromImage(study.dose.image).max()))
    models = []
    for level, color in zip(isodose_levels(study), ISODOSE_COLORS, strict=False):
        model = isodose_node(scene, study.dose.image, level, f"Isodose {level:g} Gy", color)
        if model is not None:
            models.append(model)
    return node, tuple(models)


def _add_lesions(scene: Any, study: Study, mr: Any) -> Any:
    node = segmentation_node(scene, "Lesions (GTV)", mr)
    grid = Grid.of(study.mr)
    for lesion in study.lesions:
        box = structure_box(lesion.structure, grid)
        occupancy = box_occupancy(lesion.structure, box)
        inside = occupancy >= min(0.5, float(occupancy.max()))
        add_segment(node, inside, box, f"{lesion.id} {lesion.structure.name}", display.LESION_COLOR)
    display.show_outlines(node)
    return node


def _add_subregions(scene: Any, result: Result, mr: Any) -> Any:
    node = segmentation_node(scene, "Subregions (evidence for non-response)", mr)
    labels, grid = sitk.GetArrayViewFromImage(result.subregions), Grid.of(result.subregions)
    for number, prediction in enumerate(result.predictions, start=1):
        where = np.argwhere(labels == number)
        if not len(where):
            continue
        low, high = where.min(axis=0), where.max(axis=0) + 1
        part = labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]] == number
        box = grid.crop(
            (int(low[2]), int(low[1]), int(low[0])),
            (int(part.shape[2]), int(part.shape[1]), int(part.shape[0])),
        )
        add_segment(node, part, box, f"{prediction.lesion.id} evidence > {result.cut:g}", display.SUBREGION_COLOR)
    display.show_outlines(node)
    return node


def _arrange(scene: Any, study: Study, nodes: SceneNodes) -> None:
    """Patient → study → nodes; SlicerRT finds the dose unit at the study."""
    import slicer

    tree = slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), study.patient)
    visit = tree.CreateStudyItem(patient, "Gamma Knife plan")
    tree.SetItemAttribute(visit, "DicomRtImport.DoseUnitName", "GY")
    tree.SetItemAttribute(visit, "DicomRtImport.DoseUnitValue", "1.0")
    for node in (nodes.mr, nodes.cam, nodes.dose, nodes.lesions, nodes.subregions):
        if node is not None:
            tree.SetItemParent(tree.CreateItem(visit, node), visit)
    folder = tree.CreateFolderItem(visit, "Isodoses")
    tree.SetItemAttribute(folder, constants.GetSubjectHierarchyExcludeFromTreeAttributeName(), "0")
    for node in nodes.isodoses:
        tree.SetItemParent(tree.CreateItem(folder, node), folder)
