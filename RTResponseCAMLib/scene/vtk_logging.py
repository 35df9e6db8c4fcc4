"""Suppresses VTK's messages while scenes are created outside the application.

slicer-core reports every zipped file and every missing interaction node on standard error. Failures are still
detected, because the written files are checked afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence_vtk() -> Iterator[None]:
    """Silence VTK's output window and log, and restore both. Not for use inside the application."""
    import vtk

    window = vtk.vtkOutputWindow.GetInstance()
    verbosity = vtk.vtkLogger.GetCurrentVerbosityCutoff()
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    silent = vtk.vtkStringOutputWindow()
    silent.SetDisplayModeToNever()
    vtk.vtkOutputWindow.SetInstance(silent)
    try:
        yield
    finally:
        vtk.vtkOutputWindow.SetInstance(window)
        vtk.vtkLogger.SetStderrVerbosity(verbosity)
