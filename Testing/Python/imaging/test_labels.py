"""Label maps and volumes from files: islands, sizes, and files that promise too much."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.imaging.fraction import mask
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.labels import label_structure, label_structures, read_mr, read_volume
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
    found = label_structure(GRID.image(labels()), (1, 2))
    np.testing.assert_array_equal(mask(found, GRID), labels() > 0)
    assert label_structure(GRID.image(labels()), (7,)).contours == ()
    assert label_structures(GRID.image(labels()), values=(7,)) == ()


def test_whole_numbers_stored_as_floats_are_labels_and_others_are_not():
    assert len(label_structures(GRID.image(labels().astype(np.float32)))) == 3
    with pytest.raises(GeometryError, match="not label numbers"):
        label_structures(GRID.image(labels() + np.float32(0.3)))


def test_a_mask_of_noise_is_refused():
    noise = (np.random.default_rng(0).random(GRID.shape) < 0.08).astype(np.uint8)
    with pytest.raises(GeometryError, match="more than 500 regions"):
        label_structures(GRID.image(noise))


@pytest.mark.slow
def test_many_labels_scattered_through_a_large_map_cost_one_search():
    """A damaged file: hundreds of labels whose boxes all fill the map took half a second each."""
    rng = np.random.default_rng(5)
    scattered = np.zeros((24, 44, 15656), np.uint8)
    places = tuple(rng.integers(0, n, 688) for n in scattered.shape)
    scattered[places] = rng.integers(1, 176, 688)
    with pytest.raises(GeometryError, match="more than 500 regions"):
        label_structures(sitk.GetImageFromArray(scattered))
    few = np.where(rng.random(scattered.shape) < 2e-5, scattered.max() + np.arange(15656) % 7, 0).astype(np.uint8)
    assert len(label_structures(sitk.GetImageFromArray(few))) == np.count_nonzero(few)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float64])
def test_islands_do_not_depend_on_how_labels_are_stored(kind):
    found = label_structures(GRID.image(labels().astype(kind)))
    assert [len(s.contours) for s in found] == [len(s.contours) for s in label_structures(GRID.image(labels()))]


def test_labels_that_touch_stay_apart_and_corners_join():
    touching = np.zeros(GRID.shape, np.uint8)
    touching[4:8, 4:8, 4:8], touching[4:8, 4:8, 8:10], touching[8, 8, 3] = 254, 255, 254
    found = label_structures(GRID.image(touching))
    assert [s.name for s in found] == ["region 254", "region 255"]
    np.testing.assert_array_equal(mask(found[0], GRID), touching == 254)


def test_labels_spread_over_too_large_a_box_are_refused(monkeypatch):
    monkeypatch.setattr("RTResponseCAMLib.imaging.labels.MAX_BOX", 10_000)
    with pytest.raises(GeometryError, match="spread over 0 million voxels"):
        label_structures(GRID.image(labels()))


def test_bad_volumes_are_named(tmp_path):
    with pytest.raises(StudyError, match="there is no such file"):
        read_volume(tmp_path / "none.nii")
    (tmp_path / "text.nrrd").write_text("no image")
    with pytest.raises(StudyError, match="cannot be read as an image"):
        read_volume(tmp_path / "text.nrrd")
    sitk.WriteImage(sitk.Image([5, 5], sitk.sitkUInt8), str(tmp_path / "flat.mha"))
    with pytest.raises(StudyError, match="not a 3-D scalar volume"):
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
