"""Stand-ins for the few ctk and qMRML widgets that the panel uses: their properties and signals, their plain looks."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtUiTools, QtWidgets

from .pythonqt import unwrap, wrap


class ctkCollapsibleButton(QtWidgets.QWidget):
    """CTK's collapsible section: a title that hides what lies below it."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self._title = QtWidgets.QToolButton(self)
        self._title.clicked.connect(lambda: self._set_collapsed(not self._collapsed))
        self._title.setToolButtonStyle(QtCore.Qt.ToolButtonTextBesideIcon)
        self._title.setStyleSheet("QToolButton { border: 0; font-weight: bold; text-align: left; }")
        self.setContentsMargins(4, 24, 4, 4)

    def _get_text(self) -> str:
        return self._text

    def _set_text(self, text: str) -> None:
        self._text = text
        self._draw()

    def _get_collapsed(self) -> bool:
        return self._collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self._draw()
        self.contentsCollapsed.emit(collapsed)

    def _draw(self) -> None:
        self._title.setText(self._text)
        self._title.setArrowType(QtCore.Qt.RightArrow if self._collapsed else QtCore.Qt.DownArrow)
        self.setMaximumHeight(24 if self._collapsed else 16777215)

    def resizeEvent(self, event: Any) -> None:
        self._title.setGeometry(0, 0, self.width(), 22)
        super().resizeEvent(event)

    text = QtCore.Property(str, _get_text, _set_text)
    collapsed = QtCore.Property(bool, _get_collapsed, _set_collapsed)


class ctkSliderWidget(QtWidgets.QWidget):
    """CTK's slider of real numbers with a spin box."""

    valueChanged = QtCore.Signal(float)
    STEPS = 1000

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal, self)
        self._spin = QtWidgets.QDoubleSpinBox(self)
        self._slider.setRange(0, self.STEPS)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self._slider.sliderMoved.connect(self._on_slider)
        self._spin.valueChanged.connect(self._on_spin)

    def _on_slider(self, position: int) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._spin.setValue(low + (high - low) * position / self.STEPS)

    def _on_spin(self, value: float) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._slider.setValue(round(self.STEPS * (value - low) / (high - low)) if high > low else 0)
        self.valueChanged.emit(value)

    def _get(self) -> float:
        return self._spin.value()

    def _set(self, value: float) -> None:
        self._spin.setValue(value)

    def _set_minimum(self, value: float) -> None:
        self._spin.setMinimum(value)
        self._on_spin(self._spin.value())

    def _set_maximum(self, value: float) -> None:
        self._spin.setMaximum(value)
        self._on_spin(self._spin.value())

    value = QtCore.Property(float, _get, _set)
    minimum = QtCore.Property(float, lambda self: self._spin.minimum(), _set_minimum)
    maximum = QtCore.Property(float, lambda self: self._spin.maximum(), _set_maximum)
    singleStep = QtCore.Property(
        float, lambda self: self._spin.singleStep(), lambda self, v: self._spin.setSingleStep(v)
    )
    decimals = QtCore.Property(int, lambda self: self._spin.decimals(), lambda self, v: self._spin.setDecimals(v))


