"""Slices of classic and enhanced images, from headers alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, generate_uid

from RTResponseCAMLib.dicom.files import new_file, save
from RTResponseCAMLib.dicom.frames import slices_of, stated_precision
from RTResponseCAMLib.dicom.index import Entry
from RTResponseCAMLib.errors import StudyError

ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"


def of(**values) -> Dataset:
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def classic(**changes) -> Entry:
    values = {
        "SOPInstanceUID": "1.2.3", "ImagePositionPatient": ["-10.5", "20", "30.25"],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": ["0.5", "0.75"], "Rows": 7, "Columns": 9,
        "EchoTime": "4.2", "AcquisitionNumber": 3,
    }  # fmt: skip
    return Entry(Path("MR.dcm"), of(**{k: v for k, v in {**values, **changes}.items() if v is not None}))


def test_a_classic_slice_has_the_geometry_of_its_header():
    (found,) = slices_of(classic(RescaleSlope="2", RescaleIntercept="-5"))
    assert found.path == Path("MR.dcm")
    assert (found.frame, found.shape, found.steps) == (0, (7, 9), (0.5, 0.75))
    assert found.position.tolist() == [-10.5, 20, 30.25]
    np.testing.assert_array_equal(found.axes, np.eye(3))
    assert (found.slope, found.intercept, found.stack) == (2.0, -5.0, "")
    assert found.kinds[:3] == ("4.2", "", "3")
    assert (found.precision_mm, found.turn_precision) == (0.01, 0.0)


def test_without_rescaling_values_are_those_that_are_stored():
    (found,) = slices_of(classic())
    assert (found.slope, found.intercept) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RescaleSlope": "0"}, r"RescaleSlope \(0028,1053\) is 0"),
        ({"RescaleSlope": "2e9"}, "RescaleSlope"), ({"RescaleIntercept": "-2e9"}, "RescaleSlope"),
        ({"Rows": None}, "lacks Rows"), ({"Columns": 0}, "Columns is 0"),
        ({"PixelSpacing": None}, "lacks PixelSpacing"),
        ({"ImageOrientationPatient": None}, "lacks ImageOrientationPatient"),
    ],
)  # fmt: skip
def test_what_a_slice_lacks_is_named(changes, message):
    with pytest.raises(StudyError, match=message):
        slices_of(classic(**changes))


@pytest.mark.parametrize(
    ("texts", "precision"),
    [
        (["1.25", "2.5", "3"], 0.01),
        (["1", "2", "3"], 1.0),
        (["1.5e1", "2e1", "30"], 1.0),
        (["1.25e-1", "2", "3"], 1e-3),
    ],
)
def test_the_precision_is_that_of_the_last_decimal(texts, precision):
    assert stated_precision(of(ImagePositionPatient=texts), "ImagePositionPatient") == pytest.approx(precision)
    assert stated_precision(Dataset(), "ImagePositionPatient") == 0.0


def test_directions_that_are_not_along_the_axes_have_the_precision_of_their_text():
    (found,) = slices_of(classic(ImageOrientationPatient=["0.8", "0.6", "0", "-0.60", "0.8", "0"]))
    assert found.turn_precision == pytest.approx(0.01)


def enhanced(folder: Path, *, frames=3, described=None) -> Entry:
    uid = generate_uid()
    data = new_file(ENHANCED, uid)
    data.Rows, data.Columns, data.NumberOfFrames = 4, 5, frames
    shared = of(
        PlaneOrientationSequence=[of(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])],
        PixelMeasuresSequence=[of(PixelSpacing=[0.5, 0.25])],
        PixelValueTransformationSequence=[of(RescaleSlope="3", RescaleIntercept="1", RescaleType="US")],
        MREchoSequence=[of(EffectiveEchoTime=4.5)],
    )
    data.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for n in range(frames if described is None else described):
        group = of(
            PlanePositionSequence=[of(ImagePositionPatient=[float(n), 2.0, 3.0])],
            FrameContentSequence=[of(StackID=f"S{n}", FrameAcquisitionNumber=n + 1)],
        )
        if n == 1:  # a group of its own goes before the shared one
            group.PixelValueTransformationSequence = [of(RescaleSlope="7", RescaleIntercept="2", RescaleType="US")]
            group.MREchoSequence = [of(EffectiveEchoTime=9.0)]
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    save(data, folder / "enhanced.dcm")
    return Entry(folder / "enhanced.dcm", data)


def test_frames_have_their_own_values_before_the_shared_ones(tmp_path):
    found = slices_of(enhanced(tmp_path))
    assert [s.frame for s in found] == [0, 1, 2]
    assert [s.position.tolist() for s in found] == [[0, 2, 3], [1, 2, 3], [2, 2, 3]]
    assert [(s.slope, s.intercept) for s in found] == [(3, 1), (7, 2), (3, 1)]
    assert [s.stack for s in found] == ["S0", "S1", "S2"]
    assert [(s.kinds[0], s.kinds[2]) for s in found] == [("4.5", "1"), ("9.0", "2"), ("4.5", "3")]
    assert {s.steps for s in found} == {(0.5, 0.25)}
    np.testing.assert_array_equal(found[0].axes, [[0, 1, 0], [0, 0, -1], [-1, 0, 0]])


@pytest.mark.parametrize("described", [2, 4])
def test_frames_that_are_not_described_are_named(tmp_path, described):
    with pytest.raises(StudyError, match=rf"describes {described} frames \(5200,9230\) but holds 3"):
        slices_of(enhanced(tmp_path, described=described))


def test_an_image_of_no_frames_is_refused_and_one_of_a_single_pixel_read(tmp_path):
    with pytest.raises(StudyError, match="NumberOfFrames is 0, expected an integer from 1"):
        slices_of(enhanced(tmp_path, frames=0))
    (found,) = slices_of(classic(Rows=1, Columns=1))
    assert found.shape == (1, 1)


@pytest.mark.parametrize(
    ("references", "frame", "among"),
    [
        ({}, 0, False), ({"1.2.3": frozenset()}, 2, True), ({"1.2.3": frozenset({3})}, 2, True),
        ({"1.2.3": frozenset({3})}, 1, False), ({"1.2.3": frozenset({0, 9})}, 1, True),
        ({"1.2.4": frozenset()}, 0, False), ({"1.2.3": frozenset({1})}, 0, True), ({"1.2.3": frozenset({4})}, 3, True),
        ({"1.2.3": frozenset({-1})}, 1, True), ({"1.2.3": frozenset({1})}, 1, False),
    ],
)  # fmt: skip
def test_references_name_frames_from_one_and_those_that_a_file_lacks_are_ignored(references, frame, among):
    from dataclasses import replace

    (found,) = slices_of(classic())
    entry = Entry(found.path, of(SOPInstanceUID="1.2.3", NumberOfFrames=4))
    assert replace(found, entry=entry, frame=frame).is_among(references) is among


def test_a_classic_file_has_one_frame_whatever_number_names_it():
    (found,) = slices_of(classic(SOPClassUID=MRImageStorage))
    assert found.is_among({"1.2.3": frozenset({1})})
    assert found.is_among({"1.2.3": frozenset({7})})  # it lacks that frame: the file is meant
    assert found.is_among({"1.2.3": frozenset({2})})
