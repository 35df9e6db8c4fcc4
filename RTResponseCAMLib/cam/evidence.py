"""What a map is, what its numbers mean, and from where on they speak for non-response. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from RTResponseCAMLib.imaging.patch import Array32

SHARE_SCALES = {
    "signed": "share of the logit of non-response per voxel",
    "hazard": "share of -ln p(response) per voxel",
}
LOCAL_SCALES = {
    "signed": "local logit of non-response (the lesion's logit where a voxel lies outside it)",
    "hazard": "local -ln p(response) (the lesion's -ln p where a voxel lies outside it)",
}
CUTS = {"signed": 0.0, "hazard": math.log(2.0)}


@dataclass(frozen=True)
class Evidence:
    """What the classifier says of one patch.

    Attributes
    ----------
    map : ``[z, y, x]`` float32 on the patch's grid, zero outside the lesion.
    spread : standard deviation of the map over the ensemble's members, same shape.
    bias, total : Σ map + bias = total. from_volume : the part of the bias that the lesion's volume alone gives.
    p_response, low, high : probability of response and the members' 5th…95th percentile.
    """

    map: Array32
    spread: Array32
    bias: float
    from_volume: float
    total: float
    p_response: float
    low: float
    high: float
