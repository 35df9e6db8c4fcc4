"""Traps in exports that gave a wrong number without a word until they were looked for."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from bodies import ball
from corpus.disagreements import spiked
from pydicom.uid import generate_uid
from quirks import codes, edit, item, make_enhanced, name_no_images, write_registration

from RTResponseCAMLib.dicom.files import decimal
from RTResponseCAMLib.dicom.index import Entry, index_folder
from RTResponseCAMLib.dicom.inspect import as_text, inspect_folder
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.dicom.registration import read_links
from RTResponseCAMLib.dicom.rtdose import read_plan_dose
from RTResponseCAMLib.dicom.rtplan import read_plan, unclear_prescriptions
from RTResponseCAMLib.dicom.rtstruct import read_structures
from RTResponseCAMLib.dicom.series_kind import t1c_score
from RTResponseCAMLib.dicom.targets import choose_lesions, names_a_target
from RTResponseCAMLib.errors import StudyError


def peak(study):
    return float(sitk.GetArrayViewFromImage(study.dose.image).max())


def copied(path, name, change):
    """A copy under a UID of its own."""
    target = path.with_name(name)
    shutil.copy(path, target)

    def renew(data):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name])
        change(data)

    edit(target, renew)
    return target


@pytest.fixture
def plan(own_study):
    return own_study / "plan_t1c"


class TestDoses:
    def test_the_dose_of_a_rival_plan_on_the_same_structures_is_not_added(self, own_study, plan, study):
        rival = copied(plan / "RP.dcm", "RP2.dcm", lambda data: setattr(data, "RTPlanLabel", "alternative"))
        uid = pydicom.dcmread(rival).SOPInstanceUID
        structures = str(pydicom.dcmread(plan / "RS.dcm").SOPInstanceUID)

        def of_rival(data):
            data.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = uid
            data.ReferencedStructureSetSequence = [item(ReferencedSOPInstanceUID=structures)]
            data.DoseGridScaling = decimal(0.8 * float(data.DoseGridScaling))

        copied(plan / "RD.dcm", "RD2.dcm", of_rival)
        with pytest.raises(StudyError, match=r"2 plans.*'GK plan' \(RP.dcm, unapproved\), 'alternative'.*--plan"):
            load_study(own_study)
        assert peak(load_study(own_study, plan="GK plan")) == pytest.approx(peak(study), rel=1e-6)
        assert peak(load_study(own_study, plan="RP2.dcm")) == pytest.approx(0.8 * peak(study), rel=1e-6)

    @pytest.mark.parametrize("shares", [((0.0, 0.68), (0.35, 1.0)), ((0.0, 0.4), (0.6, 1.0), (0.3, 0.7))])
    def test_windows_that_overlap_on_one_dose_count_once(self, own_study, plan, study, shares):
        """The last of three ties two that lie apart."""
        whole = pydicom.dcmread(plan / "RD.dcm")
        frames = whole.NumberOfFrames
        pixels = whole.pixel_array

        def window(start, stop):
            def change(data):
                data.PixelData = pixels[start:stop].tobytes()
                data.NumberOfFrames = stop - start
                offsets = np.asarray(data.GridFrameOffsetVector, float)
                data.ImagePositionPatient[2] = decimal(float(data.ImagePositionPatient[2]) + offsets[start])
                data.GridFrameOffsetVector = [decimal(o) for o in offsets[: stop - start]]

            return change

        ends = [(int(start * frames), int(stop * frames)) for start, stop in shares]
        for number, (start, stop) in enumerate(ends[1:], start=2):
            copied(plan / "RD.dcm", f"RD{number}.dcm", window(start, stop))
        edit(plan / "RD.dcm", window(*ends[0]))
        found = load_study(own_study)
        assert "dose-repeated" in codes(found)
        np.testing.assert_allclose(
            sitk.GetArrayViewFromImage(found.dose.image), sitk.GetArrayViewFromImage(study.dose.image), rtol=1e-5
        )

    def test_equal_fractions_are_added_and_never_multiplied_as_well(self, plan):
        edit(plan / "RD.dcm", lambda data: setattr(data, "DoseSummationType", "FRACTION"))
        files = tuple([plan / "RD.dcm", *(copied(plan / "RD.dcm", f"RD{n}.dcm", lambda data: None) for n in (2, 3))])
        single, _ = read_plan_dose(files[:1], dose_fractions=1)
        total, _ = read_plan_dose(files, dose_fractions=1)
        np.testing.assert_allclose(
            sitk.GetArrayViewFromImage(total.image), 3 * sitk.GetArrayViewFromImage(single.image), rtol=1e-6
        )
        with pytest.raises(StudyError, match="may be the fractions themselves"):
            read_plan_dose(files, dose_fractions=3)

    def test_doses_of_two_other_frames_are_moved_each_by_its_own_registration(self, own_study, plan, study):
        frame = str(pydicom.dcmread(plan / "RD.dcm").FrameOfReferenceUID)
        copied(plan / "RD.dcm", "RD2.dcm", lambda data: None)
        for number, (name, shift) in enumerate((("RD.dcm", 0.0), ("RD2.dcm", 30.0))):
            other, matrix = f"1.2.3.{number + 70}", np.eye(4)
            matrix[0, 3] = shift

            def change(data, other=other, shift=shift):
                data.FrameOfReferenceUID = other
                position = np.asarray(data.ImagePositionPatient, float) - (shift, 0, 0)
                data.ImagePositionPatient = [decimal(c) for c in position]

            edit(plan / name, change)
            write_registration(own_study / f"reg{number}.dcm", other, frame, matrix)
        found = load_study(own_study)
        assert "moved-dose" in codes(found)
        assert peak(found) == pytest.approx(peak(study), rel=1e-3)  # both lie on the same place: one dose

    def test_a_dose_whose_plan_was_not_exported_is_taken_by_its_frame(self, own_study, plan, study):
        (plan / "RP.dcm").unlink()
        found = load_study(own_study, prescription_gy=20.0)
        assert "dose-by-frame" in codes(found)
        assert peak(found) == pytest.approx(peak(study), rel=1e-6)


class TestPlans:
    def test_prescriptions_that_name_no_roi_are_not_guessed(self, plan):
        def change(data):
            for dose, target in zip((24, 20, 14), data.DoseReferenceSequence, strict=True):
                target.TargetPrescriptionDose = str(dose)
                del target.ReferencedROINumber

        edit(plan / "RP.dcm", change)
        found, warnings = read_plan(plan / "RP.dcm")
        assert found.prescription is None
        assert [w.code for w in warnings] == ["isodoses-differ"]  # the phantom states one per target
        assert "24, 20 and 14 Gy" in unclear_prescriptions(found)[0].text
        with pytest.raises(StudyError, match=r"states several prescriptions for GTV 1 \(24 and 20 and 14 Gy"):
            load_study(plan.parent)

    def test_a_lesion_that_the_plan_leaves_out_is_named(self, own_study, plan):
        edit(plan / "RP.dcm", lambda data: data.DoseReferenceSequence.pop())
        assert "no-prescription-of-its-own" in codes(load_study(own_study))

    def test_fractions_of_the_plan_stay_with_a_prescription_of_the_users(self, own_study, plan):
        def change(data):
            del data.DoseReferenceSequence
            data.FractionGroupSequence[0].NumberOfFractionsPlanned = 5

        edit(plan / "RP.dcm", change)
        assert load_study(own_study, prescription_gy=25.0).plan.prescription.fractions == 5


class TestStructures:
    def test_a_roi_of_another_frame_is_left_out_and_named(self, own_study, plan, study):
        def change(data):
            data.StructureSetROISequence[2].ReferencedFrameOfReferenceUID = "1.2.3.99"
            data.ReferencedFrameOfReferenceSequence.append(item(FrameOfReferenceUID="1.2.3.99"))

        name = pydicom.dcmread(plan / "RS.dcm").StructureSetROISequence[2].ROIName
        edit(plan / "RS.dcm", change)
        found = load_study(own_study)
        assert name not in [x.structure.name for x in found.lesions]
        assert any(name in c.text for c in found.warnings if c.code == "roi-in-other-frame")
        matrix = np.eye(4)
        matrix[0, 3] = 5.0
        frame = str(pydicom.dcmread(next((own_study / "t1c").glob("*.dcm"))).FrameOfReferenceUID)
        write_registration(own_study / "reg.dcm", "1.2.3.99", frame, matrix)
        mapped = {s.name: s for s in load_study(own_study).structures}[name]
        original = {s.name: s for s in study.structures}[name]
        np.testing.assert_allclose(mapped.contours[0], original.contours[0] + (5, 0, 0), atol=1e-6)

    def test_contours_in_two_items_of_one_roi_are_all_read(self, own_study, plan, study):
        def change(data):
            first = data.ROIContourSequence[0]
            second = item(ReferencedROINumber=first.ReferencedROINumber, ContourSequence=first.ContourSequence[3:])
            first.ContourSequence = first.ContourSequence[:3]
            data.ROIContourSequence.append(second)

        edit(plan / "RS.dcm", change)
        for ours, theirs in zip(load_study(own_study).lesions, study.lesions, strict=True):
            assert len(ours.structure.contours) == len(theirs.structure.contours)

    def test_open_contours_that_are_left_out_are_named(self, plan):
        def change(data):
            data.ROIContourSequence[0].ContourSequence[1].ContourGeometricType = "OPEN_PLANAR"

        edit(plan / "RS.dcm", change)
        assert "open-contours" in {c.code for c in read_structures(plan / "RS.dcm")[1]}

    def test_a_typed_target_is_one_whatever_its_name(self, own_study, plan):
        def change(data):
            for roi, name in zip(data.StructureSetROISequence, ("Brainstem", "L periventricular"), strict=False):
                roi.ROIName = name

        edit(plan / "RS.dcm", change)
        assert {"Brainstem", "L periventricular"} <= {x.structure.name for x in load_study(own_study).lesions}

    def test_a_target_drawn_as_gtv_and_ptv_counts_once(self, own_study, plan, study):
        def change(data):
            roi, contours, seen = (
                data.StructureSetROISequence[0], data.ROIContourSequence[0], data.RTROIObservationsSequence[0]
            )  # fmt: skip
            data.StructureSetROISequence.append(
                item(ROINumber=77, ROIName="PTV 1", ReferencedFrameOfReferenceUID=roi.ReferencedFrameOfReferenceUID)
            )
            data.ROIContourSequence.append(item(ReferencedROINumber=77, ContourSequence=contours.ContourSequence))
            data.RTROIObservationsSequence.append(
                item(ReferencedROINumber=77, RTROIInterpretedType="PTV", ObservationNumber=seen.ObservationNumber)
            )

        edit(plan / "RS.dcm", change)
        found = load_study(own_study)
        assert [x.structure.name for x in found.lesions] == [x.structure.name for x in study.lesions]
        assert any("'PTV 1' is left out" in c.text for c in found.warnings if c.code == "nested-roi")

    @pytest.mark.parametrize("name", ["GTV brainstem 1", "Brain met 2", "ring enhancing met", "GTV skull base", "TV",
                                      "Vol2016", "Lt frontal", "hippocampal met", "Ring-enhancing lesion"])  # fmt: skip
    def test_names_of_lesions(self, name):
        assert names_a_target(name)

    @pytest.mark.parametrize(
        "name",
        [
            "*Skull",
            "Brain",
            "Ring_GTV1",
            "GTV_ring",
            "GTV edema",
            "Brain-GTV",
            "L cochlea",
            "Isodose 12 Gy",
            "PRV optic",
        ],
    )
    def test_names_of_anatomy_and_of_planners_aids(self, name):
        assert not names_a_target(name)


class TestImages:
    @pytest.mark.parametrize(
        "name", ["T1 PRE CONTRAST", "T1 MPRAGE w/o contrast", "t1 non-contrast", "T1 nativ", "T1 pre"]
    )
    def test_native_t1_is_no_t1c(self, name):
        header = pydicom.Dataset()
        header.Modality, header.SeriesDescription = "MR", name
        assert t1c_score(Entry(None, header)) < 0

    def test_a_t1c_taken_before_treatment_is_one(self):
        header = pydicom.Dataset()
        header.Modality, header.SeriesDescription = "MR", "T1 MPRAGE +C pre"
        assert t1c_score(Entry(None, header)) >= 3

    def test_an_agent_that_says_none_is_none(self):
        header = pydicom.Dataset()
        header.Modality, header.SeriesDescription, header.ContrastBolusAgent = "MR", "T1 MPRAGE", "NONE"
        assert t1c_score(Entry(None, header)) < 3
        header.ContrastBolusAgent = "Dotarem"
        assert t1c_score(Entry(None, header)) >= 3

    def test_acquisition_ten_comes_after_nine(self, own_study, study):
        def halved(data):
            data.AcquisitionNumber, data.PixelData = 10, (data.pixel_array // 2).tobytes()

        for path in sorted((own_study / "t1c").glob("*.dcm")):
            copied(path, f"again_{path.name}", halved)
            edit(path, lambda data: setattr(data, "AcquisitionNumber", 9))

        edit(own_study / "plan_t1c" / "RS.dcm", name_no_images)
        found = load_study(own_study)
        said = next(c.text for c in found.warnings if c.code == "several-acquisitions")
        assert said.endswith("the last is used")
        np.testing.assert_array_equal(
            sitk.GetArrayViewFromImage(found.mr), sitk.GetArrayViewFromImage(study.mr) // 2
        )  # fmt: skip

    def test_a_compressed_enhanced_mr_is_rescaled_once(self, own_study, study, tmp_path):
        path = make_enhanced(own_study / "t1c", slope=0.5)
        data = pydicom.dcmread(path)
        stack = sitk.GetImageFromArray(data.pixel_array)
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(tmp_path / "packed.dcm"))
        writer.UseCompressionOn()
        writer.Execute(stack)
        packed = pydicom.dcmread(tmp_path / "packed.dcm")
        data.PixelData = packed.PixelData
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        data.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
        assert data.file_meta.TransferSyntaxUID.is_compressed
        pydicom.dcmwrite(path, data)
        np.testing.assert_allclose(
            sitk.GetArrayFromImage(load_study(own_study).mr),
            sitk.GetArrayViewFromImage(study.mr) * 0.5 + 5,
            rtol=1e-6,
        )

    def test_a_pipe_in_the_folder_is_passed_over(self, own_study):
        os.mkfifo(own_study / "pipe.dcm")
        assert len(load_study(own_study, with_dose=False).lesions) == 3


def test_registrations_that_contradict_each_other_are_not_used(own_study):
    frames = ("1.2.3.98", str(pydicom.dcmread(next((own_study / "t1c").glob("*.dcm"))).FrameOfReferenceUID))
    for number, shift in enumerate((1.0, 25.0)):
        matrix = np.eye(4)
        matrix[0, 3] = shift
        write_registration(own_study / f"reg{number}.dcm", *frames, matrix)
    links, warnings = read_links(index_folder(own_study))
    assert links == {}
    assert [c.code for c in warnings] == ["registrations-differ"]
    assert "registrations-differ" in codes(load_study(own_study))


def test_a_name_that_only_one_object_holds_is_hidden_everywhere(own_study):
    def change(data):
        data.PatientName = "Zacharias^Li"
        data.StructureSetROISequence[0].ROIName = "GTV Zacharias LI"

    edit(own_study / "plan_t1c" / "RS.dcm", change)
    assert "acharias" not in as_text(inspect_folder(own_study))
    with pytest.raises(StudyError) as raised:
        load_study(own_study, rois=("absent",))
    assert "acharias" not in raised.value.what
    assert "LI" not in raised.value.what


def test_a_scan_cut_into_two_series_gives_no_class_and_says_why(own_study):
    """The structures were contoured on slices of both; neither series alone is the planning MR."""
    for number, path in enumerate(sorted((own_study / "t1c").glob("*.dcm"))):
        if number % 2:
            edit(path, lambda data: setattr(data, "SeriesInstanceUID", "1.2.3.4.5.6.7.8"))
    found = load_study(own_study)
    (said,) = [w for w in found.warnings if w.code.value == "series-incomplete"]
    assert said.code.withholds_class
    assert "slices that lie in another series of the same planes, 'T1 MPRAGE +C'" in said.text


def test_a_registration_of_another_patient_moves_nothing(own_study):
    first = pydicom.dcmread(next((own_study / "t1c").glob("*.dcm")), stop_before_pixels=True)
    write_registration(own_study / "reg.dcm", "1.2.3.77", first.FrameOfReferenceUID, np.eye(4))
    for path in own_study.rglob("*.dcm"):
        edit(path, lambda data: (setattr(data, "PatientID", "4711"), setattr(data, "PatientName", "Doe^Jane")))
    index = index_folder(own_study)
    assert read_links(index)[0]
    edit(
        own_study / "reg.dcm", lambda data: (setattr(data, "PatientID", "4712"), setattr(data, "PatientName", "Roe^R"))
    )
    links, (said,) = read_links(index_folder(own_study))
    assert links == {}
    assert "reg.dcm belongs to another patient than the images, by Patient ID (0010,0020)" in said.text


def test_a_plan_that_belongs_to_nothing_here_is_named(own_study, plan):
    def alter(data):
        data.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID = "1.2.3"
        data.FrameOfReferenceUID = "1.2.4"

    edit(plan / "RP.dcm", alter)
    (plan / "RD.dcm").unlink()
    (said,) = [w for w in load_study(own_study).warnings if w.code.value == "not-linked"]
    assert said.text.startswith("RP.dcm is not used: it references no structure set in the folder (300C,0060)")


@pytest.mark.parametrize("around", ["Zone", "Ganzhirn", "Körper"])
def test_what_is_too_large_for_a_lesion_leaves_out_none_that_lies_in_it(around):
    one, whole = replace(ball(6.0), name="Met 1", kind=""), replace(ball(50.0, number=2), name=around, kind="")
    lesions, warnings = choose_lesions(Path("RS.dcm"), (one, whole))
    assert [x.structure.name for x in lesions] == ["Met 1"]
    assert {w.code.value for w in warnings} <= {"too-large", "target-by-name"}


def test_spikes_are_gone_for_whoever_asks_for_contours(own_study, plan, study):
    edit(plan / "RS.dcm", spiked)
    for one, other in zip(load_study(own_study).lesions, study.lesions, strict=True):
        for found, drawn in zip(one.structure.contours, other.structure.contours, strict=True):
            np.testing.assert_allclose(found, drawn)


def test_a_dose_of_another_patient_is_named_as_that(own_study, plan):
    def alter(data):
        data.PatientID, data.PatientName, data.PatientBirthDate = "0815", "Roe^R", "19500101"

    edit(plan / "RD.dcm", alter)
    (said,) = [w for w in load_study(own_study).warnings if w.code.value == "not-linked"]
    assert "it belongs to another patient than the structures, by Patient ID" in said.text


def test_a_rejected_structure_set_is_read_and_said(own_study, plan):
    edit(plan / "RS.dcm", lambda data: setattr(data, "ApprovalStatus", "REJECTED"))
    (said,) = [w for w in load_study(own_study).warnings if w.code.value == "structures-rejected"]
    assert "RS.dcm is REJECTED (300E,0002)" in said.text
