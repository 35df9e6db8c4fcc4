"""The panel inside the application: what only Slicer itself can show. Run by CTest, or with slicer.testing.runUnitTest.

What PyTorch's absence prevents is skipped, and said so.
"""

import logging
import tempfile
import unittest
from pathlib import Path

import slicer


def _torch():
    from importlib.util import find_spec

    return find_spec("torch") is not None


class _Log(logging.Handler):
    """Warnings and errors of Python's log, which Slicer shows in its error log."""

    def __init__(self):
        logging.Handler.__init__(self, logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


class RTResponseCAMPanelTest(unittest.TestCase):
    """Each test begins with an empty scene and the module entered."""

    def setUp(self):
        slicer.mrmlScene.Clear(False)
        if slicer.util.mainWindow() is not None:
            slicer.util.selectModule("RTResponseCAM")
        self.panel = slicer.util.getModuleWidget("RTResponseCAM")
        self.panel.enter()
        self.log = _Log()
        logging.getLogger().addHandler(self.log)

    def tearDown(self):
        logging.getLogger().removeHandler(self.log)
        slicer.mrmlScene.Clear(False)
        slicer.app.processEvents()
        self.assertEqual(self.log.messages, [])

    def backgrounds(self):
        """Background volumes of the slice views; none without a main window."""
        return [node.GetBackgroundVolumeID() for node in self.composites()]

    def composites(self):
        """Composite nodes of the slice views; none without a main window."""
        return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")

    def loadSample(self):
        self.panel.ui.loadSampleButton.click()
        self.assertTrue(self.panel.busy)
        self.panel.waitUntilDone()
        self.assertIsNotNone(self.panel.parameters.mrVolume)

    def predict(self):
        if not _torch():
            self.skipTest("PyTorch is not installed: nothing can be predicted here")
        self.panel.ui.predictButton.click()
        self.panel.waitUntilDone()
        self.assertIsNotNone(self.panel.parameters.camVolume, self.panel.ui.staleLabel.text)

    def test_EmptyScene(self):
        self.assertFalse(self.panel.ui.predictButton.enabled)
        self.assertNotEqual(self.panel.ui.predictButton.toolTip, "")
        self.assertIn("Research use only", self.panel.ui.researchLabel.text)

    def test_SampleIsShown(self):
        self.loadSample()
        self.assertEqual(self.panel.ui.lesionTable.rowCount, 3)
        self.assertEqual(self.panel.ui.mrSelector.currentNode(), self.panel.parameters.mrVolume)
        if self.composites():
            self.assertIn(self.panel.parameters.mrVolume.GetID(), self.backgrounds())

    def test_CancelledSampleLeavesNothing(self):
        nodes = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
        self.panel.ui.loadSampleButton.click()
        self.panel.ui.loadSampleButton.click()
        self.panel.waitUntilDone()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"), nodes)

    def test_PredictLookContourExport(self):
        self.loadSample()
        self.predict()
        panel = self.panel
        self.assertEqual(panel.ui.staleLabel.text, "")
        panel.ui.opacitySlider.value = 0.4
        for composite in self.composites():
            self.assertAlmostEqual(composite.GetForegroundOpacity(), 0.4, 5)
        panel.ui.sideBySideButton.checked = True
        if self.composites() and slicer.app.layoutManager() is not None:
            self.assertIn("RTREvidence", slicer.app.layoutManager().sliceViewNames())
        panel.ui.sideBySideButton.checked = False
        panel.ui.subregionSlider.value = -0.5
        panel.ui.createSegmentButton.click()
        self.assertEqual(panel.parameters.segmentation.GetSegmentation().GetNumberOfSegments(), 4)
        panel.refresh()
        self.assertEqual(panel.ui.staleLabel.text, "")
        with tempfile.TemporaryDirectory() as place:
            panel.ui.exportPathLineEdit.currentPath = place
            panel.refresh()
            panel.ui.exportButton.click()
            panel.waitUntilDone()
            self.assertTrue((Path(place) / "RTResponseCAM result" / "scene.mrb").is_file())

    def offsets(self):
        """Slice offsets of the axial views that are shown, by name; none without a main window."""
        layout = slicer.app.layoutManager()
        names = layout.sliceViewNames() if layout is not None else ()
        views = [slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in names]
        return {view.GetName(): view.GetSliceOffset() for view in views if view.GetOrientation() == "Axial"}

    def rows(self):
        """The texts of the table of lesions."""
        table = self.panel.ui.lesionTable
        return [[table.item(row, column).text() for column in range(8)] for row in range(table.rowCount)]

    def editedSegment(self):
        """Name of the segment that the Segment Editor has open."""
        if slicer.util.mainWindow() is not None:
            segment = slicer.modules.segmenteditor.widgetRepresentation().self().editor.currentSegmentID()
        else:
            node = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
            segment = node.GetSelectedSegmentID()
        return self.panel.parameters.segmentation.GetSegmentation().GetSegment(segment).GetName()

    def test_WalkThrough(self):
        """A physicist's way through the panel, without the manual: nothing is lost, and every view shows the lesion."""
        self.loadSample()
        self.predict()
        panel = self.panel
        panel.ui.nextLesionButton.click()
        lesion = panel.parameters.selectedLesion
        there = self.offsets().get("Red")
        panel.ui.sideBySideButton.checked = True
        slicer.app.processEvents()
        row = self.offsets()
        self.assertEqual({round(offset, 1) for offset in row.values()}, {round(there, 1)} if row else set())
        panel.ui.nextLesionButton.click()
        panel.ui.previousLesionButton.click()
        self.assertEqual(panel.parameters.selectedLesion, lesion)
        self.assertEqual(self.offsets(), row)
        panel.ui.sideBySideButton.checked = False
        slicer.app.processEvents()
        self.assertEqual(self.offsets().get("Red"), there)
        panel.ui.cutPercentileButton.click()
        if not panel.ui.createSegmentButton.enabled:  # evidence in doubt is contoured all the same when one says so
            panel.ui.contourFlaggedCheckBox.checked = True
        self.assertTrue(panel.ui.createSegmentButton.enabled, panel.ui.createSegmentButton.toolTip)
        panel.ui.createSegmentButton.click()
        panel.ui.editSegmentButton.click()
        self.assertIn("evidence >", self.editedSegment())
        self.assertIn(lesion, self.editedSegment())
        if slicer.util.mainWindow() is not None:
            slicer.util.selectModule("RTResponseCAM")
        panel.ui.measureButton.click()
        panel.waitUntilDone()
        self.assertIn("cm³", panel.ui.measureText.plainText)
        panel.ui.dvhButton.click()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode"), 1)
        segments = panel.parameters.segmentation.GetSegmentation().GetNumberOfSegments()
        rows = self.rows()
        with tempfile.TemporaryDirectory() as place:
            panel.ui.exportPathLineEdit.currentPath = place
            panel.refresh()
            panel.ui.exportButton.click()
            panel.waitUntilDone()
            self.assertTrue((Path(place) / "RTResponseCAM result" / "result.json").is_file(), panel.ui.exportLabel.text)
            path = str(Path(place) / "saved.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear(False)
            slicer.util.loadScene(path)
        slicer.app.processEvents()
        panel.enter()
        self.assertEqual(self.rows(), rows)
        self.assertEqual(panel.parameters.segmentation.GetSegmentation().GetNumberOfSegments(), segments)
        self.assertEqual(panel.parameters.selectedLesion, lesion)
        self.assertEqual(panel.ui.staleLabel.text, "")
        self.predict()
        self.assertEqual(self.rows(), rows)

    def test_SavedSceneComesBack(self):
        self.loadSample()
        self.predict()
        panel = self.panel
        panel.parameters.opacity, panel.parameters.threshold = 0.3, 1.25
        label = panel.ui.lesionTable.item(0, 6).text()
        with tempfile.TemporaryDirectory() as place:
            path = str(Path(place) / "saved.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear(False)
            panel.enter()
            self.assertEqual(panel.ui.lesionTable.rowCount, 0)
            slicer.util.loadScene(path)
        slicer.app.processEvents()
        panel.enter()
        self.assertAlmostEqual(panel.parameters.threshold, 1.25)
        self.assertEqual(panel.ui.lesionTable.item(0, 6).text(), label)
        for composite in self.composites():
            if composite.GetForegroundVolumeID() == panel.parameters.camVolume.GetID():
                self.assertAlmostEqual(composite.GetForegroundOpacity(), 0.3, 5)

    def test_ClosingTheSceneWhilePredicting(self):
        self.loadSample()
        if not _torch():
            self.skipTest("PyTorch is not installed: nothing can be predicted here")
        self.panel.ui.predictButton.click()
        slicer.mrmlScene.Clear(False)
        self.assertFalse(self.panel.busy)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), 0)

    def test_ReloadingTheModule(self):
        if slicer.util.mainWindow() is None:
            self.skipTest("reloading needs the main window")
        observers = len(self.panel.Observations)
        slicer.util.reloadScriptedModule("RTResponseCAM")
        panel = slicer.util.getModuleWidget("RTResponseCAM")
        panel.enter()
        self.assertIsNot(panel, self.panel)
        self.assertEqual(len(panel.Observations), observers)
        self.assertEqual(len(self.panel.Observations), 0)
        self.panel = panel
