"""Stand-in for Slicer's application object, layout manager and module manager, over real MRML and real views."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import tempfile
import time
import traceback
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from . import parameter_node, pythonqt, scripted_module, widgets
from .drawing import Drawings

SOURCES = "RTRESPONSECAM_SLICER_SOURCES"
FOUR_UP = (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal"))
VIEW_SIZE = (420, 420)
WINDOW = (1260, 840)  # pixels that all views share where nothing is drawn
LIMIT_S = 120.0


class Application:
    """slicer.app: events, paths, testing mode, the layout manager."""

    applicationName = "stand-in"
    documentationBaseUrl = ""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._folder = tempfile.TemporaryDirectory(prefix="slicer-host-")
        self.temporaryPath = self._folder.name

    def processEvents(self, flags: Any = None) -> None:
        if flags is None:
            QtWidgets.QApplication.processEvents()
        else:
            QtWidgets.QApplication.processEvents(flags)

    def layoutManager(self) -> LayoutManager:
        return self._host.layouts

    def pauseRender(self) -> int:
        return self._host.drawings.pause()

    def resumeRender(self) -> int:
        return self._host.drawings.resume()

    def testingEnabled(self) -> bool:
        return True

    def moduleManager(self) -> Any:
        return types.SimpleNamespace(connect=lambda *_: None, disconnect=lambda *_: None)

    def connect(self, signal: str, slot: Any) -> None:
        if signal == "startupCompleted()":
            self._host.startup.append(slot)

    def translate(self, _context: str, text: str) -> str:
        return text

    def topLevelWidgets(self) -> list[Any]:
        return []


class LayoutManager:
    """Makes the slice views that the scene's layout node asks for; real ones when rendering, else only their nodes.

    As in the application, Qt lays views out when events run: a new view then turns to its orientation at offset 0, and
    views that get another size keep their millimeters per pixel.
    """

    def __init__(self, scene: Any, trame: Any | None) -> None:
        self.scene, self._trame, self.views, self._new = scene, trame, {}, []
        self.node = slicer.vtkMRMLLayoutNode()
        self.node.SetSingletonTag("vtkMRMLLayoutNode")
        self.node = scene.AddNode(self.node)
        views = "".join(f'<item><view class="vtkMRMLSliceNode" singletontag="{name}"/></item>' for name, _ in FOUR_UP)
        self.node.AddLayoutDescription(
            self.node.SlicerLayoutFourUpView, f'<layout type="horizontal" split="false">{views}</layout>'
        )
        self.node.SetViewArrangement(self.node.SlicerLayoutFourUpView)
        self.node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.update())
        self.update()
        self._lay_out()

    def update(self) -> None:
        arrangement = self.node.GetViewArrangement()
        wanted = list(FOUR_UP)
        description = self.node.GetLayoutDescription(arrangement)
        if arrangement != self.node.SlicerLayoutFourUpView and description:
            found = ElementTree.fromstring(description).iter("view")
            slices = [v for v in found if v.get("class") == "vtkMRMLSliceNode"]
            wanted = [(v.get("singletontag"), v.findtext("property[@name='orientation']")) for v in slices]
        for name, orientation in wanted:
            if name not in self.views:
                self.views[name] = self._make(name, orientation)
                self._new.append(name)
        self.visible = [name for name, _ in wanted]
        QtCore.QTimer.singleShot(0, self._lay_out)

    def _lay_out(self) -> None:
        for name in self.visible:
            view = self.scene.GetSingletonNode(name, "vtkMRMLSliceNode")
            if view is None:
                continue
            if name in self._new:
                view.SetSliceOffset(0.0)
                self._new.remove(name)
            if self._trame is not None:
                continue
            columns = len(self.visible) if len(self.visible) < 4 else 2
            size = WINDOW[0] // columns, WINDOW[1] // (1 if columns != 2 else 2)
            before, field = view.GetDimensions(), view.GetFieldOfView()
            if before[:2] != size:
                scaled = [f * now / max(then, 1) for f, now, then in zip(field[:2], size, before[:2], strict=True)]
                view.SetDimensions(*size, 1)
                view.SetFieldOfView(*scaled, field[2])

    def reset(self) -> None:
        """Four views again, as after a start."""
        if self.node.GetScene() is None:
            self.node = self.scene.AddNode(self.node)
        self.node.SetViewArrangement(self.node.SlicerLayoutFourUpView)
        self.update()

    def sliceViewNames(self) -> list[str]:
        return list(self.visible)

    def _make(self, name: str, orientation: str) -> Any:
        if self._trame is None:
            self._node("vtkMRMLSliceNode", name).SetOrientation(orientation)
            self._node("vtkMRMLSliceCompositeNode", name)
            return None
        from trame_slicer.views import ViewLayoutDefinition, ViewProps, ViewType

        view = self._trame.view_manager.create_view(
            ViewLayoutDefinition(name, ViewType.SLICE_VIEW, ViewProps(orientation=orientation))
        )
        view.set_background_color([0, 0, 0])
        view.update_size(*VIEW_SIZE)
        view.get_view_node().SetDimensions(*VIEW_SIZE, 1)
        view.set_render_blocked(True)
        return view

    def _node(self, kind: str, name: str) -> Any:
        node = self.scene.GetSingletonNode(name, kind)
        if node is None:
            node = self.scene.CreateNodeByClass(kind)
            node.SetSingletonTag(name)
            node.SetName(name)
            node.SetLayoutName(name)
            node = self.scene.AddNode(node)
        return node


class Host:
    """The running stand-in: one Qt application, one scene, at most one panel."""

    def __init__(self, render: bool = False) -> None:
        self.qt = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
        self.startup: list[Any] = []
        self.selected_modules: list[str] = []
        trame = None
        if render:
            from trame_slicer.core import SlicerApp
            from trame_slicer.views import DirectViewFactory

            trame = SlicerApp()
            trame.view_manager.register_factory(DirectViewFactory(do_render_offscreen=True))
            self.scene = trame.scene
        else:
            self.scene = slicer.vtkMRMLScene()
            colors = slicer.vtkMRMLColorLogic()
            colors.SetMRMLScene(self.scene)
            colors.AddDefaultColorNodes()
            slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())  # as the application does
        self.segmentations = slicer.vtkSlicerSegmentationsModuleLogic()  # registers the segments' representations
        self.segmentations.SetMRMLScene(self.scene)
        slicer.mrmlScene = self.scene
        self.scene.AddObserver(self.scene.NodeAboutToBeRemovedEvent, self._forget_item)
        self._doomed: dict[Any, list[Any]] = {}
        self.scene.AddObserver(self.scene.NodeAboutToBeRemovedEvent, self._note_displays)
        self.scene.AddObserver(self.scene.NodeRemovedEvent, self._remove_displays)
        slicer.app = Application(self)
        self.drawings = Drawings()
        self.layouts = LayoutManager(self.scene, trame)
        self.trame = trame
        self.module: Any = None
        self.parent: Any = None
        self.widget: Any = None
        self.warnings = _Warnings()
        window = vtk.vtkOutputWindow()
        window.SetDisplayModeToNever()
        window.AddObserver("ErrorEvent", self.warnings.on_vtk)
        window.AddObserver("WarningEvent", self.warnings.on_vtk)
        vtk.vtkOutputWindow.SetInstance(window)
        logging.getLogger().addHandler(self.warnings)
        self._excepthook, sys.excepthook = sys.excepthook, self.warnings.on_exception
        slicer.util.mainWindow = lambda *_: None
        slicer.util.selectModule = self.selected_modules.append
        slicer.util.getModuleWidget = lambda _name: self.widget

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _forget_item(self, scene: Any, _event: str, node: Any) -> None:
        """As qSlicerSubjectHierarchyPluginLogic: the item of a node that goes, goes too."""
        if scene.IsBatchProcessing():  # the items of a scene that is closed or read take care of themselves
            return
        # A node that was removed already has no scene: the application's log then says "Invalid scene given".
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
        item = tree.GetItemByDataNode(node) if tree is not None else 0
        if item:
            tree.RemoveItem(item, False, False)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _note_displays(self, scene: Any, _event: str, node: Any) -> None:
        """Display nodes go with their node, which after its removal cannot say any more which they were."""
        if not scene.IsBatchProcessing() and node.IsA("vtkMRMLDisplayableNode"):
            self._doomed[node] = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _remove_displays(self, scene: Any, _event: str, node: Any) -> None:
        for shown in self._doomed.pop(node, ()):
            if shown is not None and shown.GetScene() is not None:
                scene.RemoveNode(shown)

    def load_module(self, path: Path) -> Any:
        """Import a scripted module as Slicer does, from its file, with only its own folder on the path."""
        slicer.util.modulePath = lambda _name: str(path)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        self.module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = self.module
        spec.loader.exec_module(self.module)
        return self.module

    def open_panel(self) -> Any:
        """Create the module's widget, and enter it."""
        from PySide6.QtWidgets import QVBoxLayout

        frame = widgets.qSlicerScriptedLoadableModuleWidget()
        QVBoxLayout(frame)
        self.parent = pythonqt.wrap(frame)
        self.widget = self.module.RTResponseCAMWidget(self.parent)
        self.widget.setup()
        self.enter()
        return self.widget

    def enter(self) -> None:
        self.parent.isEntered = True
        self.widget.enter()

    def leave(self) -> None:
        self.widget.exit()
        self.parent.isEntered = False

    def reload(self, path: Path) -> Any:
        """As slicer.util.reloadScriptedModule: new source, old widget cleaned up, new widget in the same frame."""
        self.load_module(path)
        self.widget.cleanup()
        layout = self.parent._qt.layout()
        while layout.count():
            layout.takeAt(0).widget().hide()
        self.widget = self.module.RTResponseCAMWidget(self.parent)
        self.widget.setup()
        self.widget.enter()
        return self.widget

    def wait(self) -> float:
        """Let the panel work until nothing runs; returns the longest time (s) the event loop was kept waiting."""
        clock, gaps = time.perf_counter, [0.0]
        last = [clock()]

        def tick() -> None:
            gaps.append(clock() - last[0])
            last[0] = clock()

        timer = QtCore.QTimer()
        timer.timeout.connect(tick)
        timer.start(2)
        until = clock() + LIMIT_S
        while self.widget.busy:
            if clock() > until:
                raise TimeoutError("the panel's job does not end")
            QtWidgets.QApplication.processEvents()
            time.sleep(0.002)
        timer.stop()
        return max(gaps)

    def settle(self) -> None:
        """Let the panel's delayed refresh happen."""
        until = time.perf_counter() + 0.25
        while time.perf_counter() < until:
            QtWidgets.QApplication.processEvents()
            time.sleep(0.005)

    def close_panel(self) -> None:
        """Leave the module and end it, as when the application quits."""
        if self.widget is not None:
            self.leave()
            self.widget.cleanup()
            self.parent._qt.deleteLater()
            self.widget = None

    def close(self) -> None:
        """End the application."""
        self.close_panel()
        logging.getLogger().removeHandler(self.warnings)
        sys.excepthook = self._excepthook

    def screenshot(self, path: Path, width: int = 460) -> None:
        """Picture of the panel as tall as it wants to be."""
        frame = self.parent._qt
        frame.resize(width, max(frame.sizeHint().height(), frame.minimumSizeHint().height()))
        self.qt.processEvents()
        frame.grab().save(str(path))

    def draw_views(self) -> dict[str, Any]:
        """Pictures (vtkImageData) of the slice views of the present layout."""
        from RTResponseCAMLib.viewer import grab

        return {name: grab(self.layouts.views[name]) for name in self.layouts.visible}


