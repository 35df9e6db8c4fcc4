"""What the panel does with a scene, for its sections and for scripts: load, predict, show, contour, export.

Mixed into the module's logic class, which adds the parameter node. No widgets, no dialogs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from RTResponseCAMLib.gui.events import drawn_once
from RTResponseCAMLib.gui.parameters import HEATMAP_PARAMETERS, PARAMETER_VERSION, PanelParameters
from RTResponseCAMLib.gui.side_by_side import SideBySide
from RTResponseCAMLib.progress import Progress, no_progress

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State
    from RTResponseCAMLib.study import Result
    from RTResponseCAMLib.workflow.export_work import OnMainThread, Work
    from RTResponseCAMLib.workflow.session import Session


class PanelLogic:
    """The work in the scene of the application.

    Attributes
    ----------
    reset_notice : what was put back to its default, in words.
    row : the views side by side.
    """

    def __init__(self) -> None:
        self._session: Session | None = None
        self.reset_notice = ""
        self.row = SideBySide()

    @property
    def started(self) -> bool:
        """Whether anything has been done yet; numerical libraries are not imported before."""
        return self._session is not None

    @property
    def session(self) -> Session:
        """The work in this scene."""
        if self._session is None:
            from RTResponseCAMLib.workflow.session import Session

            self._session = Session(slicer.mrmlScene)
        return self._session

    @property
    def result(self) -> Result | None:
        """The last result with its shares of evidence; None after loading a scene."""
        return self._session.result if self._session else None

    @property
    def folder(self) -> Path | None:
        """Folder that the chosen study was read from; None where it is not known."""
        return self._session.folder if self._session else None

    def read_parameters(self, node: Any) -> PanelParameters:
        """The settings in a parameter node; those that cannot be read (an older version's) are put back."""
        if node.GetParameterNamesAsCommaSeparatedList() and node.GetParameter("version") != str(PARAMETER_VERSION):
            self._reset(node)
        try:
            return PanelParameters(node)  # type: ignore[call-arg]
        except Exception:  # the wrapper raises whatever the stored text makes it raise
            self._reset(node)
            return PanelParameters(node)  # type: ignore[call-arg]

    def _reset(self, node: Any) -> None:
        node.UnsetAllParameters()
        self.reset_notice = _("Settings of another version could not be read; they were put back to their defaults.")

    def choose_inputs(self, parameters: Any) -> bool:
        """Choose what is in the scene where nothing is chosen; tell whether a result was found."""
        if not slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"):
            return False
        found = self.session.restore(parameters)
        self.session.choose_inputs(parameters)
        return found

    def state(self, parameters: Any) -> State:
        """What inputs and results are like now."""
        if not self.started and parameters.mrVolume is None and parameters.segmentation is None:
            from RTResponseCAMLib.workflow.empty import empty_state

            return empty_state(parameters)
        return self.session.state(parameters)

    def forget(self) -> None:
        """Forget what belongs to a scene that was closed."""
        self.reset_notice = ""
        self.row.forget()
        if self._session:
            self._session.forget()

    def loadSample(self) -> Any:  # noqa: N802
        """Make and load the synthetic study; returns its nodes."""
        from RTResponseCAMLib.workflow.sample import open_sample

        return self.show_study(open_sample(), self.getParameterNode())

    def loadStudy(self, folder: str | Path) -> Any:  # noqa: N802
        """Read a DICOM folder and show it; returns its nodes.

        Parameters
        ----------
        folder : of the export, in any order and nesting.

        Raises
        ------
        RTResponseError : a sentence that names the file, the tag and the fix.
        """
        from RTResponseCAMLib.workflow.sample import open_study

        return self.show_study(open_study(Path(folder)), self.getParameterNode())

    def show_study(self, opened: Any, parameters: Any, *, progress: Progress = no_progress) -> Any:
        """Add a study that was read to the scene, choose it, show it."""
        with drawn_once():
            nodes = self.session.add(opened, parameters, progress=progress)
            self.session.display.apply(parameters)
            self.session.display.center(parameters)
        return nodes

    def predict(self, lesions: Sequence[str] = ()) -> Result:
        """Predict and show lesions (all when none are named); returns the result. Blocks until done.

        Parameters
        ----------
        lesions : ids such as "L1".

        Raises
        ------
        RTResponseError : a sentence that says what is missing or wrong.
        """
        from RTResponseCAMLib.workflow.task import compute

        parameters = self.getParameterNode()
        task = self.session.prepare(parameters, lesions)
        result = compute(task)
        with drawn_once():
            self.session.show(task, result, parameters=parameters)
            self.session.display.center(parameters)
        return result

    def export(self, folder: str | Path, dicom: Path | None = None) -> Any:
        """Write the last result into a new folder; returns what is to be known. Blocks until done.

        Parameters
        ----------
        folder : must not exist yet.
        dicom : folder of the original DICOM files: kept subregions and the map are written as DICOM, too.

        Raises
        ------
        RTResponseError : there is no result, or it cannot be written.
        """
        return self.export_work(Path(folder), on_main_thread=lambda call: call(), dicom=dicom)(no_progress)

    def export_work(
        self, out: Path, *, on_main_thread: OnMainThread, dicom: Path | None = None, between: Progress | None = None
    ) -> Work:
        """The work of an export, for another thread; see `workflow.export_work`."""
        from RTResponseCAMLib.workflow.export_work import export_work

        segmentation = self.getParameterNode().segmentation
        return export_work(
            self.result,
            out,
            segmentation=segmentation,
            on_main_thread=on_main_thread,
            dicom=dicom,
            between=between,
        )

    def follow(self, parameters: Any) -> None:
        """Keep up with the scene: another study that is chosen, inputs that were moved."""
        if self.started:
            self.session.follow(parameters)

    def follow_study(self, parameters: Any) -> None:
        """Take up prescription and result of another study that is chosen."""
        if self.started:
            self.session.follow_study(parameters)

    def follow_row(self, parameters: Any) -> None:
        """Keep up with the layout."""
        if self.started:
            self.row.follow(parameters, self.session.display)

    def center(self, parameters: Any) -> None:
        """Turn all views to the selected lesion."""
        if parameters.segmentation is not None:
            with drawn_once():
                self.session.display.center(parameters)

    def reset_heatmap(self, parameters: Any) -> None:
        """Put the heatmap's settings back to their defaults."""
        with slicer.util.NodeModify(parameters):
            for name in HEATMAP_PARAMETERS:
                setattr(parameters, name, parameters.default(name).value)

    def show_dvh(self, parameters: Any, threshold: float) -> Any:
        """Chart the dose of the selected lesion's subregion and of the rest beside the views; returns the chart."""
        chart = self.session.subregions.chart(parameters, threshold)
        layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if layout is not None and layout.IsLayoutDescription(layout.SlicerLayoutFourUpPlotView):
            layout.SetViewArrangement(layout.SlicerLayoutFourUpPlotView)
        for view in slicer.util.getNodesByClass("vtkMRMLPlotViewNode"):
            view.SetPlotChartNodeID(chart.GetID())
        self.session.display.apply(parameters)
        return chart

    def show_points(self, table: str | Path, frame: str | None = None) -> tuple[Any, list[str]]:
        """Show a table of cell-level points as markups; returns the lists, and what the map says there in words.

        Parameters
        ----------
        table : CSV with the columns x, y, z (mm), value, and optionally type, study, frame (LPS or RAS).
        frame : "LPS" or "RAS" where the table states none.

        Raises
        ------
        RTResponseError : the table cannot be used.
        """
        from RTResponseCAMLib.scene.points import show_points
        from RTResponseCAMLib.subregion.points import read_points
        from RTResponseCAMLib.workflow.align import points_of, points_summary

        name = self.session.folder.name if self.session.folder is not None else ""
        points = points_of(read_points(Path(table), frame), name, studies=[name])
        words = points_summary(self.result, points) if self.result is not None else []
        lists = show_points(slicer.mrmlScene, points)
        self.session.display.apply(self.getParameterNode())
        return lists, words

    def getParameterNode(self) -> Any:  # noqa: N802
        """The module's parameters."""
        return self.read_parameters(super().getParameterNode())  # type: ignore[misc]
