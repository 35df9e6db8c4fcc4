"""Builds the MRML scene of a result: MR, evidence, dose, isodoses and segmentations in one subject hierarchy.

The same code fills the application's scene and a scene of the slicer-core wheel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from RTResponseCAMLib.colors import ISODOSE_COLORS, isodose_levels
from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.imaging.fraction import filled_voxels, structure_box
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import centroid_mm
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.scene import display
from RTResponseCAMLib.scene.lesions import (
    ISODOSE_LEVELS,
    ISODOSE_ROLE,
    LESION_TAG,
    PREFIX,
    PRESCRIPTION_TAG,
    SUBREGION_TAG,
    attach_result,
    lesion_segments,
)
from RTResponseCAMLib.scene.nodes import (
    DOSE_UNIT,
    add_segment,
    cropped,
    dose_unit,
    fingerprint,
    grid_of,
    isodose_node,
    ras,
    segmentation_node,
    volume_node,
    voxels_of,
)
from RTResponseCAMLib.scene.stored_data import store_contours
from RTResponseCAMLib.study import GY, Result, Study

FIELD_MM = 200.0
ISODOSE_FOLDER = "Isodoses"


@dataclass(frozen=True)
class StudyNodes:
    """The nodes of a study without a prediction."""

    mr: Any
    dose: Any | None
    isodoses: tuple[Any, ...]
    lesions: Any


@dataclass(frozen=True)
class SceneNodes(StudyNodes):
    """The nodes of a study and its result."""

    cam: Any
    subregions: Any


def new_scene() -> Any:
    """New scene of the slicer-core wheel, with Slicer's default colors.

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


def build_scene(
    scene: Any, result: Result, *, progress: Progress = no_progress, stored_mr: sitk.Image | None = None
) -> SceneNodes:
    """Add the nodes of a result to a scene, with their display and subject hierarchy; returns the nodes.

    Parameters
    ----------
    progress : called between the nodes.
    stored_mr : the MR converted by `as_stored`, when it already exists.
    """
    study = result.study
    nodes = add_study(scene, study, progress=subprogress(progress, 0.0, 0.7), stored_mr=stored_mr)
    progress(0.7, "evidence")
    cam = add_evidence(scene, result, mr=nodes.mr)
    attach_result(cam, result, segments=lesion_segments(nodes.lesions), dose=nodes.dose, segmentation=nodes.lesions)
    subregions = _add_subregions(scene, result, nodes.mr, subprogress(progress, 0.8, 1.0))
    put_beside(scene, nodes.mr, others=(cam, subregions))
    largest = max(result.predictions, key=lambda p: p.volume_cc).lesion
    display.set_up_views(
        scene, nodes.mr, foreground=cam, center_ras=ras(centroid_mm(largest.structure).tolist()), field_mm=FIELD_MM
    )
    return SceneNodes(nodes.mr, nodes.dose, nodes.isodoses, nodes.lesions, cam, subregions)


def add_study(
    scene: Any, study: Study, *, progress: Progress = no_progress, stored_mr: sitk.Image | None = None
) -> StudyNodes:
    """Add MR, dose, isodose lines and lesions of a study; returns the nodes.

    Parameters
    ----------
    progress : called between the nodes.
    stored_mr : the MR converted by `as_stored`, when it already exists.
    """
    progress(0.0, "MR")
    mr = volume_node(scene, study.mr if stored_mr is None else stored_mr, name=f"MR {study.mr_description}".strip())
    progress(0.2, "MR window")
    display.show_head(mr, study.mr)
    progress(0.4, "dose")
    dose, isodoses = _add_dose(scene, study, subprogress(progress, 0.4, 0.7))
    lesions = _add_lesions(scene, study, mr, subprogress(progress, 0.7, 1.0))
    nodes = StudyNodes(mr, dose, isodoses, lesions)
    _arrange(scene, study, nodes)
    return nodes


def add_evidence(scene: Any, result: Result, *, mr: Any) -> Any:
    """Add the evidence map (the CAM) as a volume with colors, legend and provenance; returns the node."""
    cam = volume_node(scene, result.cam, name="Evidence for non-response (CAM)")
    display.show_evidence(scene, cam, scale=result.scale)
    cam.AddNodeReferenceID(f"{PREFIX}sourceMR", mr.GetID())
    return cam


def add_isodoses(
    scene: Any, dose: Any, *, image: sitk.Image, levels_gy: Sequence[float], progress: Progress
) -> list[Any]:
    """Add isodose surfaces of a dose volume, shown as lines; returns the models. The dose node references them."""
    models = []
    for level_index, (level, color) in enumerate(zip(levels_gy, ISODOSE_COLORS, strict=False)):
        progress(level_index / len(levels_gy), f"isodose {level:g}")
        model = isodose_node(scene, image, level_gy=level, name=f"Isodose {level:g} {dose_unit(dose)}", color=color)
        if model is not None:
            models.append(model)
            dose.AddNodeReferenceID(ISODOSE_ROLE, model.GetID())
    dose.SetAttribute(ISODOSE_LEVELS, isodose_state(levels_gy, fingerprint(voxels_of(dose), grid_of(dose))))
    return models


def isodose_state(levels_gy: Sequence[float], dose_print: str) -> str:
    """Text that identifies the input of isodose lines: the levels, and the fingerprint of the dose."""
    return f"{' '.join(f'{level:g}' for level in levels_gy)} of {dose_print}"


