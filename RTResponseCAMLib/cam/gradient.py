"""Grad-CAM from the same network, for comparison only: gradients of the total, averaged, times activations.

Selvaraju et al. 2017: weights are the spatial mean of the gradient of the class score; the map is the ReLU of
the weighted sum of activations, brought to the patch's resolution by trilinear interpolation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.imaging.patch import Array32, Patch
from RTResponseCAMLib.network.bundle import Bundle

LAYERS = ("bottleneck", "up_first")


def grad_cam(bundle: Bundle, patch: Patch, layer: str = "bottleneck") -> Array32:
    """Grad-CAM for non-response at one layer of the autoencoder, ``[z, y, x]`` on the patch's grid, ≥ 0.

    Parameters
    ----------
    layer : "bottleneck" (last encoder layer, a quarter of the resolution) or "up_first" (last decoder layer).

    Raises
    ------
    ModelError : the network has no autoencoder, or no such layer.
    """
    if layer not in LAYERS or not bundle.network.architecture.autoencoder:
        raise ModelError("layer", f"'{layer}' is not a layer of this network", f"Choose one of {LAYERS}")
    module: nn.Module = getattr(bundle.network.autoencoder, layer)
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        output = output.detach().requires_grad_()
        kept.append(output)
        return output

    handle = module.register_forward_hook(keep)
    try:
        mr, occupancy, dose = (
            torch.from_numpy(a)[None, None].to(bundle.device) for a in (patch.mr, patch.occupancy, patch.dose)
        )
        with torch.enable_grad():
            total = bundle.network(mr, occupancy, dose).total.mean()
            (gradient,) = torch.autograd.grad(total, kept[0])
    finally:
        handle.remove()
    weights = gradient.mean((2, 3, 4), keepdim=True)
    map_ = functional.relu((weights * kept[0].detach()).sum(1, keepdim=True))
    whole = functional.interpolate(map_, size=patch.mr.shape, mode="trilinear", align_corners=False)
    return np.asarray(whole[0, 0].cpu().numpy(), dtype=np.float32)
