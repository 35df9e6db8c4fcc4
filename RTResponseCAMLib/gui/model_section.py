"""Model section: model bundle, model card, device, and the packages that must be installed."""

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
from RTResponseCAMLib.models.card import worst_stress

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State


class ModelSection(Section):
    """Shows the model card and the device; the only section that installs packages."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        import ctk

        self._device = ""
        self._probe = Runner(None, _nothing)
        self._ui.bundlePathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        self._ui.bundlePathLineEdit.connect("currentPathChanged(QString)", self._on_bundle_changed)
        self._ui.installButton.connect("clicked(bool)", self._on_install)

    def stop(self) -> None:
        """Discard a running query of the device."""
        self._probe.stop()

    def connect_parameters(self) -> None:
        """Show the bundle folder that is stored in the scene."""
        path_edit = self._ui.bundlePathLineEdit
        blocked = path_edit.blockSignals(True)
        path_edit.currentPath = self._parameters.bundleFolder
        path_edit.blockSignals(blocked)
        self._device = ""

    def refresh(self, state: State) -> None:
        """Show model card, device and missing packages."""
        self._ui.cardLabel.text = describe_card(state.card) if state.card else _("No readable model is chosen.")
        missing, missing_for_report = missing_packages(REQUIRED), missing_packages(FOR_REPORTS)
        lines = []
        if missing:
            lines.append(_("Prediction requires {names}.").format(names=", ".join(missing)))
        if missing_for_report:
            lines.append(_("Only the report requires {names}.").format(names=", ".join(missing_for_report)))
        self._ui.packagesLabel.text = "\n".join(lines)
        self._ui.packagesLabel.setVisible(bool(lines))
        self._ui.installButton.setVisible(bool(lines))
        if missing:
            self._ui.modelCollapsibleButton.collapsed = False  # the user needs the install button next
        self._show_device()

    def _show_device(self) -> None:
        """Query the device in a worker thread: the query of a GPU can take a second."""
        name = self._parameters.device.value
        if name != self._device and not self._probe.busy:
            self._device = name
            self._probe.start(lambda progress: describe_device(name), self._on_described)

    def _on_described(self, text: str) -> None:
        self._ui.deviceLabel.text = text
        self._ui.runsOnLabel.text = _("Runs on: {device}").format(device=text)

    def _on_bundle_changed(self, path: str) -> None:
        if self._parameters is not None:
            selected_path = Path(path)
            self._parameters.bundleFolder = (
                str(selected_path.parent if selected_path.name == "model.json" else selected_path) if path else ""
            )

    def _on_install(self, _checked: bool = False) -> None:
        with slicer.util.tryWithErrorDisplay(_("The packages could not be installed.")):
            if missing_packages(REQUIRED):
                _install_torch()
            if missing_packages(FOR_REPORTS):
                _install(self._panel.resourcePath("requirements.txt"))
        self._panel.refresh()


def describe_card(card: Mapping[str, Any]) -> str:
    """Model card, a line each: name and input channels, training cohort, largest effect of a change of scan, use."""
    inputs = [_("MR"), *([_("dose")] if card["preprocessing"]["dose"] else []), *card["preprocessing"]["families"]]
    lines = [
        _("{name} (reads {channels})").format(name=card["name"], channels=", ".join(inputs)),
        _("Trained on: {cohort}").format(cohort=card.get("cohort") or _("not stated")),
        _stress(card),
        str(card.get("intended_use", "")),
    ]
    return "\n".join(line for line in lines if line)


def _stress(card: Mapping[str, Any]) -> str:
    worst = worst_stress(card)
    if worst is None:
        return _("Sensitivity to the scan: not measured")
    text = _("Sensitivity to the scan: '{change}' flipped the class of {percent:.0f} % of {count} synthetic lesions")
    return text.format(change=worst[0], percent=100 * worst[1], count=worst[2])


def _install_torch() -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        text = _(
            "Install the PyTorch extension in the Extensions Manager, restart Slicer, and press this button again."
        )
        raise RuntimeError(text) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    supported = inspect.signature(logic.installTorch).parameters
    options = {"askConfirmation": True, "torchVersionRequirement": ">=2.6"}
    if logic.installTorch(**{name: value for name, value in options.items() if name in supported}) is None:
        raise RuntimeError(_("PyTorch was not installed."))


def _install(requirements: str) -> None:
    """Install the packages of Resources/requirements.txt after confirmation by the user."""
    try:
        from slicer.packaging import load_requirements, pip_ensure
    except ImportError:  # before Slicer 5.12
        if slicer.util.confirmOkCancelDisplay(_("Install matplotlib and jinja2 from the Python Package Index?")):
            slicer.util.pip_install(f'-r "{requirements}"')
        return
    pip_ensure(load_requirements(requirements), requester="RTResponseCAM")


def _nothing() -> None:
    pass
