"""Self-test of the module in the application: the phantom study end to end, without download."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest


class SelfTest(ScriptedLoadableModuleTest):
    """Without PyTorch, the prediction test is skipped with a message. ``logic_class`` is the module's logic class."""

    logic_class: Any = None

    def setUp(self) -> None:
        """Clear the scene."""
        slicer.mrmlScene.Clear(False)

    def runTest(self) -> None:
        """Run all tests."""
        self.setUp()
        self.test_LoadSample()
        self.setUp()
        self.test_PredictAndContour()
        self.setUp()

    def test_LoadSample(self) -> None:
        """The sample is generated, read and shown; the panel's values agree with the plan."""
        self.delayDisplay("Load the sample")
        logic = self.logic_class()
        nodes = logic.loadSample()
        parameters = logic.getParameterNode()
        self.assertIs(parameters.mrVolume, nodes.mr)
        state = logic.state(parameters)
        self.assertEqual(state.problems, ())
        self.assertEqual(len(state.rows), 3)
        for row in state.rows:
            self.assertGreater(row.volume_cc, 0)
            self.assertGreater(row.coverage, 0.9)
            self.assertLess(row.d98_gy, row.mean_gy)
        self.delayDisplay("The sample was loaded")

    def test_PredictAndContour(self) -> None:
        """Every lesion gets a probability and evidence; a subregion becomes a segment; the result is exported."""
        from RTResponseCAMLib.device import REQUIRED, missing_packages

        missing = missing_packages(REQUIRED)
        if missing:
            self.delayDisplay(f"SKIPPED: prediction, subregion and export need {', '.join(missing)}")
            return
        self.delayDisplay("Predict")
        logic = self.logic_class()
        nodes = logic.loadSample()
        result = logic.predict()
        parameters = logic.getParameterNode()
        state = logic.state(parameters)
        self.assertEqual([row.id for row in state.rows], [p.lesion.id for p in result.predictions])
        self.assertEqual(dict(state.stale), {})
        low, high = parameters.camVolume.GetImageData().GetScalarRange()
        self.assertLess(low, high)
        subregions = logic.session.subregions
        voxels = subregions.voxels(parameters)
        threshold = voxels.peak / 2 if voxels.above(voxels.peak / 2).any() else float(voxels.evidence.min()) - 1
        segment_id = subregions.create(parameters, threshold, anyway=True)
        self.assertIsNotNone(nodes.lesions.GetSegmentation().GetSegment(segment_id))
        self.assertEqual(dict(logic.state(parameters).stale), {})
        with tempfile.TemporaryDirectory() as temporary_folder:
            logic.export(Path(temporary_folder) / "result")
            names = {path.name for path in (Path(temporary_folder) / "result").iterdir()}
            self.assertTrue({"result.json", "lesions.csv", "cam.nrrd", "scene.mrb"} <= names)
        self.delayDisplay("Prediction, subregion and export passed")
