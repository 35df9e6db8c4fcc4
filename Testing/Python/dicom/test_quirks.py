"""Each quirk of real exports gives the study that the tidy export gives, or a message that names it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import generate_uid
from quirks import codes, edit, make_enhanced, second_course, turn, write_registration, write_segmentation

from RTResponseCAMLib.dicom.index import index_folder
from RTResponseCAMLib.dicom.inspect import as_text, inspect_folder
from RTResponseCAMLib.dicom.load import load_study, read_follow_up_structures
from RTResponseCAMLib.dicom.mr import read_series
from RTResponseCAMLib.dicom.options import ReadOptions
from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.imaging.fraction import mask
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.planes import contour_volume_cc


def values(image):
    return sitk.GetArrayFromImage(image)  # a view of a temporary would outlive its image


def same_image(one, other, rtol=1e-6):
    np.testing.assert_allclose(values(one), values(other), rtol=rtol)
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(one.GetSpacing(), other.GetSpacing(), rtol=1e-4)
    np.testing.assert_allclose(one.GetDirection(), other.GetDirection(), atol=1e-5)


class TestSlices:
    def test_an_enhanced_multi_frame_mr_is_read_by_its_positions(self, own_study, study):
        make_enhanced(own_study / "t1c")
        same_image(load_study(own_study).mr, study.mr)

    def test_the_shared_rescaling_of_an_enhanced_mr_is_applied_once(self, own_study, study):
        make_enhanced(own_study / "t1c", slope=0.5)
        np.testing.assert_allclose(values(load_study(own_study).mr), values(study.mr) * 0.5 + 5, rtol=1e-6)

    def test_of_two_echoes_at_the_same_places_one_is_taken_and_named(self, own_study, study):
        make_enhanced(own_study / "t1c", second_echo=True)
        found = load_study(own_study)
        assert "several-acquisitions" in codes(found)
        same_image(found.mr, study.mr)

    def test_rle_compressed_slices_are_read(self, own_study, study):
        for path in sorted((own_study / "t1c").glob("*.dcm")):
            data = pydicom.dcmread(path)
            data.compress("1.2.840.10008.1.2.5")
            data.save_as(path)
        same_image(load_study(own_study).mr, study.mr)

    def test_a_rescaled_slice_is_rescaled_once(self, own_study, study):
        def change(data):
            data.RescaleSlope, data.RescaleIntercept = "2", "-7"

        for path in (own_study / "t1c").glob("*.dcm"):
            edit(path, change)
        np.testing.assert_allclose(values(load_study(own_study).mr), 2 * values(study.mr) - 7)

    def test_a_copy_of_a_slice_under_another_uid_counts_once(self, own_study):
        def change(data):
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"

        shutil.copy(own_study / "t1c" / "MR.0010.dcm", own_study / "t1c" / "twin.dcm")
        edit(own_study / "t1c" / "twin.dcm", change)
        found = load_study(own_study)
        assert "repeated-slices" in codes(found)

    def test_slices_that_differ_at_one_place_are_refused(self, own_study):
        def change(data):
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
            data.PixelData = (data.pixel_array // 2).tobytes()

        shutil.copy(own_study / "t1c" / "MR.0010.dcm", own_study / "t1c" / "twin.dcm")
        edit(own_study / "t1c" / "twin.dcm", change)
        with pytest.raises(GeometryError, match=r"(twin|MR.0010).dcm: lies at the same position"):
            load_study(own_study)

    def test_a_localizer_in_the_same_series_is_told_apart(self, own_study, study):
        def change(data):
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
            data.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]

        shutil.copy(own_study / "t1c" / "MR.0010.dcm", own_study / "t1c" / "scout.dcm")
        edit(own_study / "t1c" / "scout.dcm", change)
        found = load_study(own_study)
        assert "several-stacks" in codes(found)
        same_image(found.mr, study.mr)

    def test_uneven_spacing_is_resampled_to_where_the_slices_lie(self, own_study, study):
        """Slices of the phantom thinned unevenly (2 and 4 mm): what remains keeps its place."""
        paths = sorted((own_study / "t1c").glob("*.dcm"))
        for path in paths[:30:2]:
            path.unlink()
        found = read_series(next(iter(index_folder(own_study / "t1c").series.values())))
        assert {c.code for c in found.warnings} == {"slice-gap"}
        x, y, z = study.mr.TransformIndexToPhysicalPoint((58, 68, 60))
        index = found.image.TransformPhysicalPointToIndex((x, y, z))
        np.testing.assert_allclose(values(found.image)[index[2]], values(study.mr)[60], rtol=1e-4)

    def test_sheared_slices_are_put_back(self, own_study, study):
        """Gantry tilt: each slice moved along its rows by 0.3 mm more than the one below, pixels moved against it."""
        for number, path in enumerate(sorted((own_study / "t1c").glob("*.dcm"))):

            def change(data, number=number):
                place = np.asarray(data.ImagePositionPatient, float)
                data.ImagePositionPatient = [f"{place[0] + 1.7 * number:.4f}", *[f"{c:.4f}" for c in place[1:]]]
                data.PixelData = np.roll(data.pixel_array, -number, axis=1).tobytes()

            edit(path, change)
        found = load_study(own_study)
        assert "sheared-slices" in codes(found)
        ours, whole = values(found.mr), values(study.mr)
        center = np.s_[10:30, 30:100, 40:70]
        np.testing.assert_allclose(ours[center], whole[center], rtol=1e-3)


def rotation(axis, degrees, shift=(0, 0, 0)):
    a, b = [n for n in range(3) if n != axis]
    angle, matrix = np.radians(degrees), np.eye(4)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    matrix[:3, 3] = shift
    return matrix


ORIENTATIONS = {
    "oblique 30°": rotation(0, 30, (5, -8, 12)),
    "double oblique": rotation(1, -12) @ rotation(0, 20),
    "HFP": rotation(2, 180),
    "FFS": rotation(1, 180),
    "sagittal": rotation(2, 90) @ rotation(0, 90),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_orientation_changes_nothing_but_the_place(own_study, study, name):
    matrix = ORIENTATIONS[name]
    turn(own_study, matrix)
    found = load_study(own_study)
    for ours, theirs in zip(found.lesions, study.lesions, strict=True):
        # Contours are moved exactly, so volume and the mask on the moved grid are those of the tidy study.
        assert contour_volume_cc(ours.structure) == pytest.approx(contour_volume_cc(theirs.structure), rel=1e-3)
        one = mask(ours.structure, Grid.of(found.mr))
        two = mask(theirs.structure, Grid.of(study.mr))
        assert one.sum() == pytest.approx(two.sum(), abs=2)
        center = np.concatenate(theirs.structure.contours).mean(axis=0)
        moved = matrix[:3, :3] @ center + matrix[:3, 3]
        sample = [
            sitk.Resample(i, [1, 1, 1], sitk.Transform(), sitk.sitkLinear, p.tolist())[0, 0, 0]
            for i, p in ((found.mr, moved), (study.mr, center), (found.dose.image, moved), (study.dose.image, center))
        ]
        assert sample[0] == pytest.approx(sample[1], rel=1e-3)
        assert sample[2] == pytest.approx(sample[3], rel=1e-3)


class TestStructureSets:
    def change_rois(self, folder, change):
        edit(folder / "plan_t1c" / "RS.dcm", change)

    def test_point_rois_are_listed_without_volume(self, own_study):
        def change(data):
            for contour in data.ROIContourSequence[2].ContourSequence:
                contour.ContourGeometricType = "POINT"
                contour.ContourData = contour.ContourData[:3]
                contour.NumberOfContourPoints = 1

        self.change_rois(own_study, change)
        found = load_study(own_study)
        assert "points-only" in codes(found)
        assert [len(s.contours) for s in found.structures][2] == 0
        assert [x.structure.name for x in found.lesions] == ["GTV 1", "GTV 2"]

    def test_a_repeated_roi_number_is_named(self, own_study):
        def change(data):
            data.StructureSetROISequence[1].ROINumber = data.StructureSetROISequence[0].ROINumber

        self.change_rois(own_study, change)
        assert "repeated-roi-number" in codes(load_study(own_study))

    def test_utf8_names_without_a_character_set_are_read(self, own_study):
        path = own_study / "plan_t1c" / "RS.dcm"
        edit(path, lambda data: delattr(data, "SpecificCharacterSet"))
        old, new = b"GTV 1 ", "GTVü/".encode()
        content = path.read_bytes()
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))
        assert load_study(own_study).lesions[0].structure.name == "GTVü/"

    def test_names_in_another_character_set_are_decoded(self, own_study):
        def change(data):
            data.SpecificCharacterSet = "ISO_IR 100"
            data.StructureSetROISequence[0].ROIName = "Läsion*:1"

        self.change_rois(own_study, change)
        assert load_study(own_study).lesions[0].structure.name == "Läsion*:1"


class TestRegistrations:
    def apart(self, folder, matrix):
        """Structures and dose lie in a frame of their own; ``matrix`` maps it into the MR's."""
        other = generate_uid(entropy_srcs=["other frame"])
        mr = pydicom.dcmread(next((folder / "t1c").glob("*.dcm")), stop_before_pixels=True)
        plan = folder / "plan_t1c"
        turn(plan, np.linalg.inv(matrix))

        def change(data):
            if "FrameOfReferenceUID" in data:
                data.FrameOfReferenceUID = other
            for frame in data.get("ReferencedFrameOfReferenceSequence", ()):
                frame.FrameOfReferenceUID = other
            for roi in data.get("StructureSetROISequence", ()):
                roi.ReferencedFrameOfReferenceUID = other

        for path in plan.glob("*.dcm"):
            edit(path, change)
        return other, str(mr.FrameOfReferenceUID)

    def test_structures_and_dose_are_moved_by_a_registration(self, own_study, study):
        matrix = rotation(1, 9, (4, -7, 11)) @ rotation(0, -5)
        other, frame = self.apart(own_study, matrix)
        with pytest.raises(StudyError, match="another frame of reference"):
            load_study(own_study)
        write_registration(own_study / "reg.dcm", other, frame, matrix)
        found = load_study(own_study)
        assert {"moved-structures", "moved-dose"} <= codes(found)
        for ours, theirs in zip(found.lesions, study.lesions, strict=True):
            np.testing.assert_allclose(
                np.concatenate(ours.structure.contours), np.concatenate(theirs.structure.contours), atol=2e-3
            )
        point = np.concatenate(study.lesions[0].structure.contours).mean(axis=0).tolist()
        doses = [
            sitk.Resample(s.dose.image, [1, 1, 1], sitk.Transform(), sitk.sitkLinear, point)[0, 0, 0]
            for s in (found, study)
        ]
        assert doses[0] == pytest.approx(doses[1], rel=2e-3)

    def test_registrations_are_followed_in_chains_and_backwards(self, own_study, study):
        matrix = rotation(2, 6, (1, 2, 3))
        other, frame = self.apart(own_study, matrix)
        step = rotation(0, 11, (-3, 0, 8))
        write_registration(own_study / "a.dcm", other, "1.2.3.99", step)
        write_registration(own_study / "b.dcm", frame, "1.2.3.99", step @ np.linalg.inv(matrix))
        np.testing.assert_allclose(
            load_study(own_study).lesions[1].structure.contours[0], study.lesions[1].structure.contours[0], atol=2e-3
        )

    @pytest.mark.slow
    @pytest.mark.parametrize(("kind", "factor"), [("RIGID", 1.1), ("AFFINE", 1.0), ("RIGID", -1.0)])
    def test_registrations_that_are_not_rigid_are_left_out(self, own_study, kind, factor):
        matrix = rotation(2, 6)
        other, frame = self.apart(own_study, matrix)
        matrix[0, :3] *= factor
        write_registration(own_study / "reg.dcm", other, frame, matrix, kind)
        with pytest.raises(
            StudyError, match=r"another frame of reference.*reg.dcm holds a \w+ matrix .*not rigid"
        ) as error:
            load_study(own_study)
        assert inspect_folder(own_study)["problem"] == str(error.value)


