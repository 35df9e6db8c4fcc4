"""A scene as one file (``.mrb``), written so that no step keeps the application's main thread for long.

Nodes belong to the main thread. Their files do not: voxels are written from the images that the nodes were made of,
and the bundle is zipped, in the thread that asks.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import SimpleITK as sitk

from RTResponseCAMLib.errors import OutputError
from RTResponseCAMLib.imaging.image_file import write_image
from RTResponseCAMLib.imaging.resample import as_stored
from RTResponseCAMLib.progress import Progress, no_progress
from RTResponseCAMLib.scene.build import build_scene, new_scene
from RTResponseCAMLib.study import Result

OnMainThread = Callable[[Callable[[], None]], None]
LEFT_BEHIND: list[Any] = []  # scenes of what was cancelled: they must end on the main thread, at the next export
LONGEST_NAME = 80  # of a node's file; some file systems take 255 bytes


def here(call: Callable[[], None]) -> None:
    """Make a call where one is: this is the main thread."""
    call()


def write_result_scene(
    result: Result, path: Path, *, on_main_thread: OnMainThread = here, progress: Progress = no_progress
) -> None:
    """Build the scene of a result and write it as ``.mrb``.

    Parameters
    ----------
    on_main_thread : makes a call on the main thread and waits for its end.
    progress : called on the main thread, between the nodes.

    Raises
    ------
    OutputError : slicer-core is not installed, or the file cannot be written.
    """
    study = result.study
    mr, dose = as_stored(study.mr), None if study.dose is None else as_stored(study.dose.image)
    scenes: list[Any] = []
    images: dict[str, sitk.Image] = {}

    def begin() -> None:
        LEFT_BEHIND.clear()
        scenes.append(new_scene())

    def build() -> None:
        nodes = build_scene(scenes[0], result, progress=progress, stored_mr=mr)
        images.update({nodes.mr.GetID(): mr, nodes.cam.GetID(): result.cam})
        if nodes.dose is not None and dose is not None:
            images[nodes.dose.GetID()] = dose

    on_main_thread(begin)
    try:
        on_main_thread(build)
        save_scene(scenes[0], path, on_main_thread=on_main_thread, images=images)
        on_main_thread(lambda: scenes.pop().Clear(True))
    finally:
        LEFT_BEHIND.extend(scenes)


def save_scene(
    scene: Any,
    path: Path,
    *,
    on_main_thread: OnMainThread = here,
    images: Mapping[str, sitk.Image] = MappingProxyType({}),
) -> None:
    """Write a scene as ``.mrb``. Its nodes then name files that are gone: for scenes that are not needed any more.

    Parameters
    ----------
    on_main_thread : makes a call on the main thread and waits for its end.
    images : node id → the image that a volume node was made of, in place of its own voxels.

    Raises
    ------
    OutputError : a part could not be written.
    """
    with tempfile.TemporaryDirectory(dir=path.resolve().parent) as place:  # nodes want absolute paths
        folder = Path(place) / path.stem
        (folder / "Data").mkdir(parents=True)
        files: list[_File] = []
        on_main_thread(lambda: files.extend(_files(scene, folder / "Data")))
        for file in files:
            if file.node_id in images:
                write_image(images[file.node_id], file.path)
            else:
                on_main_thread(file.write)
        on_main_thread(lambda: _commit(scene, folder))
        _zip(folder, path)


@dataclass(frozen=True)
class _File:
    """What a node keeps beside the scene's own file."""

    node: Any
    node_id: str
    storage: Any
    path: Path

    def write(self) -> None:
        """Write the node's data; main thread only."""
        if not self.storage.WriteData(self.node):
            raise OutputError(self.path.name, "could not be written", "Check free space and permissions")


def _files(scene: Any, folder: Path) -> list[_File]:
    """The file of each node that has one, named after the node."""
    files: list[_File] = []
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLStorableNode")
        if not node.GetSaveWithScene():
            continue
        if node.GetStorageNode() is None and node.GetModifiedSinceRead():
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        if storage is None:
            continue
        if storage.IsA("vtkMRMLVolumeArchetypeStorageNode"):
            storage.SetCompressionParameter("gzip_fastest")  # twice as fast, a few percent larger
        if storage.IsA("vtkMRMLSegmentationStorageNode"):
            storage.SetCropToMinimumExtent(True)  # else as many voxels as the MR: six seconds for ten lesions
        name = re.sub(r"[^\w ().,+-]", "_", str(node.GetName()))[:LONGEST_NAME].strip()
        taken = {file.path for file in files}
        ending = storage.GetDefaultWriteFileExtension()
        path = folder / f"{name}.{ending}"
        for number in count(1):
            if path not in taken:
                break
            path = folder / f"{name}_{number}.{ending}"
        storage.SetFileName(str(path))
        files.append(_File(node, str(node.GetID()), storage, path))
    return files


def _commit(scene: Any, folder: Path) -> None:
    """Write the scene's own file, which names the others by their place beside it."""
    url = folder / f"{folder.name}.mrml"
    scene.SetRootDirectory(str(folder))
    if not scene.Commit(str(url)):
        raise OutputError(url.name, "the scene could not be written", "Check free space and permissions")


def _zip(folder: Path, path: Path) -> None:
    """Zip a folder without deflating again what is compressed already."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bundle:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            bundle.write(file, file.relative_to(folder.parent))
