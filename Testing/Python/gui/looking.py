"""What tests look at in a scene, and a scene that is opened again."""

from __future__ import annotations

import zipfile

import numpy as np


def view_of(host, name):
    return host.scene.GetSingletonNode(name, "vtkMRMLSliceNode")


def composite_of(host, name="Red"):
    return host.scene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode")


def voxels(node) -> np.ndarray:
    from RTResponseCAMLib.scene.nodes import voxels_of

    return np.array(voxels_of(node))


def middle_of(panel):
    from RTResponseCAMLib.scene.lesions import lesion_segments

    p = panel.parameters
    segment = lesion_segments(p.segmentation)[p.selectedLesion]
    return panel.logic.session._scene_reader.box_ras(p.segmentation, segment)


def looks(view):
    matrix = view.GetSliceToRAS()
    turn = [matrix.GetElement(r, c) for r in range(4) for c in range(4)]
    return np.asarray([*turn, *view.GetFieldOfView()[:2], *view.GetXYZOrigin()])


def opened_again(host, file, tmp_path):
    """A saved scene in place of the one that is shown."""
    host.scene.Clear(False)
    host.settle()
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(file) as bundle:
        bundle.extractall(folder)
    host.scene.SetURL(str(next(folder.rglob("*.mrml"))))
    host.scene.Import()
