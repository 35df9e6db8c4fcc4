"""Writes a scene as one file (``.mrb``) in steps that do not block the application's main thread for long.

Nodes are used on the main thread only. Voxels are written from the images that the nodes were made of, and the bundle
is zipped, in the calling thread.
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
LEFT_BEHIND: list[Any] = []  # scenes of canceled exports: they are cleared on the main thread, at the next export
LONGEST_NAME = 80  # of a node's file; some file systems allow 255 bytes


def here(call: Callable[[], None]) -> None:
    """Run a call in the current thread, for callers on the main thread."""
    call()


def write_result_scene(
    result: Result, path: Path, *, on_main_thread: OnMainThread = here, progress: Progress = no_progress
) -> None:
    """Build the scene of a result and write it as ``.mrb``.

    Parameters
    ----------
    on_main_thread : runs a call on the main thread and waits for its end.
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
    """Write a scene as ``.mrb``. For scenes that are not used afterwards: their nodes then refer to deleted files.

    Parameters
    ----------
    on_main_thread : runs a call on the main thread and waits for its end.
    images : node id → the image that a volume node was made of; it is written instead of the node's voxels.

    Raises
    ------
    OutputError : a part could not be written.
    """
    with tempfile.TemporaryDirectory(dir=path.resolve().parent) as temporary:  # storage nodes need absolute paths
        folder = Path(temporary) / path.stem
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
    """Data file of a node, beside the scene file."""

    node: Any
    node_id: str
    storage: Any
    path: Path

    def write(self) -> None:
        """Write the node's data; main thread only."""
        if not self.storage.WriteData(self.node):
            raise OutputError(self.path.name, "could not be written", "Check free space and permissions")


def _files(scene: Any, folder: Path) -> list[_File]:
    """Data file of each storable node, named after the node."""
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
            storage.SetCropToMinimumExtent(True)  # otherwise as many voxels as the MR: 6 s for ten lesions
        name = re.sub(r"[^\w ().,+-]", "_", str(node.GetName()))[:LONGEST_NAME].strip()
        used_paths = {file.path for file in files}
        extension = storage.GetDefaultWriteFileExtension()
        path = folder / f"{name}.{extension}"
        for suffix in count(1):
            if path not in used_paths:
                break
            path = folder / f"{name}_{suffix}.{extension}"
        storage.SetFileName(str(path))
        files.append(_File(node, str(node.GetID()), storage, path))
    return files


def _commit(scene: Any, folder: Path) -> None:
    """Write the scene file, which refers to the data files by relative paths."""
    url = folder / f"{folder.name}.mrml"
    scene.SetRootDirectory(str(folder))
    if not scene.Commit(str(url)):
        raise OutputError(url.name, "the scene could not be written", "Check free space and permissions")


def _zip(folder: Path, path: Path) -> None:
    """Zip a folder without compression: the data files are already compressed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bundle:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            bundle.write(file, file.relative_to(folder.parent))
