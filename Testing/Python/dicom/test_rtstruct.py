"""Structure sets item by item: numbers, names, types, colors, and what a contour may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage, generate_uid

from RTResponseCAMLib.dicom import rtstruct
from RTResponseCAMLib.dicom.files import new_file, save
from RTResponseCAMLib.dicom.rtstruct import read_structures
from RTResponseCAMLib.errors import StudyError

SQUARE = [0, 0, 5, 10, 0, 5, 10, 10, 5, 0, 10, 5]


def of(**values) -> Dataset:
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def contour(points=SQUARE, kind="CLOSED_PLANAR") -> Dataset:
    return of(ContourGeometricType=kind, NumberOfContourPoints=len(points) // 3, ContourData=[str(p) for p in points])


def roi(number, name, *contours, color=None, kinds=()):
    return number, name, contours, color, kinds


def written(path: Path, *rois) -> Path:
    data = new_file(RTStructureSetStorage, generate_uid())
    data.SpecificCharacterSet = "ISO_IR 192"
    data.StructureSetROISequence = [of(ROINumber=n, ROIName=name) for n, name, *_ in rois]
    items, observations = [], []
    for n, _, contours, color, kinds in rois:
        item = of(ReferencedROINumber=n, ContourSequence=list(contours))
        if color is not None:
            item.ROIDisplayColor = color
        items.append(item)
        observations += [of(ReferencedROINumber=n, RTROIInterpretedType=kind) for kind in kinds]
    data.ROIContourSequence, data.RTROIObservationsSequence = items, observations
    save(data, path / "RS.dcm")
    return path / "RS.dcm"


def read(path, *rois):
    structures, warnings = read_structures(written(path, *rois))
    return structures, {w.code.value: w.text for w in warnings}


def test_numbers_names_points_and_colors_are_those_of_the_file(tmp_path):
    first = roi(7, "GTV 1", contour(), color=[1, 2, 300], kinds=["GTV"])
    structures, warnings = read(tmp_path, first, roi(3, "Skull", contour()))
    assert [(s.number, s.name, s.kind, s.color) for s in structures] == [
        (7, "GTV 1", "GTV", (1, 2, 255)), (3, "Skull", "", (255, 200, 0)),
    ]  # fmt: skip
    np.testing.assert_array_equal(structures[0].contours[0], np.reshape(SQUARE, (-1, 3)))
    assert warnings == {}


def test_a_number_that_is_there_twice_and_a_name_that_is(tmp_path):
    structures, warnings = read(
        tmp_path, roi(1, "A", contour()), roi(1, "B", contour()), roi(2, "A", contour()), roi(3, "A", contour())
    )
    assert [s.name for s in structures] == ["A", "A#2", "A#3"]
    assert "'B'" in warnings["repeated-roi-number"]
    assert list(warnings) == ["repeated-roi-number", "repeated-roi-name"]
    assert len(structures[0].contours) == 2  # items of one number belong to one ROI


def test_a_roi_without_a_name_or_an_item_is_there(tmp_path):
    structures, _ = read(tmp_path, roi(5, ""))
    assert [(s.name, s.contours) for s in structures] == [("ROI 5", ())]


@pytest.mark.parametrize(
    ("kinds", "kind", "used"),
    [
        (["GTV"], "GTV", None), (["gtv "], "GTV", None), (["PTV", "CTV"], "CTV", "CTV counts"),
        (["ORGAN", "GTV"], "GTV", "GTV counts"), (["AVOIDANCE", "GTV"], "", "its name decides"),
        (["AVOIDANCE", "CONTROL"], "AVOIDANCE", "AVOIDANCE counts"), (["ORGAN"], "ORGAN", None),
        (["ORGAN", "CONTROL"], "", "its name decides"), ([""], "", None), (["EXTERNAL"], "EXTERNAL", None),
    ],
)  # fmt: skip
def test_of_several_types_the_most_specific_target_counts(tmp_path, kinds, kind, used):
    structures, warnings = read(tmp_path, roi(1, "A", contour(), kinds=kinds))
    assert structures[0].kind == kind
    assert ("observations-differ" in warnings) is (used is not None)
    if used:
        assert used in warnings["observations-differ"]


def test_closed_contours_lose_their_repeated_end_and_short_ones_are_left_out(tmp_path):
    line = [0, 0, 5, 10, 0, 5, 0, 0, 5]
    structures, warnings = read(tmp_path, roi(1, "A", contour(), contour([*SQUARE, 0, 0, 5]), contour(line)))
    assert [len(c) for c in structures[0].contours] == [4, 4]
    assert "1 contour(s)" in warnings["short-contour"]


@pytest.mark.parametrize(
    ("kinds", "left", "code"),
    [
        (["CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "INTERPOLATED_PLANAR", ""], 4, None),
        (["POINT", "OPEN_PLANAR", "OPEN_NONPLANAR"], 0, "points-only"),
        (["CLOSED_PLANAR", "OPEN_PLANAR"], 1, "open-contours"),
        (["ROUND", "CLOSED_PLANAR"], 2, "contour-type"),
    ],
)  # fmt: skip
def test_kinds_of_contours(tmp_path, kinds, left, code):
    structures, warnings = read(tmp_path, roi(1, "A", *(contour(kind=kind) for kind in kinds)))
    assert len(structures[0].contours) == left
    assert list(warnings) == ([code] if code else [])


@pytest.mark.parametrize(
    ("points", "right"),
    [([0, 0, 10000, 1, 0, 10000, 0, 1, 10000], True), ([0, 0, 10001, 1, 0, 10001, 0, 1, 10001], False),
     ([0, 0, 0, 1, 0, 0, 0, 1], False)],
)  # fmt: skip
def test_points_are_triples_within_ten_meters(tmp_path, points, right):
    if right:
        assert len(read(tmp_path, roi(1, "A", contour(points)))[0][0].contours) == 1
    else:
        with pytest.raises(StudyError, match=f"a contour of {len(points)} values, expected x, y, z triples"):
            read(tmp_path, roi(1, "A", contour(points)))


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [("MAX_ROIS", 1, "lists 2 ROIs, more than 1"), ("MAX_CONTOURS", 1, "has 2 contours, more than 1"),
     ("MAX_POINTS", 7, "'A' has over 7 contour points"), ("MAX_POINTS", 11, "RS.dcm: has over 11 contour points")],
)  # fmt: skip
def test_limits_are_named_and_what_just_keeps_them_is_read(tmp_path, monkeypatch, limit, value, message):
    rois = roi(1, "A", contour(), contour()), roi(2, "B", contour())
    monkeypatch.setattr(rtstruct, limit, value)
    with pytest.raises(StudyError, match=message):
        read(tmp_path, *rois)
    monkeypatch.setattr(rtstruct, limit, {"MAX_ROIS": 2, "MAX_CONTOURS": 2, "MAX_POINTS": 12}[limit])
    assert len(read(tmp_path, *rois)[0]) == 2


def test_a_set_without_rois_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"lists no ROI \(3006,0020\)"):
        read(tmp_path)


def test_progress_goes_from_roi_to_roi(tmp_path):
    path = written(tmp_path, *(roi(n, f"R{n}", *(contour() for _ in range(65))) for n in range(1, 5)))
    seen = []
    read_structures(path, lambda fraction, text="": seen.append(fraction))
    assert seen == [0.0, 0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]
    seen.clear()
    read_structures(written(tmp_path, roi(1, "A", *(contour() for _ in range(64)))), lambda f, text="": seen.append(f))
    assert seen == [0.0]


def test_contours_that_name_no_roi_belong_to_none(tmp_path):
    path = written(tmp_path, roi(1, "A", contour()))
    data = dcmread(path)
    data.ROIContourSequence = [*data.ROIContourSequence, of(ContourSequence=[contour()])]
    save(data, path)
    assert len(read_structures(path)[0][0].contours) == 1


def test_the_largest_number_that_dicom_allows_is_read(tmp_path):
    assert read(tmp_path, roi(2**31 - 1, "A", contour()))[0][0].number == 2**31 - 1


def test_as_many_points_as_are_allowed_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(rtstruct, "MAX_POINTS", 8)
    assert len(read(tmp_path, roi(1, "A", contour(), contour()))[0][0].contours) == 2