class _Warnings(logging.Handler):
    """Keeps what the application's log would show as a warning or an error, Python's and VTK's."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record.getMessage() + (f": {record.exc_info[1]!r}" if record.exc_info else ""))

    def on_exception(self, kind: Any, error: Any, trace: Any) -> None:
        """What an observer of VTK or a slot of Qt raises ends there, and is printed."""
        self.records.append("".join(traceback.format_exception(kind, error, trace)))

    @vtk.calldata_type(vtk.VTK_STRING)
    def on_vtk(self, _caller: Any, _event: str, text: str) -> None:
        self.records.append(text)


def start(render: bool = False) -> Host:
    """Put the stand-ins into place and start an empty application."""
    qt = pythonqt.QtModule()
    qt.QUiLoader = widgets.QUiLoader
    ctk = types.ModuleType("ctk")
    for kind in widgets.CTK:
        setattr(ctk, kind.__name__, pythonqt.proxy_class(kind))
    for kind in widgets.QMRML:
        setattr(slicer, kind.__name__, pythonqt.proxy_class(kind))
    translation = types.ModuleType("slicer.i18n")
    translation.tr = lambda text: text
    translation.translate = lambda _context, text: text
    slicer.modules = types.SimpleNamespace()
    sys.modules["qt"], sys.modules["ctk"], sys.modules["slicer.i18n"] = qt, ctk, translation
    slicer.i18n = translation
    host = Host(render)
    if os.environ.get(SOURCES):
        _use_slicers_own(Path(os.environ[SOURCES]) / "slicer", ctk)
    else:
        sys.modules["slicer.parameterNodeWrapper"] = parameter_node.module
        sys.modules["slicer.ScriptedLoadableModule"] = scripted_module.module
    slicer.parameterNodeWrapper = sys.modules["slicer.parameterNodeWrapper"]
    return host


def _use_slicers_own(folder: Path, ctk: Any) -> None:
    """Take the parameter node wrapper and the module's bases from Slicer's sources (present on this machine)."""
    for owner, names in (
        (ctk, ("ctkCheckBox", "ctkCheckablePushButton", "ctkDoubleSlider", "ctkDoubleSpinBox", "ctkComboBox",
               "ctkRangeWidget", "ctkDoubleRangeSlider", "ctkDirectoryButton", "ctkColorPickerButton")),
        (slicer, ("qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLRangeWidget", "qSlicerWidget")),
    ):  # fmt: skip
        for name in names:
            if not hasattr(owner, name):
                setattr(owner, name, type(name, (), {}))
    if str(folder) not in slicer.__path__:
        slicer.__path__.append(str(folder))
    slicer.util.settingsValue = lambda _key, default, converter=None: default
    for name in ("slicer.parameterNodeWrapper", "slicer.ScriptedLoadableModule"):
        importlib.import_module(name)
