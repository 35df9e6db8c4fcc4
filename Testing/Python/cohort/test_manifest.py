"""The manifest keeps everything that it was given."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from trees import head, write

from RTResponseCAMLib.cohort.manifest import CohortRow, read_cohort, write_manifest


@pytest.fixture
def row(tmp_path):
    mr, mask = (write(tmp_path / f"{name}.nrrd", head()) for name in ("mr", "mask"))
    return CohortRow("P1", "1", "GTV 1", mr=mr, mask=mask, label=1, label_source="made up")


def test_clinical_columns_survive_writing(tmp_path, row):
    rows = (
        replace(row, clinical=(("clinical_age", 61.25), ("clinical_kps", math.nan))),
        replace(row, lesion="GTV 2", clinical=(("clinical_age", 1 / 3), ("clinical_female", 1.0))),
    )
    write_manifest(tmp_path, rows)
    first, second = read_cohort(tmp_path)
    assert first.clinical_numbers["clinical_age"] == 61.25
    assert math.isnan(first.clinical_numbers["clinical_kps"])
    assert math.isnan(first.clinical_numbers["clinical_female"])  # a column of the other row alone
    assert second.clinical_numbers["clinical_age"] == 1 / 3
    assert second.clinical_numbers["clinical_female"] == 1.0


def test_names_that_look_like_formulas_come_back_as_they_were(tmp_path, row):
    write_manifest(tmp_path, [replace(row, lesion="=GTV+1", label_source="-")])
    assert "'=GTV+1" in (tmp_path / "manifest.csv").read_text()
    (found,) = read_cohort(tmp_path)
    assert (found.lesion, found.label_source) == ("=GTV+1", "-")
