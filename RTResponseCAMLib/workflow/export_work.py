"""Export from the application: files are written in a worker thread, the scene on the main thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from RTResponseCAMLib.device import FOR_REPORTS, missing_packages
from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.scene.save import write_result_scene
from RTResponseCAMLib.scene.subregion import stored_subregions
from RTResponseCAMLib.study import Result
from RTResponseCAMLib.warnings import Warning
from RTResponseCAMLib.workflow.export import objects_of_scene, save_objects
from RTResponseCAMLib.workflow.write import write_result

OnMainThread = Callable[[Callable[[], Any]], Any]
Work = Callable[[Progress], tuple[Warning, ...]]


def export_work(
    result: Result | None,
    out: Path,
    *,
    segmentation: Any,
    on_main_thread: OnMainThread,
    dicom: Path | None = None,
    between: Progress | None = None,
) -> Work:
    """Return a function that performs the export and returns its warnings.

    Parameters
    ----------
    segmentation : node with the kept subregions.
    on_main_thread : runs a function on the main thread; scenes are written there.
    dicom : folder of the source DICOM files; if given, kept subregions and the map are also written as DICOM.
    between : called on the main thread between the nodes of the scene.

    Raises
    ------
    OutputError : there is no result.
    """
    if result is None:
        raise OutputError("", "there is no result to write", "Predict first")

    def write_scene(shown: Result, path: Path) -> None:
        write_result_scene(shown, path, on_main_thread=on_main_thread, progress=between or no_progress)

    report = not missing_packages(FOR_REPORTS)
    kept_segments = stored_subregions(segmentation) if dicom is not None else []

    def work(progress: Progress) -> tuple[Warning, ...]:
        objects: dict[str, Dataset] = {}
        warnings: tuple[Warning, ...] = ()
        remaining_progress = progress
        if dicom is not None:
            objects, warnings = objects_of_scene(
                dicom, result, stored=kept_segments, progress=subprogress(progress, 0.0, 0.3)
            )
            remaining_progress = subprogress(progress, 0.3, 1.0)

        def write_dicom(folder: Path) -> None:
            (folder / "dicom").mkdir()
            save_objects(objects, folder / "dicom")

        dicom_writer = write_dicom if objects else None
        write_result(result, out, scene=write_scene, report=report, progress=remaining_progress, more=dicom_writer)
        return warnings

    return work
