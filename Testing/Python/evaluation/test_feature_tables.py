"""A table of features that the user brings is a model of its own; with labels it is cohort enough."""

from __future__ import annotations

import json

import numpy as np
import pytest
from comparisons import SHORT, own_cohort, table, write_rows

import RTResponseCAMLib
from RTResponseCAMLib.cli import BAD_INPUT, DONE, FAILED, main
from RTResponseCAMLib.errors import CohortError, OutputError, RTResponseError
from RTResponseCAMLib.evaluation.protocol import Protocol, chosen_models
from RTResponseCAMLib.samples.feature_table import read_feature_table
from RTResponseCAMLib.workflow.evaluate import evaluate


def brought(rows, signal=3.0, skip=()):
    """A table with one feature that tells, forty that do not, and a text of pyradiomics."""
    rng = np.random.default_rng(0)
    return [
        {
            "patient_group_id": r["patient_group_id"], "lesion": r["lesion"], "diagnostics_Versions": "3.0.1",
            "telling": f"{signal * int(r['label']) + rng.normal():.4f}",
            **{f"noise{n}": f"{rng.normal():.4f}" for n in range(40)},
        }
        for n, r in enumerate(rows) if n not in skip
    ]  # fmt: skip


def write_table(path, rows):
    names = list(rows[0])
    path.write_text("\n".join([",".join(names), *(",".join(r[n] for n in names) for r in rows)]) + "\n")
    return path


def bare_cohort(tmp_path, lesions=40, **more):
    """A cohort without any image: labels of forty patients, and a volume."""
    folder = tmp_path / "bare"
    folder.mkdir()
    rows = [
        {"patient_group_id": f"p{n:02d}", "course": "1", "lesion": "L", "label": str(n % 2), "label_source": "chart",
         "volume_cc": f"{0.5 + n / 20:.2f}", **more}
        for n in range(lesions)
    ]  # fmt: skip
    write_rows(folder, rows)
    return folder, rows


def test_labels_and_a_table_are_cohort_enough(tmp_path, capsys):
    cohort, rows = bare_cohort(tmp_path)
    path = write_table(tmp_path / "mine.csv", brought(rows))
    out = tmp_path / "out"
    line = [
        "evaluate",
        str(cohort),
        "--features",
        f"mine={path}",
        "--out",
        str(out),
        "--repeats",
        "1",
        "--workers",
        "1",
    ]
    assert main(["--quiet", *line]) == DONE
    said = capsys.readouterr().out
    assert "Table 'mine'" in said
    content = json.loads((out / "result.json").read_text())
    assert content["internal"]["approaches"]["mine"]["metrics"]["auc"]["value"] > 0.9
    assert {"mine", "volume", "clinical"} == set(content["internal"]["approaches"])
    assert "40 of 40 lesions lack a required input (images: none in the manifest)" in content["not_run"]["scale-space"]
    (telling,) = (c for c in content["features"]["mine"] if c["name"] == "telling")
    assert telling["folds"] == telling["of"] == 5
    assert not any("diagnostics" in c["name"] for c in content["features"]["mine"])
    assert "Table &#39;mine&#39;" in (out / "report.html").read_text()
    assert {r["approach"] for r in table(out / "predictions.csv")} == {"mine", "volume", "clinical"}


@pytest.mark.slow
def test_a_table_stands_beside_models_of_images_and_lacking_rows_are_counted(small_cohort, tmp_path):
    rows = table(small_cohort / "manifest.csv")
    path = write_table(tmp_path / "mine.csv", brought(rows, skip=(0, 4)))
    protocol = Protocol(
        models=chosen_models(["gradient"], ("mine",)), tables=("mine",), folds=2, repeats=1, settings=SHORT.settings
    )
    found = evaluate(small_cohort, tmp_path / "out", protocol=protocol, tables={"mine": path})
    assert set(found.internal.approaches) == {"volume", "clinical", "gradient", "mine"}
    assert found.cohort.remarks == {"mine: the table has no row for it": 2}
    assert found.internal.approaches["mine"].metrics["auc"].value > 0.7
    # Another table is another run.
    write_table(path, brought(rows, signal=0.0))
    with pytest.raises(OutputError, match="cells or files of manifest line"):
        evaluate(small_cohort, tmp_path / "out", protocol=protocol, tables={"mine": path})


def test_rows_without_images_are_refused_where_no_table_is_given(tmp_path):
    cohort, _ = bare_cohort(tmp_path, study="")
    with pytest.raises(CohortError, match="give either column study"):
        evaluate(cohort, tmp_path / "out", protocol=SHORT)


