"""A study is found in a messy folder, and bad input gets a message that names the place and the fix."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from conftest import SMALL

from RTResponseCAMLib.dicom.files import save
from RTResponseCAMLib.dicom.inspect import as_text, inspect_folder
from RTResponseCAMLib.dicom.load import load_study
from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.phantom.patient import planning_grid, render_dose, sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec
from RTResponseCAMLib.phantom.write import write_patient
from RTResponseCAMLib.progress import Cancelled


def edit(path: Path, change) -> None:
    data = pydicom.dcmread(path)
    change(data)
    save(data, path)


def test_a_tidy_study_is_read_as_written(study, study_folder):
    truth = sitk.ReadImage(str(study_folder / "truth" / "lesions_planning.nrrd"))
    assert [lesion.structure.name for lesion in study.lesions] == ["GTV 1", "GTV 2", "GTV 3"]
    assert study.mr.GetSize() == truth.GetSize()
    np.testing.assert_allclose(study.mr.GetOrigin(), truth.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(study.mr.GetSpacing(), truth.GetSpacing(), atol=1e-6)
    assert study.plan.prescription.fractions == 1
    assert study.plan.prescription.source == "RTPLAN"
    assert study.warnings == ()
    assert [f.days_after_plan for f in study.follow_ups] == [pytest.approx(90, abs=15)]


def test_a_messy_folder_gives_the_same_study(study, own_study):
    mess = own_study / "a" / "b c" / "ü"
    mess.mkdir(parents=True)
    for number, path in enumerate(sorted(own_study.glob("t1c/*.dcm"))):
        path.rename(mess / f"{(number * 7919) % 1000:03d}_{number}")  # no extension, no order
    shutil.copy(own_study / "plan_t1c" / "RS.dcm", own_study / "again.dcm")
    (own_study / "notes.txt").write_text("not DICOM")
    (own_study / "DICOMDIR").write_bytes(b"\0" * 300)
    (own_study / "damaged.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0\0\0garbage")
    found = load_study(own_study)
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(found.mr), sitk.GetArrayViewFromImage(study.mr))
    assert {c.code for c in found.warnings} >= {"repeated-object"}
    assert [x.structure.name for x in found.lesions] == [x.structure.name for x in study.lesions]


@pytest.mark.slow
def test_of_two_chains_the_one_on_the_t1c_is_taken(tmp_path):
    spec = PhantomSpec(seed=9, lesions=1, second_series=True, follow_up=False, tilt_deg=6.0, **SMALL)
    patient = sample_patient(spec)
    write_patient(patient, tmp_path)
    study = load_study(tmp_path)
    assert study.mr_description == "T1 MPRAGE +C"
    np.testing.assert_allclose(study.mr.GetDirection(), planning_grid(patient).direction, atol=1e-6)
    other = load_study(tmp_path, series="T2")
    assert other.mr_description == "T2 SPACE"
    assert "not-t1c" in {c.code for c in other.warnings}


@pytest.mark.slow
def test_a_box_per_target_sums_to_the_one_box(tmp_path):
    spec = PhantomSpec(seed=9, lesions=2, dose_files="per-target", follow_up=False, **SMALL)
    patient = sample_patient(spec)
    write_patient(patient, tmp_path)
    dose = load_study(tmp_path).dose.image
    for target in patient.targets:
        point = patient.to_head.GetInverse().TransformPoint(target.centers_mm[0].tolist())
        whole = render_dose(patient, (0, 1))
        one = sitk.Resample(whole, [1, 1, 1], sitk.Transform(), sitk.sitkLinear, point)[0, 0, 0]
        summed = sitk.Resample(dose, [1, 1, 1], sitk.Transform(), sitk.sitkLinear, point)[0, 0, 0]
        # A target's box holds its own shots; the other's few cGy are lost where its box ends.
        assert summed == pytest.approx(one, rel=0.01)


def test_a_second_plan_on_the_same_series_is_not_passed_over_in_silence(own_study):
    def rename(data):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.77"

    second = own_study / "plan_t1c" / "RS2.dcm"
    shutil.copy(own_study / "plan_t1c" / "RS.dcm", second)
    edit(second, rename)
    study = load_study(own_study)
    assert any(c.code == "several-plans" and "2 structure set(s)" in c.text for c in study.warnings)
    assert study.dose is not None


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(StudyError, match="holds no DICOM object"):
        load_study(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(StudyError, match="there is no such folder"):
        load_study(tmp_path / "none")


@pytest.mark.parametrize(("part", "message"), [("plan_t1c/RS.dcm", "holds no RTSTRUCT"), ("t1c", "frame of reference")])
def test_a_missing_part_is_named(own_study, part, message):
    target = own_study / part
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(StudyError, match=message):
        load_study(own_study)


def test_no_image_series_at_all_is_named(own_study):
    shutil.rmtree(own_study / "t1c")
    shutil.rmtree(own_study / "follow_up")
    with pytest.raises(StudyError, match="holds no MR series"):
        load_study(own_study)


def test_a_structure_set_of_another_frame_is_refused(own_study):
    def change(data):
        data.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3"

    edit(own_study / "plan_t1c" / "RS.dcm", change)
    with pytest.raises(StudyError, match=r"RS.dcm: lies in another frame of reference \(0020,0052\)"):
        load_study(own_study)


def test_a_dose_of_another_frame_is_refused(own_study):
    edit(own_study / "plan_t1c" / "RD.dcm", lambda data: setattr(data, "FrameOfReferenceUID", "1.2.3"))
    with pytest.raises(StudyError, match=r"RD.dcm: lies in another frame"):
        load_study(own_study)


def test_a_truncated_slice_is_named(own_study):
    path = own_study / "t1c" / "MR.0010.dcm"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(StudyError, match=r"MR.0010.dcm: is cut short"):
        load_study(own_study)


@pytest.mark.parametrize("cut", [200, 2000, 20_000])
def test_a_truncated_structure_set_is_refused(own_study, cut):
    path = own_study / "plan_t1c" / "RS.dcm"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(StudyError, match=r"RS.dcm: is cut short: attribute|holds no RTSTRUCT"):
        load_study(own_study)


def test_a_lost_slice_is_bridged_and_named(own_study, study):
    (own_study / "t1c" / "MR.0040.dcm").unlink()
    found = load_study(own_study)
    assert "slice-gap" in {c.code for c in found.warnings}
    assert found.mr.GetSize() == study.mr.GetSize()
    ours, whole = sitk.GetArrayViewFromImage(found.mr), sitk.GetArrayViewFromImage(study.mr)
    order = np.flatnonzero(np.abs(ours - whole).max(axis=(1, 2)) > 0)
    assert len(order) == 1
    np.testing.assert_allclose(ours[order[0]], (whole[order[0] - 1] + whole[order[0] + 1]) / 2, rtol=1e-5)


def test_many_lost_slices_are_refused(own_study):
    for number in (10, 11, 12):
        (own_study / "t1c" / f"MR.{number:04d}.dcm").unlink()
    with pytest.raises(GeometryError, match=r"MR.0009.dcm: the step to the next slice is 8.000 mm, usual is 2.000 mm"):
        load_study(own_study)


def test_float_pixels_that_hold_nan_are_refused(own_study):
    def change(data):
        del data.PixelData
        pixels = np.ones((data.Rows, data.Columns), "<f4")
        pixels[3, 4] = np.nan
        data.FloatPixelData = pixels.tobytes()
        data.BitsAllocated = data.BitsStored = 32
        data.HighBit = 31

    for path in (own_study / "t1c").iterdir():
        edit(path, change)
    with pytest.raises(StudyError, match="has 0 bytes of pixels"):
        load_study(own_study)


def test_a_rescaling_that_makes_every_pixel_nan_is_refused(own_study):
    path = own_study / "t1c" / "MR.0007.dcm"

    def change(data):
        data.RescaleIntercept, data.RescaleSlope = "0", "1.5e00"

    edit(path, change)
    path.write_bytes(path.read_bytes().replace(b"1.5e00", b"NaN   "))
    with pytest.raises(StudyError, match=r"MR.0007.dcm: RescaleSlope is not a finite number"):
        load_study(own_study)


def test_a_target_without_contours_is_left_out_with_a_warning(own_study):
    edit(own_study / "plan_t1c" / "RS.dcm", lambda data: delattr(data.ROIContourSequence[0], "ContourSequence"))
    study = load_study(own_study)
    assert [lesion.structure.name for lesion in study.lesions] == ["GTV 2", "GTV 3"]
    assert any(c.code == "empty-roi" and "GTV 1" in c.text for c in study.warnings)


def test_no_target_with_contours_is_an_error(own_study):
    def change(data):
        for item in data.ROIContourSequence:
            del item.ContourSequence

    edit(own_study / "plan_t1c" / "RS.dcm", change)
    with pytest.raises(StudyError, match=r"has no target with contours; its ROIs: GTV 1 \(GTV, 0 contours\)"):
        load_study(own_study)


def test_a_contour_of_two_points_is_left_out_with_a_warning(own_study):
    def change(data):
        contour = data.ROIContourSequence[0].ContourSequence[0]
        contour.ContourData, contour.NumberOfContourPoints = list(contour.ContourData)[:6], 2

    edit(own_study / "plan_t1c" / "RS.dcm", change)
    assert "short-contour" in {c.code for c in load_study(own_study).warnings}


def test_contour_data_that_is_no_list_of_points_is_refused(own_study):
    def change(data):
        contour = data.ROIContourSequence[0].ContourSequence[0]
        contour.ContourData = list(contour.ContourData)[:7]

    edit(own_study / "plan_t1c" / "RS.dcm", change)
    with pytest.raises(StudyError, match=r"ROI 'GTV 1' has a contour of 7 values"):
        load_study(own_study)


def test_repeated_roi_names_are_told_apart(own_study):
    edit(own_study / "plan_t1c" / "RS.dcm", lambda d: setattr(d.StructureSetROISequence[1], "ROIName", "GTV 1"))
    study = load_study(own_study)
    assert [lesion.structure.name for lesion in study.lesions] == ["GTV 1", "GTV 1#2", "GTV 3"]
    assert "repeated-roi-name" in {c.code for c in study.warnings}


def test_a_dose_without_prescription_asks_for_it(own_study):
    (own_study / "plan_t1c" / "RP.dcm").unlink()
    edit(
        own_study / "plan_t1c" / "RD.dcm",
        lambda d: (
            delattr(d, "ReferencedRTPlanSequence"),
            setattr(d, "ReferencedStructureSetSequence", [reference(own_study / "plan_t1c" / "RS.dcm")]),
        ),
    )
    with pytest.raises(StudyError, match=r"Give --prescription GY or --isodose PERCENT"):
        load_study(own_study)
    study = load_study(own_study, prescription_gy=21.0)
    assert study.plan.prescription.dose_gy == 21.0
    assert study.plan.prescription.source == "user"
    half = load_study(own_study, isodose_percent=50.0).plan.prescription.dose_gy
    assert half == pytest.approx(sitk.GetArrayViewFromImage(study.dose.image).max() / 2)
    with pytest.raises(StudyError, match="expected more than 0"):
        load_study(own_study, prescription_gy=-3.0)


def reference(path: Path) -> pydicom.Dataset:
    data, item = pydicom.dcmread(path, stop_before_pixels=True), pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    return item


def test_without_dose_the_study_is_read_with_a_warning(own_study):
    (own_study / "plan_t1c" / "RD.dcm").unlink()
    study = load_study(own_study)
    assert study.dose is None
    assert "no-dose" in {c.code for c in study.warnings}


def test_a_deflated_file_is_not_unpacked(own_study):
    path = own_study / "bomb.dcm"
    data = pydicom.dcmread(own_study / "t1c" / "MR.0001.dcm")
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9"
    data.save_as(path)
    study = load_study(own_study)
    assert any(c.code == "unreadable-file" and "deflated" in c.text for c in study.warnings)


def test_no_identity_of_the_patient_reaches_the_study(study):
    text = repr(study)
    assert "PHANTOM-4" not in text
    assert study.patient.startswith("P-")


def test_inspect_names_what_is_used_and_what_not(study_folder, tmp_path):
    found = inspect_folder(study_folder / "dicom")
    assert [s["description"] for s in found["series"] if s["used"]] == ["T1 MPRAGE +C"]
    assert {r["name"]: r["lesion"] for r in found["rois"]} == {
        "GTV 1": "L1", "GTV 2": "L2", "GTV 3": "L3", "*Skull": None,
    }  # fmt: skip
    text = as_text(found)
    assert "* RTDOSE RD.dcm" in text
    assert "days later" in text


def test_inspect_reports_a_problem_instead_of_failing(own_study):
    (own_study / "plan_t1c" / "RS.dcm").unlink()
    assert "holds no RTSTRUCT" in inspect_folder(own_study)["problem"]


def test_reading_contours_reports_and_can_be_cancelled(study_folder, monkeypatch):
    from RTResponseCAMLib.dicom import rtstruct

    monkeypatch.setattr(rtstruct, "REPORTED", 4)
    path = next((study_folder / "dicom").rglob("RS*.dcm"))
    sequence = pydicom.dcmread(path).ROIContourSequence
    wanted = sum(-(-len(item.ContourSequence) // 4) for item in sequence if "ContourSequence" in item)
    said = []
    rtstruct.read_structures(path, lambda fraction, text="": said.append(fraction))
    assert len(said) == wanted > len(sequence)
    assert said == sorted(said)

    def stop(_fraction, _text=""):
        raise Cancelled

    with pytest.raises(Cancelled):
        rtstruct.read_structures(path, stop)
