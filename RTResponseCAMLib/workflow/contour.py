"""Subregions of the selected lesion in the scene: voxels above a cut, kept, charted, measured, handed to an export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from RTResponseCAMLib.errors import StudyError
from RTResponseCAMLib.progress import Progress
from RTResponseCAMLib.scene.lesions import PREFIX, lesion_segments, rows_of
from RTResponseCAMLib.scene.nodes import image_of
from RTResponseCAMLib.scene.plot import show_histograms
from RTResponseCAMLib.scene.scene_reader import SceneReader
from RTResponseCAMLib.scene.subregion import create_segment
from RTResponseCAMLib.state import Row
from RTResponseCAMLib.subregion.boost import SimulatedBoost, simulated_boost
from RTResponseCAMLib.subregion.select import Selection
from RTResponseCAMLib.subregion.statistics import Statistics, measure, part_dvh
from RTResponseCAMLib.subregion.summary import summary_text
from RTResponseCAMLib.subregion.voxels import LesionVoxels, lesion_voxels
from RTResponseCAMLib.workflow.task import Parameters

FLAGGED = "the evidence is in doubt ({quality_flags}): it is contoured only when asked for"


@dataclass(frozen=True)
class Measured:
    """Figures of one subregion, and of a boost when one was wished for and there is a dose."""

    statistics: Statistics
    boost: SimulatedBoost | None

    def sentences(self) -> list[str]:
        """Everything in words, warnings at the end."""
        warnings = [c.text for c in (*self.statistics.warnings, *(self.boost.warnings if self.boost else ()))]
        return [*summary_text(self.statistics, self.boost), *dict.fromkeys(warnings)]


class Subregions:
    """Reads the selected lesion's voxels once, and keeps them while map, contour and dose stay the same."""

    def __init__(self, scene: Any, scene_reader: SceneReader) -> None:
        self._scene, self._scene_reader = scene, scene_reader
        self._voxels: tuple[Any, LesionVoxels] | None = None

    def forget(self) -> None:
        """Forget the voxels: the scene is another one."""
        self._voxels = None

    def voxels(self, parameters: Parameters) -> LesionVoxels | None:
        """Evidence and dose of the selected lesion; None without a result for it.

        Raises
        ------
        GeometryError : the lesion's segment cannot be read any more.
        """
        cam, segmentation = parameters.camVolume, parameters.segmentation
        segment_id = lesion_segments(segmentation).get(parameters.selectedLesion)
        if cam is None or parameters.mrVolume is None or segment_id is None or self.row(parameters) is None:
            return None
        key = (
            cam.GetID(),
            cam.GetImageData().GetMTime(),
            self._scene_reader.key(segmentation, segment_id, dose=parameters.doseVolume),
        )
        if self._voxels is None or self._voxels[0] != key:
            structure = self._scene_reader.structure(segmentation, segment_id)
            dose = self._scene_reader.dose_of(parameters.doseVolume)
            self._voxels = key, lesion_voxels(image_of(cam), structure, dose=dose)
        return self._voxels[1]

    def row(self, parameters: Parameters) -> Row | None:
        """The selected lesion's result; None without one."""
        cam = parameters.camVolume
        rows = () if cam is None else rows_of(cam)
        return next((row for row in rows if row.id == parameters.selectedLesion), None)

    def create(self, parameters: Parameters, threshold: float, *, anyway: bool = False) -> str:
        """Keep the selected lesion's voxels above a cut as a segment; returns its id.

        Parameters
        ----------
        anyway : also when the evidence is in doubt; the doubts stay with the segment.

        Raises
        ------
        StudyError : there is no result for the lesion, its evidence is in doubt, or nothing exceeds the cut.
        """
        voxels, row = self._known(parameters)
        if row.quality_flags and not anyway:
            raise StudyError(
                "", FLAGGED.format(quality_flags="; ".join(row.quality_flags)), "Read the warnings, then ask for it"
            )
        if not voxels.above(threshold).any():
            raise StudyError("", f"no voxel of the lesion exceeds {threshold:.2f}", "Lower the threshold")
        lesion = parameters.selectedLesion
        segment_id = lesion_segments(parameters.segmentation)[lesion]
        model = parameters.camVolume.GetAttribute(f"{PREFIX}model_sha256") or ""
        return create_segment(
            parameters.segmentation,
            lesion,
            segment_id=segment_id,
            voxels=voxels,
            threshold=threshold,
            quality_flags=row.quality_flags,
            model=model,
        )

    def chart(self, parameters: Parameters, threshold: float) -> Any:
        """Chart the dose of the selected lesion's voxels above a cut, and of the rest of it; returns the chart.

        Raises
        ------
        StudyError : there is no result for the lesion, or no dose that reaches all of it.
        """
        voxels, _row = self._known(parameters)
        dose = self._scene_reader.dose_of(parameters.doseVolume)
        if voxels.dose is None or dose is None:
            raise StudyError("", "no dose reaches all of the selected lesion", "Choose a dose")
        above = voxels.above(threshold)
        parts = (("subregion", above), ("rest of lesion", voxels.inside & ~above))
        found = [part_dvh(name, voxels, mask=mask, dose=dose, interpolation="linear") for name, mask in parts]
        title = f"{parameters.selectedLesion}: evidence > {threshold:.2f}"
        return show_histograms(
            self._scene, title, histograms=[histogram for histogram in found if histogram is not None]
        )

    def measuring(
        self, parameters: Parameters, threshold: float, *, boost_gy: float = 0.0
    ) -> Callable[[Progress], Measured]:
        """Return the work of measuring the voxels above a cut; it touches neither scene nor widgets.

        Parameters
        ----------
        boost_gy : what-if dose that the subregion's D98 is to reach; 0: none.

        Raises
        ------
        StudyError : there is no result for the lesion, or nothing exceeds the cut.
        """
        voxels, row = self._known(parameters)
        if not voxels.above(threshold).any():
            raise StudyError("", f"no voxel of the lesion exceeds {threshold:.2f}", "Lower the threshold")
        dose, fractions = self._scene_reader.dose_of(parameters.doseVolume), parameters.fractions

        def work(progress: Progress) -> Measured:
            mask, statistics = measure(
                voxels, Selection("value", threshold), dose=dose, prescription_gy=row.prescription_gy, progress=progress
            )
            boost = None
            if boost_gy > 0 and dose is not None:
                progress(0.9, "what if")
                boost = simulated_boost(voxels, mask, dose=dose, wish_gy=boost_gy, fractions=fractions)
            return Measured(statistics, boost)

        return work

    def _known(self, parameters: Parameters) -> tuple[LesionVoxels, Row]:
        voxels, row = self.voxels(parameters), self.row(parameters)
        if voxels is None or row is None:
            raise StudyError("", "the selected lesion has no result", "Predict it first")
        return voxels, row
