"""Slice views: volumes in their layers, the side-by-side layout, centering on a lesion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from RTResponseCAMLib.scene.lesions import ISODOSE_ROLE
from RTResponseCAMLib.scene.nodes import place_of_volume

SIDE_BY_SIDE, PAIR = 2506, 2507  # the layouts' ids, with and without a follow-up; Slicer's own are below 1000
SIDE_GROUP = 2506  # views of the row move together, independent of other views
DOSE_VIEW, EVIDENCE_VIEW, FOLLOW_UP_VIEW = "RTRDose", "RTREvidence", "RTRFollowUp"
REGISTERED = "RTResponseCAM.Registered"  # attribute of a follow-up that is registered to the planning MR
REGISTERED_TO = "RTResponseCAM.RegisteredTo"  # geometry of the planning MR at the registration
SIDE_VIEWS = (
    (DOSE_VIEW, "Dose", "#4DB6AC"),
    (EVIDENCE_VIEW, "Evidence", "#F6A04D"),
    (FOLLOW_UP_VIEW, "Later", "#9FA8DA"),
)
SIDE_NAMES = tuple(name for name, _, _ in SIDE_VIEWS)
WASH_OPACITY = 0.4
# View id, slice-to-RAS matrix (row by row), field of view, XYZ origin.
Seen = tuple[str, tuple[float, ...], tuple[float, ...], tuple[float, ...]]


def side_by_side_xml(follow_up: bool) -> str:
    """Layout description: dose, evidence and, if there is one, the follow-up as axial views in a row."""
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{color}</property></view></item>'
        for tag, label, color in (SIDE_VIEWS if follow_up else SIDE_VIEWS[:2])
    )
    return f'<layout type="horizontal" split="true">{views}</layout>'


def lacks_a_view(scene: Any, follow_up: bool) -> bool:
    """Whether the side-by-side layout is on and its views do not fit the presence or absence of a follow-up."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    return is_side_by_side(scene) and layout.GetViewArrangement() != _row_for(follow_up)


def _row_for(follow_up: bool) -> int:
    return SIDE_BY_SIDE if follow_up else PAIR


def show_side_by_side(scene: Any, follow_up: bool) -> int | None:
    """Switch to the side-by-side layout; returns the id of the previous layout, None without a layout node."""
    layout_id = _row_for(follow_up)
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout is None:
        return None
    if not layout.IsLayoutDescription(layout_id):
        layout.AddLayoutDescription(layout_id, side_by_side_xml(follow_up))
    previous_id = int(layout.GetViewArrangement())
    layout.SetViewArrangement(layout_id)
    return previous_id


