"""The public functions do what the examples in their docstrings show."""

from __future__ import annotations

import doctest
import inspect

import pytest

import RTResponseCAMLib
from RTResponseCAMLib import api
from RTResponseCAMLib.errors import RTResponseError


@pytest.mark.slow
def test_the_examples_are_right(study_folder, study, small_cohort, tmp_path):
    given = {"folder": study_folder / "dicom", "study": study, "cohort": small_cohort, "out": tmp_path}
    found = doctest.testmod(api, extraglobs=given)
    assert found.failed == 0
    assert found.attempted >= 9


def test_they_come_from_the_package_itself_and_take_two_arguments_by_place():
    for name in RTResponseCAMLib.__all__:
        assert getattr(RTResponseCAMLib, name) is getattr(api, name)
        kinds = [p.kind for p in inspect.signature(getattr(api, name)).parameters.values()]
        assert sum(kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds) <= 2
    assert set(RTResponseCAMLib.__all__) <= set(dir(RTResponseCAMLib))


@pytest.mark.slow
def test_a_follow_up_is_measured_from_a_folder(study_folder):
    followed = RTResponseCAMLib.follow_up(study_folder / "dicom", propose=False)
    assert [visit.problem for visit in followed.visits] == [""]


@pytest.mark.slow
def test_a_prediction_is_written_where_asked(study, tmp_path):
    result = RTResponseCAMLib.predict(study, tmp_path / "out", device="cpu")
    assert {"result.json", "cam.nrrd", "report.html"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert len(result.predictions) == 3


def test_nothing_that_is_read_is_overwritten(study_folder, small_cohort):
    """Each function is given the folder that holds its input."""
    calls = (
        (RTResponseCAMLib.predict, study_folder / "dicom", study_folder),
        (RTResponseCAMLib.train, small_cohort, small_cohort),
        (RTResponseCAMLib.evaluate, small_cohort, small_cohort.parent),
    )
    for function, given, out in calls:
        with pytest.raises(RTResponseError, match=r"holds the input .*, which --overwrite would delete"):
            function(given, out, overwrite=True)
    assert (small_cohort / "manifest.csv").is_file()
