"""Operations of the panel on a scene, for its sections and for scripts: load, predict, show, contour, export.

The module's logic class inherits from `PanelLogic` and adds the parameter node. No widgets, no dialogs.
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
from RTResponseCAMLib.translation import install

if TYPE_CHECKING:
    from RTResponseCAMLib.state import State
    from RTResponseCAMLib.study import Result
    from RTResponseCAMLib.workflow.export_work import OnMainThread, Work
    from RTResponseCAMLib.workflow.session import Session

install(_)


class PanelLogic:
    """Operations on the application's scene.

    Attributes
    ----------
    reset_notice : message about settings that were reset to their defaults; "" without one.
    row : the side-by-side views.
    """

    def __init__(self) -> None:
        self._session: Session | None = None
        self.reset_notice = ""
        self.row = SideBySide()

    @property
    def started(self) -> bool:
        """Whether a session exists; numerical libraries are imported with the session."""
        return self._session is not None

    @property
    def session(self) -> Session:
        """The session of this scene, created on first use."""
        if self._session is None:
            from RTResponseCAMLib.workflow.session import Session

            self._session = Session(slicer.mrmlScene)
        return self._session

    @property
    def result(self) -> Result | None:
        """The last result with its shares of evidence; None after a scene was loaded."""
        return self._session.result if self._session else None

    @property
    def folder(self) -> Path | None:
        """Folder that the chosen study was read from; None when it is unknown."""
        return self._session.folder if self._session else None

    def read_parameters(self, node: Any) -> PanelParameters:
        """Settings stored in a parameter node.

        Settings that cannot be read, and settings of another version, are reset to their defaults.
        """
        if node.GetParameterNamesAsCommaSeparatedList() and node.GetParameter("version") != str(PARAMETER_VERSION):
            self._reset(node)
        try:
            return PanelParameters(node)  # type: ignore[call-arg]
        except Exception:  # conversion of the stored text can raise any exception
            self._reset(node)
            return PanelParameters(node)  # type: ignore[call-arg]

    def _reset(self, node: Any) -> None:
        node.UnsetAllParameters()
        self.reset_notice = _(
            "The settings could not be read or are from another version. They were reset to their defaults."
        )

    def choose_inputs(self, parameters: Any) -> bool:
        """Choose nodes of the scene for empty inputs; returns whether a stored result was restored."""
        if not slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"):
            return False
        restored = self.session.restore(parameters)
        self.session.choose_inputs(parameters)
        return restored

    def state(self, parameters: Any) -> State:
        """Current state of inputs and results."""
        if not self.started and parameters.mrVolume is None and parameters.segmentation is None:
            from RTResponseCAMLib.workflow.empty import empty_state

            return empty_state(parameters)
        return self.session.state(parameters)

    def forget(self) -> None:
        """Discard all data of a scene that was closed."""
        self.reset_notice = ""
        self.row.forget()
        if self._session:
            self._session.forget()

    def loadSample(self) -> Any:  # noqa: N802
        """Create and load the synthetic study; returns its nodes."""
        from RTResponseCAMLib.workflow.sample import open_sample

        return self.show_study(open_sample(), self.getParameterNode())

    def loadStudy(self, folder: str | Path) -> Any:  # noqa: N802
        """Read a DICOM folder and show the study; returns its nodes.

        Parameters
        ----------
        folder : folder of the DICOM export, with files in any order and nesting.

        Raises
        ------
        RTResponseError : the message names the file, the tag and the fix.
        """
        from RTResponseCAMLib.workflow.sample import open_study

        return self.show_study(open_study(Path(folder)), self.getParameterNode())

    def show_study(self, opened: Any, parameters: Any, *, progress: Progress = no_progress) -> Any:
        """Add a loaded study to the scene, choose it and show it; returns its nodes."""
        with drawn_once():
            nodes = self.session.add(opened, parameters, progress=progress)
            self.session.display.apply(parameters)
            self.session.display.center(parameters)
        return nodes

    def predict(self, lesions: Sequence[str] = ()) -> Result:
        """Predict lesions and show the result; returns the result. Blocks until done.

        Parameters
        ----------
        lesions : ids such as "L1"; all lesions when it is empty.

        Raises
        ------
        RTResponseError : the message states what is missing or wrong.
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
        """Write the last result into a new folder; returns the warnings. Blocks until done.

        Parameters
        ----------
        folder : must not exist yet.
        dicom : folder of the original DICOM files; kept subregions and the evidence map are then written as DICOM, too.

        Raises
        ------
        RTResponseError : there is no result, or it cannot be written.
        """
        return self.export_work(Path(folder), on_main_thread=lambda call: call(), dicom=dicom)(no_progress)

    def export_work(
        self, out: Path, *, on_main_thread: OnMainThread, dicom: Path | None = None, between: Progress | None = None
    ) -> Work:
        """Export as a function that runs in another thread; see `workflow.export_work`."""
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
        """Update after a change of the scene: another study was chosen, or inputs were moved."""
        if self.started:
            self.session.follow(parameters)

    def follow_study(self, parameters: Any) -> None:
        """Restore prescription and result of a newly chosen study."""
        if self.started:
            self.session.follow_study(parameters)

    def follow_row(self, parameters: Any) -> None:
        """Update the side-by-side views after a change of the layout."""
        if self.started:
            self.row.follow(parameters, self.session.display)

    def center(self, parameters: Any) -> None:
        """Center all views on the selected lesion."""
        if parameters.segmentation is not None:
            with drawn_once():
                self.session.display.center(parameters)

    def reset_heatmap(self, parameters: Any) -> None:
        """Reset the heatmap settings to their defaults."""
        with slicer.util.NodeModify(parameters):
            for name in HEATMAP_PARAMETERS:
                setattr(parameters, name, parameters.default(name).value)

    def show_dvh(self, parameters: Any, threshold: float) -> Any:
        """Show the dose-volume histograms of the selected lesion in a chart beside the views; returns the chart.

        The chart contains one histogram of the subregion and one of the rest of the lesion.
        """
        chart = self.session.subregions.chart(parameters, threshold)
        layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if layout is not None and layout.IsLayoutDescription(layout.SlicerLayoutFourUpPlotView):
            layout.SetViewArrangement(layout.SlicerLayoutFourUpPlotView)
        for view in slicer.util.getNodesByClass("vtkMRMLPlotViewNode"):
            view.SetPlotChartNodeID(chart.GetID())
        self.session.display.apply(parameters)
        return chart

    def show_points(self, table: str | Path, frame: str | None = None) -> tuple[Any, list[str]]:
        """Show a table of biopsy / cell-density points as markups.

        Returns the markups lists, and summary sentences about the evidence map at the points (empty without a result).

        Parameters
        ----------
        table : CSV with the columns x, y, z (mm), value, and optionally type, study, frame (LPS or RAS).
        frame : "LPS" or "RAS", for a table that states no frame.

        Raises
        ------
        RTResponseError : the table cannot be used.
        """
        from RTResponseCAMLib.scene.points import show_points
        from RTResponseCAMLib.subregion.points import read_points
        from RTResponseCAMLib.workflow.align import points_of, points_summary

        name = self.session.folder.name if self.session.folder is not None else ""
        points = points_of(read_points(Path(table), frame), name, studies=[name])
        summary = points_summary(self.result, points) if self.result is not None else []
        lists = show_points(slicer.mrmlScene, points)
        self.session.display.apply(self.getParameterNode())
        return lists, summary

    def getParameterNode(self) -> Any:  # noqa: N802
        """The module's parameters."""
        return self.read_parameters(super().getParameterNode())  # type: ignore[misc]