class TestSegmentations:
    @pytest.fixture
    def segmented(self, own_study, study):
        """The study with its structures as SEG instead of RTSTRUCT."""
        grid = Grid.of(study.mr)
        masks = {x.structure.name: mask(x.structure, grid) for x in study.lesions}
        for path in (own_study / "plan_t1c").glob("*.dcm"):
            path.unlink()
        series = sorted((own_study / "t1c").glob("*.dcm"))
        return own_study, series, masks

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
    def test_segments_are_the_voxels_that_they_hold(self, segmented, study, kind):
        folder, series, masks = segmented
        write_segmentation(folder / "seg.dcm", series, masks, kind)
        found = load_study(folder)
        assert ("fractional-segments" in codes(found)) is (kind == "FRACTIONAL")
        assert [x.structure.name for x in found.lesions] == list(masks)
        for lesion, inside in zip(found.lesions, masks.values(), strict=True):
            np.testing.assert_array_equal(mask(lesion.structure, Grid.of(study.mr)), inside)
            volume = inside.sum() * Grid.of(study.mr).voxel_cc
            assert contour_volume_cc(lesion.structure) == pytest.approx(volume, rel=1e-4)

    def test_a_segmentation_beside_a_structure_set_is_not_used(self, own_study, study):
        inside = mask(study.lesions[0].structure, Grid.of(study.mr))
        series = sorted((own_study / "t1c").glob("*.dcm"))
        write_segmentation(own_study / "seg.dcm", series, {"tumor": inside})
        found = load_study(own_study)
        assert [x.structure.name for x in found.lesions] == [x.structure.name for x in study.lesions]
        listed = {s["file"]: s for s in inspect_folder(own_study)["structure_sets"]}
        assert listed["RS.dcm"]["used"]
        assert not listed["seg.dcm"]["used"]
        assert listed["seg.dcm"]["why_not"]


