"""Whoever adds a model, importer, command, warning or export format writes one thing and registers it, and it works."""

from __future__ import annotations

import ast
import json
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from comparisons import SHORT, table
from fitted import sample_of
from matplotlib.colors import to_rgb
from toy import TOY
from typer import Argument

from RTResponseCAMLib.cli import BAD_INPUT, DONE, main
from RTResponseCAMLib.cli.application import register as register_command
from RTResponseCAMLib.cli.application import unregister as unregister_command
from RTResponseCAMLib.cli.command import Command
from RTResponseCAMLib.cohort.importers import register_importer, unregister_importer
from RTResponseCAMLib.cohort.manifest import CohortRow, read_cohort
from RTResponseCAMLib.dicom.export_formats import ExportFormat, register_format, unregister_format
from RTResponseCAMLib.dicom.write_images import parametric_map
from RTResponseCAMLib.errors import CohortError, ModelError, OutputError, RTResponseError
from RTResponseCAMLib.models.bundle import load_bundle
from RTResponseCAMLib.models.registry import entries, register, unregister
from RTResponseCAMLib.progress import Progress
from RTResponseCAMLib.report import comparison_figures
from RTResponseCAMLib.warnings import WarningCode
from RTResponseCAMLib.workflow.evaluate import evaluate
from RTResponseCAMLib.workflow.predict import predict_study
from RTResponseCAMLib.workflow.train import train_bundle

LIBRARY = Path(__file__).parents[3] / "RTResponseCAMLib"
UPPER = ("evaluation", "cam", "report", "scene", "gui", "workflow", "cli")


@pytest.fixture
def toy():
    register(TOY)
    yield TOY
    unregister(TOY.name)


@pytest.fixture
def toy_bundle(toy, small_cohort, tmp_path):
    assert main(["--quiet", "train", str(small_cohort), "--model", "toy", "--out", str(tmp_path / "toy")]) == DONE
    return tmp_path / "toy"


def test_a_model_of_twenty_lines_is_trained_and_loaded_and_its_maps_are_checked(toy_bundle, patches):
    card = json.loads((toy_bundle / "model.json").read_text())
    assert card["model"] == "toy"
    assert card["preprocessing"]["dose"] is False
    assert {"noise", "shift", "deletion", "rim_share", "seed_to_seed"} <= set(card["checks"])
    assert "randomized_abs_rho" not in card["checks"]  # it has no weights to draw anew
    bundle = load_bundle(toy_bundle)
    for patch in patches:
        (found,) = bundle.predict([sample_of(patch)])
        assert float(found.map.sum(dtype=np.float64)) + found.bias == pytest.approx(found.total, abs=1e-4)


@pytest.mark.slow
def test_it_predicts_a_study_with_report_and_scene(toy_bundle, study_folder, tmp_path):
    out = tmp_path / "out"
    line = ["predict", str(study_folder / "dicom"), "--model", str(toy_bundle), "--out", str(out)]
    assert main(["--quiet", *line]) == DONE
    content = json.loads((out / "result.json").read_text())
    for lesion in content["lesions"]:
        assert lesion["p_response_interval"] == [lesion["p_response"]] * 2
        assert "no-interval" in [warning["code"] for warning in lesion["warnings"]]
    assert (out / "scene.mrb").stat().st_size > 0
    assert "data:image/png" in (out / "report.html").read_text()
    cam = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "cam.nrrd")))
    assert cam.min() < 0 < cam.max()


@pytest.mark.slow
def test_it_is_compared_with_the_others_in_its_color(toy, small_cohort, tmp_path, monkeypatch):
    figures = []
    drawn = comparison_figures.plot_curves
    monkeypatch.setattr(
        "RTResponseCAMLib.report.comparison.plot_curves",
        lambda found, **given: figures.append(drawn(found, **given)) or figures[-1],
    )
    protocol = replace(SHORT, models=("volume", "clinical", "toy"))
    comparison = evaluate(small_cohort, tmp_path / "out", protocol=protocol)
    assert comparison.internal.approaches["toy"].metrics["auc"].value is not None
    assert {r["approach"] for r in table(tmp_path / "out" / "predictions.csv")} == {"volume", "clinical", "toy"}
    text = (tmp_path / "out" / "report.html").read_text()
    assert "Toy of the tests" in text
    assert "Evidence of held-out lesions" in text or "Evidence maps of held-out lesions" in text
    lines = {line.get_label(): line.get_color() for line in figures[0].axes[0].lines}
    (color,) = (color for label, color in lines.items() if str(label).startswith("Toy of the tests"))
    assert to_rgb(color) == to_rgb("#123456")


def test_two_models_of_one_name_are_refused(toy):
    with pytest.raises(ModelError, match="two models are called 'toy'"):
        register(TOY)
    with pytest.raises(ModelError, match="two models are called 'volume'"):
        register(replace(TOY, name="volume"))


@pytest.mark.slow
def test_a_model_without_maps_is_trained_but_shows_nothing_and_says_so(small_cohort, study, tmp_path):
    train_bundle(small_cohort, tmp_path / "volume", name="volume", options={}, card={"name": "volume alone"})
    bundle = load_bundle(tmp_path / "volume")
    assert bundle.inputs.families == ("volume",)
    with pytest.raises(ModelError, match="'volume alone' gives no evidence map"):
        predict_study(study, bundle)


