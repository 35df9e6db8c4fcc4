"""Result of contouring one subregion: mask, statistics, simulated boost and quality flags."""

from __future__ import annotations

from dataclasses import dataclass

from RTResponseCAMLib.study import Prediction
from RTResponseCAMLib.subregion.boost import SimulatedBoost
from RTResponseCAMLib.subregion.statistics import Statistics
from RTResponseCAMLib.subregion.voxels import LesionVoxels, Mask


@dataclass(frozen=True)
class ContouredSubregion:
    """Subregion of one lesion, with its results.

    Attributes
    ----------
    prediction : prediction of the lesion.
    voxels : voxels of the lesion.
    mask : subregion ``[z, y, x]`` on the grid of ``voxels``.
    statistics : statistics of the subregion.
    boost : simulated boost; None without one.
    quality_flags : reasons why the evidence is not reliable; such a subregion is contoured only on explicit request.
    """

    prediction: Prediction
    voxels: LesionVoxels
    mask: Mask
    statistics: Statistics
    boost: SimulatedBoost | None
    quality_flags: tuple[str, ...]
