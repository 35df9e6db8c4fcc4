"""A comparison end to end: nothing leaks, what was interrupted goes on, what changed is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from comparisons import SHORT, own_cohort, table
from conftest import SMALL

from RTResponseCAMLib.cli import main
from RTResponseCAMLib.cohort.manifest import read_cohort
from RTResponseCAMLib.errors import CohortError, OutputError
from RTResponseCAMLib.evaluation.protocol import chosen_models
from RTResponseCAMLib.evaluation.run import check_labels, evaluated, not_runnable, outer_folds, predict_fold
from RTResponseCAMLib.evaluation.store import read_cases
from RTResponseCAMLib.evaluation.summary import collect_results
from RTResponseCAMLib.models.logistic import feature_names, feature_table
from RTResponseCAMLib.models.registry import entries, entry_of
from RTResponseCAMLib.models.scale_space.model import without_patients
from RTResponseCAMLib.models.scale_space.preparation import PreparedLesion
from RTResponseCAMLib.phantom.cohort import lesion_counts, write_cohort
from RTResponseCAMLib.phantom.spec import PhantomSpec, Variant
from RTResponseCAMLib.samples.build import SampleSettings
from RTResponseCAMLib.samples.cohort import sample_case
from RTResponseCAMLib.samples.radiomics import read_settings, why_unavailable
from RTResponseCAMLib.workflow.evaluate import _gallery, _tasks, evaluate


@pytest.fixture(scope="session")
def compared(small_cohort, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    evaluate(small_cohort, out, protocol=SHORT, workers=1)
    return out


@pytest.mark.slow
def test_every_lesion_is_tested_once_by_every_arm_and_the_baselines_are_always_there(small_cohort, compared):
    rows = table(compared / "predictions.csv")
    wanted = sorted((r.patient_group, r.lesion) for r in read_cohort(small_cohort))
    for arm in ("volume", "clinical", "gradient", "scale-space"):
        mine = [r for r in rows if r["approach"] == arm]
        assert sorted((r["patient_group_id"], r["lesion"]) for r in mine) == wanted
        assert all(0 <= float(r["p_non_response"]) <= 1 for r in mine)
        tested = {r["fold"]: {x["patient_group_id"] for x in mine if x["fold"] == r["fold"]} for r in mine}
        assert len(tested) == 2
        assert not set.intersection(*tested.values())
    content = json.loads((compared / "result.json").read_text())
    assert set(content["internal"]["approaches"]) == {"volume", "clinical", "gradient", "scale-space"}
    assert len(content["internal"]["differences"]) == 6
    names = {r["cohort"] for r in table(compared / "approaches.csv")}
    assert names == {"internal"}


def test_the_report_is_one_file_that_says_what_it_is(compared):
    text = (compared / "report.html").read_text()
    assert "Research use only" in text
    assert "synthetic lesions, not a clinical result" in text
    assert text.count("data:image/png;base64,") == 3
    assert "http:" not in text  # with the colon: a picture's base64 may spell the rest
    assert "https:" not in text
    for name, count in (("TRIPOD+AI", 52), ("METRICS", 30), ("CLEAR", 58)):
        items = table(compared / f"{name}.csv")
        assert len(items) == count
        assert {i["status"] for i in items} == {"filled", "open"}
        assert not any("{" in i["answer"] for i in items)


def test_a_run_goes_on_where_it_was_and_comes_to_the_same_end(small_cohort, compared, tmp_path):
    out = Path(shutil.copytree(compared, tmp_path / "out"))
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.parent.name in ("r0f0", "r0f1", "lesions")}
    lost = out / "folds" / "r0f1" / "gradient.json"
    old = json.loads(lost.read_text())
    lost.unlink()
    (out / "result.json").unlink()
    evaluate(small_cohort, out, protocol=SHORT, workers=1)
    assert {p for p, t in before.items() if p.stat().st_mtime_ns != t} == {lost}
    new = json.loads(lost.read_text())
    assert {k: v for k, v in new.items() if k != "seconds"} == {k: v for k, v in old.items() if k != "seconds"}
    one, other = (json.loads((f / "result.json").read_text())["internal"]["approaches"] for f in (compared, out))
    assert {k: v["metrics"] for k, v in one.items()} == {k: v["metrics"] for k, v in other.items()}


@pytest.mark.slow
def test_a_killed_run_leaves_whole_files_and_goes_on(small_cohort, compared, tmp_path):
    out = tmp_path / "out"
    line = ["evaluate", str(small_cohort), "--out", str(out), "--models", "gradient,scale-space", "--folds", "2"]
    line += ["--repeats", "1", "--steps", "20", "--workers", "1"]
    process = subprocess.Popen([sys.executable, "-m", "RTResponseCAMLib.cli", *line], start_new_session=True)
    until = time.monotonic() + 120
    while not list(out.glob("folds/*/scale-space.json")) and time.monotonic() < until:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {p: p.stat().st_mtime_ns for p in out.glob("folds/*/*.json")} | {
        p: p.stat().st_mtime_ns for p in out.glob("lesions/[0-9]*.json")
    }
    assert done
    time.sleep(2.5)  # the worker notices that its parent is gone
    assert main(["--quiet", *line]) == 0
    assert all(p.stat().st_mtime_ns == t for p, t in done.items())
    assert not list(out.rglob(".*.partial")) or all("r0f" in str(p) for p in out.rglob(".*.partial"))
    one, other = (json.loads((f / "result.json").read_text())["internal"]["approaches"] for f in (compared, out))
    assert one["scale-space"]["metrics"]["auc"] == other["scale-space"]["metrics"]["auc"]


def test_a_cohort_that_changed_since_is_not_resumed(small_cohort, compared, tmp_path):
    out = Path(shutil.copytree(compared, tmp_path / "out"))
    cohort = own_cohort(small_cohort, tmp_path)
    text = (cohort / "manifest.csv").read_text().splitlines()
    cells = text[2].split(",")
    place = text[0].split(",").index("volume_ratio")
    (cohort / "manifest.csv").write_text(
        "\n".join([*text[:2], ",".join([*cells[:place], "0.5", *cells[place + 1 :]]), *text[3:]]) + "\n"
    )
    with pytest.raises(OutputError, match=r"line\(s\) 3 have changed since; it is not resumed"):
        evaluate(cohort, out, protocol=SHORT)
    (cohort / "manifest.csv").write_text("\n".join(text[:-1]) + "\n")
    with pytest.raises(OutputError, match="a cohort of 18 rows; it has 17 now"):
        evaluate(cohort, out, protocol=SHORT)
    with pytest.raises(OutputError, match="another protocol: seed 0 → 1"):
        evaluate(small_cohort, out, protocol=replace(SHORT, seed=1))
    assert (out / "result.json").is_file()
    run = json.loads((out / "run.json").read_text())
    run["program"] = re.sub(r"\d+$", "1", run["program"])
    (out / "run.json").write_text(json.dumps(run))
    with pytest.raises(OutputError, match=r"another program: .* schema 1' → .* schema"):
        evaluate(small_cohort, out, protocol=SHORT)
    (tmp_path / "other").mkdir()
    with pytest.raises(OutputError, match="is not a comparison"):
        evaluate(small_cohort, tmp_path / "other", protocol=SHORT)


@pytest.mark.parametrize(
    ("label", "folds", "message"),
    [("1", 2, "expected both 0 and 1"), (None, 7, "fewer than 7 folds"), ("", 2, "no lesion with a certain label")],
)
def test_a_cohort_that_cannot_be_compared_is_refused_before_anything_is_read(
    small_cohort, tmp_path, label, folds, message
):
    cohort = own_cohort(small_cohort, tmp_path)
    if label is not None:
        lines = [line.split(",") for line in (cohort / "manifest.csv").read_text().splitlines()]
        place = lines[0].index("label")
        text = [lines[0], *([*c[:place], label, *c[place + 1 :]] for c in lines[1:])]
        (cohort / "manifest.csv").write_text("\n".join(",".join(c) for c in text) + "\n")
    with pytest.raises(CohortError, match=message):
        evaluate(cohort, tmp_path / "out", protocol=replace(SHORT, folds=folds))
    assert not (tmp_path / "out").exists()


def test_the_gallery_shows_whose_maps_lie_farthest_from_the_cut(small_cohort, compared, tmp_path):
    out = Path(shutil.copytree(compared, tmp_path / "out"))
    lesions = read_cases(out / "lesions", read_cohort(small_cohort))
    for path in out.glob("folds/*/scale-space.json"):
        found = json.loads(path.read_text())
        found["threshold"], found["p"] = 0.3, [0.31 + 0.01 * n for n in range(len(found["p"]))]
        path.write_text(json.dumps(found))
    tasks = _tasks(out, lesions, SHORT, {}, False)
    gallery = _gallery(lesions, tasks, SHORT)
    assert {(entry["threshold"], entry["right"]) for entry in gallery} == {(0.3, True), (0.3, False)}
    for label in (0, 1):
        shown = [entry["p"] for entry in gallery if entry["label"] == label]
        held_out = [
            0.31 + 0.01 * n
            for path in out.glob("folds/*/scale-space.json")
            for n, i in enumerate(json.loads(path.read_text())["test"])
            if lesions[i].row.label == label
        ]
        assert shown == pytest.approx(sorted(held_out)[:-4:-1])


@pytest.mark.slow
def test_to_begin_anew_is_to_begin_anew(small_cohort, compared, tmp_path):
    out = Path(shutil.copytree(compared, tmp_path / "out"))
    (out / "lesions" / "mark").touch()
    evaluate(small_cohort, out, protocol=SHORT, workers=1)
    assert (out / "lesions" / "mark").is_file()
    evaluate(small_cohort, out, protocol=SHORT, workers=1, overwrite=True)
    assert not (out / "lesions" / "mark").exists()


def test_other_libraries_are_another_run(small_cohort, compared, tmp_path):
    out = Path(shutil.copytree(compared, tmp_path / "out"))
    run = json.loads((out / "run.json").read_text())
    run["libraries"]["pyradiomics"] = "0.0"
    (out / "run.json").write_text(json.dumps(run))
    with pytest.raises(OutputError, match=r"another libraries: pyradiomics '0\.0' → "):
        evaluate(small_cohort, out, protocol=SHORT)


def test_a_stored_lesion_still_knows_the_voxels_of_its_mr(small_cohort, compared):
    lesions = read_cases(compared / "lesions", read_cohort(small_cohort))
    assert len(lesions) == 18
    assert all(x.sample.patch.mr_spacing_mm == pytest.approx(SMALL["spacing_mm"]) for x in lesions)


@pytest.mark.slow
def test_nothing_is_learnt_from_those_who_are_tested(small_cohort, compared):
    """Images, features and labels of the test fold changed beyond recognition, an unlabeled lesion's too."""
    lesions = read_cases(compared / "lesions", read_cohort(small_cohort))
    first = outer_folds(lesions, SHORT)[0]
    hidden = int(first.test[0])  # of a tested patient, without a label
    lesions[hidden] = relabeled(lesions[hidden], None)
    fold = replace(first, test=first.test[1:])
    assert any(lesions[i].row.patient_group == lesions[hidden].row.patient_group for i in fold.test)

    def learned(use):
        found = []
        for entry in SHORT.entries():
            train, test = fold.train.tolist(), fold.test.tolist()
            content, _ = predict_fold(entry, use, train=train, others=use, test=test, protocol=SHORT, fold=fold)
            found.append((content["threshold"], content["chosen"], content["p"]))
        return found

    def disturbed(lesion):
        sample = lesion.sample
        features = {k: {n: -7 * v + 3 for n, v in values.items()} for k, values in sample.features.items()}
        patch = replace(sample.patch, mr=5 - 3 * sample.patch.mr)
        changed = replace(lesion, sample=replace(sample, features=features, patch=patch))
        return relabeled(changed, None if lesion.row.label is None else 1 - lesion.row.label)

    tested = {hidden, *fold.test.tolist()}
    one, other = learned(lesions), learned([disturbed(x) if i in tested else x for i, x in enumerate(lesions)])
    assert [x[:2] for x in one] == [x[:2] for x in other]
    assert [x[2] for x in one] != [x[2] for x in other]


