"""Which volume lies where in the slice views, the side-by-side layout, and the jump to a lesion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from RTResponseCAMLib.scene.lesions import ISODOSE_ROLE
from RTResponseCAMLib.scene.nodes import place_of_volume

SIDE_BY_SIDE, PAIR = 2506, 2507  # the layouts' ids, with and without a follow-up; Slicer's own are below 1000
SIDE_GROUP = 2506  # views of the row move together, and move no others
DOSE_VIEW, EVIDENCE_VIEW, FOLLOW_UP_VIEW = "RTRDose", "RTREvidence", "RTRFollowUp"
REGISTERED = "RTResponseCAM.Registered"  # attribute of a follow-up that was moved onto the plan
REGISTERED_TO = "RTResponseCAM.RegisteredTo"  # where the planning MR lay then
SIDE_VIEWS = (
    (DOSE_VIEW, "Dose", "#4DB6AC"),
    (EVIDENCE_VIEW, "Evidence", "#F6A04D"),
    (FOLLOW_UP_VIEW, "Later", "#9FA8DA"),
)
SIDE_NAMES = tuple(name for name, _, _ in SIDE_VIEWS)
WASH_OPACITY = 0.4
Seen = tuple[str, tuple[float, ...], tuple[float, ...], tuple[float, ...]]  # id, slice to RAS, field, origin


def side_by_side_xml(follow_up: bool) -> str:
    """Layout description: dose, evidence and, where there is one, the follow-up as axial views in a row."""
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{color}</property></view></item>'
        for tag, label, color in (SIDE_VIEWS if follow_up else SIDE_VIEWS[:2])
    )
    return f'<layout type="horizontal" split="true">{views}</layout>'


def lacks_a_view(scene: Any, follow_up: bool) -> bool:
    """Whether the row that is on has no view for a follow-up that there is, or one for none."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    return is_side_by_side(scene) and layout.GetViewArrangement() != _row_for(follow_up)


def _row_for(follow_up: bool) -> int:
    return SIDE_BY_SIDE if follow_up else PAIR


def show_side_by_side(scene: Any, follow_up: bool) -> int | None:
    """Switch to the side-by-side layout; returns the layout that was there, None without a layout node."""
    wanted = _row_for(follow_up)
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout is None:
        return None
    if not layout.IsLayoutDescription(wanted):
        layout.AddLayoutDescription(wanted, side_by_side_xml(follow_up))
    before = int(layout.GetViewArrangement())
    layout.SetViewArrangement(wanted)
    return before


def is_side_by_side(scene: Any) -> bool:
    """Whether the side-by-side layout is on."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    return layout is not None and layout.GetViewArrangement() in (SIDE_BY_SIDE, PAIR)


def fill_views(
    scene: Any, mr: Any, *, cam: Any, front: Any, dose: Any, follow_up: Any, opacity: float, wash: bool
) -> None:
    """Put volumes into every slice view; ``wash`` puts the dose in front.

    ``front`` is what shows the evidence: ``cam`` or its graded copy. With a copy, ``cam`` lies unseen in the label
    layer, so that its legend stays and the data probe tells its values.
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
        composite.SetLinkedControl(row or view not in layers)  # hidden views take no part in what others show
        composite.SetHotLinkedControl(row and view in layers)
        composite.EndModify(modifying)


def is_registered(follow_up: Any, mr: Any) -> bool:
    """Whether a follow-up lies on the planning MR: it was moved there, and the MR has stayed where it was."""
    if follow_up is None or mr is None or follow_up.GetAttribute(REGISTERED) != "1":
        return False
    place = follow_up.GetAttribute(REGISTERED_TO)
    return place is None or place == place_of_volume(mr)


