"""Predict section: one lesion or all lesions, with progress, Cancel, and a message when results are out of date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from RTResponseCAMLib.device import REQUIRED, missing_packages
from RTResponseCAMLib.errors import RTResponseError
from RTResponseCAMLib.gui.events import drawn_once
from RTResponseCAMLib.gui.runner import Runner
from RTResponseCAMLib.gui.section import Section

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State
    from RTResponseCAMLib.workflow.task import Task


class PredictSection(Section):
    """Runs the classifier in a worker thread."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._message, self._problem = "", ""
        self._runner = Runner(self._ui.predictProgressBar, self._on_runner_changed)
        self._ui.predictButton.connect("clicked(bool)", self._on_predict)

    @property
    def busy(self) -> bool:
        """Whether a prediction runs."""
        return self._runner.busy

    def stop(self) -> None:
        """Discard a running prediction."""
        self._runner.stop()
        self._message = ""
        self._show_button()

    def cancel(self) -> None:
        """Cancel a running prediction; earlier results stay."""
        self._runner.cancel()

    def start(self) -> None:
        """Predict the lesions of the chosen scope."""
        from RTResponseCAMLib.workflow.task import compute

        self._message = ""
        lesions = [self._parameters.selectedLesion] if self._parameters.scope.value == "selected" else []
        try:
            task = self._work.prepare(self._parameters, lesions)
        except RTResponseError as error:
            self._message = error.translated()
            self._panel.refresh()
            return
        self._runner.start(
            lambda progress: compute(task, progress),
            lambda result: self._on_predicted(task, result),
            failed=self._on_failed,
        )

    def refresh(self, state: State) -> None:
        """Enable the button, or show in its tooltip what is missing."""
        missing = missing_packages(REQUIRED)
        problems = list(state.problems)
        if missing:
            problems.append(_("PyTorch is missing: install it in the Model section."))
        if self._panel.study.busy:
            problems.insert(0, _("A study is being read."))
        self._problem = problems[0] if problems else ""
        lines = [self._message] if self._message else []
        if state.stale:
            changed = ", ".join(sorted({reason for reasons in state.stale.values() for reason in reasons}))
            text = _("Results of {lesions} are out of date ({changed} changed): predict again.")
            lines.append(text.format(lesions=", ".join(sorted(state.stale)), changed=changed))
        if not self._runner.busy and self._problem:
            lines.append(self._problem)
        self._ui.staleLabel.text = "\n".join(lines)
        self._ui.staleLabel.setStyleSheet("color: #c05000;" if lines else "")
        self._ui.staleLabel.setVisible(bool(lines))
        self._show_button()

    def _on_predict(self, _checked: bool = False) -> None:
        if self._runner.busy:
            self.cancel()
        elif self._parameters is not None:
            self.start()

    def _on_predicted(self, task: Task, result: Any) -> None:
        if self._parameters is None:
            return
        try:
            with drawn_once():
                shown = self._work.show(task, result, parameters=self._parameters)
                if shown:
                    self._logic.center(self._parameters)
        except RTResponseError as error:
            self._message = error.translated()
        else:
            if not shown:
                self._message = _(
                    "The prediction belongs to a study that is not chosen. Choose that study to see its evidence map."
                )
        self._panel.display.remember()
        self._panel.refresh()

    def _on_failed(self, sentence: str) -> None:
        self._message = sentence or _("The prediction was canceled; earlier results are unchanged.")
        self._panel.refresh()

    def _on_runner_changed(self) -> None:
        self._show_button()
        self._panel.refresh()

    def _show_button(self) -> None:
        busy = self._runner.busy
        button = self._ui.predictButton
        button.text = _("Cancel") if busy else _("Predict")
        button.enabled = busy or not self._problem
        ready = _("Predict the probability of response and the evidence map.")
        button.toolTip = _("Cancel the prediction; earlier results stay.") if busy else (self._problem or ready)
        self._ui.scopeComboBox.enabled = not busy