def relabeled(lesion, label):
    return replace(lesion, row=replace(lesion.row, label=label), sample=replace(lesion.sample, label=label))


def test_inner_folds_do_not_learn_from_whom_they_test():
    labeled = zip("aabbc", [1, None, 0, 1, None], strict=True)
    lesions = [PreparedLesion(*[torch.zeros(1, 1)] * 3, np.ones(1), 1.0, label, group) for group, label in labeled]
    assert [x.group for x in without_patients(lesions, {"a", "c"})] == ["b", "b"]


def test_too_few_patients_for_inner_folds_are_told_so_at_once(small_cohort, tmp_path):
    rows = [replace(r, label=0) for r in read_cohort(small_cohort)]
    for group in sorted({r.patient_group for r in rows})[:2]:
        at = next(i for i, r in enumerate(rows) if r.patient_group == group)
        rows[at] = replace(rows[at], label=1)
    with pytest.raises(CohortError, match=r"leaves 1 patient\(s\) of the rarer class .*; 1 case\(s\) could not be"):
        check_labels(rows, SHORT, path=tmp_path, left_out=["manifest line(s) 4 left out: broken"])


def test_indeterminate_lesions_are_not_judged_unless_asked_for(small_cohort, compared):
    rows = read_cohort(small_cohort)
    lesions = read_cases(compared / "lesions", rows)
    blurred = [
        replace(x, row=replace(x.row, certainty="indeterminate")) if i in (0, 5) else x for i, x in enumerate(lesions)
    ]
    assert set(range(18)) - set(evaluated(blurred, SHORT)) == {0, 5}
    assert evaluated(blurred, replace(SHORT, indeterminate="as-labeled")) == list(range(18))
    for fold in outer_folds(blurred, SHORT):
        assert not {0, 5} & {*fold.train.tolist(), *fold.test.tolist()}