def put_isodoses(scene: Any, dose: Any, *, models: Sequence[Any]) -> None:
    """Place isodose models in the isodose folder of the dose's study; the folder is created when it is missing."""
    import slicer
    import vtk

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    study_item = hierarchy.GetItemParent(
        hierarchy.GetItemByDataNode(dose) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), dose)
    )
    children = vtk.vtkIdList()
    hierarchy.GetItemChildren(study_item, children)
    items = [children.GetId(n) for n in range(children.GetNumberOfIds())]
    folders = [i for i in items if hierarchy.GetItemName(i) == ISODOSE_FOLDER and hierarchy.GetItemDataNode(i) is None]
    folder = folders[0] if folders else hierarchy.CreateFolderItem(study_item, ISODOSE_FOLDER)
    hierarchy.SetItemAttribute(folder, constants.GetSubjectHierarchyExcludeFromTreeAttributeName(), "0")
    for model in models:
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(model) or hierarchy.CreateItem(folder, model), folder)


def put_beside(scene: Any, node: Any, *, others: Sequence[Any]) -> None:
    """Place nodes in the study of another node in the subject hierarchy."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    study_item = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
    for other in others:
        item = hierarchy.GetItemByDataNode(other) or hierarchy.CreateItem(study_item, other)
        hierarchy.SetItemParent(item, study_item)


def _add_dose(scene: Any, study: Study, progress: Progress) -> tuple[Any | None, tuple[Any, ...]]:
    if study.dose is None:
        return None, ()
    node = volume_node(scene, study.dose.image, name=f"Dose ({study.dose.unit})")
    node.SetAttribute("DicomRtImport.DoseVolume", "1")
    node.SetAttribute(DOSE_UNIT, "GY" if study.dose.unit == GY else study.dose.unit)
    node.SetAttribute("DicomRtImport.DoseUnitValue", "1.0")
    display.show_dose(scene, node, maximum_gy=float(sitk.GetArrayViewFromImage(study.dose.image).max()))
    return node, tuple(
        add_isodoses(scene, node, image=study.dose.image, levels_gy=isodose_levels(study), progress=progress)
    )


def _add_lesions(scene: Any, study: Study, mr: Any, progress: Progress) -> Any:
    node = segmentation_node(scene, "Lesions (GTV)", reference=mr)
    prescription = study.plan.prescription if study.plan else None
    grid = Grid.of(study.mr)
    contours = {}
    for lesion_index, lesion in enumerate(study.lesions):
        progress(lesion_index / len(study.lesions), f"lesion {lesion.id}")
        box = structure_box(lesion.structure, grid)
        inside = filled_voxels(lesion.structure, box)
        segment_id = add_segment(
            node, inside, grid=box, name=f"{lesion.id} {lesion.structure.name}", color=display.LESION_COLOR
        )
        segment = node.GetSegmentation().GetSegment(segment_id)
        segment.SetTag(LESION_TAG, lesion.id)
        if inside.any():
            contours[segment_id] = lesion.structure
        if prescription is not None:
            segment.SetTag(PRESCRIPTION_TAG, f"{prescription.dose_for(lesion.structure):g}")
    store_contours(node, contours)
    display.show_outlines(node)
    return node


def _add_subregions(scene: Any, result: Result, mr: Any, progress: Progress) -> Any:
    node = segmentation_node(scene, "Subregions (evidence for non-response)", reference=mr)
    labels, grid = sitk.GetArrayViewFromImage(result.subregions), Grid.of(result.subregions)
    for label_value, prediction in enumerate(result.predictions, start=1):
        progress((label_value - 1) / len(result.predictions), f"subregion {prediction.lesion.id}")
        lesion_box = structure_box(prediction.lesion.structure, grid)  # a search in the whole map takes a second
        first = np.asarray(grid.start_of(lesion_box)[::-1])
        low, high = np.maximum(first, 0), np.maximum(first + lesion_box.shape, 0)
        labeled = labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]] == label_value
        if not labeled.any():
            continue
        start = (int(low[2]), int(low[1]), int(low[0]))
        inside, box = cropped(labeled, grid.crop(start, (labeled.shape[2], labeled.shape[1], labeled.shape[0])))
        name = f"{prediction.lesion.id} evidence > {result.subregion_threshold:g}"
        segment_id = add_segment(node, inside, grid=box, name=name, color=display.SUBREGION_COLOR)
        node.GetSegmentation().GetSegment(segment_id).SetTag(SUBREGION_TAG, prediction.lesion.id)
    display.show_outlines(node)
    return node


def _arrange(scene: Any, study: Study, nodes: StudyNodes) -> None:
    """Build the subject hierarchy patient → study → nodes; SlicerRT reads the dose unit from the study."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    patient_item = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), study.patient)
    study_item = hierarchy.CreateStudyItem(patient_item, "Gamma Knife plan")
    unit = study.dose.unit if study.dose is not None else GY
    hierarchy.SetItemAttribute(study_item, DOSE_UNIT, "GY" if unit == GY else unit)
    hierarchy.SetItemAttribute(study_item, "DicomRtImport.DoseUnitValue", "1.0")
    for node in (nodes.mr, nodes.dose, nodes.lesions):
        if node is not None:
            hierarchy.SetItemParent(hierarchy.CreateItem(study_item, node), study_item)
    if nodes.dose is not None:
        put_isodoses(scene, nodes.dose, models=nodes.isodoses)