def show_overlays(scene: Any, dose: Any, *, lines: bool, registered: bool) -> None:
    """Show isodose lines of the chosen dose or not; keep overlays out of the views where they do not belong.

    Beside the evidence, isodoses belong into the dose's view alone. Contours of the plan have no place on a follow-up
    that is not registered.
    """
    row = is_side_by_side(scene)
    for volume in _nodes(scene, "vtkMRMLScalarVolumeNode"):
        for model in isodoses_of(volume):
            if model.GetDisplayNode() is not None:
                model.GetDisplayNode().SetVisibility(lines and volume is dose)
                _keep_out(scene, model.GetDisplayNode(), {EVIDENCE_VIEW, FOLLOW_UP_VIEW} if row else set())
    for drawn in _nodes(scene, "vtkMRMLSegmentationNode"):  # subregions and previews as well
        if drawn.GetDisplayNode() is not None:
            _keep_out(scene, drawn.GetDisplayNode(), {FOLLOW_UP_VIEW} if row and not registered else set())


def _keep_out(scene: Any, shown: Any, hidden: set[str]) -> None:
    """Show a node in all views but some; what is shown there already is not touched, which would draw it again."""
    kinds = ("vtkMRMLSliceNode", "vtkMRMLViewNode") if hidden else ()
    wanted = [view.GetID() for kind in kinds for view in _nodes(scene, kind) if view.GetLayoutName() not in hidden]
    if [shown.GetNthViewNodeID(n) for n in range(shown.GetNumberOfViewNodeIDs())] == wanted:
        return
    modifying = shown.StartModify()
    shown.RemoveAllViewNodeIDs()
    for view in wanted:
        shown.AddViewNodeID(view)
    shown.EndModify(modifying)


def isodoses_of(dose: Any) -> list[Any]:
    """Isodose models that belong to a dose volume."""
    count = dose.GetNumberOfNodeReferences(ISODOSE_ROLE)
    found = [dose.GetNthNodeReference(ISODOSE_ROLE, n) for n in range(count)]
    return [model for model in found if model is not None]


def store_views(scene: Any) -> list[Seen]:
    """Where the slice views look, but for those of the row: to be put back by `restore_views`."""
    found = []
    for view in _nodes(scene, "vtkMRMLSliceNode"):
        if view.GetLayoutName() not in SIDE_NAMES:
            matrix = view.GetSliceToRAS()
            turn = tuple(matrix.GetElement(row, column) for row in range(4) for column in range(4))
            found.append((view.GetID(), turn, tuple(view.GetFieldOfView()), tuple(view.GetXYZOrigin())))
    return found


def restore_views(scene: Any, seen: Sequence[Seen]) -> None:
    """Let slice views look where they did; in windows of another shape the field keeps its width."""
    for name, turn, field, origin in seen:
        view = scene.GetNodeByID(name)
        if view is None:
            continue
        view.GetSliceToRAS().DeepCopy(turn)
        width, height, _ = view.GetDimensions()
        view.SetFieldOfView(field[0], field[0] * height / max(width, 1), field[2])
        view.SetXYZOrigin(*origin)
        view.UpdateMatrices()


def center_views(scene: Any, ras: Sequence[float], *, field_mm: float) -> None:
    """Center all slice views on a point (RAS, mm), with at least ``field_mm`` in view, and turn 3-D cameras to it."""
    for view in _nodes(scene, "vtkMRMLSliceNode"):
        width, height, _ = view.GetDimensions()
        shorter = max(min(width, height), 1)
        depth = view.GetFieldOfView()[2]
        # The field keeps the shape of the window, else circles would become ellipses.
        view.SetFieldOfView(field_mm * max(width, 1) / shorter, field_mm * max(height, 1) / shorter, depth)
        view.JumpSliceByCentering(*ras)
    for camera in _nodes(scene, "vtkMRMLCameraNode"):
        focus, position = camera.GetFocalPoint(), camera.GetPosition()
        camera.SetPosition([p + r - f for p, r, f in zip(position, ras, focus, strict=True)])
        camera.SetFocalPoint(list(ras))


def _nodes(scene: Any, name: str) -> Iterator[Any]:
    for index in range(scene.GetNumberOfNodesByClass(name)):
        yield scene.GetNthNodeByClass(index, name)
