"""Stand-in for slicer.parameterNodeWrapper: typed attributes over a real vtkMRMLScriptedModuleNode, and the panel.

Imitated: text parameters and node references, defaults written at once, range checks, enums by name with labels,
connection of widgets by their ``SlicerParameterName``. Not imitated: lists, dictionaries, packs.
"""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from enum import Enum
from typing import Any

import slicer
import vtk


@dataclass
class WithinRange:
    """Annotation: smallest and largest value."""

    minimum: float
    maximum: float


@dataclass
class Default:
    """A parameter's default."""

    value: Any


def parameterNodeWrapper(cls: type) -> type:
    """Make a class of annotated attributes a view of a parameter node."""
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _Parameter(name, hint, cls.__dict__.get(name)) for name, hint in hints.items()}
    for name, parameter in parameters.items():
        setattr(cls, name, property(parameter.read, parameter.write))
    cls.allParameters = parameters
    for name in _Methods.__dict__:
        if not name.startswith("__") or name == "__init__":
            setattr(cls, name, _Methods.__dict__[name])
    return cls


class _Parameter:
    def __init__(self, name: str, hint: Any, default: Any) -> None:
        arguments = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        self.name, self.kind = name, arguments[0]
        self.range = next((a for a in arguments[1:] if isinstance(a, WithinRange)), None)
        self.is_node = issubclass(self.kind, slicer.vtkMRMLNode)
        self.default = None if self.is_node else (default if default is not None else self.kind())

    def read(self, owner: Any) -> Any:
        node = owner.parameterNode
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if issubclass(self.kind, Enum):
            return self.kind[text]
        if self.kind is bool:
            return {"True": True, "False": False}[text]
        return self.check(self.kind(text))

    def write(self, owner: Any, value: Any) -> None:
        node = owner.parameterNode
        if self.is_node:
            if value is not None and not value.IsA(self.kind.__name__):
                raise TypeError(f"{self.name} must be a {self.kind.__name__}")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, (int, float) if self.kind is float else self.kind):
            raise TypeError(f"{self.name} must be {self.kind.__name__}, not {type(value).__name__}")
        node.SetParameter(self.name, value.name if isinstance(value, Enum) else str(self.check(self.kind(value))))

    def check(self, value: Any) -> Any:
        if self.range is not None and not self.range.minimum <= value <= self.range.maximum:
            raise ValueError(f"{self.name} must lie within {self.range.minimum} and {self.range.maximum}: {value}")
        return value


class _Methods:
    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[int, list[Any]]] = {}
        self._writing = False
        for name, parameter in self.allParameters.items():
            if not parameter.is_node and not parameterNode.GetParameter(name):
                parameter.write(self, parameter.default)
            parameter.read(self)

    def default(self, name: str) -> Default:
        return Default(self.allParameters[name].default)

    def connectGui(self, ui: Any) -> int:
        widgets = [w for w in ui.__dict__.values() if w.property("SlicerParameterName")]
        links = [_Link(self, w, self.allParameters[w.property("SlicerParameterName")]) for w in widgets]
        for link in links:
            link.show()
            link.connect()
        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show(links))
        self._guis[tag] = (tag, links)
        return tag

    def disconnectGui(self, tag: int | None) -> None:
        if tag in self._guis:
            for link in self._guis.pop(tag)[1]:
                link.disconnect()
            self.RemoveObserver(tag)

    def _show(self, links: list[Any]) -> None:
        if self._writing:
            return
        self._writing = True
        try:
            for link in links:
                link.show()
        finally:
            self._writing = False

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, modifying: int) -> int:
        return self.parameterNode.EndModify(modifying)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


class _Link:
    """One widget and its parameter; which property and signal, as Slicer's GUI connectors choose them."""

    def __init__(self, owner: Any, widget: Any, parameter: _Parameter) -> None:
        self._owner, self._widget, self._parameter = owner, widget, parameter
        kind, name = type(widget).__name__, parameter.name
        if kind == "qMRMLNodeComboBox" and parameter.is_node:
            self._signal = widget.currentNodeChanged
            widget.nodeTypes = [parameter.kind.__name__]
        elif kind == "QComboBox" and issubclass(parameter.kind, Enum):
            self._signal = widget.currentIndexChanged
            blocked = widget.blockSignals(True)
            widget.clear()
            for choice in parameter.kind:
                widget.addItem(choice.label())
            widget.blockSignals(blocked)
        elif kind == "QCheckBox" and parameter.kind is bool:
            self._signal = widget.toggled
        elif (kind, parameter.kind) in {
            ("ctkSliderWidget", float), ("QDoubleSpinBox", float), ("QSpinBox", int),
        }:  # fmt: skip
            self._signal = widget.valueChanged
            if parameter.range is None:
                raise RuntimeError(f"{name} needs a range to be connected to a {kind}")
            widget.minimum, widget.maximum = parameter.range.minimum, parameter.range.maximum
        elif kind == "QLineEdit" and parameter.kind is str:
            self._signal = widget.textChanged
        else:
            raise RuntimeError(f"no connector for {name} ({parameter.kind.__name__}) and {kind}")

    def connect(self) -> None:
        self._signal.connect(self._changed)

    def disconnect(self) -> None:
        self._signal.disconnect(self._changed)

    def show(self) -> None:
        value, widget = self._parameter.read(self._owner), self._widget
        if self._parameter.is_node:
            widget.setCurrentNode(value)
        elif isinstance(value, Enum):
            widget.currentIndex = list(type(value)).index(value)
        elif isinstance(value, bool):
            widget.checked = value
        elif isinstance(value, str):
            widget.text = value
        else:
            widget.value = value

    def _changed(self, *_arguments: Any) -> None:
        if self._owner._writing:
            return
        widget, kind = self._widget, self._parameter.kind
        if self._parameter.is_node:
            value = widget.currentNode()
        elif issubclass(kind, Enum):
            value = list(kind)[widget.currentIndex]
        elif kind is bool:
            value = widget.checked
        elif kind is str:
            value = widget.text
        else:
            value = kind(widget.value)
        self._parameter.write(self._owner, value)


module = types.ModuleType("slicer.parameterNodeWrapper")
module.parameterNodeWrapper, module.WithinRange, module.Default = parameterNodeWrapper, WithinRange, Default