def is_side_by_side(scene: Any) -> bool:
    """Whether the side-by-side layout is on."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    return layout is not None and layout.GetViewArrangement() in (SIDE_BY_SIDE, PAIR)


def fill_views(
    scene: Any, mr: Any, *, cam: Any, front: Any, dose: Any, follow_up: Any, opacity: float, wash: bool
) -> None:
    """Set the volumes of every slice view.

    With a graded copy, ``cam`` is in the label layer with opacity 0: the legend stays, and the data probe shows the
    values of ``cam``.

    Parameters
    ----------
    front : the volume that shows the evidence: ``cam`` or its graded copy.
    wash : whether the dose is in the foreground.
    """
    graded = front is not None and front is not cam
    row = is_side_by_side(scene)
    for view in _nodes(scene, "vtkMRMLSliceNode"):
        if view.GetLayoutName() in SIDE_NAMES:
            view.SetViewGroup(SIDE_GROUP)
    for composite in _nodes(scene, "vtkMRMLSliceCompositeNode"):
        view = composite.GetLayoutName()
        layers = {
            DOSE_VIEW: (mr, dose if wash else None),
            EVIDENCE_VIEW: (mr, front),
            FOLLOW_UP_VIEW: (follow_up, None),
        }
        background, foreground = layers.get(view, (mr, dose if wash and dose is not None else front))
        modifying = composite.StartModify()
        composite.SetBackgroundVolumeID(background.GetID() if background is not None else None)
        composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
        composite.SetForegroundOpacity(WASH_OPACITY if foreground is dose else opacity)
        if graded and foreground is front:
            composite.SetLabelVolumeID(cam.GetID())
            composite.SetLabelOpacity(0.0)
        elif cam is not None and composite.GetLabelVolumeID() == cam.GetID():
            composite.SetLabelVolumeID(None)
            composite.SetLabelOpacity(1.0)
        composite.SetLinkedControl(row or view not in layers)  # hidden views of the row are not linked
        composite.SetHotLinkedControl(row and view in layers)
        composite.EndModify(modifying)


def is_registered(follow_up: Any, mr: Any) -> bool:
    """Whether a follow-up is registered to the planning MR, and the MR has not been moved since."""
    if follow_up is None or mr is None or follow_up.GetAttribute(REGISTERED) != "1":
        return False
    registered_geometry = follow_up.GetAttribute(REGISTERED_TO)
    return registered_geometry is None or registered_geometry == place_of_volume(mr)


def show_overlays(scene: Any, dose: Any, *, lines: bool, registered: bool) -> None:
    """Show or hide the isodose lines of the chosen dose; restrict overlays to the views where they are valid.

    In the side-by-side layout, isodoses are hidden in the evidence view and the follow-up view. Contours of the plan
    are hidden on a follow-up that is not registered.
    """
    row = is_side_by_side(scene)
    for volume in _nodes(scene, "vtkMRMLScalarVolumeNode"):
        for model in isodoses_of(volume):
            if model.GetDisplayNode() is not None:
                model.GetDisplayNode().SetVisibility(lines and volume is dose)
                _keep_out(scene, model.GetDisplayNode(), {EVIDENCE_VIEW, FOLLOW_UP_VIEW} if row else set())
    for segmentation in _nodes(scene, "vtkMRMLSegmentationNode"):  # subregions and previews as well
        if segmentation.GetDisplayNode() is not None:
            _keep_out(scene, segmentation.GetDisplayNode(), {FOLLOW_UP_VIEW} if row and not registered else set())


def _keep_out(scene: Any, shown: Any, hidden: set[str]) -> None:
    """Show a node in all views except ``hidden``. A node without a change is not modified, to avoid rendering."""
    classes = ("vtkMRMLSliceNode", "vtkMRMLViewNode") if hidden else ()
    view_ids = [
        view.GetID()
        for class_name in classes
        for view in _nodes(scene, class_name)
        if view.GetLayoutName() not in hidden
    ]
    if [shown.GetNthViewNodeID(n) for n in range(shown.GetNumberOfViewNodeIDs())] == view_ids:
        return
    modifying = shown.StartModify()
    shown.RemoveAllViewNodeIDs()
    for view in view_ids:
        shown.AddViewNodeID(view)
    shown.EndModify(modifying)


def isodoses_of(dose: Any) -> list[Any]:
    """Isodose models of a dose volume."""
    count = dose.GetNumberOfNodeReferences(ISODOSE_ROLE)
    models = [dose.GetNthNodeReference(ISODOSE_ROLE, n) for n in range(count)]
    return [model for model in models if model is not None]


def store_views(scene: Any) -> list[Seen]:
    """State of the slice views outside the side-by-side layout, for `restore_views`."""
    stored = []
    for view in _nodes(scene, "vtkMRMLSliceNode"):
        if view.GetLayoutName() not in SIDE_NAMES:
            matrix = view.GetSliceToRAS()
            matrix_values = tuple(matrix.GetElement(row, column) for row in range(4) for column in range(4))
            stored.append((view.GetID(), matrix_values, tuple(view.GetFieldOfView()), tuple(view.GetXYZOrigin())))
    return stored


def restore_views(scene: Any, seen: Sequence[Seen]) -> None:
    """Restore the state of slice views; if the shape of a window has changed, the field of view keeps its width."""
    for name, matrix_values, field, origin in seen:
        view = scene.GetNodeByID(name)
        if view is None:
            continue
        view.GetSliceToRAS().DeepCopy(matrix_values)
        width, height, _ = view.GetDimensions()
        view.SetFieldOfView(field[0], field[0] * height / max(width, 1), field[2])
        view.SetXYZOrigin(*origin)
        view.UpdateMatrices()


def center_views(scene: Any, ras: Sequence[float], *, field_mm: float) -> None:
    """Center slice views on a point (RAS, mm) with at least ``field_mm`` in view; point 3-D cameras at it."""
    for view in _nodes(scene, "vtkMRMLSliceNode"):
        width, height, _ = view.GetDimensions()
        shorter_side = max(min(width, height), 1)
        depth = view.GetFieldOfView()[2]
        # The field of view has the aspect ratio of the window; otherwise circles become ellipses.
        view.SetFieldOfView(field_mm * max(width, 1) / shorter_side, field_mm * max(height, 1) / shorter_side, depth)
        view.JumpSliceByCentering(*ras)
    for camera in _nodes(scene, "vtkMRMLCameraNode"):
        focus, position = camera.GetFocalPoint(), camera.GetPosition()
        camera.SetPosition([p + r - f for p, r, f in zip(position, ras, focus, strict=True)])
        camera.SetFocalPoint(list(ras))


def _nodes(scene: Any, name: str) -> Iterator[Any]:
    for index in range(scene.GetNumberOfNodesByClass(name)):
        yield scene.GetNthNodeByClass(index, name)
