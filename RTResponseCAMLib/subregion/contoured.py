"""A subregion with everything that is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from RTResponseCAMLib.study import Prediction
from RTResponseCAMLib.subregion.boost import SimulatedBoost
from RTResponseCAMLib.subregion.statistics import Statistics
from RTResponseCAMLib.subregion.voxels import LesionVoxels, Mask


@dataclass(frozen=True)
class ContouredSubregion:
    """One lesion's subregion: mask ``[z, y, x]`` on the lattice of ``voxels``, figures, and a what-if boost.

    ``quality_flags`` is why its evidence is not to be trusted; drawn then only because it was asked for.
    """

    prediction: Prediction
    voxels: LesionVoxels
    mask: Mask
    statistics: Statistics
    boost: SimulatedBoost | None
    quality_flags: tuple[str, ...]
