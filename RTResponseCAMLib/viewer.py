"""Pictures of Slicer's own slice views, drawn off-screen through trame-slicer. The scene decides how they look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.scene.build import build_scene
from RTResponseCAMLib.scene.display import VIEWS
from RTResponseCAMLib.scene.nodes import ras
from RTResponseCAMLib.study import Result

SIZE = 620
BACKGROUND = (0, 0, 0)


def picture_slices(result: Result, center_lps: Sequence[float], path: Path, field_mm: float = 60.0) -> None:
    """Draw axial, coronal and sagittal views through a point (LPS mm) into one PNG.

    Raises
    ------
    OutputError : trame-slicer is not installed.
    """
    try:
        from trame_slicer.core import SlicerApp
    except ImportError as error:
        raise OutputError(
            "trame-slicer", "is not installed, so slice views cannot be drawn", "Install RTResponseCAM[viewer]"
        ) from error
    app = SlicerApp()
    nodes = build_scene(app.scene, result)
    views = [_view(app, name, orientation) for name, orientation in VIEWS]
    images = []
    for view in views:
        view.set_background_volume_id(nodes.mr.GetID())
        view.set_foreground_volume_id(nodes.cam.GetID())
        view.set_foreground_opacity(0.65)
        view.set_background_color(list(BACKGROUND))
        view.render_window().SetSize(SIZE, SIZE)
        view.fit_view_to_content()
        node = view.get_view_node()
        node.SetFieldOfView(field_mm, field_mm, node.GetFieldOfView()[2])
        node.JumpSliceByCentering(*ras(center_lps))
        view.reset_camera()
        view.render()
        images.append(_grab(view.render_window()))
    _write_row(images, path)
    for view in views:
        view.finalize()


def _view(app: Any, name: str, orientation: str) -> Any:
    from trame_slicer.views import DirectViewFactory, ViewLayoutDefinition, ViewProps, ViewType

    factory = DirectViewFactory(do_render_offscreen=True)
    app.view_manager.register_factory(factory)
    return app.view_manager.create_view(
        ViewLayoutDefinition(name, ViewType.SLICE_VIEW, ViewProps(orientation=orientation))
    )


def _grab(window: Any) -> Any:
    import vtk

    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    return grab.GetOutput()


def _write_row(images: list[Any], path: Path) -> None:
    import vtk

    row = vtk.vtkImageAppend()
    row.SetAppendAxis(0)
    for image in images:
        row.AddInputData(image)
    writer = vtk.vtkPNGWriter()
    writer.SetInputConnection(row.GetOutputPort())
    writer.SetFileName(str(path))
    writer.Write()