@pytest.mark.slow
def test_a_model_whose_features_a_study_lacks_is_refused_with_the_reason(toy_bundle, study, tmp_path, monkeypatch):
    card = json.loads((toy_bundle / "model.json").read_text())
    card["preprocessing"]["families"] = ["radiomics"]
    (toy_bundle / "model.json").write_text(json.dumps(card))
    monkeypatch.setattr("RTResponseCAMLib.samples.radiomics.why_unavailable", lambda: "pyradiomics is not installed")
    with pytest.raises(
        RTResponseError, match=r"ROI '.*': lacks radiomics, which model .* pyradiomics is not installed"
    ):
        predict_study(study, load_bundle(toy_bundle))


def test_no_package_above_the_models_names_one_of_them():
    """By a text that is its name; the registry alone knows them."""
    families = {family for entry in entries() for family in entry.requires.families}
    names = {entry.name for entry in entries()} - families
    assert {"scale-space", "scale-space-dose", "radiomics-filters"} <= names
    found = [
        (path.relative_to(LIBRARY).as_posix(), node.value)
        for package in UPPER
        for path in (LIBRARY / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert found == []


def test_an_importer_is_one_function_and_its_name(small_cohort, tmp_path, capsys):
    def importer(source: Path, progress: Progress) -> tuple[list[CohortRow], list[str]]:
        return list(read_cohort(source))[:3], ["three lesions are enough"]

    register_importer("toy-data", importer)
    try:
        line = ["cohort", "import", "toy-data", str(small_cohort), "--out", str(tmp_path / "out")]
        assert main(["--quiet", *line]) == DONE
        assert "3 lesions" in capsys.readouterr().out
        assert len(read_cohort(tmp_path / "out")) == 3
        with pytest.raises(CohortError, match="two importers have this name"):
            register_importer("toy-data", importer)
    finally:
        unregister_importer("toy-data")
    assert main(["--quiet", *line[:-1], str(tmp_path / "again")]) == BAD_INPUT
    assert "is not a known data set" in capsys.readouterr().err


def test_a_command_is_one_function_with_its_options(capsys):
    def greet(name: Annotated[str, Argument()], *, progress: Progress) -> None:
        progress(0.5, "thinking")
        if name == "nobody":
            raise RTResponseError("greet", "there is nobody to greet", "Name somebody")
        print(f"hello {name}")

    command = Command("greet", "say hello", greet)
    register_command(command)
    try:
        assert main(["greet", "physicist"]) == DONE
        assert capsys.readouterr().out == "hello physicist\n"
        assert main(["greet", "nobody"]) == BAD_INPUT
        assert capsys.readouterr().err == "error: greet: there is nobody to greet. Name somebody.\n"
        assert main(["--help"]) == DONE
        assert "say hello" in capsys.readouterr().out
        with pytest.raises(RTResponseError, match="two commands are called 'greet'"):
            register_command(command)
        with pytest.raises(RTResponseError, match="two commands are called 'cohort check'"):
            register_command(Command("check", "", greet, "cohort"))
    finally:
        unregister_command(command)


@pytest.mark.slow
def test_an_export_format_is_one_writer_and_its_name(study_folder, tmp_path):
    pytest.importorskip("highdicom", reason="highdicom is not installed: no Parametric Map to derive the toy from")

    def make(given):
        data = parametric_map(given.source_series, given.cam, scale=given.scale, version="toy")
        data.SeriesDescription = "toy"
        return data, (WarningCode.NO_SUBREGION(),)

    added = ExportFormat("toy", "TOY.dcm", make, needs_regions=False)
    register_format(added)
    try:
        line = ["export", str(study_folder / "dicom"), "--format", "toy", "--out", str(tmp_path / "out")]
        assert main(["--quiet", *line]) == DONE
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["TOY.dcm"]
        assert pydicom.dcmread(tmp_path / "out" / "TOY.dcm").SeriesDescription == "toy"
        with pytest.raises(OutputError, match="two formats are called 'toy'"):
            register_format(added)
    finally:
        unregister_format("toy")


@pytest.mark.slow
def test_a_warning_is_one_row_with_its_effects(study, shipped, monkeypatch):
    """The table with a row more, as a module of its own: everything that looks at effects heeds it."""
    source = (LIBRARY / "warnings.py").read_text()
    place = source.index("    UNREADABLE_FILE =")
    row = '    TOY = "toy-warning", SERIOUS, "{count} toy(s) lie in the scan", NO_CLASS\n'
    module = types.ModuleType("warnings_with_a_row_more")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look there
    exec(compile(source[:place] + row + source[place:], "warnings.py", "exec"), vars(module))
    said = module.WarningCode.TOY(count=2)
    found = predict_study(replace(study, warnings=(*study.warnings, said)), shipped)
    assert all(p.label == "indeterminate" for p in found.predictions)
    assert "serious: 2 toy(s) lie in the scan" in [w.labeled() for w in found.warnings]
    assert {p.label for p in predict_study(study, shipped).predictions} != {"indeterminate"}
