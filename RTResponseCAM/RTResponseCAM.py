"""Where inside a brain metastasis the evidence of radiosurgery response lies: the Slicer module. Research use only."""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import RTResponseCAMLib  # noqa: F401
except ModuleNotFoundError:  # used from the source tree: the library lies beside this folder
    sys.path.append(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from RTResponseCAMLib.gui.choices import Colors, Device, DoseDisplay, Scale, Scope, Shown
from RTResponseCAMLib.gui.events import drawn_once, let_events_happen

SAMPLE_NAME = "RTResponseCAMSample"
PARAMETER_VERSION = 1


class RTResponseCAM(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("RTResponseCAM")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Radiotherapy")]
        self.parent.dependencies = []
        self.parent.contributors = ["RTResponseCAM developers"]
        self.parent.helpText = _(
            "Predicts for each brain metastasis of a Gamma Knife study whether it will shrink, and shows where in the "
            "lesion the evidence for it lies, beside MR, dose and segmentation. <b>Research use only.</b> See "
            '<a href="https://github.com/RTResponseCAM/SlicerRTResponseCAM#readme">the documentation</a>.'
        )
        self.parent.acknowledgementText = _(
            "Follows the approach of arXiv 2506.17536 (integrated autoencoder-classifier with pixel-wise class "
            "activation mapping), whose data and weights are not public and not used here."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Offer the synthetic study in the Sample Data module; it is made on this computer, nothing is downloaded."""
    import SampleData

    class SourceMadeHere(SampleData.SampleDataSource):
        """A scene file that is made when it is asked for: ``downloadSample`` knows files only, no own downloaders."""

        @property
        def uris(self):
            return [makeSampleScene().as_uri()]

        @uris.setter
        def uris(self, _value):
            pass

        def __str__(self):  # sources are compared by it, which must not make the file
            return f"RTResponseCAM {self.sampleName}"

    icons = os.path.join(os.path.dirname(__file__), "Resources/Icons")
    source = SourceMadeHere(
        sampleName=SAMPLE_NAME,
        thumbnailFileName=os.path.join(icons, f"{SAMPLE_NAME}.png"),
        uris="",  # must be a text; what counts is made above
        fileNames=sampleFileName(),
        nodeNames=SAMPLE_NAME,
        loadFiles=True,
        loadFileType="SceneFile",
        customDownloader=loadSampleData,
    )
    sources = SampleData.SampleDataLogic.sampleDataSourcesByCategory().setdefault("RTResponseCAM", [])
    if source not in sources:
        sources.append(source)


def sampleFileName():
    """Name of the sample's scene file; the application keeps files by name, so it holds the version."""
    from RTResponseCAMLib import __version__

    return f"{SAMPLE_NAME}-{__version__}.mrb"


def makeSampleScene():
    """Make the synthetic study as a scene file in the temporary folder, unless it is there; returns its path."""
    from RTResponseCAMLib.workflow.sample import write_sample_scene

    path = Path(slicer.app.temporaryPath) / sampleFileName()
    if not path.exists():
        unfinished = path.with_name(f"unfinished-{path.name}")
        write_sample_scene(unfinished, let_events_happen)
        unfinished.replace(path)  # a file that was cut short must not be taken for the sample
    return path


def loadSampleData(_source=None):
    """Make and load the synthetic study; returns its nodes.

    :param _source: the sample data source that Slicer passes, not needed.
    """
    widget = getattr(slicer.modules, "RTResponseCAMWidget", None)
    logic = widget.logic if widget is not None and widget.logic is not None else RTResponseCAMLogic()
    nodes = logic.loadSample()
    return [node for node in (nodes.mr, nodes.dose, nodes.lesions) if node is not None]


@parameterNodeWrapper
class RTResponseCAMParameterNode:
    """What the user chose; saved with the scene.

    mrVolume, doseVolume, segmentation, followUpVolume - Inputs.
    camVolume - The evidence, with the results of the lesions in its attributes.
    prescriptionGy - Prescription for every lesion in Gy; 0 takes what the plan states per lesion.
    isodosePercent - Prescription isodose in percent of the maximum; 0 is "not stated".
    fractions - Number of fractions.
    bundleFolder - Folder of the model; empty for the one that ships.
    device, scope - Where to run, and on which lesions.
    selectedLesion - Id of the lesion in the views.
    opacity ... legend - How the evidence is shown (threshold in units of local evidence).
    subregionCut - Local evidence above which a voxel belongs to the subregion.
    version - Of these parameters; others are put back to their defaults.
    """

    mrVolume: vtkMRMLScalarVolumeNode
    doseVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    followUpVolume: vtkMRMLScalarVolumeNode
    camVolume: vtkMRMLScalarVolumeNode
    prescriptionGy: Annotated[float, WithinRange(0, 200)] = 0.0
    isodosePercent: Annotated[float, WithinRange(0, 100)] = 0.0
    fractions: Annotated[int, WithinRange(1, 60)] = 1
    bundleFolder: str = ""
    device: Device = Device.AUTO
    scope: Scope = Scope.ALL
    selectedLesion: str = ""
    opacity: Annotated[float, WithinRange(0, 1)] = 0.65
    threshold: Annotated[float, WithinRange(0, 6)] = 0.25
    shown: Shown = Shown.BOTH
    colors: Colors = Colors.EVIDENCE
    scale: Scale = Scale.FIXED
    doseDisplay: DoseDisplay = DoseDisplay.LINES
    graded: bool = False
    legend: bool = True
    subregionCut: Annotated[float, WithinRange(-20, 20)] = 0.0
    version: int = PARAMETER_VERSION


HEATMAP_PARAMETERS = ("opacity", "threshold", "shown", "colors", "scale", "doseDisplay", "graded", "legend")


class RTResponseCAMWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It decides nothing: the logic says what is wrong, stale or shown."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.ui = None
        self._parameterNode = None
        self._guiTag = None
        self._shortcuts = []
        self._sections = []
        self._doomed = {}

    def setup(self):
        """Build the panel; no main window, torch or scene content is needed."""
        ScriptedLoadableModuleWidget.setup(self)
        from RTResponseCAMLib.gui.display_section import DisplaySection
        from RTResponseCAMLib.gui.export_section import ExportSection
        from RTResponseCAMLib.gui.lesion_section import LesionSection
        from RTResponseCAMLib.gui.model_section import ModelSection
        from RTResponseCAMLib.gui.points_section import PointsSection
        from RTResponseCAMLib.gui.predict_section import PredictSection
        from RTResponseCAMLib.gui.study_section import StudySection
        from RTResponseCAMLib.gui.subregion_section import SubregionSection

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/RTResponseCAM.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = RTResponseCAMLogic()
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(150)
        self._timer.connect("timeout()", self.refresh)
        self.study = StudySection(self)
        self.lesions = LesionSection(self)
        self.model = ModelSection(self)
        self.predict = PredictSection(self)
        self.display = DisplaySection(self)
        self.subregion = SubregionSection(self)
        self.points = PointsSection(self)
        self.export = ExportSection(self)
        self._sections = [
            self.study, self.lesions, self.model, self.predict, self.display, self.subregion, self.points,
            self.export,
        ]  # fmt: skip
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        self.initializeParameterNode()

    @property
    def parameters(self):
        """The parameter node, None while a scene is being closed."""
        return self._parameterNode

    @property
    def busy(self):
        """Whether a study is being read, predicted or exported."""
        return any(section.busy for section in self._sections)

    def cleanup(self):
        """Leave nothing behind: jobs, timers, observers, shortcuts, preview."""
        for section in self._sections:
            section.stop()
        self._removeShortcuts()
        self.setParameterNode(None)
        self.removeObservers()
        self._timer.stop()

    def enter(self):
        """Show the state of the scene, which may have changed meanwhile."""
        self.initializeParameterNode()
        self._addShortcuts()

    def exit(self):
        """Stop listening to the panel; results and their display stay, jobs go on."""
        self._removeShortcuts()
        self.subregion.hide_preview()
        if self._parameterNode and self._guiTag is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self._guiTag = None

    def onSceneStartClose(self, _caller=None, _event=None):
        """Drop everything that belongs to the scene that goes away."""
        for section in self._sections:
            section.stop()
        self.setParameterNode(None)
        self.logic.forget()
        self._doomed = {}
        self._timer.stop()

    def onSceneEndClose(self, _caller=None, _event=None):
        """Begin anew when the panel is in view."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, _caller=None, _event=None):
        """Take up what a loaded scene brought, and show again what Slicer does not save."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, _caller, _event, node):
        """Note what exists only for a node, while it can still be asked."""
        if not slicer.mrmlScene.IsClosing() and node.IsA("vtkMRMLScalarVolumeNode"):
            self._doomed[node.GetID()] = self.logic.belongings(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, _caller, _event, node):
        """Remove what existed only for a node that was deleted."""
        self.logic.removeNodes(self._doomed.pop(node.GetID(), []))
        self.refreshSoon()

    def initializeParameterNode(self):
        """Ensure that the parameter node exists; choose inputs, and take up a result that the scene brought."""
        self.setParameterNode(self.logic.getParameterNode())
        with drawn_once():
            if self.logic.chooseInputs(self._parameterNode):
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
            for section in self._sections:
                section.connect_parameters()

    def onParametersModified(self, _caller=None, _event=None):
        """Show at once what is cheap to show; judge the inputs a moment later."""
        if not self._parameterNode or slicer.mrmlScene.IsImporting():  # what is referred to may not be there yet
            return
        self._observeInputs()
        with drawn_once():
            self.logic.followStudy(self._parameterNode)
            self.display.apply()
            self.lesions.follow_selection()
            self.subregion.follow_cut()
        self.refreshSoon()

    def refreshSoon(self, _caller=None, _event=None):
        """Refresh once after a burst of changes."""
        self._timer.start()

    def refresh(self):
        """Judge inputs and results, and update labels, buttons and table."""
        self._timer.stop()
        if not self._parameterNode:
            return
        self.logic.followRow(self._parameterNode)
        with drawn_once():
            self.logic.follow(self._parameterNode)
            state = self.logic.state(self._parameterNode)
            for section in self._sections:
                section.refresh(state)
        research = _("Research use only. Not a medical device; not for clinical decisions.")
        self.ui.researchLabel.text = " ".join([research, *state.warnings])

    def waitUntilDone(self):
        """For tests and scripts: let the application work until nothing runs any more."""
        while self.busy:
            slicer.app.processEvents()
            time.sleep(0.005)
        self.refresh()

    def _observeInputs(self):
        """Notice edits of the chosen nodes: stale results must look stale."""
        wanted = self.logic.observed(self._parameterNode) if self._parameterNode else []
        known = [(o, event) for o, event, method, *_rest in self.Observations if method == self.refreshSoon]
        for node, event in known:
            if (node, event) not in wanted:
                self.removeObserver(node, event, self.refreshSoon)
        for node, event in wanted:
            if (node, event) not in known:
                self.addObserver(node, event, self.refreshSoon)

    def _addShortcuts(self):
        self._removeShortcuts()
        for keys, step in (("Alt+Down", 1), ("Alt+Up", -1)):
            shortcut = qt.QShortcut(slicer.util.mainWindow() or self.parent)
            shortcut.setKey(qt.QKeySequence(keys))
            shortcut.connect("activated()", lambda step=step: self.lesions.move(step))
            self._shortcuts.append(shortcut)

    def _removeShortcuts(self):
        for shortcut in self._shortcuts:
            shortcut.disconnect("activated()")
            shortcut.setParent(None)
        self._shortcuts = []


class RTResponseCAMLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for scripts: load, predict, show, contour, export. No widgets, no dialogs.

    Example::

        logic = RTResponseCAMLogic()
        logic.loadSample()
        result = logic.predict()
        print([(p.lesion.id, p.p_response) for p in result.predictions])
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self._session = None
        self._row = None  # while the views are side by side: the lesion, and where the views looked before
        self.resetNotice = ""

    @property
    def started(self):
        """Whether anything has been done yet; numerical libraries are not imported before."""
        return self._session is not None

    @property
    def session(self):
        """The work in this scene (RTResponseCAMLib.workflow.session.Session)."""
        if self._session is None:
            from RTResponseCAMLib.workflow.session import Session

            self._session = Session(slicer.mrmlScene)
        return self._session

    @property
    def result(self):
        """The last result with its shares of evidence; None after loading a scene."""
        return self._session.result if self._session else None

    def getParameterNode(self):
        """Return the module's parameters; settings that cannot be read (an older version's) are put back."""
        node = super().getParameterNode()
        if node.GetParameterNamesAsCommaSeparatedList() and node.GetParameter("version") != str(PARAMETER_VERSION):
            self._reset(node)
        try:
            return RTResponseCAMParameterNode(node)
        except Exception:  # the wrapper raises whatever the stored text makes it raise
            self._reset(node)
            return RTResponseCAMParameterNode(node)

    def _reset(self, node):
        node.UnsetAllParameters()
        self.resetNotice = _("Settings of another version could not be read; they were put back to their defaults.")

    def chooseInputs(self, parameters):
        """Choose what is in the scene where nothing is chosen; tell whether a result was found.

        :param parameters: the parameter node; its empty node references are filled.
        """
        if not any(True for _volume in _volumes()):
            return False
        found = self.session.restore(parameters)
        self.session.choose_inputs(parameters)
        return found

    def state(self, parameters):
        """Judge inputs and results (RTResponseCAMLib.workflow.session.State)."""
        if not self.started and parameters.mrVolume is None and parameters.segmentation is None:
            return _emptyState(parameters)
        return self.session.state(parameters)

    def forget(self):
        """Forget what belongs to a scene that was closed."""
        self.resetNotice = ""
        self._row = None
        if self._session:
            self._session.forget()

    def belongings(self, node):
        """Ids of the nodes that exist only for this one."""
        from RTResponseCAMLib.scene.belongings import belongings_of

        return belongings_of(node)

    def removeNodes(self, ids):
        """Remove nodes by id, if they are still there."""
        for nodeId in ids:
            node = slicer.mrmlScene.GetNodeByID(nodeId)
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)

    def observed(self, parameters):
        """Objects and events that make a result stale: voxels, segments, transforms."""
        pairs = []
        layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if layout is not None:
            pairs.append((layout, vtk.vtkCommand.ModifiedEvent))
        for node in (parameters.mrVolume, parameters.doseVolume, parameters.camVolume):
            if node is not None:
                pairs += [(node, node.ImageDataModifiedEvent), (node, node.TransformModifiedEvent)]
        if parameters.segmentation is not None:
            segments = parameters.segmentation.GetSegmentation()
            pairs += [(parameters.segmentation, parameters.segmentation.TransformModifiedEvent)]
            pairs += [
                (segments, event)
                for event in (
                    segments.SegmentAdded,
                    segments.SegmentRemoved,
                    segments.SegmentModified,
                    segments.SourceRepresentationModified,
                )
            ]
        return pairs

    def loadSample(self):
        """Make and load the synthetic study; returns its nodes."""
        from RTResponseCAMLib.workflow.sample import open_sample

        return self.showStudy(open_sample(), self.getParameterNode())

    def loadStudy(self, folder):
        """Read a DICOM folder and show it; returns its nodes.

        :param folder: folder of the export, in any order and nesting.
        :raises RTResponseError: a sentence that names the file, the tag and the fix.
        """
        from RTResponseCAMLib.workflow.sample import open_study

        return self.showStudy(open_study(Path(folder)), self.getParameterNode())

    def showStudy(self, opened, parameters, progress=None):
        """Add a study that was read to the scene, choose it, show it."""
        from RTResponseCAMLib.progress import silent

        with drawn_once():
            nodes = self.session.add(opened, parameters, progress or silent)
            self.session.display.apply(parameters)
            self.session.display.center(parameters)
        return nodes

    def predict(self, lesions=()):
        """Predict and show lesions (all when none are named); returns the result. Blocks until done.

        :param lesions: ids such as "L1".
        :raises RTResponseError: a sentence that says what is missing or wrong.
        """
        from RTResponseCAMLib.workflow.task import compute

        parameters = self.getParameterNode()
        task = self.session.prepare(parameters, lesions)
        result = compute(task)
        with drawn_once():
            self.session.show(task, result, parameters)
            self.session.display.center(parameters)
        return result

    def export(self, folder, dicom=None):
        """Write the last result into a new folder; returns what is to be known. Blocks until done.

        :param folder: must not exist yet.
        :param dicom: folder of the original DICOM files: kept subregions and the map are written as DICOM, too.
        :raises RTResponseError: there is no result, or it cannot be written.
        """
        from RTResponseCAMLib.progress import silent

        return self.exporter(Path(folder), lambda call: call(), dicom)(silent)

    def exporter(self, out, onMainThread, dicom=None, between=None):
        """Return the work of an export, for another thread.

        :param out: folder to write.
        :param onMainThread: makes a call on the main thread, where scenes are written.
        :param dicom: see export.
        :param between: called on the main thread, with fraction and text, between the nodes of the scene.
        """
        from RTResponseCAMLib.device import FOR_REPORTS, missing_packages
        from RTResponseCAMLib.errors import OutputError
        from RTResponseCAMLib.progress import part, silent
        from RTResponseCAMLib.scene.save import write_result_scene
        from RTResponseCAMLib.scene.subregion import kept_subregions
        from RTResponseCAMLib.workflow.export import objects_of_scene, save_objects
        from RTResponseCAMLib.workflow.write import write_result

        result = self.result
        if result is None:
            raise OutputError("", "there is no result to write", "Predict first")

        def writeScene(result, path):
            write_result_scene(result, path, onMainThread, between or silent)

        report = not missing_packages(FOR_REPORTS)
        kept = kept_subregions(self.getParameterNode().segmentation) if dicom is not None else []

        def work(progress):
            objects, warnings, rest = {}, (), progress
            if dicom is not None:
                objects, warnings = objects_of_scene(Path(dicom), result, kept, part(progress, 0.0, 0.3))
                rest = part(progress, 0.3, 1.0)

            def writeDicom(folder):
                (folder / "dicom").mkdir()
                save_objects(objects, folder / "dicom")

            more = writeDicom if objects else None
            write_result(result, out, scene=writeScene, report=report, progress=rest, more=more)
            return warnings

        return work

    def follow(self, parameters):
        """Keep up with the scene: another study that is chosen, inputs that were moved."""
        if self.started:
            self.session.follow(parameters)

    def followRow(self, parameters):
        """Keep up with the layout: a row that another module has left, or that needs a view for a follow-up.

        Not while views are paused: those that are new would not know of it.
        """
        if self._row is None:
            return
        from RTResponseCAMLib.scene.views import lacks_a_view

        if not self.isSideBySide():
            self._leaveRow(parameters)
        elif lacks_a_view(slicer.mrmlScene, parameters.followUpVolume is not None):
            self.showSideBySide(parameters)

    def followStudy(self, parameters):
        """Take up prescription and result of another study that is chosen."""
        if self.started:
            self.session.follow_study(parameters)

    def centerOnLesion(self, parameters):
        """Turn all views to the selected lesion."""
        if parameters.segmentation is not None:
            with drawn_once():
                self.session.display.center(parameters)

    def resetHeatmap(self, parameters):
        """Put the heatmap's settings back to their defaults."""
        with slicer.util.NodeModify(parameters):
            for name in HEATMAP_PARAMETERS:
                setattr(parameters, name, parameters.default(name).value)

    def isSideBySide(self):
        """Whether the side-by-side layout is on."""
        from RTResponseCAMLib.scene.views import is_side_by_side

        return is_side_by_side(slicer.mrmlScene)

    def showSideBySide(self, parameters):
        """MR with isodoses, MR with evidence and follow-up in a row; returns the layout that was there."""
        from RTResponseCAMLib.scene.views import remember_views, show_side_by_side

        if self._row is None:
            self._row = self._shownLesion(parameters), remember_views(slicer.mrmlScene)
        before = show_side_by_side(slicer.mrmlScene, parameters.followUpVolume is not None)
        let_events_happen()  # Qt gives new views their size: only then can they be turned to a lesion
        with drawn_once():
            self.session.display.renew_legend(parameters)
            self.session.display.apply(parameters)
            self.session.display.center(parameters)
        return before

    def showLayout(self, layout, parameters):
        """Go back to a layout (the four-up layout when None), and to where its views looked."""
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if node is not None:
            node.SetViewArrangement(node.SlicerLayoutFourUpView if layout is None else layout)
        self._leaveRow(parameters)

    def _leaveRow(self, parameters):
        """Show everything as before the views were side by side; a lesion that was chosen there stays in view."""
        from RTResponseCAMLib.scene.views import restore_views

        lesion, seen = self._row or ("", [])
        self._row = None  # before events happen: one of them could be a refresh, which would leave the row again
        let_events_happen()
        with drawn_once():
            self.session.display.apply(parameters)
            if seen and lesion == self._shownLesion(parameters):
                restore_views(slicer.mrmlScene, seen)
            else:
                self.session.display.center(parameters)

    def _shownLesion(self, parameters):
        """The lesion in the views, of which study."""
        segmentation = parameters.segmentation
        return "" if segmentation is None else f"{segmentation.GetID()} {parameters.selectedLesion}"

    def showDvh(self, parameters, cut):
        """Chart the dose of the selected lesion's subregion and of the rest beside the views; returns the chart."""
        chart = self.session.subregions.chart(parameters, cut)
        layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if layout is not None and layout.IsLayoutDescription(layout.SlicerLayoutFourUpPlotView):
            layout.SetViewArrangement(layout.SlicerLayoutFourUpPlotView)
        for view in slicer.util.getNodesByClass("vtkMRMLPlotViewNode"):
            view.SetPlotChartNodeID(chart.GetID())
        self.session.display.apply(parameters)
        return chart

    def showPoints(self, table, frame=None):
        """Show a table of cell-level points as markups; returns the lists, and what the map says there in words.

        :param table: CSV with the columns x, y, z (mm), value, and optionally type, study, frame (LPS or RAS).
        :param frame: "LPS" or "RAS" where the table states none.
        :raises RTResponseError: the table cannot be used.
        """
        from RTResponseCAMLib.scene.points import show_points
        from RTResponseCAMLib.subregion.points import read_points
        from RTResponseCAMLib.workflow.align import points_in_words, points_of

        folder = self.session.folder
        name = folder.name if folder is not None else ""
        points = points_of(read_points(Path(table), frame), name, [name])
        words = points_in_words(self.result, points) if self.result is not None else []
        lists = show_points(slicer.mrmlScene, points)
        self.session.display.apply(self.getParameterNode())
        return lists, words

    def editSegment(self, parameters, segmentId):
        """Open the Segment Editor on a segment; without a main window it is only chosen there.

        On entering, the editor puts back what it had chosen itself: the segment is chosen afterwards.
        """
        if slicer.util.mainWindow() is not None:
            slicer.util.selectModule("SegmentEditor")
            editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
            editor.setSegmentationNode(parameters.segmentation)
            editor.setSourceVolumeNode(parameters.mrVolume)
            editor.setCurrentSegmentID(segmentId)
            return
        scene, tag = slicer.mrmlScene, "SegmentEditor"
        node = scene.GetSingletonNode(tag, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(tag)
            node = scene.AddNode(node)
        node.SetAndObserveSegmentationNode(parameters.segmentation)
        node.SetAndObserveSourceVolumeNode(parameters.mrVolume)
        node.SetSelectedSegmentID(segmentId)


def _volumes():
    for index in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        yield slicer.mrmlScene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode")


def _emptyState(parameters):
    """The state of an empty scene, without the numerical libraries."""
    from RTResponseCAMLib.errors import RTResponseError
    from RTResponseCAMLib.models.card import default_bundle, read_card
    from RTResponseCAMLib.state import NOTHING_CHOSEN, State

    problems, card = [NOTHING_CHOSEN], None
    try:
        card = read_card(Path(parameters.bundleFolder) if parameters.bundleFolder else default_bundle())
    except RTResponseError as error:
        problems.append(str(error))
    warnings = tuple(str(text) for text in (card or {}).get("cautions", ()))
    return State(problems=tuple(problems), warnings=warnings, card=card)


class RTResponseCAMTest(ScriptedLoadableModuleTest):
    """The phantom study end to end, in the application, with no download.

    Only what PyTorch's absence prevents is skipped, and said so.
    """

    def setUp(self):
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear(False)

    def runTest(self):
        """Run everything."""
        self.setUp()
        self.test_LoadSample()
        self.setUp()
        self.test_PredictAndContour()
        self.setUp()

    def test_LoadSample(self):
        """The sample is made, read and shown; the panel's numbers are those of the plan."""
        self.delayDisplay("Load the sample")
        logic = RTResponseCAMLogic()
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

    def test_PredictAndContour(self):
        """Every lesion gets a probability and evidence; a subregion becomes a segment; the result is exported."""
        from RTResponseCAMLib.device import REQUIRED, missing_packages

        missing = missing_packages(REQUIRED)
        if missing:
            self.delayDisplay(f"SKIPPED: prediction, subregion and export need {', '.join(missing)}")
            return
        self.delayDisplay("Predict")
        logic = RTResponseCAMLogic()
        nodes = logic.loadSample()
        result = logic.predict()
        parameters = logic.getParameterNode()
        state = logic.state(parameters)
        self.assertEqual([row.id for row in state.rows], [p.lesion.id for p in result.predictions])
        self.assertEqual(dict(state.stale), {})
        low, high = parameters.camVolume.GetImageData().GetScalarRange()
        self.assertLess(low, high)
        voxels = logic.session.subregions.voxels(parameters)
        cut = voxels.peak / 2 if voxels.above(voxels.peak / 2).any() else float(voxels.evidence.min()) - 1
        segmentId = logic.session.subregions.create(parameters, cut, anyway=True)
        self.assertIsNotNone(nodes.lesions.GetSegmentation().GetSegment(segmentId))
        self.assertEqual(dict(logic.state(parameters).stale), {})
        with tempfile.TemporaryDirectory() as place:
            logic.export(Path(place) / "result")
            names = {path.name for path in (Path(place) / "result").iterdir()}
            self.assertTrue({"result.json", "lesions.csv", "cam.nrrd", "scene.mrb"} <= names)
        self.delayDisplay("Prediction, subregion and export passed")
