"""RTDOSE in Gy against the dose that was put in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from RTResponseCAMLib.dicom.files import decimal, save
from RTResponseCAMLib.dicom.rtdose import _evenly, read_plan_dose
from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.study import Plan


@pytest.fixture
def dose_file(own_study: Path) -> Path:
    return own_study / "plan_t1c" / "RD.dcm"


def values_of(dose):
    return sitk.GetArrayFromImage(dose.image)


def rewritten(path: Path, **changes) -> Path:
    data = pydicom.dcmread(path)
    for keyword, value in changes.items():
        if value is None:
            del data[keyword]
        else:
            setattr(data, keyword, value)
    save(data, path)
    return path


def value_at(image: sitk.Image, point) -> float:
    return float(
        sitk.GetArrayFromImage(sitk.Resample(image, [1, 1, 1], sitk.Transform(), sitk.sitkLinear, point))[0, 0, 0]
    )


def test_dose_is_in_gray(dose_file):
    dose, warnings = read_plan_dose((dose_file,))
    raw = pydicom.dcmread(dose_file)
    expected = raw.pixel_array.astype(float) * float(raw.DoseGridScaling)
    np.testing.assert_allclose(sitk.GetArrayFromImage(dose.image), expected, rtol=1e-6)
    assert warnings == ()
    assert 20 < expected.max() < 90


@pytest.mark.parametrize("kind", ["absolute", "descending"])
def test_offset_conventions_give_the_same_place(dose_file, tmp_path, kind):
    before, _ = read_plan_dose((dose_file,))
    raw = pydicom.dcmread(dose_file)
    offsets = np.asarray(raw.GridFrameOffsetVector, float)
    if kind == "absolute":
        raw.GridFrameOffsetVector = [decimal(o + float(raw.ImagePositionPatient[2])) for o in offsets]
    else:
        frames = raw.pixel_array[::-1]
        raw.PixelData = np.ascontiguousarray(frames).tobytes()
        x, y, z = (float(c) for c in raw.ImagePositionPatient)
        raw.ImagePositionPatient = [decimal(x), decimal(y), decimal(z + offsets[-1])]
        raw.GridFrameOffsetVector = [decimal(-o) for o in offsets]
    save(raw, dose_file)
    after, _ = read_plan_dose((dose_file,))
    assert np.linalg.det(np.reshape(after.image.GetDirection(), (3, 3))) == pytest.approx(1.0)
    middle = before.image.TransformContinuousIndexToPhysicalPoint([s / 2 - 0.5 for s in before.image.GetSize()])
    for shift in ((0, 0, 0), (5.3, -4.1, 7.7), (-8.0, 3.0, -6.2)):
        point = np.add(middle, shift).tolist()
        assert value_at(after.image, point) == pytest.approx(value_at(before.image, point), rel=1e-4, abs=1e-3)


def test_two_files_that_the_user_names_add_up_on_their_grid(dose_file):
    one, _ = read_plan_dose((dose_file,))
    data = pydicom.dcmread(dose_file)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    # Another file, another scaling: each is scaled by its own.
    data.DoseGridScaling = decimal(float(data.DoseGridScaling) / 2)
    second = dose_file.with_name("RD2.dcm")
    save(data, second)
    with pytest.raises(StudyError, match=r"RD.dcm: holds the dose of the whole plan.*and so does RD2.dcm.*--dose"):
        read_plan_dose((dose_file, second))
    both, warnings = read_plan_dose((dose_file, second), add_up=True)
    np.testing.assert_allclose(sitk.GetArrayFromImage(both.image), 1.5 * sitk.GetArrayFromImage(one.image), rtol=1e-5)
    assert [c.code for c in warnings] == ["dose-summed"]


def test_shifted_boxes_add_up_where_they_overlap(dose_file):
    one, _ = read_plan_dose((dose_file,))
    data = pydicom.dcmread(dose_file)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    x, y, z = (float(c) for c in data.ImagePositionPatient)
    data.ImagePositionPatient = [decimal(x + 10), decimal(y - 4), decimal(z + 6)]
    second = dose_file.with_name("RD2.dcm")
    save(data, second)
    both, _ = read_plan_dose((dose_file, second), add_up=True)
    middle = np.array(one.image.TransformContinuousIndexToPhysicalPoint([s / 2 - 0.5 for s in one.image.GetSize()]))
    expected = value_at(one.image, middle.tolist()) + value_at(one.image, (middle - (10, -4, 6)).tolist())
    assert value_at(both.image, middle.tolist()) == pytest.approx(expected, rel=1e-3)
    outside = [one.image.GetOrigin()[0] + 1, one.image.GetOrigin()[1] + 20, one.image.GetOrigin()[2] + 1]
    assert value_at(both.image, outside) == pytest.approx(value_at(one.image, outside), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DoseUnits": "RELATIVE"}, r"RD.dcm: DoseUnits \(3004,0002\) is 'RELATIVE', expected GY"),
        ({"DoseGridScaling": None}, r"DoseGridScaling \(3004,000E\) is 'absent'"),
        ({"DoseGridScaling": "0"}, r"DoseGridScaling \(3004,000E\) is '0"),
        ({"DoseSummationType": "FRACTION"}, r"DoseSummationType \(3004,000A\) is FRACTION"),
        ({"DoseType": "ERROR"}, r"DoseType \(3004,0004\) is ERROR"),
        ({"GridFrameOffsetVector": ["0", "1"]}, r"frames but 2 values in GridFrameOffsetVector"),
        ({"ImagePositionPatient": None}, "lacks ImagePositionPatient"),
        ({"RescaleSlope": "2"}, r"RescaleSlope \(0028,1053\)"),
        ({"RescaleIntercept": "2"}, r"RescaleIntercept \(0028,1052\)"),
    ],
)
def test_unusable_doses_are_named(dose_file, changes, message):
    with pytest.raises(StudyError, match=message):
        read_plan_dose((rewritten(dose_file, **changes),))


def test_uneven_frames_are_resampled_where_they_lie(dose_file):
    data = pydicom.dcmread(dose_file)
    offsets = [float(o) for o in data.GridFrameOffsetVector]
    keep = [n for n in range(len(offsets)) if n < 10 or n % 2 == 0]  # wide frames beside narrow ones
    before, _ = read_plan_dose((dose_file,))
    pixels = data.pixel_array[keep]
    data.NumberOfFrames, data.PixelData = len(keep), pixels.tobytes()
    data.GridFrameOffsetVector = [decimal(offsets[n]) for n in keep]
    save(data, dose_file)
    after, warnings = read_plan_dose((dose_file,))
    assert "dose-uneven" in {c.code for c in warnings}
    x, y, z = before.image.GetOrigin()
    size = before.image.GetSize()
    for k in (4, 20, 24):
        point = (x + size[0] / 2, y + size[1] / 2, z + k * before.image.GetSpacing()[2])
        assert value_at(after.image, point) == pytest.approx(value_at(before.image, point), rel=0.02)


def test_frames_at_one_place_are_refused(dose_file):
    offsets = [float(o) for o in pydicom.dcmread(dose_file).GridFrameOffsetVector]
    offsets[3] = offsets[4]
    with pytest.raises(GeometryError, match="frames at one position"):
        read_plan_dose((rewritten(dose_file, GridFrameOffsetVector=[decimal(o) for o in offsets]),))


def test_a_fraction_dose_asks_for_the_number_of_fractions(dose_file):
    one, _ = read_plan_dose((dose_file,))
    fraction = rewritten(dose_file, DoseSummationType="FRACTION")
    with pytest.raises(StudyError, match=r"the plan has 5 fractions.*--dose-fractions N"):
        read_plan_dose((fraction,), Plan("", None, 5))
    whole, warnings = read_plan_dose((fraction,), Plan("", None, 5), dose_fractions=5)
    assert "dose-multiplied" in {c.code for c in warnings}
    np.testing.assert_allclose(values_of(whole), 5 * values_of(one), rtol=1e-6)
    single, warnings = read_plan_dose((fraction,), Plan("", None, 1))
    np.testing.assert_array_equal(values_of(single), values_of(one))
    assert warnings == ()


def test_beam_doses_are_summed_where_there_is_no_plan_dose(dose_file):
    one, _ = read_plan_dose((dose_file,))
    paths = []
    for number, offset in enumerate((0, 40)):
        data = pydicom.dcmread(dose_file)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        data.DoseSummationType = "BEAM"
        data.PixelData = np.roll(data.pixel_array, offset, axis=1).tobytes()
        paths.append(dose_file.with_name(f"beam{number}.dcm"))
        save(data, paths[-1])
    both, warnings = read_plan_dose(tuple(paths), Plan("", None, 1))
    expected = values_of(one) + np.roll(values_of(one), 40, axis=1)
    np.testing.assert_allclose(values_of(both), expected, rtol=1e-5)
    assert [c.code for c in warnings] == ["dose-parts-unknown", "dose-summed"]  # no beam numbers


def test_the_same_dose_on_another_grid_counts_once(dose_file):
    data = pydicom.dcmread(dose_file)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9"
    data.PixelData = data.pixel_array[::2, ::2, ::2].tobytes()
    frames, rows, columns = (-(-int(n) // 2) for n in (data.NumberOfFrames, data.Rows, data.Columns))
    data.NumberOfFrames, data.Rows, data.Columns = frames, rows, columns
    data.PixelSpacing = [decimal(2 * float(s)) for s in data.PixelSpacing]
    data.GridFrameOffsetVector = list(data.GridFrameOffsetVector)[::2]
    coarse = dose_file.with_name("coarse.dcm")
    save(data, coarse)
    one, _ = read_plan_dose((dose_file,))
    both, warnings = read_plan_dose((dose_file, coarse))
    assert [c.code for c in warnings] == ["dose-repeated"]
    np.testing.assert_array_equal(values_of(both), values_of(one))


def test_a_grid_that_runs_against_the_patient_axes_is_the_same_dose(dose_file):
    """Rows from posterior to anterior: the normal then points down, and frames run against the patient axis."""
    before, _ = read_plan_dose((dose_file,))
    data = pydicom.dcmread(dose_file)
    rows, step = data.Rows, float(data.PixelSpacing[0])
    x, y, z = (float(c) for c in data.ImagePositionPatient)
    data.ImageOrientationPatient = ["1", "0", "0", "0", "-1", "0"]
    last = float(data.GridFrameOffsetVector[-1])
    data.ImagePositionPatient = [decimal(x), decimal(y + (rows - 1) * step), decimal(z + last)]
    data.PixelData = data.pixel_array[::-1, ::-1].tobytes()
    save(data, dose_file)
    after, _ = read_plan_dose((dose_file,))
    assert np.linalg.det(np.reshape(after.image.GetDirection(), (3, 3))) == pytest.approx(1)
    size = before.image.GetSize()
    for index in ((3, 4, 5), (size[0] // 2, size[1] // 2, size[2] // 2), (size[0] - 4, 7, size[2] - 3)):
        point = before.image.TransformIndexToPhysicalPoint(index)
        assert value_at(after.image, point) == pytest.approx(value_at(before.image, point), rel=1e-4, abs=1e-4)


def test_one_file_per_plane_is_stacked(dose_file):
    whole, _ = read_plan_dose((dose_file,))
    data = pydicom.dcmread(dose_file)
    frames, offsets, origin = data.pixel_array, list(data.GridFrameOffsetVector), list(data.ImagePositionPatient)
    paths = []
    for number in reversed(range(len(offsets))):
        plane = pydicom.dcmread(dose_file)
        plane.SOPInstanceUID = plane.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        plane.NumberOfFrames, plane.PixelData = 1, frames[number].tobytes()
        plane.ImagePositionPatient = [origin[0], origin[1], decimal(float(origin[2]) + float(offsets[number]))]
        del plane.GridFrameOffsetVector
        paths.append(dose_file.with_name(f"plane{number}.dcm"))
        save(plane, paths[-1])
    stacked, _ = read_plan_dose(tuple(paths))
    np.testing.assert_array_equal(values_of(stacked), values_of(whole))
    np.testing.assert_allclose(stacked.image.GetOrigin(), whole.image.GetOrigin(), atol=1e-6)


IMPLICIT, BIG_ENDIAN, RLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"


@pytest.mark.parametrize(
    ("syntax", "bits"), [(IMPLICIT, 16), (IMPLICIT, 32), (BIG_ENDIAN, 16), (BIG_ENDIAN, 32), (RLE, 16)]
)
def test_transfer_syntax_and_word_size_do_not_change_the_dose(dose_file, syntax, bits):
    one, _ = read_plan_dose((dose_file,))
    source = pydicom.dcmread(dose_file)
    pixels = source.pixel_array
    data = pydicom.Dataset({e.tag: e for e in source if e.keyword != "PixelData"})  # a fresh one may be encoded anew
    data.file_meta = source.file_meta
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit = bits - 1
    order = ">" if syntax == BIG_ENDIAN else "<"
    data.add_new("PixelData", "OW", pixels.astype(f"{order}u{bits // 8}").tobytes())
    path = dose_file.with_name("other.dcm")
    if syntax == RLE:
        data.compress(syntax)
    else:
        data.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    other, _ = read_plan_dose((path,))
    np.testing.assert_array_equal(values_of(other), values_of(one))


def test_pixel_spacing_is_row_step_then_column_step(dose_file):
    image = read_plan_dose((rewritten(dose_file, PixelSpacing=["2.5", "1.25"]),))[0].image
    assert image.GetSpacing()[:2] == (1.25, 2.5)


def test_a_truncated_dose_is_refused(dose_file):
    dose_file.write_bytes(dose_file.read_bytes()[:-5000])
    with pytest.raises(StudyError, match="is cut short"):
        read_plan_dose((dose_file,))


def test_beam_doses_are_left_out_beside_a_plan_dose(dose_file):
    data = pydicom.dcmread(dose_file)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    data.DoseSummationType = "BEAM"
    second = dose_file.with_name("RD2.dcm")
    save(data, second)
    one, _ = read_plan_dose((dose_file,))
    both, warnings = read_plan_dose((dose_file, second))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(both.image), sitk.GetArrayFromImage(one.image))
    assert [c.code for c in warnings] == ["dose-left-out"]


def test_decimal_strings_keep_their_exponent():
    for value in (3.75e-4, 1.23456789012345e-7, -123456.789012345, 7.62951094834821e-4):
        text = decimal(value)
        assert len(text) <= 16
        assert float(text) == pytest.approx(value, rel=1e-8)


def test_a_repeat_is_counted_apart_from_the_boxes_that_add_up(dose_file):
    """Three files of one plan: a box, its repeat, and a box of another place."""
    again, aside = (dose_file.with_name(f"RD{n}.dcm") for n in (2, 3))
    for path, shift_mm in ((again, 0.0), (aside, 400.0)):
        data = pydicom.dcmread(dose_file)
        data.SOPInstanceUID = pydicom.uid.generate_uid()
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        x, y, z = (float(v) for v in data.ImagePositionPatient)
        data.ImagePositionPatient = [decimal(v) for v in (x + shift_mm, y, z)]
        save(data, path)
    dose, warnings = read_plan_dose((dose_file, again, aside))
    counts = {w.code.value: [word for word in w.text.split() if word.isdigit()] for w in warnings}
    assert counts == {"dose-repeated": ["1"], "dose-summed": ["2"]}
    one, _ = read_plan_dose((dose_file,))
    assert values_of(dose).sum() == pytest.approx(2 * values_of(one).sum(), rel=1e-3)


@pytest.mark.parametrize(("step_mm", "refused"), [(50.0, False), (50.5, True)])
def test_frames_may_lie_fifty_millimeters_apart(dose_file, step_mm, refused):
    count = int(pydicom.dcmread(dose_file).NumberOfFrames)
    path = rewritten(dose_file, GridFrameOffsetVector=[decimal(n * step_mm) for n in range(count)])
    if refused:
        with pytest.raises(GeometryError, match="farther apart than 50 mm"):
            read_plan_dose((path,))
    else:
        assert read_plan_dose((path,))[0].image.GetSpacing()[2] == pytest.approx(step_mm)


def test_between_uneven_frames_the_dose_is_linear():
    offsets = np.asarray([0.0, 1.0, 3.0, 4.0, 7.0])
    values = np.stack([np.full((2, 3), 10 * v, np.float32) for v in offsets])
    even, places = _evenly(values, offsets, 1.0)
    assert places.tolist() == list(range(8))
    np.testing.assert_allclose(even[:, 1, 2], 10 * places, rtol=1e-6)
    bent = np.stack([np.full((1, 1), v, np.float32) for v in (0.0, 8.0, 4.0)])
    found, _ = _evenly(bent, np.asarray([0.0, 2.0, 6.0]), 1.0)
    assert found.ravel().tolist() == pytest.approx([0, 4, 8, 7, 6, 5, 4])


def test_frames_far_from_even_steps_are_refused():
    """Steps so unlike that the grid would be more than four times as large, and sixteen frames more."""
    values = np.zeros((3, 1, 1), np.float32)
    assert len(_evenly(values, np.asarray([0.0, 1.0, 27.0]), 1.0)[0]) == 28
    with pytest.raises(GeometryError, match="far from even steps"):
        _evenly(values, np.asarray([0.0, 1.0, 28.0]), 1.0)


def copies(dose_file: Path, *changes: dict) -> tuple[Path, ...]:
    """Copies of a dose with other values, unless ``roll`` is 0, and other attributes."""
    paths = []
    for number, change in enumerate(changes):
        data = pydicom.dcmread(dose_file)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        roll = change.pop("roll", 10 * number)
        data.PixelData = np.roll(data.pixel_array, roll, axis=1).tobytes()
        beams = change.pop("beams", ())
        for keyword, value in change.items():
            setattr(data, keyword, value)
        if beams:
            group, reference = pydicom.Dataset(), pydicom.Dataset()
            group.ReferencedBeamSequence = []
            for beam in beams:
                item = pydicom.Dataset()
                item.ReferencedBeamNumber = beam
                group.ReferencedBeamSequence.append(item)
            reference.ReferencedFractionGroupSequence = [group]
            data.ReferencedRTPlanSequence = [reference]
        paths.append(dose_file.with_name(f"copy{number}.dcm"))
        save(data, paths[-1])
    return tuple(paths)


def test_physical_and_effective_dose_are_not_added(dose_file):
    paths = copies(dose_file, {}, {"DoseType": "EFFECTIVE"})
    with pytest.raises(StudyError, match=r"copy0.dcm: .* two quantities .*copy1.dcm Gy \(RBE\)"):
        read_plan_dose(paths, add_up=True)


def test_of_two_plan_doses_that_contradict_each_other_both_are_named(dose_file):
    paths = copies(dose_file, {}, {"roll": 0}, {"roll": 30})
    with pytest.raises(StudyError, match=r"copy[01].dcm: holds the dose of the whole plan .* copy2.dcm"):
        read_plan_dose(paths)


def test_a_dose_that_the_user_names_twice_is_named_by_both_files(dose_file):
    with pytest.raises(StudyError, match=r"copy0.dcm: holds the same dose as copy1.dcm"):
        read_plan_dose(copies(dose_file, {"roll": 0}, {"roll": 0}), add_up=True)


@pytest.mark.parametrize(
    ("beams", "planned", "message"),
    [
        (((1,), (2,)), {1, 2}, None), (((1,), (1,)), {1}, "several that hold the dose of beam 1"),
        (((1,), (2,)), {1, 2, 3}, "a plan with 3 beams, and the dose of beam 3"),
        (((), ()), {1, 2, 3}, "one of 2 BEAM doses without a beam number .* of 3 beams"), (((), ()), {1, 2}, None),
    ],
)  # fmt: skip
def test_beams_make_up_the_plan(dose_file, beams, planned, message):
    paths = copies(dose_file, *({"DoseSummationType": "BEAM", "beams": b} for b in beams))
    plan = Plan("", None, 1, beams=frozenset(planned))
    if message is None:
        dose, warnings = read_plan_dose(paths, plan)
        assert "dose-parts-unknown" not in {c.code for c in warnings}
        assert values_of(dose).max() > 0
    else:
        with pytest.raises(StudyError, match=message):
            read_plan_dose(paths, plan)


def test_equal_parts_may_be_one_dose_twice_unless_they_are_the_fractions_themselves(dose_file):
    paths = copies(dose_file, *({"DoseSummationType": "FRACTION", "roll": 0} for _ in range(2)))
    for given in (None, 2):
        with pytest.raises(StudyError, match="2 FRACTION doses with identical values"):
            read_plan_dose(paths, Plan("", None, 1), dose_fractions=given)
    single, _ = read_plan_dose((dose_file,))
    dose, _ = read_plan_dose(paths, Plan("", None, 2), dose_fractions=1)
    np.testing.assert_allclose(values_of(dose), 2 * values_of(single), rtol=1e-5)
