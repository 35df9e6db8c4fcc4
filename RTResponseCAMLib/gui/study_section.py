"""Study section: load a folder or the sample, choose nodes of the scene, see what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from RTResponseCAMLib.dicom.options import AS_FOUND, ReadOptions
from RTResponseCAMLib.gui.runner import Runner
from RTResponseCAMLib.gui.section import Section
from RTResponseCAMLib.translation import tr_sentence

if TYPE_CHECKING:
    from RTResponseCAMLib.errors import QuestionError
    from RTResponseCAMLib.progress import Progress
    from RTResponseCAMLib.state import State
    from RTResponseCAMLib.workflow.sample import LoadedStudy


class StudySection(Section):
    """Loads studies and shows the problems of the inputs."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._failure = ""
        self._question: QuestionError | None = None
        self._folder, self._options = Path(), AS_FOUND
        label = self._ui.studyMessageLabel
        label.setTextInteractionFlags(qt.Qt.TextBrowserInteraction)
        label.setOpenExternalLinks(False)
        label.connect("linkActivated(QString)", self._on_choice)
        self._runner = Runner(self._ui.loadProgressBar, self._on_runner_changed)
        self._ui.loadFolderButton.connect("clicked(bool)", self._on_load_folder)
        self._ui.loadSampleButton.connect("clicked(bool)", self._on_load_sample)

    @property
    def busy(self) -> bool:
        """Whether a study is being read."""
        return self._runner.busy

    def load_folder(self, folder: Path, options: ReadOptions = AS_FOUND) -> None:
        """Read a DICOM folder in the background and show it; contradicting objects lead to a question in the panel."""
        self._folder, self._options = folder, options

        def read(progress: Progress) -> LoadedStudy:
            from RTResponseCAMLib.workflow.sample import open_study

            return open_study(folder, progress, options=options)

        self._load(read)

    def load_sample(self) -> None:
        """Create the synthetic study in the background and show it."""

        def make(progress: Progress) -> LoadedStudy:
            from RTResponseCAMLib.workflow.sample import open_sample

            return open_sample(progress)

        self._load(make)

    def cancel(self) -> None:
        """Cancel reading."""
        self._runner.cancel()

    def stop(self) -> None:
        """Discard a study that is being read."""
        self._runner.stop()
        self._failure, self._question = "", None
        self._show_buttons()

    def connect_parameters(self) -> None:
        """Clear the last failure: it belongs to other inputs."""
        self._failure, self._question = "", None

    def refresh(self, state: State) -> None:
        """Show prescriptions, problems and notes."""
        prescriptions = ", ".join(
            f"{name} {gy:g} {state.dose_unit}" for name, gy in state.prescriptions if gy is not None
        )
        self._ui.prescriptionLabel.text = prescriptions
        self._ui.prescriptionLabel.setVisible(bool(prescriptions))
        notices = [self._failure, self._logic.reset_notice, *state.problems[:1]]
        lines = [f"<b>{_escape(text)}</b>" for text in notices if text] + self._choices()
        lines += [_escape(text) for text in state.notes]
        self._ui.studyMessageLabel.text = "<br>".join(lines)
        self._ui.studyMessageLabel.setVisible(bool(lines))

    def _load(self, read: Callable[[Progress], LoadedStudy]) -> None:
        if self._runner.busy:
            return
        self._failure, self._question = "", None

        def work(progress: Progress) -> LoadedStudy:
            # Import here what the main thread needs later: it takes half a second, longer from a network drive.
            import RTResponseCAMLib.workflow.session  # noqa: F401

            return read(progress)

        self._runner.start(work, self._on_opened, failed=self._on_failed, asked=self._on_asked)

    def _on_opened(self, opened: Any) -> None:
        self._logic.show_study(opened, self._parameters, progress=self._runner.report_here)
        self._panel.refresh()

    def _on_failed(self, sentence: str) -> None:
        self._failure = sentence or _("Loading was canceled; nothing was changed.")
        self._panel.refresh()

    def _on_asked(self, question: QuestionError) -> None:
        self._failure, self._question = question.translated(), question
        self._panel.refresh()

    def _choices(self) -> list[str]:
        """Line with one link for each answer to the open question; empty without a question."""
        if self._question is None:
            return []
        links = [
            f'<a href="{n}">{_escape(tr_sentence(text))}</a>'
            for n, (_answer, text) in enumerate(self._question.choices)
        ]
        return [_("Choose: {choices}").format(choices=" · ".join(links))] if links else []

    def _on_choice(self, link: str) -> None:
        question = self._question
        if question is not None and link.isdigit() and int(link) < len(question.choices):
            answer = question.choices[int(link)][0]
            self.load_folder(self._folder, self._options.answered(question.option, answer))

    def _on_load_folder(self, _checked: bool = False) -> None:
        if self._runner.busy:
            return
        title = _("Folder with the DICOM export of a Gamma Knife plan")
        folder = qt.QFileDialog.getExistingDirectory(self._panel.parent, title)
        if folder:
            self.load_folder(Path(folder))

    def _on_load_sample(self, _checked: bool = False) -> None:
        if self._runner.busy:
            self.cancel()
        else:
            self.load_sample()

    def _on_runner_changed(self) -> None:
        self._show_buttons()
        self._panel.refresh()

    def _show_buttons(self) -> None:
        busy = self._runner.busy
        self._ui.loadFolderButton.enabled = not busy
        self._ui.loadSampleButton.text = _("Cancel") if busy else _("Load sample")


def _escape(text: str) -> str:
    """Escape markup characters: names of nodes, folders and ROIs are external text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
