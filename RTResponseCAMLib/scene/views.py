"""Which volume lies where in the slice views, the side-by-side layout, and the jump to a lesion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from RTResponseCAMLib.scene.lesions import ISODOSE_ROLE

SIDE_BY_SIDE = 2506  # the layout's id; Slicer's own are below 1000
DOSE_VIEW, EVIDENCE_VIEW, FOLLOW_UP_VIEW = "RTRDose", "RTREvidence", "RTRFollowUp"
REGISTERED = "RTResponseCAM.Registered"  # attribute of a follow-up that was moved onto the plan
SIDE_VIEWS = (
    (DOSE_VIEW, "Dose", "#4DB6AC"),
    (EVIDENCE_VIEW, "Evidence", "#F6A04D"),
    (FOLLOW_UP_VIEW, "Later", "#9FA8DA"),
)
WASH_OPACITY = 0.4


def side_by_side_xml() -> str:
    """Layout description: dose, evidence and follow-up as three axial views in a row."""
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{color}</property></view></item>'
        for tag, label, color in SIDE_VIEWS
    )
    return f'<layout type="horizontal" split="true">{views}</layout>'


def show_side_by_side(scene: Any) -> int | None:
    """Switch to the side-by-side layout; returns the layout that was there, None without a layout node."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout is None:
        return None
    if not layout.IsLayoutDescription(SIDE_BY_SIDE):
        layout.AddLayoutDescription(SIDE_BY_SIDE, side_by_side_xml())
    before = int(layout.GetViewArrangement())
    layout.SetViewArrangement(SIDE_BY_SIDE)
    return before


def is_side_by_side(scene: Any) -> bool:
    """Whether the side-by-side layout is on."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    return layout is not None and layout.GetViewArrangement() == SIDE_BY_SIDE


def fill_views(
    scene: Any, mr: Any, cam: Any, front: Any, dose: Any, follow_up: Any, opacity: float, wash: bool
) -> None:
    """Put volumes into every slice view; ``wash`` puts the dose in front.

    ``front`` is what shows the evidence: ``cam`` or its graded copy. With a copy, ``cam`` lies unseen in the label
    layer, so that its legend stays and the data probe tells its values.
    """
    graded = front is not None and front is not cam
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
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(view in layers)
        composite.EndModify(modifying)


def show_overlays(scene: Any, dose: Any, segmentation: Any, follow_up: Any, lines: bool) -> None:
    """Show isodose lines or not; keep overlays out of the views where they do not belong.

    Beside the evidence, isodoses belong into the dose's view alone. Contours of the plan have no place on a follow-up
    that is not registered.
    """
    row = is_side_by_side(scene)
    for model in isodoses_of(dose) if dose is not None else ():
        model.GetDisplayNode().SetVisibility(lines)
        _keep_out(scene, model.GetDisplayNode(), {EVIDENCE_VIEW, FOLLOW_UP_VIEW} if row else set())
    if segmentation is not None and segmentation.GetDisplayNode() is not None:
        registered = follow_up is not None and follow_up.GetAttribute(REGISTERED) == "1"
        _keep_out(scene, segmentation.GetDisplayNode(), {FOLLOW_UP_VIEW} if row and not registered else set())


def _keep_out(scene: Any, shown: Any, hidden: set[str]) -> None:
    """Show a node in all views but some."""
    modifying = shown.StartModify()
    shown.RemoveAllViewNodeIDs()
    for name in ("vtkMRMLSliceNode", "vtkMRMLViewNode") if hidden else ():
        for view in _nodes(scene, name):
            if view.GetLayoutName() not in hidden:
                shown.AddViewNodeID(view.GetID())
    shown.EndModify(modifying)


def isodoses_of(dose: Any) -> list[Any]:
    """Isodose models that belong to a dose volume."""
    count = dose.GetNumberOfNodeReferences(ISODOSE_ROLE)
    found = [dose.GetNthNodeReference(ISODOSE_ROLE, n) for n in range(count)]
    return [model for model in found if model is not None]


def center_views(scene: Any, ras: Sequence[float], field_mm: float) -> None:
    """Centre all slice views on a point (RAS, mm), with at least ``field_mm`` in view, and turn 3-D cameras to it."""
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
