"""Slicer module: predicts the radiosurgery response of brain metastases and maps the evidence. Research use only.

This file contains Slicer's entry points only; RTResponseCAMLib.gui implements the panel.
"""

import os
import sys
import time
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import RTResponseCAMLib  # noqa: F401
except ModuleNotFoundError:  # used from the source tree: the library is beside this folder
    sys.path.append(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from RTResponseCAMLib.gui.events import drawn_once
from RTResponseCAMLib.gui.logic import PanelLogic
from RTResponseCAMLib.gui.sample_data import register_sample
from RTResponseCAMLib.gui.self_test import SelfTest


class RTResponseCAM(ScriptedLoadableModule):
    """Description of the module for Slicer."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("RTResponseCAM")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Radiotherapy")]
        self.parent.dependencies = []
        self.parent.contributors = ["RTResponseCAM developers"]
        self.parent.helpText = _(
            "Predicts for each brain metastasis of a Gamma Knife study whether it will shrink, and shows the evidence "
            "map of the lesion together with MR, dose and segmentation. <b>Research use only.</b> See "
            '<a href="https://github.com/RTResponseCAM/SlicerRTResponseCAM#readme">the documentation</a>.'
        )
        self.parent.acknowledgementText = _(
            "Follows the approach of arXiv 2506.17536 (integrated autoencoder-classifier with pixel-wise class "
            "activation mapping), whose data and weights are not public and not used here."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Register the synthetic study in the Sample Data module."""
    register_sample(loadSampleData, Path(__file__).parent / "Resources" / "Icons")


def loadSampleData(_source=None):
    """Create and load the synthetic study; returns its nodes.

    :param _source: the sample data source that Slicer passes; not used.
    """
    widget = getattr(slicer.modules, "RTResponseCAMWidget", None)
    logic = widget.logic if widget is not None and widget.logic is not None else RTResponseCAMLogic()
    nodes = logic.loadSample()
    return [node for node in (nodes.mr, nodes.dose, nodes.lesions) if node is not None]


class RTResponseCAMWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. The logic determines which inputs are wrong, which results are out of date, and what is shown."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.ui = None
        self._parameterNode = None
        self._guiTag = None
        self._shortcuts = None
        self._sections = {}
        self._dependents = {}  # id of a node that is about to be removed → ids of its dependent nodes

    def setup(self):
        """Build the panel; no main window, torch or scene content is needed."""
        ScriptedLoadableModuleWidget.setup(self)
        from RTResponseCAMLib.gui.sections import make_sections
        from RTResponseCAMLib.gui.shortcuts import Shortcuts

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/RTResponseCAM.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = RTResponseCAMLogic()
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(150)
        self._timer.connect("timeout()", self.refresh)
        self._sections = make_sections(self)
        for name, section in self._sections.items():
            setattr(self, name, section)
        self._shortcuts = Shortcuts(self.parent, self.lesions.move)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        self.initializeParameterNode()

    @property
    def parameters(self):
        """The parameter node; None while a scene is being closed."""
        return self._parameterNode

    @property
    def busy(self):
        """Whether a study is being read, predicted or exported."""
        return any(section.busy for section in self._sections.values())

    def cleanup(self):
        """Stop jobs and timers; remove observers, shortcuts and preview."""
        for section in self._sections.values():
            section.stop()
        self._shortcuts.remove()
        self.setParameterNode(None)
        self.removeObservers()
        self._timer.stop()

    def enter(self):
        """Show the current state of the scene, which may have changed while the module was closed."""
        self.initializeParameterNode()
        self._shortcuts.add()

    def exit(self):
        """Disconnect the panel; results and their display stay, jobs continue."""
        self._shortcuts.remove()
        self.subregion.hide_preview()
        if self._parameterNode and self._guiTag is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self._guiTag = None

    def onSceneStartClose(self, _caller=None, _event=None):
        """Discard everything that belongs to the closing scene."""
        for section in self._sections.values():
            section.stop()
        self.setParameterNode(None)
        self.logic.forget()
        self._dependents = {}
        self._timer.stop()

    def onSceneEndClose(self, _caller=None, _event=None):
        """Initialize again if the panel is open."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, _caller=None, _event=None):
        """Initialize from an imported scene, and restore the display that Slicer does not save."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, _caller, _event, node):
        """Store the dependent nodes of a volume while its references still exist."""
        from RTResponseCAMLib.scene.dependent_nodes import dependent_nodes_of

        if not slicer.mrmlScene.IsClosing() and node.IsA("vtkMRMLScalarVolumeNode"):
            self._dependents[node.GetID()] = dependent_nodes_of(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, _caller, _event, node):
        """Remove the dependent nodes of a deleted node."""
        for nodeId in self._dependents.pop(node.GetID(), []):
            dependent = slicer.mrmlScene.GetNodeByID(nodeId)
            if dependent is not None:
                slicer.mrmlScene.RemoveNode(dependent)
        self.refreshSoon()

    def initializeParameterNode(self):
        """Ensure that the parameter node exists; choose inputs, and restore a result stored in the scene."""
        self.setParameterNode(self.logic.getParameterNode())
        with drawn_once():
            if self.logic.choose_inputs(self._parameterNode):
                self.display.apply(force=True)
        self.refresh()

    def setParameterNode(self, parameterNode):
        """Connect the panel to a parameter node, or to none."""
        if self._parameterNode:
            if self._guiTag is not None:
                self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self._guiTag = None
        self._parameterNode = parameterNode
        self._observeInputs()
        if parameterNode:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            for section in self._sections.values():
                section.connect_parameters()

    def onParametersModified(self, _caller=None, _event=None):
        """Update at once what is fast to update; check the inputs after a short delay."""
        if not self._parameterNode or slicer.mrmlScene.IsImporting():  # referenced nodes may not exist yet
            return
        self._observeInputs()
        with drawn_once():
            self.logic.follow_study(self._parameterNode)
            self.display.apply()
            self.lesions.follow_selection()
            self.subregion.follow_threshold()
        self.refreshSoon()

    def refreshSoon(self, _caller=None, _event=None):
        """Refresh once after a burst of changes."""
        self._timer.start()

    def refresh(self):
        """Check inputs and results; update labels, buttons and table."""
        self._timer.stop()
        if not self._parameterNode:
            return
        self.logic.follow_row(self._parameterNode)
        with drawn_once():
            self.logic.follow(self._parameterNode)
            state = self.logic.state(self._parameterNode)
            for section in self._sections.values():
                section.refresh(state)
        notice = _("Research use only. Not a medical device; not for clinical decisions.")
        self.ui.researchLabel.text = " ".join([notice, *state.warnings])

    def waitUntilDone(self):
        """Process application events until no job runs. For tests and scripts."""
        while self.busy:
            slicer.app.processEvents()
            time.sleep(0.005)
        self.refresh()

    def _observeInputs(self):
        """Observe changes of the chosen nodes, so that out-of-date results are marked as such."""
        from RTResponseCAMLib.scene.observed import observed

        required = observed(slicer.mrmlScene, self._parameterNode) if self._parameterNode else []
        existing = [(o, event) for o, event, method, *_rest in self.Observations if method == self.refreshSoon]
        for node, event in existing:
            if (node, event) not in required:
                self.removeObserver(node, event, self.refreshSoon)
        for node, event in required:
            if (node, event) not in existing:
                self.addObserver(node, event, self.refreshSoon)


class RTResponseCAMLogic(PanelLogic, ScriptedLoadableModuleLogic):
    """Operations of the panel, for scripts: load, predict, show, contour, export. No widgets, no dialogs.

    Example::

        logic = RTResponseCAMLogic()
        logic.loadSample()
        result = logic.predict()
        print([(p.lesion.id, p.p_response) for p in result.predictions])
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        PanelLogic.__init__(self)


class RTResponseCAMTest(SelfTest):
    """The phantom study end to end in the application, without download."""

    logic_class = RTResponseCAMLogic