def test_a_model_that_lacks_its_inputs_is_not_run_and_says_why(small_cohort, compared, monkeypatch):
    lesions = read_cases(compared / "lesions", read_cohort(small_cohort))
    protocol = replace(SHORT, models=tuple(entry.name for entry in entries()))
    monkeypatch.setattr("RTResponseCAMLib.samples.radiomics.why_unavailable", lambda: "pyradiomics is not installed")
    reasons = not_runnable(lesions, protocol)
    assert reasons["radiomics"] == reasons["delta"] == "pyradiomics is not installed"
    assert "scale-space-dose" not in reasons
    bare = [changed(x, patch=replace(x.sample.patch, has_dose=False), missing={"dose": "none at all"}) for x in lesions]
    assert (
        "18 of 18 lesions lack a required input (dose: none at all)" in not_runnable(bare, protocol)["scale-space-dose"]
    )


def changed(lesion, **parts):
    return replace(lesion, sample=replace(lesion.sample, **parts))


def test_missing_features_are_gaps_in_the_table(small_cohort, compared):
    samples = [x.sample for x in read_cases(compared / "lesions", read_cohort(small_cohort))]
    families = entry_of("gradient").requires.families
    names = feature_names(families, samples)
    assert len(names) == 90
    gap = replace(samples[0], features={k: v for k, v in samples[0].features.items() if k != "gradient"})
    found = feature_table(families, names, samples=[gap, samples[1]])
    assert np.isnan(found[0]).all()
    assert found[1].tolist() == [pytest.approx(samples[1].features["gradient"][n], nan_ok=True) for n in names]


