"""Stand-in for PythonQt, the way Slicer's Python sees Qt, over PySide6.

Imitated: properties without parentheses, ``name`` for objectName, string and attribute signals, slots that take fewer
arguments than the signal gives, ``type(widget) is qt.QPushButton``. Strict where PythonQt is strict: an unknown
attribute cannot be set, and a property cannot be called.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, ClassVar

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

LIBRARIES = (QtWidgets, QtGui, QtCore, QtUiTools)
# C++ address -> proxy, so that one widget is one Python object.
_known: dict[int, Proxy] = {}


class _ProxyType(type):
    """Class attributes (enums, static functions) come from the Qt class."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _wrapped(getattr(cls._qt_class, name))


class Proxy(metaclass=_ProxyType):
    """One QObject as PythonQt shows it."""

    _qt_class: type = QtCore.QObject

    def __init__(self, *arguments: Any) -> None:
        _adopt(self, type(self)._qt_class(*(unwrap(a) for a in arguments)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        qt = self.__dict__["_qt"]
        if name == "name":
            return qt.objectName()
        if qt.metaObject().indexOfProperty(name) >= 0:
            return _wrapped(qt.property(name))
        return _wrapped(getattr(qt, name))

    def __setattr__(self, name: str, value: Any) -> None:
        qt = self.__dict__["_qt"]
        name = "objectName" if name == "name" else name
        if qt.metaObject().indexOfProperty(name) < 0:
            raise AttributeError(f"{type(self).__name__} has no property '{name}' to set")
        qt.setProperty(name, unwrap(value))

    def connect(self, signal: str, slot: Callable[..., Any]) -> bool:
        """Connect by the signal's C++ signature, as in ``connect("clicked(bool)", slot)``."""
        Signal(self._signal(signal)).connect(slot)
        return True

    def disconnect(self, signal: str, slot: Callable[..., Any] | None = None) -> bool:
        """Disconnect one slot, or all that Python has connected."""
        Signal(self._signal(signal)).disconnect(slot)
        return True

    def _signal(self, signature: str) -> Any:
        name = signature.split("(")[0]
        meta = self._qt.metaObject()
        if meta.indexOfSignal(QtCore.QMetaObject.normalizedSignature(signature).data().decode()) < 0:
            known = [meta.method(i).methodSignature().data().decode() for i in range(meta.methodCount())]
            if not any(one.startswith(f"{name}(") for one in known) or "vtk" not in signature:
                raise ValueError(f"{type(self).__name__} has no signal {signature}")
        return getattr(self._qt, name)

    def findChildren(self, kind: type) -> list[Any]:
        return [_wrapped(child) for child in self._qt.findChildren(getattr(kind, "_qt_class", kind))]

    def className(self) -> str:
        return str(type(self).__name__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Proxy) and self._qt is other._qt

    def __hash__(self) -> int:
        return id(self._qt)

    def __bool__(self) -> bool:
        return True


class Signal:
    """A signal with ``connect`` and ``disconnect``; slots may take fewer arguments."""

    _slots: ClassVar[dict[tuple[int, str, Any], Callable[..., Any]]] = {}

    def __init__(self, signal: Any) -> None:
        self._signal = signal

    def connect(self, slot: Callable[..., Any]) -> None:
        trimmed = _trimmed(slot)
        self._slots[self._key(slot)] = trimmed
        self._signal.connect(trimmed)

    def disconnect(self, slot: Callable[..., Any] | None = None) -> None:
        if slot is None:
            self._signal.disconnect()
            return
        trimmed = self._slots.pop(self._key(slot), None)
        if trimmed is not None:
            self._signal.disconnect(trimmed)

    def emit(self, *arguments: Any) -> None:
        self._signal.emit(*(unwrap(a) for a in arguments))

    def _key(self, slot: Callable[..., Any]) -> tuple[int, str, Any]:
        return id(self._signal.__self__) if hasattr(self._signal, "__self__") else 0, str(self._signal), slot


def wrap(qt: Any) -> Any:
    """Proxy of a QObject, the same one every time."""
    address = shiboken6.getCppPointer(qt)[0]
    known = _known.get(address)
    if known is not None and shiboken6.isValid(known._qt):
        return known
    proxy = object.__new__(proxy_class(type(qt)))
    _adopt(proxy, qt)
    return proxy


def unwrap(value: Any) -> Any:
    """The Qt object behind a proxy; anything else as it is."""
    if isinstance(value, Proxy):
        return value._qt
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(v) for v in value)
    return value


def proxy_class(qt_class: type) -> type:
    """Proxy class of a Qt class, made once."""
    name = qt_class.__name__
    if name not in _classes:
        _classes[name] = _ProxyType(name, (Proxy,), {"_qt_class": qt_class})
    return _classes[name]


_classes: dict[str, type] = {}


class QtModule:
    """The ``qt`` module: proxies for QObjects, the classes themselves for plain values (items, colors, keys)."""

    def __init__(self) -> None:
        self.QUiLoader: Any = None
        self.Signal = QtCore.Signal

    def __getattr__(self, name: str) -> Any:
        for library in LIBRARIES:
            found = getattr(library, name, None)
            if found is not None:
                is_object = isinstance(found, type) and issubclass(found, QtCore.QObject)
                return proxy_class(found) if is_object else found
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


def _adopt(proxy: Proxy, qt: Any) -> None:
    proxy.__dict__["_qt"] = qt
    _known[shiboken6.getCppPointer(qt)[0]] = proxy


def _wrapped(value: Any) -> Any:
    if isinstance(value, QtCore.QObject):
        return wrap(value)
    if isinstance(value, QtCore.SignalInstance):
        return Signal(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_wrapped(v) for v in value)
    if inspect.isroutine(value):
        return lambda *arguments: _wrapped(value(*(unwrap(a) for a in arguments)))
    return value


def _trimmed(slot: Callable[..., Any]) -> Callable[..., Any]:
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return lambda *arguments: slot(*(_wrapped(a) for a in arguments))
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    every = any(p.kind is p.VAR_POSITIONAL for p in parameters)

    def call(*arguments: Any) -> Any:
        taken = arguments if every else arguments[: len(positional)]
        try:
            return slot(*(_wrapped(a) for a in taken))
        except Exception:  # Slicer prints it to its log and goes on
            logging.exception("a slot failed")
            return None

    return call
