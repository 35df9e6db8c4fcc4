"""Who is in a cohort, and in another: one person is not learned from and judged on; what lesions lack is said."""

from __future__ import annotations

import html
import shutil
from dataclasses import replace

import pydicom
import pytest
from comparisons import GRADIENT, SHORT, own_cohort, table, write_rows
from conftest import SMALL

from RTResponseCAMLib.cohort.importing import check_cohort
from RTResponseCAMLib.cohort.manifest import read_cohort
from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.evaluation.protocol import chosen_models
from RTResponseCAMLib.evaluation.store import read_cases
from RTResponseCAMLib.phantom.cohort import write_cohort
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.samples.radiomics import why_unavailable
from RTResponseCAMLib.workflow.evaluate import evaluate


@pytest.mark.slow
def test_a_copy_of_a_persons_scan_under_another_group_is_refused(small_cohort, tmp_path):
    cohort = own_cohort(small_cohort, tmp_path)
    rows = table(cohort / "manifest.csv")
    first = rows[0]["patient_group_id"]
    shutil.copytree(cohort / rows[0]["study"], cohort / "again")
    copied = [{**r, "patient_group_id": "again", "study": "again"} for r in rows if r["patient_group_id"] == first]
    write_rows(cohort, [*rows, *copied])
    with pytest.raises(CohortError, match=f"one planning MR under several patient groups: '{first}' and 'again'"):
        evaluate(cohort, tmp_path / "out", protocol=GRADIENT, workers=1)
    assert not (tmp_path / "out" / "folds").exists()
    (problem,) = check_cohort(cohort)["problems"]
    assert f"one planning MR under several patient groups: '{first}' and 'again'" in problem


@pytest.mark.slow
def test_a_patient_id_that_two_groups_share_is_said_and_an_external_copy_is_not_judged_on(small_cohort, tmp_path):
    cohort = own_cohort(small_cohort, tmp_path)
    rows = table(cohort / "manifest.csv")
    one, other = sorted({r["patient_group_id"] for r in rows})[:2]
    places = {r["patient_group_id"]: r["study"] for r in rows}
    known = next(p for p in (cohort / places[one]).rglob("*.dcm"))
    shared = pydicom.dcmread(known, stop_before_pixels=True).PatientID
    shutil.copytree(cohort / places[other], cohort / "renamed")
    for path in (cohort / "renamed").rglob("*.dcm"):
        data = pydicom.dcmread(path)
        data.PatientID = shared
        data.save_as(path)
    write_rows(cohort, [{**r, "study": "renamed"} if r["patient_group_id"] == other else r for r in rows])
    external = tmp_path / "external"
    external.mkdir()
    write_rows(
        external,
        [
            {**r, "patient_group_id": f"x-{r['patient_group_id']}", "study": str(small_cohort / r["study"])}
            for r in rows
        ],
    )
    out = tmp_path / "out"
    content = evaluate(cohort, out, protocol=GRADIENT, external=external, workers=1)
    (said,) = content.cohort.warnings
    assert f"'{one}' and '{other}'" in said
    assert "'x-" not in said  # nobody was judged there
    assert "one planning MR under several patient groups" in content.not_run["external cohort"]
    assert content.external is None
    text = html.unescape((out / "report.html").read_text())
    assert "hold one DICOM Patient ID" in text
    assert shared not in (out / "result.json").read_text() + text


@pytest.mark.slow
def test_lesions_without_a_dose_are_counted_and_the_others_keep_theirs(small_cohort, tmp_path):
    cohort = own_cohort(small_cohort, tmp_path)
    rows = table(cohort / "manifest.csv")
    first = rows[0]["patient_group_id"]
    shutil.copytree(cohort / rows[0]["study"], cohort / "bare")
    doses = [
        p
        for p in (cohort / "bare").rglob("*.dcm")
        if pydicom.dcmread(p, specific_tags=["Modality"]).Modality == "RTDOSE"
    ]
    assert doses
    for path in doses:
        path.unlink()
    bare = sum(r["patient_group_id"] == first for r in rows)
    write_rows(cohort, [{**r, "study": "bare"} if r["patient_group_id"] == first else r for r in rows])
    out = tmp_path / "out"
    names = ["dosiomics", "scale-space-dose"] if why_unavailable() is None else ["scale-space-dose"]
    content = evaluate(cohort, out, protocol=replace(SHORT, models=chosen_models(names)), workers=1)
    assert content.not_run == {}
    assert content.cohort.left_out == ()
    assert set(content.internal.approaches) == {"volume", "clinical", *names}
    said = {text.split(":")[0]: count for text, count in content.cohort.remarks.items()}
    assert said == dict.fromkeys(["dose", *names[:-1]], bare)
    lesions = read_cases(out / "lesions", read_cohort(cohort))
    assert [x.sample.patch.has_dose for x in lesions] == [r["patient_group_id"] != first for r in rows]
    assert f"{bare} lesion(s): dose: no dose" in (out / "report.html").read_text()
    # Nothing is said of what no approach that was asked for would have read.
    assert evaluate(cohort, tmp_path / "plain", protocol=GRADIENT, workers=1).cohort.remarks == {}


def test_an_external_cohort_of_the_same_people_is_refused(small_cohort, tmp_path):
    with pytest.raises(CohortError, match="6 patient group"):
        evaluate(small_cohort, tmp_path / "out", protocol=SHORT, external=small_cohort)


@pytest.mark.slow
def test_another_cohort_is_judged_and_the_first_is_not_lost_for_it(small_cohort, tmp_path):
    spec = PhantomSpec(seed=34, follow_up=False, **SMALL)
    others = tmp_path / "others"
    write_cohort(spec, 3, folder=others, variants=(Variant.DARKER,), workers=1, total=9)
    out = tmp_path / "out"
    content = evaluate(small_cohort, out, protocol=SHORT, external=others, workers=1)
    labels = [r.certain_label for r in read_cohort(others)]
    assert content.external.lesions == 9
    assert content.external.non_response == sum(labels)
    assert set(content.external.approaches) == set(content.internal.approaches)
    outside = [r for r in table(out / "approaches.csv") if r["cohort"] == "external"]
    assert {r["approach"] for r in outside} == {"volume", "clinical", "gradient", "scale-space"}
    assert "none of these patients was used in training" in (out / "report.html").read_text()
    # What cannot be judged on is refused before anything is read.
    manifest = (others / "manifest.csv").read_text().splitlines()
    place = manifest[0].split(",").index("label")
    lines = [line.split(",") for line in manifest]
    alike = [lines[0], *([*c[:place], "1", *c[place + 1 :]] for c in lines[1:])]
    (others / "manifest.csv").write_text("\n".join(",".join(c) for c in alike) + "\n")
    with pytest.raises(CohortError, match=r"of class\(es\) \[1\]"):
        evaluate(small_cohort, tmp_path / "none", protocol=SHORT, external=others)
    assert not (tmp_path / "none").exists()
