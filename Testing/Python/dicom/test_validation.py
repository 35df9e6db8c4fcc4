"""Attributes are checked before use: what is right comes through unchanged, what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from RTResponseCAMLib.dicom.validation import damaged, numbers, orientation, pixel_spacing, position, whole_number
from RTResponseCAMLib.errors import GeometryError, StudyError
from RTResponseCAMLib.progress import Cancelled

PATH = Path("MR.dcm")


def of(**values) -> Dataset:
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def test_any_error_of_a_parser_becomes_one_that_names_the_file():
    with pytest.raises(StudyError, match=r"MR.dcm: is damaged: it cannot be read as an image \(KeyError\)"):  # noqa: SIM117
        with damaged(PATH, "an image"):
            raise KeyError("x")


@pytest.mark.parametrize("error", [Cancelled(), GeometryError("a", "b", "c"), StudyError("a", "b", "c")])
def test_errors_of_the_library_and_cancelling_pass(error):
    with pytest.raises(type(error)) as caught:  # noqa: SIM117
        with damaged(PATH, "an image"):
            raise error
    assert caught.value is error


def test_numbers_come_through_and_their_count_is_checked():
    data = of(PixelSpacing=["0.5", "1.25"])
    assert numbers(PATH, data, keyword="PixelSpacing").tolist() == [0.5, 1.25]
    assert numbers(PATH, of(SliceThickness="2.5"), keyword="SliceThickness", count=1).tolist() == [2.5]
    with pytest.raises(StudyError, match="PixelSpacing has 2 values, expected 3"):
        numbers(PATH, data, keyword="PixelSpacing", count=3)


def test_what_is_absent_or_not_finite_is_named():
    with pytest.raises(StudyError, match="lacks PixelSpacing"):
        numbers(PATH, Dataset(), keyword="PixelSpacing")
    data = Dataset()
    data.add_new("RecommendedDisplayFrameRateInFloat", "FL", float("nan"))
    with pytest.raises(StudyError, match="is not a finite number"):
        numbers(PATH, data, keyword="RecommendedDisplayFrameRateInFloat")
    with pytest.raises(StudyError, match="PatientComments is not a number"):
        numbers(PATH, of(PatientComments="two"), keyword="PatientComments")


@pytest.mark.parametrize(("value", "right"), [(1, True), (40, True), (20, True), (0, False), (41, False)])
def test_integers_lie_between_their_bounds_inclusive(value, right):
    data = of(NumberOfFrames=value)
    if right:
        assert whole_number(PATH, data, keyword="NumberOfFrames", low=1, high=40) == value
    else:
        with pytest.raises(StudyError, match=f"NumberOfFrames is {value}, expected an integer from 1 to 40"):
            whole_number(PATH, data, keyword="NumberOfFrames", low=1, high=40)


def test_a_fraction_is_no_integer_and_a_default_stands_for_what_is_absent():
    with pytest.raises(StudyError, match=r"SliceThickness is 2.5, expected an integer"):
        whole_number(PATH, of(SliceThickness="2.5"), keyword="SliceThickness", low=0, high=9)
    assert whole_number(PATH, Dataset(), keyword="HighBit", low=0, high=15, default=7) == 7
    assert whole_number(PATH, of(HighBit=3), keyword="HighBit", low=0, high=15, default=7) == 3
    with pytest.raises(StudyError, match="lacks HighBit"):
        whole_number(PATH, Dataset(), keyword="HighBit", low=0, high=15)


@pytest.mark.parametrize(
    ("x", "y", "normal"),
    [
        ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
        ((0, 0.6, 0.8), (1, 0, 0), (0, 0.8, -0.6)),
    ],
)
def test_axes_are_rows_columns_and_their_right_handed_normal(x, y, normal):
    np.testing.assert_allclose(orientation(PATH, of(ImageOrientationPatient=[*x, *y])), [x, y, normal], atol=1e-12)


@pytest.mark.parametrize(
    ("cosines", "right"),
    [((1.009, 0, 0, 0, 1, 0), True), ((1, 0, 0, 0, 0.991, 0), True), ((1, 0, 0, 0.009, 1, 0), True),
     ((1.011, 0, 0, 0, 1, 0), False), ((0.989, 0, 0, 0, 1, 0), False), ((1, 0, 0, 0, 1.011, 0), False),
     ((1, 0, 0, 0, 0.989, 0), False), ((1, 0, 0, 0.011, 1, 0), False), ((1, 0, 0, -0.011, 1, 0), False)],
)  # fmt: skip
def test_axes_are_unit_vectors_at_right_angles_within_a_hundredth(cosines, right):
    data = of(ImageOrientationPatient=list(cosines))
    if right:
        axes = orientation(PATH, data)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) == pytest.approx(1)
    else:
        with pytest.raises(StudyError, match=r"ImageOrientationPatient \(0020,0037\)"):
            orientation(PATH, data)


@pytest.mark.parametrize(
    ("spacing", "right"),
    [((0.5, 1.5), True), ((0.01, 50), True), ((50, 0.01), True), ((0.009, 1), False), ((1, 0.009), False),
     ((50.1, 1), False), ((1, 50.1), False)],
)  # fmt: skip
def test_pixels_are_a_hundredth_to_fifty_millimeters(spacing, right):
    data = of(PixelSpacing=[str(s) for s in spacing])
    if right:
        assert pixel_spacing(PATH, data) == spacing
    else:
        with pytest.raises(StudyError, match=r"PixelSpacing \(0028,0030\) is"):
            pixel_spacing(PATH, data)


@pytest.mark.parametrize(("value", "right"), [(9999.0, True), (-10000.0, True), (10001.0, False), (-10001.0, False)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_positions_lie_within_ten_meters(value, right, axis):
    point = [1.0, 2.0, 3.0]
    point[axis] = value
    if right:
        assert position(PATH, of(ImagePositionPatient=point)).tolist() == point
    else:
        with pytest.raises(StudyError, match=r"ImagePositionPatient \(0020,0032\)"):
            position(PATH, of(ImagePositionPatient=point))
