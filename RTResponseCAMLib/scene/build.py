"""A result as an MRML scene: MR, evidence, dose, isodoses, segmentation, in one subject hierarchy.

The same code fills Slicer's own scene and the scene of the slicer-core wheel.
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
from RTResponseCAMLib.scene.stored_data import keep_contours
from RTResponseCAMLib.study import GY, Result, Study

FIELD_MM = 200.0
ISODOSE_FOLDER = "Isodoses"


@dataclass(frozen=True)
class StudyNodes:
    """The nodes of a study, before anything is predicted."""

    mr: Any
    dose: Any | None
    isodoses: tuple[Any, ...]
    lesions: Any


@dataclass(frozen=True)
class SceneNodes(StudyNodes):
    """The nodes of one result."""

    cam: Any
    subregions: Any


def new_scene() -> Any:
    """Scene of the slicer-core wheel, with Slicer's default colors.

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
    """Add the nodes of a result to a scene, with their display and hierarchy.

    Parameters
    ----------
    progress : called between the nodes.
    stored_mr : the MR as `as_stored` gives it, when that is there already.
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
    """Add MR, dose, isodose lines and lesions of a study; ``progress`` is called between the nodes.

    Parameters
    ----------
    stored_mr : the MR as `as_stored` gives it, when that is there already.
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
    """Add the volume of local evidence (the CAM) with its colors, legend and provenance."""
    cam = volume_node(scene, result.cam, name="Evidence for non-response (CAM)")
    display.show_evidence(scene, cam, scale=result.scale)
    cam.AddNodeReferenceID(f"{PREFIX}sourceMR", mr.GetID())
    return cam


def add_isodoses(
    scene: Any, dose: Any, *, image: sitk.Image, levels_gy: Sequence[float], progress: Progress
) -> list[Any]:
    """Isodose surfaces of a dose volume, shown as lines; the dose node refers to them."""
    models = []
    for number, (level, color) in enumerate(zip(levels_gy, ISODOSE_COLORS, strict=False)):
        progress(number / len(levels_gy), f"isodose {level:g}")
        model = isodose_node(scene, image, level_gy=level, name=f"Isodose {level:g} {dose_unit(dose)}", color=color)
        if model is not None:
            models.append(model)
            dose.AddNodeReferenceID(ISODOSE_ROLE, model.GetID())
    dose.SetAttribute(ISODOSE_LEVELS, isodose_state(levels_gy, fingerprint(voxels_of(dose), grid_of(dose))))
    return models


def isodose_state(levels_gy: Sequence[float], dose_print: str) -> str:
    """What isodose lines are made of: the levels, and the fingerprint of the dose."""
    return f"{' '.join(f'{level:g}' for level in levels_gy)} of {dose_print}"


def put_isodoses(scene: Any, dose: Any, *, models: Sequence[Any]) -> None:
    """Place isodose lines in the folder of their dose's study; it is made where there is none."""
    import slicer
    import vtk

    tree = slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    visit = tree.GetItemParent(tree.GetItemByDataNode(dose) or tree.CreateItem(tree.GetSceneItemID(), dose))
    children = vtk.vtkIdList()
    tree.GetItemChildren(visit, children)
    items = [children.GetId(n) for n in range(children.GetNumberOfIds())]
    named = [i for i in items if tree.GetItemName(i) == ISODOSE_FOLDER and tree.GetItemDataNode(i) is None]
    folder = named[0] if named else tree.CreateFolderItem(visit, ISODOSE_FOLDER)
    tree.SetItemAttribute(folder, constants.GetSubjectHierarchyExcludeFromTreeAttributeName(), "0")
    for model in models:
        tree.SetItemParent(tree.GetItemByDataNode(model) or tree.CreateItem(folder, model), folder)


def put_beside(scene: Any, node: Any, *, others: Sequence[Any]) -> None:
    """Place nodes in the study of another node in the subject hierarchy."""
    import slicer

    tree = slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    visit = tree.GetItemParent(tree.GetItemByDataNode(node))
    for other in others:
        item = tree.GetItemByDataNode(other) or tree.CreateItem(visit, other)
        tree.SetItemParent(item, visit)


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
    for number, lesion in enumerate(study.lesions):
        progress(number / len(study.lesions), f"lesion {lesion.id}")
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
    keep_contours(node, contours)
    display.show_outlines(node)
    return node


def _add_subregions(scene: Any, result: Result, mr: Any, progress: Progress) -> Any:
    node = segmentation_node(scene, "Subregions (evidence for non-response)", reference=mr)
    labels, grid = sitk.GetArrayViewFromImage(result.subregions), Grid.of(result.subregions)
    for number, prediction in enumerate(result.predictions, start=1):
        progress((number - 1) / len(result.predictions), f"subregion {prediction.lesion.id}")
        around = structure_box(prediction.lesion.structure, grid)  # the whole map, lesion by lesion, takes a second
        first = np.asarray(grid.start_of(around)[::-1])
        low, high = np.maximum(first, 0), np.maximum(first + around.shape, 0)
        labeled = labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]] == number
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
    """Patient → study → nodes; SlicerRT finds the dose unit at the study."""
    import slicer

    tree = slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), study.patient)
    visit = tree.CreateStudyItem(patient, "Gamma Knife plan")
    unit = study.dose.unit if study.dose is not None else GY
    tree.SetItemAttribute(visit, DOSE_UNIT, "GY" if unit == GY else unit)
    tree.SetItemAttribute(visit, "DicomRtImport.DoseUnitValue", "1.0")
    for node in (nodes.mr, nodes.dose, nodes.lesions):
        if node is not None:
            tree.SetItemParent(tree.CreateItem(visit, node), visit)
    if nodes.dose is not None:
        put_isodoses(scene, nodes.dose, models=nodes.isodoses)