def test_a_table_of_other_lesions_is_refused(small_cohort, tmp_path):
    rows = [{**r, "patient_group_id": "someone"} for r in table(small_cohort / "manifest.csv")]
    for number, row in enumerate(rows):
        row["lesion"] = f"L{number}"
    path = write_table(tmp_path / "mine.csv", brought(rows))
    protocol = Protocol(models=chosen_models([], ("mine",)), tables=("mine",), folds=2, repeats=1)
    with pytest.raises(
        CohortError,
        match=r"contains no lesion of the table 'mine'; the first lesion of the table is \(someone, 1, L0\)",
    ):
        evaluate(small_cohort, tmp_path / "out", protocol=protocol, tables={"mine": path})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient_group_id,f\np,1\n", r"lacks the column\(s\) lesion"),
        ("patient_group_id,lesion\np,L\n", "holds no column of features"),
        ("patient_group_id,lesion,f,f\np,L,1,2\n", "names column.* f twice"),
        (
            "patient_group_id,lesion,f\np,L,1\np,L,2\n",
            "line 3: repeats lesion 'L' of patient 'p', course 1. Correct or remove",
        ),
        ("patient_group_id,lesion,f\np,L,inf\n", "line 2: column f is 'inf', expected 0 or a size of"),
        ("patient_group_id,lesion,f\np,L,red\n", "line 2: column f is 'red', expected a number"),
        ("patient_group_id,lesion,f,g\np,L,1,9,3,6\n", r"line 2: has 6 cells for 4 columns \(decimal commas"),
        ("patient_group_id,lesion,f,g\np,L,1\n", "line 2: has 3 cells for 4 columns"),
        ("patient_group_id;lesion;f\np;L;1\n", "delimited by semicolons, expected commas"),
        ("patient_group_id\tlesion\tf\np\tL\t1\n", "delimited by tabs, expected commas"),
        ("patient_group_id,lesion,f\np,L,1e300\n", "line 2: column f is '1e300', expected 0 or a size of"),
        ("patient_group_id,lesion,f\np,L,1e-310\n", "line 2: column f is '1e-310', expected 0 or a size of"),
    ],
)
def test_a_bad_table_is_named_with_its_line_and_column(tmp_path, text, message):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(CohortError, match=message):
        read_feature_table(path)


def test_empty_cells_are_gaps_and_courses_default_to_the_first(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("patient_group_id,course,lesion,f,g\np,2,L,1.5,\np,,M,,2\n")
    found = read_feature_table(path)
    assert set(found) == {("p", "2", "L"), ("p", "1", "M")}
    assert found["p", "2", "L"]["f"] == 1.5
    assert np.isnan(found["p", "2", "L"]["g"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["mine"], "is 'mine', expected NAME=table.csv"),
        (["a b=x.csv"], "Use letters, digits"),
        (["../x=x.csv"], "Use letters, digits"),
        (["volume=x.csv"], "two models are called 'volume'"),
        (["m=x.csv", "m=y.csv"], "two models are called 'm'"),
        (["m=absent.csv"], "absent.csv: cannot be read (No such file"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(small_cohort, tmp_path, capsys, given, message):
    cohort = own_cohort(small_cohort, tmp_path)
    options = [word for text in given for word in ("--features", text)]
    assert main(["--quiet", "evaluate", str(cohort), "--out", str(tmp_path / "out"), *options]) == BAD_INPUT
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"folds": 1}, "--folds: is 1, expected 2 or more"),
        ({"folds": "2"}, "--folds: is 2, expected 2 or more"),
        ({"repeats": 0}, "--repeats: is 0, expected 1 or more"),
        ({"seed": -1}, "--seed: is -1, expected 0 to"),
        ({"workers": 0}, "--workers: is 0"),
        ({"options": {"stepz": 3}}, "options: no model has stepz"),
        ({"options": {"steps": -5}}, "--steps: is -5, expected 10 to"),
        ({"options": {"steps": "x"}}, "--steps: is 'x', expected a whole number"),
        ({"models": "volume"}, "is the text 'volume', expected several names"),
        ({"tables": {"../../escaped": "x.csv"}}, "names a table '../../escaped'"),
    ],
)
def test_arguments_that_no_comparison_can_have_are_refused_before_anything_is_read(tmp_path, given, message):
    cohort, _ = bare_cohort(tmp_path)
    with pytest.raises(RTResponseError, match=message):
        RTResponseCAMLib.evaluate(cohort, tmp_path / "out", **{"models": ["volume"], **given})
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("folds/r0f0/mine.json", "{}"),
        ("folds/r0f0/mine.json", '{"test": [0]}'),
        ("run.json", "[]"),
        ("lesions/00000.json", "[1]"),
        ("lesions/00000.json", "{}"),
        ("lesions/00000.npz", None),
    ],
)
def test_a_damaged_file_of_a_comparison_is_named(tmp_path, name, content):
    cohort, rows = bare_cohort(tmp_path)
    path = write_table(tmp_path / "mine.csv", brought(rows))
    given = {"models": ["volume"], "tables": {"mine": path}, "folds": 2, "repeats": 1}
    RTResponseCAMLib.evaluate(cohort, tmp_path / "out", **given)
    damaged = tmp_path / "out" / name
    damaged.unlink()
    if content is not None:
        damaged.write_text(content)
    with pytest.raises(OutputError, match=f"{damaged.stem}.*is not a valid file of a comparison"):
        RTResponseCAMLib.evaluate(cohort, tmp_path / "out", **given)


def test_a_folder_that_cannot_be_written_is_said_with_what_to_do(tmp_path, capsys):
    cohort, rows = bare_cohort(tmp_path)
    path = write_table(tmp_path / "mine.csv", brought(rows))
    (tmp_path / "file").touch()
    line = ["evaluate", str(cohort), "--features", f"mine={path}", "--models", "volume, ", "--workers", "1"]
    assert main(["--quiet", *line, "--out", str(tmp_path / "file" / "x")]) == FAILED
    assert "Choose another --out" in capsys.readouterr().err
    (tmp_path / "there").mkdir()
    assert main(["--quiet", *line, "--out", str(tmp_path / "there")]) == BAD_INPUT
