"""Units of evidence maps, and the value above which a voxel supports non-response. No import of torch."""

from __future__ import annotations

SHARE_SCALE = "share of the logit of non-response per voxel"
LOCAL_SCALE = "local logit of non-response (the lesion's logit where a voxel lies outside it)"
NEUTRAL = 0.0  # evidence (logit) above which a voxel supports non-response
