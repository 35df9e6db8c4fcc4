"""Images of Slicer's slice views, rendered off-screen with trame-slicer. The scene defines their appearance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.imaging.planes import centroid_mm
from RTResponseCAMLib.scene.build import build_scene
from RTResponseCAMLib.scene.display import VIEWS, refresh_legend
from RTResponseCAMLib.scene.nodes import ras
from RTResponseCAMLib.scene.vtk_logging import silence_vtk
from RTResponseCAMLib.study import Result

SIZE = 620
MARGIN_MM = 30.0


def picture_lesions(result: Result, folder: Path) -> tuple[Path, ...]:
    """Render axial, coronal and sagittal views through each lesion: ``slices_L1.png``, …; returns the paths.

    Raises
    ------
    OutputError : trame-slicer is not installed.
    """
    try:
        from trame_slicer.core import SlicerApp
    except ImportError as error:
        raise OutputError(
            "trame-slicer", "is not installed, so slice views cannot be rendered", "Install RTResponseCAM[viewer]"
        ) from error
    paths = []
    with silence_vtk():
        app = SlicerApp()
        with silence_vtk():  # SlicerApp has installed its own output window, which prints messages
            views = _open_views(app)
            try:
                refresh_legend(build_scene(app.scene, result).cam)
                for prediction in result.predictions:
                    structure = prediction.lesion.structure
                    extent = max(float((c.max(axis=0) - c.min(axis=0)).max()) for c in structure.contours)
                    images = [_draw(view, ras(centroid_mm(structure).tolist()), extent + MARGIN_MM) for view in views]
                    paths.append(folder / f"slices_{prediction.lesion.id}.png")
                    _write_row(images, paths[-1])
            finally:  # after a cancel, too: views that are left to VTK print errors when they go
                for view in views:
                    view.finalize()
    return tuple(paths)


def _open_views(app: Any) -> list[Any]:
    from trame_slicer.views import DirectViewFactory, ViewLayoutDefinition, ViewProps, ViewType

    app.view_manager.register_factory(DirectViewFactory(do_render_offscreen=True))
    views = []
    for name, orientation, *_ in VIEWS:
        layout = ViewLayoutDefinition(name, ViewType.SLICE_VIEW, ViewProps(orientation=orientation))
        view = app.view_manager.create_view(layout)
        view.set_background_color([0, 0, 0])
        view.update_size(SIZE, SIZE)
        view.set_render_blocked(True)  # otherwise each change of the scene renders all views
        views.append(view)
    return views


def grab(view: Any) -> Any:
    """Render a view once; returns the image (vtkImageData)."""
    import vtk

    view.set_render_blocked(False)
    window = view.render_window()
    window.Render()
    filter_ = vtk.vtkWindowToImageFilter()
    filter_.SetInput(window)
    filter_.ReadFrontBufferOff()
    filter_.Update()
    image = vtk.vtkImageData()
    image.DeepCopy(filter_.GetOutput())
    view.set_render_blocked(True)
    return image


def _draw(view: Any, center_ras: tuple[float, float, float], field_mm: float) -> Any:
    view.fit_view_to_content()
    node = view.get_view_node()
    node.SetFieldOfView(field_mm, field_mm, node.GetFieldOfView()[2])
    node.JumpSliceByCentering(*center_ras)
    return grab(view)


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
