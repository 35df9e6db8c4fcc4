"""Model: which bundle, what it is, where it runs, and what must be installed for it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from RTResponseCAMLib.device import FOR_REPORTS, REQUIRED, describe_device, missing_packages
from RTResponseCAMLib.gui.runner import Runner
from RTResponseCAMLib.gui.section import Section

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State


class ModelSection(Section):
    """Shows the model's card and the device; the only place that installs anything."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        import ctk

        self._device = ""
        self._probe = Runner(None, _nothing)
        self._ui.bundlePathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        self._ui.bundlePathLineEdit.connect("currentPathChanged(QString)", self._on_bundle_changed)
        self._ui.installButton.connect("clicked(bool)", self._on_install)

    def stop(self) -> None:
        """Forget a device that is being looked up."""
        self._probe.stop()

    def connect_parameters(self) -> None:
        """Show the bundle that the scene remembers."""
        line = self._ui.bundlePathLineEdit
        blocked = line.blockSignals(True)
        line.currentPath = self._parameters.bundleFolder
        line.blockSignals(blocked)
        self._device = ""

    def refresh(self, state: State) -> None:
        """Show card, device and missing packages."""
        self._ui.cardLabel.text = describe_card(state.card) if state.card else _("No readable model is chosen.")
        missing, wanted = missing_packages(REQUIRED), missing_packages(FOR_REPORTS)
        lines = []
        if missing:
            lines.append(_("Predicting needs {names}.").format(names=", ".join(missing)))
        if wanted:
            lines.append(_("The report needs {names}; all else works without.").format(names=", ".join(wanted)))
        self._ui.packagesLabel.text = "\n".join(lines)
        self._ui.packagesLabel.setVisible(bool(lines))
        self._ui.installButton.setVisible(bool(lines))
        if missing:
            self._ui.modelCollapsibleButton.collapsed = False  # it is needed next
        self._show_device()

    def _show_device(self) -> None:
        """Look the device up beside the event loop: asking a GPU can take a second."""
        name = self._parameters.device.value
        if name != self._device and not self._probe.busy:
            self._device = name
            self._probe.start(lambda progress: describe_device(name), self._on_described)

    def _on_described(self, text: str) -> None:
        self._ui.deviceLabel.text = text
        self._ui.runsOnLabel.text = _("Runs on: {device}").format(device=text)

    def _on_bundle_changed(self, path: str) -> None:
        if self._parameters is not None:
            chosen = Path(path)
            self._parameters.bundleFolder = (
                str(chosen.parent if chosen.name == "model.json" else chosen) if path else ""
            )

    def _on_install(self, _checked: bool = False) -> None:
        with slicer.util.tryWithErrorDisplay(_("The packages could not be installed.")):
            if missing_packages(REQUIRED):
                _install_torch()
            if missing_packages(FOR_REPORTS):
                _install(self._panel.resourcePath("requirements.txt"))
        self._panel.refresh()


def describe_card(card: Mapping[str, Any]) -> str:
    """A model's card in three lines: what it is, what it was trained on, what it is meant for."""
    read = [_("MR"), *([_("dose")] if card["preprocessing"]["dose"] else []), *card["preprocessing"]["families"]]
    lines = [
        _("{name} (reads {channels})").format(name=card["name"], channels=", ".join(read)),
        _("Trained on: {cohort}").format(cohort=card.get("cohort") or _("not stated")),
        str(card.get("intended_use", "")),
    ]
    return "\n".join(line for line in lines if line)


def _install_torch() -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        text = _("Install the PyTorch extension in the Extensions Manager, restart, and press this button again.")
        raise RuntimeError(text) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    known = inspect.signature(logic.installTorch).parameters
    options = {"askConfirmation": True, "torchVersionRequirement": ">=2.6"}
    if logic.installTorch(**{name: value for name, value in options.items() if name in known}) is None:
        raise RuntimeError(_("PyTorch was not installed."))


def _install(requirements: str) -> None:
    """Ask, then install what Resources/requirements.txt lists."""
    try:
        from slicer.packaging import load_requirements, pip_ensure
    except ImportError:  # before Slicer 5.12
        if slicer.util.confirmOkCancelDisplay(_("Install matplotlib and jinja2 from the Python Package Index?")):
            slicer.util.pip_install(f'-r "{requirements}"')
        return
    pip_ensure(load_requirements(requirements), requester="RTResponseCAM")


def _nothing() -> None:
    pass
