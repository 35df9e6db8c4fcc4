"""Subregion of the selected lesion in the scene: voxels above a threshold as a segment, a DVH chart and statistics."""

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

FLAGGED = "the evidence has quality flags ({quality_flags}): it is contoured only on explicit request"


@dataclass(frozen=True)
class Measured:
    """Statistics of one subregion, and a simulated boost if one was requested and there is a dose."""

    statistics: Statistics
    boost: SimulatedBoost | None

    def sentences(self) -> list[str]:
        """Return the summary text, followed by the warnings."""
        warnings = [c.text for c in (*self.statistics.warnings, *(self.boost.warnings if self.boost else ()))]
        return [*summary_text(self.statistics, self.boost), *dict.fromkeys(warnings)]


class Subregions:
    """Subregion of the selected lesion; its voxels are cached while map, contour and dose stay the same."""

    def __init__(self, scene: Any, scene_reader: SceneReader) -> None:
        self._scene, self._scene_reader = scene, scene_reader
        self._voxels: tuple[Any, LesionVoxels] | None = None

    def forget(self) -> None:
        """Clear the cached voxels, because the scene was replaced."""
        self._voxels = None

    def voxels(self, parameters: Parameters) -> LesionVoxels | None:
        """Return evidence and dose of the selected lesion; None without a result for it.

        Raises
        ------
        GeometryError : the lesion's segment can no longer be read.
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
        """Return the result of the selected lesion; None without one."""
        cam = parameters.camVolume
        rows = () if cam is None else rows_of(cam)
        return next((row for row in rows if row.id == parameters.selectedLesion), None)

    def create(self, parameters: Parameters, threshold: float, *, anyway: bool = False) -> str:
        """Create a segment of the selected lesion's voxels above a threshold; returns the segment id.

        Parameters
        ----------
        anyway : create it although the evidence has quality flags; the flags are stored with the segment.

        Raises
        ------
        StudyError : the lesion has no result, its evidence has quality flags, or no voxel exceeds the threshold.
        """
        voxels, row = self._known(parameters)
        if row.quality_flags and not anyway:
            raise StudyError(
                "",
                FLAGGED.format(quality_flags="; ".join(row.quality_flags)),
                "Read the warnings, then request it explicitly",
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
        """Plot the DVH of the lesion's voxels above a threshold and of the rest of the lesion; returns the chart.

        Raises
        ------
        StudyError : there is no result for the lesion, or no dose that covers the whole lesion.
        """
        voxels, _row = self._known(parameters)
        dose = self._scene_reader.dose_of(parameters.doseVolume)
        if voxels.dose is None or dose is None:
            raise StudyError("", "no dose covers the whole selected lesion", "Choose a dose")
        above = voxels.above(threshold)
        parts = (("subregion", above), ("rest of lesion", voxels.inside & ~above))
        histograms = [part_dvh(name, voxels, mask=mask, dose=dose, interpolation="linear") for name, mask in parts]
        title = f"{parameters.selectedLesion}: evidence > {threshold:.2f}"
        return show_histograms(
            self._scene, title, histograms=[histogram for histogram in histograms if histogram is not None]
        )

    def measuring(
        self, parameters: Parameters, threshold: float, *, boost_gy: float = 0.0
    ) -> Callable[[Progress], Measured]:
        """Return a function that measures the voxels above a threshold; it accesses neither scene nor widgets.

        Parameters
        ----------
        boost_gy : D98 of the subregion that the simulated boost reaches, Gy; 0: no boost.

        Raises
        ------
        StudyError : there is no result for the lesion, or no voxel exceeds the threshold.
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
                progress(0.9, "simulating a boost")
                boost = simulated_boost(voxels, mask, dose=dose, wish_gy=boost_gy, fractions=fractions)
            return Measured(statistics, boost)

        return work

    def _known(self, parameters: Parameters) -> tuple[LesionVoxels, Row]:
        voxels, row = self.voxels(parameters), self.row(parameters)
        if voxels is None or row is None:
            raise StudyError("", "the selected lesion has no result", "Predict it first")
        return voxels, row
