"""Stand-in for slicer.ScriptedLoadableModule: the four base classes, without developer tools."""

from __future__ import annotations

import types
import unittest
from pathlib import Path
from typing import Any

import slicer


class ScriptedLoadableModule:
    """Imitates the part that a module's constructor uses."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    """Imitates the panel's base: a parent with a layout, resource paths."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, name: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None:
        pass

    def cleanup(self) -> None:
        pass


class ScriptedLoadableModuleLogic:
    """Imitates the singleton parameter node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Imitates the self-test's base."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.messages: list[str] = []

    def delayDisplay(self, message: str, *_arguments: Any, **_options: Any) -> None:
        self.messages.append(message)
        slicer.app.processEvents()


module = types.ModuleType("slicer.ScriptedLoadableModule")
for _base in (
    ScriptedLoadableModule,
    ScriptedLoadableModuleWidget,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
):
    setattr(module, _base.__name__, _base)
module.__all__ = [name for name in vars(module) if name.startswith("Scripted")]
