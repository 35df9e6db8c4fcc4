"""One person under two patient groups: a scan that is there twice, and a Patient ID that two groups share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk

from RTResponseCAMLib.cohort.identity import Source, refuse_shared_scans, shared_people, shared_scans, source_of
from RTResponseCAMLib.dicom.privacy import pseudonym
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.phantom.patient import planning_grid, render_mr, sample_patient
from RTResponseCAMLib.phantom.spec import PhantomSpec


def test_a_scan_is_known_again_by_its_voxels_alone(study):
    own = source_of(study, "a")
    renamed = replace(study, patient="P-other", sources={}, mr=study.mr * 1.0)
    assert source_of(renamed, "b").scan == own.scan
    turned = sitk.PermuteAxes(sitk.Flip(study.mr, (False, True, False)), (1, 0, 2))
    assert source_of(replace(study, mr=turned), "b").scan == own.scan
    assert source_of(replace(study, mr=study.mr[:, :, 1:]), "b").scan != own.scan
    patient = sample_patient(PhantomSpec(seed=91, columns=116, rows=136, slices=80, spacing_mm=(1.7, 1.5, 2.0)))
    assert source_of(replace(study, mr=render_mr(patient, planning_grid(patient))), "b").scan != own.scan


def test_no_patient_id_is_no_person(study):
    assert source_of(study, "a").person == study.patient
    assert source_of(replace(study, patient=pseudonym("", "P-")), "a").person == ""
    assert shared_people([Source("a", "x"), Source("b", "y")]) == []


def test_one_scan_under_two_groups_is_refused_and_named():
    sources = [Source("a", "x", "1"), Source("b", "y", "2"), Source("a", "x", "1")]
    assert shared_scans(sources) == []
    refuse_shared_scans(sources, Path("cohort"))
    twice = [*sources, Source("c", "x", "3"), Source("b", "z", "2")]
    assert shared_scans(twice) == [("a", "c")]
    with pytest.raises(CohortError, match="one planning MR under several patient groups: 'a' and 'c'"):
        refuse_shared_scans(twice, Path("cohort"))


def test_groups_of_one_patient_id_are_said_but_all_anonymous_ones_fill_no_page():
    (said,) = shared_people([Source("a", "x", "1"), Source("b", "y", "1"), Source("c", "z", "2")])
    assert "('a' and 'b')" in said
    (many,) = shared_people([Source(f"{n:02d}", str(n), "anonymous") for n in range(40)])
    assert many.count("'") == 10
    assert "and 35 more" in many
