"""Export section: writes the result folder with tables, evidence map, scene and report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from RTResponseCAMLib.device import FOR_DICOM, FOR_REPORTS, missing_packages
from RTResponseCAMLib.gui.events import let_events_happen
from RTResponseCAMLib.gui.runner import Runner
from RTResponseCAMLib.gui.section import Section

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State

FOLDER = "RTResponseCAM result"


class ExportSection(Section):
    """Exports the result: the scene on the main thread, all other files in a worker thread."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        import ctk

        self._message, self._written = "", ""
        self._runner = Runner(self._ui.exportProgressBar, self._on_runner_changed)
        self._ui.exportPathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        self._ui.exportPathLineEdit.connect("currentPathChanged(QString)", lambda _path: panel.refreshSoon())
        self._ui.dicomPathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        self._ui.dicomPathLineEdit.connect("currentPathChanged(QString)", lambda _path: panel.refreshSoon())
        self._ui.dicomCheckBox.connect("toggled(bool)", lambda _checked: panel.refreshSoon())
        self._offered = ""
        self._ui.exportButton.connect("clicked(bool)", self._on_export)

    @property
    def busy(self) -> bool:
        """Whether a result is being written."""
        return self._runner.busy

    def stop(self) -> None:
        """Discard a running export; no partial result remains."""
        self._runner.stop()
        self._message, self._offered = "", ""
        self._ui.dicomPathLineEdit.currentPath = ""

    def start(self, folder: Path) -> None:
        """Write the result into a new folder below ``folder``."""
        out, suffix = folder / FOLDER, 2
        while out.exists():
            out, suffix = folder / f"{FOLDER} {suffix}", suffix + 1
        self._message, self._written = "", str(out)
        dicom = Path(self._ui.dicomPathLineEdit.currentPath) if self._ui.dicomCheckBox.checked else None
        work = self._logic.export_work(
            out, on_main_thread=self._runner.on_main_thread, dicom=dicom, between=let_events_happen
        )
        self._runner.start(work, self._on_written, failed=self._on_failed)

    def refresh(self, state: State) -> None:
        """Enable the button, or show what is missing."""
        problem = ""
        self._offer_folder()
        wants_dicom = self._ui.dicomCheckBox.checked
        for widget in (self._ui.dicomLabel, self._ui.dicomPathLineEdit):
            widget.setVisible(wants_dicom)
        result = self._logic.result
        if result is None:
            problem = _(
                "Predict first. A loaded scene restores the evidence map only: predict again before you export."
            )
        elif state.stale:
            problem = _("Results are out of date: predict again.")
        elif not self._ui.exportPathLineEdit.currentPath:
            problem = _("Choose a folder.")
        elif not Path(self._ui.exportPathLineEdit.currentPath).is_dir():
            problem = _("The folder does not exist.")
        elif wants_dicom and not self._ui.dicomPathLineEdit.currentPath:
            problem = _("Choose the folder of the original DICOM files, or clear the DICOM check box.")
        busy = self._runner.busy
        self._ui.exportButton.text = _("Cancel") if busy else _("Export result")
        self._ui.exportButton.enabled = busy or not problem
        self._ui.exportButton.toolTip = problem or _("Export tables, evidence map, subregions, scene and report.")
        lines = [self._message] if self._message else []
        if missing_packages(FOR_REPORTS):
            lines.append(_("No report is written: matplotlib or jinja2 is missing. Install them in the Model section."))
        if wants_dicom and missing_packages(FOR_DICOM):
            lines.append(_("DICOM SEG and Parametric Map are not written: highdicom is missing."))
        self._ui.exportLabel.text = "\n".join(lines)

    def _offer_folder(self) -> None:
        """Fill in the folder that the study was read from, once per folder; a user's choice is kept."""
        folder = self._logic.folder
        source_folder = "" if folder is None else str(folder)
        if source_folder != self._offered:
            self._ui.dicomPathLineEdit.currentPath = source_folder
            self._offered = source_folder

    def _on_export(self, _checked: bool = False) -> None:
        if self._runner.busy:
            self._runner.cancel()
        else:
            self.start(Path(self._ui.exportPathLineEdit.currentPath))

    def _on_written(self, warnings: Any) -> None:
        lines = [_("Result written to {folder}").format(folder=self._written), *(warning.text for warning in warnings)]
        self._message = "\n".join(lines)
        self._panel.refresh()

    def _on_failed(self, sentence: str) -> None:
        self._message = sentence or _("The export was canceled; nothing was written.")
        self._panel.refresh()

    def _on_runner_changed(self) -> None:
        self._panel.refresh()