class TestCourses:
    @pytest.mark.slow
    def test_two_courses_are_told_apart_and_chosen_by_name(self, own_study):
        second_course(own_study)
        found = load_study(own_study)
        assert "several-courses" in codes(found)
        assert found.plan.label == "second plan"
        first = load_study(own_study, course="C1")
        assert first.plan.label == "GK plan"
        assert "several-courses" not in codes(first)
        assert len(first.follow_ups) == 2
        assert load_study(own_study, course="second plan").plan.label == "second plan"
        with pytest.raises(StudyError, match=r"no single course 'C9'; there are C1 'GK plan'"):
            load_study(own_study, course="C9")

    def test_inspect_names_courses_and_why_the_rest_is_not_used(self, own_study):
        second_course(own_study)
        found = inspect_folder(own_study, ReadOptions(course="C1"))
        assert [(c["name"], c["label"], c["used"]) for c in found["courses"]] == [
            ("C1", "GK plan", True),
            ("C2", "second plan", False),
        ]
        assert all(d["used"] or d["why_not"] for d in found["doses"] + found["series"])
        text = as_text(found)
        assert "* course C1 'GK plan'" in text
        assert "belongs to another reference graph or course (C2)" in text

    @pytest.mark.slow
    def test_plans_of_two_patients_are_never_mixed(self, own_study):
        second_course(own_study, patient="SOMEONE-ELSE")
        with pytest.raises(StudyError, match="plans of several patients"):
            load_study(own_study)
        assert len(load_study(own_study, course="C1").follow_ups) == 1