def test_repeats_are_told_apart_and_a_hole_is_noticed():
    parts = [{"test": [1, 3], "p": [0.1, 0.3], "threshold": 0.5}, {"test": [7], "p": [0.7], "threshold": 0.4}] * 2
    p, cut, folds = collect_results({"a": parts}, [1, 3, 7])["a"]
    assert p.tolist() == [[0.1, 0.3, 0.7]] * 2
    assert cut.tolist() == [[0.5, 0.5, 0.4]] * 2
    assert folds.tolist() == [[0, 0, 1], [2, 2, 3]]
    with pytest.raises(ValueError, match="does not test all lesions"):
        collect_results({"a": parts[:1]}, [1, 3, 7])
    with pytest.raises(ValueError, match="tested before"):
        collect_results({"a": [parts[0], parts[0]]}, [1, 3, 7])


def test_the_phantoms_lesions_add_up_to_what_was_asked_for():
    counts = lesion_counts(5, 39, total=69)
    assert sum(counts) == 69
    assert len(counts) == 39
    assert min(counts) >= 1
    assert max(counts) <= 5
    with pytest.raises(Exception, match="is 20 lesions for 39 patients"):
        lesion_counts(5, 39, total=20)


def test_unknown_models_are_refused():
    with pytest.raises(CohortError, match=r"unknown model\(s\) svm"):
        chosen_models(["svm"])


@pytest.mark.slow
@pytest.mark.skipif(why_unavailable() is not None, reason="pyradiomics is absent (make radiomics)")
def test_delta_features_come_from_the_scan_before_the_labels_visit_and_from_no_other(tmp_path):
    spec = PhantomSpec(seed=12, lesions=1, variant=Variant.DARKER, mid_treatment=True, **SMALL)
    write_cohort(spec, 1, folder=tmp_path / "both", variants=(Variant.DARKER,))
    rows = read_cohort(tmp_path / "both")
    settings = SampleSettings(families=("clinical", "radiomics", "delta"), radiomics=read_settings())
    found = sample_case(rows, [2], settings=settings)[0].sample
    assert len(found.features["delta"]) == 107
    # The label's own visit shows the answer: without the scan of day 30 there is nothing that may be used.
    shutil.rmtree(tmp_path / "both" / "P0001" / "dicom" / "mid_treatment")
    bare = sample_case(rows, [2], settings=settings)[0].sample
    assert "delta" not in bare.features
    assert "no scan between the plan and 20 days before" in bare.missing["delta"]
    later = [replace(rows[0], days_to_follow_up=None)]
    assert found.features["clinical"]["clinical_lesions"] == 2
    assert "is unknown" in sample_case(later, [2], settings=settings)[0].sample.missing["delta"]
