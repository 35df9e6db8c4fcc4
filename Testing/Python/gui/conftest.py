"""One stand-in application per test file; each test begins with an empty scene and must leave the log clean."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed: no MRML here")
pytest.importorskip("PySide6", reason="PySide6 is not installed: no panel here")
sys.path.insert(0, str(Path(__file__).parents[1]))

import slicer_host

MODULE = Path(__file__).parents[3] / "RTResponseCAM" / "RTResponseCAM.py"


@pytest.fixture(scope="module")
def application():
    host = slicer_host.start()
    host.load_module(MODULE)
    yield host
    host.close()


@pytest.fixture
def host(application):
    application.scene.Clear(False)
    application.layouts.reset()
    application.warnings.records.clear()
    application.open_panel()
    yield application
    application.close_panel()
    assert application.warnings.records == []


@pytest.fixture
def panel(host):
    return host.widget


@pytest.fixture(scope="session")
def opened(study_folder):
    from RTResponseCAMLib.workflow.sample import open_study

    return open_study(study_folder / "dicom")


@pytest.fixture
def loaded(panel, opened):
    panel.logic.show_study(opened, panel.parameters)
    panel.refresh()
    return panel


@pytest.fixture(scope="session")
def known_result(study, bundle_folder):
    """The result of the study, computed once: what `compute` gives for it."""
    from RTResponseCAMLib.models.bundle import load_bundle
    from RTResponseCAMLib.workflow.predict import predict_study

    return predict_study(study, load_bundle(bundle_folder, "cpu"))


@pytest.fixture
def predicted(loaded, known_result):
    """The panel after a prediction; `test_the_panel_predicts_what_the_library_predicts` holds that it is this one."""
    from RTResponseCAMLib.gui.events import drawn_once

    session = loaded.logic.session
    task = session.prepare(loaded.parameters)
    with drawn_once():
        session.show(task, replace(known_result, study=task.study), parameters=loaded.parameters)
        session.display.center(loaded.parameters)
    loaded.refresh()
    return loaded