def test_structures_drawn_on_a_follow_up_are_found(own_study, study):
    grid = Grid.of(study.mr)
    series = sorted((own_study / "follow_up").glob("*.dcm"))
    inside = np.zeros(grid.shape, bool)
    inside[40:44, 60:66, 50:56] = True
    write_segmentation(own_study / "fu_seg.dcm", series, {"met": inside})
    later = load_study(own_study).follow_ups[0]
    structures, _, kind = read_follow_up_structures(Path(later.structures[0]))
    assert kind == "SEG"
    assert contour_volume_cc(structures[0]) == pytest.approx(inside.sum() * grid.voxel_cc, rel=1e-3)
    assert not later.same_frame


def test_a_registration_of_the_follow_up_travels_with_it(own_study):
    frames = [
        str(pydicom.dcmread(next((own_study / part).glob("*.dcm")), stop_before_pixels=True).FrameOfReferenceUID)
        for part in ("follow_up", "t1c")
    ]
    matrix = rotation(0, 4, (1, 2, 3))
    write_registration(own_study / "reg.dcm", *frames, matrix)
    np.testing.assert_allclose(load_study(own_study).follow_ups[0].to_plan, matrix, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("prescribed", "outcome"), [("17", "said"), ("2", "refused"), ("90", "refused")])
def test_a_dose_far_from_gamma_knife_is_questioned(own_study, study, prescribed, outcome):
    def change(data):
        for target in data.DoseReferenceSequence:
            target.TargetPrescriptionDose = prescribed

    edit(own_study / "plan_t1c" / "RP.dcm", change)
    if outcome == "said":
        assert "dose-implausible" in codes(load_study(own_study))
        return
    ratio = float(sitk.GetArrayViewFromImage(study.dose.image).max()) / float(prescribed)
    with pytest.raises(StudyError, match=rf"RD.dcm: holds a dose maximum.*the ratio is {ratio:.2f}.*--dose none"):
        load_study(own_study)
    assert load_study(own_study, doses=("none",)).dose is None


def test_a_file_without_preamble_is_read(own_study, study):
    path = own_study / "plan_t1c" / "RS.dcm"
    data = pydicom.dcmread(path)
    bare = pydicom.Dataset({e.tag: e for e in data})
    pydicom.dcmwrite(path, bare, implicit_vr=True, little_endian=True)
    assert path.read_bytes()[:2] == b"\x08\x00"
    assert [x.structure.name for x in load_study(own_study).lesions] == [x.structure.name for x in study.lesions]
