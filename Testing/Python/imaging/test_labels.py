"""Label maps and volumes from files: islands, sizes, and files that promise too much."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.labels import label_structures, read_mr, read_volume
from RTResponseCAMLib.imaging.occupancy import mask
from RTResponseCAMLib.imaging.planes import contour_volume_cc

GRID = Grid((30, 32, 34), (0.8, 1.1, 2.0), (3.0, -4.0, 11.0), (0, -1, 0, 1, 0, 0, 0, 0, 1))


def labels():
    array = np.zeros(GRID.shape, np.int16)
    array[3:6, 4:9, 5:12] = 1
    array[3, 4, 20] = 1  # one voxel, one slice
    array[20:28, 20:28, 20:28] = 2
    array[22:25, 22:25, 22:25] = 0  # a cavity
    return array


def test_islands_are_the_voxels_that_they_hold_largest_first():
    found = label_structures(GRID.image(labels()))
    assert [s.name for s in found] == ["region 2", "region 1/1", "region 1/2"]
    inside = [mask(s, GRID) for s in found]
    np.testing.assert_array_equal(inside[0], labels() == 2)
    np.testing.assert_array_equal(inside[1] | inside[2], labels() == 1)
    for structure, own in zip(found, inside, strict=True):
        assert contour_volume_cc(structure) == pytest.approx(own.sum() * GRID.voxel_cc, rel=1e-4)


def test_values_can_be_taken_together_and_whole():
    found = label_structures(GRID.image(labels()), values=(1, 2), islands=False)
    assert len(found) == 1
    np.testing.assert_array_equal(mask(found[0], GRID), labels() > 0)


def test_whole_numbers_stored_as_floats_are_labels_and_others_are_not():
    assert len(label_structures(GRID.image(labels().astype(np.float32)))) == 3
    with pytest.raises(GeometryError, match="no label numbers"):
        label_structures(GRID.image(labels() + np.float32(0.3)))


def test_a_mask_of_noise_is_refused():
    noise = (np.random.default_rng(0).random(GRID.shape) < 0.08).astype(np.uint8)
    with pytest.raises(GeometryError, match="more than 500 regions"):
        label_structures(GRID.image(noise))


def test_bad_volumes_are_named(tmp_path):
    with pytest.raises(StudyError, match="there is no such file"):
        read_volume(tmp_path / "none.nii")
    (tmp_path / "text.nrrd").write_text("no image")
    with pytest.raises(StudyError, match="cannot be read as an image"):
        read_volume(tmp_path / "text.nrrd")
    sitk.WriteImage(sitk.Image([5, 5], sitk.sitkUInt8), str(tmp_path / "flat.mha"))
    with pytest.raises(StudyError, match="no 3-D scalar volume"):
        read_volume(tmp_path / "flat.mha")
    values = np.ones(GRID.shape, np.float32)
    values[3, 4, 5] = np.nan
    sitk.WriteImage(GRID.image(values), str(tmp_path / "nan.nrrd"))
    with pytest.raises(StudyError, match="not finite"):
        read_mr(tmp_path / "nan.nrrd")


def test_a_header_that_promises_gigabytes_is_refused(tmp_path):
    path = tmp_path / "trap.nrrd"
    head = b"NRRD0004\ntype: double\ndimension: 3\nsizes: 4000 4000 4000\nencoding: raw\nendian: little\n"
    axes = b"space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n\n"
    path.write_bytes(head + axes + bytes(100))
    with pytest.raises(StudyError, match="more than 1 GB"):
        read_volume(path)