class ctkPathLineEdit(QtWidgets.QWidget):
    """CTK's line for a path with a browse button (the dialog is left out)."""

    currentPathChanged = QtCore.Signal(str)
    Dirs, Files = 1, 2

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._names: list[str] = []
        self._line = QtWidgets.QLineEdit(self)
        self._filters = 0
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line)
        layout.addWidget(QtWidgets.QToolButton(text="…"))
        self._line.textChanged.connect(self.currentPathChanged)

    def _set_filters(self, filters: int) -> None:
        self._filters = filters

    def _set_names(self, names: list[str]) -> None:
        self._names = list(names)

    currentPath = QtCore.Property(str, lambda self: self._line.text(), lambda self, v: self._line.setText(v))
    filters = QtCore.Property(int, lambda self: self._filters, _set_filters)
    nameFilters = QtCore.Property("QStringList", lambda self: self._names, _set_names)


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene and hands it on by its signal."""

    mrmlSceneChanged = QtCore.Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        self.mrmlSceneChanged.emit(scene)


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The frame into which Slicer puts a module's panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._entered = False

    def _set_entered(self, entered: bool) -> None:
        self._entered = entered

    isEntered = QtCore.Property(bool, lambda self: self._entered, _set_entered)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Lists nodes of some classes; follows the scene; hides what is hidden from editors."""

    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._types: list[str] = []
        self._flags: dict[str, bool] = {}
        self._scene: Any = None
        self._tags: list[int] = []
        self._ids: list[str] = [""]
        self._box.currentIndexChanged.connect(self._on_index)

    def setMRMLScene(self, scene: Any) -> None:
        if self._scene is not None:
            for tag in self._tags:
                self._scene.RemoveObserver(tag)
        self._scene = scene
        events = (
            (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent, scene.EndCloseEvent) if scene else ()
        )
        self._tags = [scene.AddObserver(event, lambda *_: self._fill()) for event in events]
        self._fill()

    def mrmlScene(self) -> Any:
        return self._scene

    def currentNode(self) -> Any:
        index = self._box.currentIndex()
        return self._scene.GetNodeByID(self._ids[index]) if self._scene and index > 0 else None

    def setCurrentNode(self, node: Any) -> None:
        if node is not None and node.GetID() not in self._ids:
            self._fill()
        wanted = node.GetID() if node is not None else ""
        self._box.setCurrentIndex(self._ids.index(wanted) if wanted in self._ids else 0)

    def nodeCount(self) -> int:
        return len(self._ids) - 1

    def _on_index(self, _index: int) -> None:
        self.currentNodeChanged.emit(self.currentNode())

    def _fill(self) -> None:
        before = self._ids[max(self._box.currentIndex(), 0)]
        count = self._scene.GetNumberOfNodes() if self._scene else 0
        nodes = [self._scene.GetNthNode(n) for n in range(count)]
        nodes = [n for n in nodes if n.GetClassName() in self._types and not n.GetHideFromEditors()]
        blocked = self._box.blockSignals(True)
        self._ids = ["", *(n.GetID() for n in nodes)]
        self._box.clear()
        self._box.addItems(["None", *(n.GetName() or "" for n in nodes)])
        self._box.setCurrentIndex(self._ids.index(before) if before in self._ids else 0)
        self._box.blockSignals(blocked)
        if before not in self._ids:
            self.currentNodeChanged.emit(None)

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)
        self._fill()

    nodeTypes = QtCore.Property("QStringList", lambda self: self._types, _set_types)
    showChildNodeTypes = QtCore.Property(bool, lambda self: False, lambda self, v: None)
    noneEnabled = QtCore.Property(bool, lambda self: True, lambda self, v: None)
    addEnabled = QtCore.Property(bool, lambda self: False, lambda self, v: None)
    removeEnabled = QtCore.Property(bool, lambda self: False, lambda self, v: None)
    renameEnabled = QtCore.Property(bool, lambda self: False, lambda self, v: None)


CTK = (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit)
QMRML = (qMRMLWidget, qMRMLNodeComboBox, qSlicerScriptedLoadableModuleWidget)


class QUiLoader:
    """Qt's loader; connections with VTK types, which Qt alone cannot make, are made here from the file's list."""

    def load(self, file: Any) -> Any:
        text = bytes(unwrap(file).readAll()).decode()
        root = ElementTree.fromstring(text)
        bare = re.sub(r"<connections>.*</connections>", "", text, flags=re.DOTALL)
        loader = QtUiTools.QUiLoader()
        for kind in (*CTK, *QMRML):
            loader.registerCustomWidget(kind)
        buffer = QtCore.QBuffer()
        buffer.setData(bare.encode())
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = loader.load(buffer)
        children = {child.objectName(): child for child in (widget, *widget.findChildren(QtWidgets.QWidget))}
        for connection in root.iter("connection"):
            sender, signal, receiver, slot = (connection.findtext(n) for n in ("sender", "signal", "receiver", "slot"))
            getattr(children[sender], signal.split("(")[0]).connect(getattr(children[receiver], slot.split("(")[0]))
        return wrap(widget)


assert slicer
assert vtk
