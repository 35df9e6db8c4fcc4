"""The tests that CTest runs inside Slicer hold in the stand-in too, so that they cannot rot between releases."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

import pytest

pytest.importorskip("trame_slicer", reason="trame-slicer is not installed: no scene reader here")

import slicer
import slicer_host

from RTResponseCAMLib.scene.save import save_scene

from .conftest import MODULE

ROOT = Path(__file__).parents[3]


@pytest.mark.render
@pytest.mark.slow
def test_the_in_application_suite_passes_here(monkeypatch):
    host = slicer_host.start(render=True)
    host.load_module(MODULE)
    host.open_panel()
    monkeypatch.setattr(slicer.util, "saveScene", lambda path: save_scene(host.scene, Path(path)) is None)
    monkeypatch.setattr(slicer.util, "loadScene", lambda path: host.trame.io_manager.load_scene(Path(path)))
    monkeypatch.setattr(sys, "path", [str(ROOT / "Testing" / "Slicer"), *sys.path])
    suite = unittest.TestLoader().loadTestsFromName("RTResponseCAMPanelTest")
    host.warnings.records.clear()
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=2).run(suite)
    host.close()
    assert result.wasSuccessful(), [text for _, text in (*result.errors, *result.failures)]
    assert result.testsRun == 8
    said = [text for text in host.warnings.records if "WindowResizeEvent" not in text]  # of the views made here
    assert said == []
    assert [reason for _, reason in result.skipped] == ["reloading needs the main window"]
