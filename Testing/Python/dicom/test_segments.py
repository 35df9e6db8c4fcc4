"""Segmentations: volumes, slices, and what a segment is."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from quirks import codes, edit, item, write_segmentation

from RTResponseCAMLib.dicom.index import Entry
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.dicom.seg import read_segments
from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import contour_volume_cc


@pytest.fixture
def plan(own_study):
    return own_study / "plan_t1c"


class TestSegmentations:
    @pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
    def test_single_slices_far_apart_are_as_thick_as_they_say(self, own_study, study, kind):
        grid = Grid.of(study.mr)
        masks = {name: np.zeros(grid.shape, bool) for name in ("one", "two")}
        masks["one"][40, 60:64, 50:56] = masks["two"][30, 60:64, 50:56] = True
        series = sorted((own_study / "t1c").glob("*.dcm"))
        path = own_study / "sparse.dcm"
        write_segmentation(path, series, masks, kind)
        structures, warnings = read_segments(Entry(path, pydicom.dcmread(path)))
        for structure in structures:
            assert contour_volume_cc(structure) == pytest.approx(24 * grid.voxel_cc, rel=1e-3)
        assert warnings == ()

    def test_the_acquisition_whose_images_a_segmentation_lists_is_taken(self, own_study, study):
        shutil.rmtree(own_study / "plan_t1c")
        series = sorted((own_study / "t1c").glob("*.dcm"))
        inside = np.zeros(Grid.of(study.mr).shape, bool)
        inside[40:44, 60:66, 50:56] = True
        path = own_study / "seg.dcm"
        write_segmentation(path, series, {"met": inside})
        heads = [pydicom.dcmread(p, stop_before_pixels=True) for p in series]
        names = [item(ReferencedSOPClassUID=h.SOPClassUID, ReferencedSOPInstanceUID=h.SOPInstanceUID) for h in heads]
        edit(path, lambda data: setattr(data.ReferencedSeriesSequence[0], "ReferencedInstanceSequence", names))

        def later(data):
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{data.SOPInstanceUID}.1"[-64:]
            data.AcquisitionNumber, data.PixelData = 10, (data.pixel_array // 2).tobytes()

        for one in series:
            shutil.copy(one, one.with_name(f"later_{one.name}"))
            edit(one.with_name(f"later_{one.name}"), later)
        found = load_study(own_study)
        assert "several-acquisitions" in codes(found)
        np.testing.assert_array_equal(*(sitk.GetArrayViewFromImage(s.mr) for s in (found, study)))

    def test_frames_closer_than_the_stated_thickness_decide_and_say_so(self, own_study, study):
        grid = Grid.of(study.mr)
        inside = np.zeros(grid.shape, bool)
        inside[30:36, 60:64, 50:56] = True
        series = sorted((own_study / "t1c").glob("*.dcm"))
        path = own_study / "thick.dcm"
        write_segmentation(path, series, {"one": inside})

        def change(data):
            data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness = "3.0"

        edit(path, change)
        structures, warnings = read_segments(Entry(path, pydicom.dcmread(path)))
        assert contour_volume_cc(structures[0]) == pytest.approx(inside.sum() * grid.voxel_cc, rel=1e-3)
        assert [c.code for c in warnings] == ["segmentation-step"]

    def test_a_drawing_on_a_follow_up_is_no_plan_where_the_dose_is_missing(self, own_study, plan, study):
        (plan / "RD.dcm").unlink()
        grid = Grid.of(study.mr)
        inside = np.zeros(grid.shape, bool)
        inside[40:44, 60:66, 50:56] = True
        write_segmentation(own_study / "fu.dcm", sorted((own_study / "follow_up").glob("*.dcm")), {"met": inside})
        found = load_study(own_study)
        assert [x.structure.name for x in found.lesions] == [x.structure.name for x in study.lesions]
        assert len(found.follow_ups) == 1
        assert len(found.follow_ups[0].structures) == 1
        assert "several-courses" not in codes(found)
        (plan / "RP.dcm").unlink()
        assert len(load_study(own_study).follow_ups) == 1  # the earlier drawing, with a warning


TISSUE, ALTERED, ANATOMICAL = (
    ("85756007", "Tissue"),
    ("49755003", "Morphologically Altered"),
    ("91723000", "Anatomical"),
)


@pytest.mark.parametrize(
    ("category", "kind", "taken"),
    [
        (ALTERED, ("108369006", "Neoplasm"), "GTV"),
        (ALTERED, ("94225005", "Metastatic malignant neoplasm to brain"), "GTV"),
        (TISSUE, ("85756007", "Tissue"), ""),
        (ANATOMICAL, ("12738006", "Brain"), "ORGAN"),
        (TISSUE, ("3138006", "Bone"), "ORGAN"),
        (ALTERED, ("0", "Brain tumor of unknown code"), ""),
        (ALTERED, ("79654002", "Edema"), "OTHER"),
    ],
)
def test_a_segment_is_what_its_codes_say(own_study, category, kind, taken):
    def coded(value, meaning):
        return [item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)]

    series = sorted((own_study / "t1c").glob("*.dcm"))
    head = pydicom.dcmread(series[0], stop_before_pixels=True)
    mask = np.zeros((len(series), head.Rows, head.Columns), dtype=bool)
    mask[5:9, 20:30, 20:30] = True
    write_segmentation(own_study / "seg.dcm", series, {"one": mask})

    def alter(data):
        data.SegmentSequence[0].SegmentedPropertyCategoryCodeSequence = coded(*category)
        data.SegmentSequence[0].SegmentedPropertyTypeCodeSequence = coded(*kind)

    edit(own_study / "seg.dcm", alter)
    ((found,), _) = read_segments(Entry(own_study / "seg.dcm", pydicom.dcmread(own_study / "seg.dcm")))
    assert found.kind == taken


def test_two_frames_of_a_segment_at_one_place_are_refused(own_study):
    series = sorted((own_study / "t1c").glob("*.dcm"))
    head = pydicom.dcmread(series[0], stop_before_pixels=True)
    mask = np.zeros((len(series), head.Rows, head.Columns), dtype=bool)
    mask[5:9, 20:30, 20:30] = True
    path = own_study / "seg.dcm"
    write_segmentation(path, series, {"one": mask, "two": mask})
    header = pydicom.dcmread(path)
    assert len(read_segments(Entry(path, header))[0]) == 2

    def alter(data):
        for groups in data.PerFrameFunctionalGroupsSequence:
            groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 1

    edit(path, alter)
    with pytest.raises(StudyError, match=r"two frames of segment 1 .* at one position"):
        read_segments(Entry(path, pydicom.dcmread(path)))
