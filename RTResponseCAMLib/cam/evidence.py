"""What the numbers of an evidence map mean, and from where on they speak for non-response. No torch here."""

from __future__ import annotations

SHARE_SCALE = "share of the logit of non-response per voxel"
LOCAL_SCALE = "local logit of non-response (the lesion's logit where a voxel lies outside it)"
NEUTRAL = 0.0  # local evidence above which a voxel speaks for non-response
