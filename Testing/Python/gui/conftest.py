"""One stand-in application per test file; each test begins with an empty scene and must leave the log clean."""

from __future__ import annotations

import sys
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
    panel.logic.showStudy(opened, panel.parameters)
    panel.refresh()
    return panel


@pytest.fixture
def predicted(loaded):
    loaded.logic.predict()
    loaded.refresh()
    return loaded
