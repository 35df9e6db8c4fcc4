"""Choices of the panel's combo boxes. The scene stores the names; the panel shows the labels."""

from __future__ import annotations

from enum import Enum

from slicer.i18n import tr as _


class Device(Enum):
    """Where the classifier runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"

    def label(self) -> str:
        """Text in the combo box."""
        return {"AUTO": _("Automatic"), "CPU": _("CPU"), "CUDA": _("CUDA (GPU)")}[self.name]


class Scope(Enum):
    """Which lesions are predicted."""

    ALL = "all"
    SELECTED = "selected"

    def label(self) -> str:
        """Text in the combo box."""
        return {"ALL": _("All lesions"), "SELECTED": _("Selected lesion")}[self.name]


class Shown(Enum):
    """Which class's evidence is shown."""

    BOTH = "both"
    NON_RESPONSE = "non-response"
    RESPONSE = "response"

    def label(self) -> str:
        """Text in the combo box."""
        names = {"BOTH": _("Both"), "NON_RESPONSE": _("Non-response"), "RESPONSE": _("Response")}
        return names[self.name]


class Colors(Enum):
    """Color map of the evidence."""

    EVIDENCE = "evidence"
    HEAT = "heat"
    VIRIDIS = "viridis"

    def label(self) -> str:
        """Text in the combo box."""
        names = {"EVIDENCE": _("Blue to orange"), "HEAT": _("Heat"), "VIRIDIS": _("Viridis")}
        return names[self.name]


class Scale(Enum):
    """Range of the colors."""

    FIXED = "fixed"
    LESION = "lesion"

    def label(self) -> str:
        """Text in the combo box."""
        return {"FIXED": _("Fixed (compare lesions)"), "LESION": _("Range of the selected lesion")}[self.name]


class DoseDisplay(Enum):
    """How the dose is shown."""

    LINES = "lines"
    WASH = "wash"
    NOTHING = "nothing"

    def label(self) -> str:
        """Text in the combo box."""
        names = {"LINES": _("Isodose lines"), "WASH": _("Color wash"), "NOTHING": _("Not shown")}
        return names[self.name]
