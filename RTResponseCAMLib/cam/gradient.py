"""Gradient CAMs from the same network, for comparison only: what clinicians know, beside our map.

With A the activations of a layer, G the gradient of the total with respect to them, k channels and v voxels:

==============  ===========================================================  ===============================
grad-cam        ReLU Σₖ mean(Gₖ) Aₖ                                          Selvaraju et al., ICCV 2017
grad-cam++      ReLU Σₖ αₖ Aₖ, αₖ = Σᵥ a ReLU(G), a = G²/(2G² + G³ ΣA)        Chattopadhay et al., WACV 2018
hirescam        Σₖ Gₖ Aₖ                                                     Draelos & Carin, arXiv 2011.08891
layercam        ReLU Σₖ ReLU(Gₖ) Aₖ                                          Jiang et al., IEEE TIP 2021
elementwise     Σₖ ReLU(Gₖ Aₖ)                                               as in pytorch-grad-cam
==============  ===========================================================  ===============================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from RTResponseCAMLib.errors import ModelError
from RTResponseCAMLib.imaging.patch import Array32, Patch
from RTResponseCAMLib.network.bundle import Bundle
from RTResponseCAMLib.network.classifier import AutoencoderClassifier

METHODS = ("grad-cam", "grad-cam++", "hirescam", "layercam", "elementwise")
LAYERS = ("stem", "code", "hidden")
CLASSES = ("non-response", "response")


def gradient_map(
    bundle: Bundle,
    patch: Patch,
    method: str = "grad-cam",
    layer: str = "code",
    toward: str = "non-response",
    signed: bool = False,
) -> Array32:
    """A gradient CAM ``[z, y, x]`` on the patch's grid.

    Parameters
    ----------
    layer : "stem" (the fixed features), "code" (the autoencoder's bottleneck) or "hidden" (the heads' hidden units).
    toward : class whose score is followed.
    signed : leave the outer ReLU out (grad-cam, grad-cam++, layercam).

    Raises
    ------
    ModelError : no such method, layer or class; "code" of a network without autoencoder.
    """
    return gradient_maps(bundle, patch, (method,), layer, toward, signed)[method]


def gradient_maps(
    bundle: Bundle,
    patch: Patch,
    methods: Sequence[str] = METHODS,
    layer: str = "code",
    toward: str = "non-response",
    signed: bool = False,
) -> dict[str, Array32]:
    """Several gradient CAMs of one layer, by method, from one pass forward and back; raises as `gradient_map`."""
    network = bundle.network
    asked = [("layer", layer, LAYERS), ("class", toward, CLASSES), *(("method", m, METHODS) for m in methods)]
    for what, name, known in asked:
        if name not in known:
            raise ModelError(what, f"is '{name}', expected one of {known}", f"Choose another {what}")
    if layer == "code" and not network.architecture.autoencoder:
        raise ModelError("layer", "'code' is not a layer of a network without autoencoder", "Choose another layer")
    inputs = (torch.from_numpy(a)[None, None].to(bundle.device) for a in (patch.mr, patch.occupancy, patch.dose))
    with _kept(_places(network, layer)) as kept, torch.enable_grad():
        total = network(*inputs, patch.coarseness).total.mean() * (1 if toward == "non-response" else -1)
        gradients = torch.autograd.grad(total, kept)
    inside = torch.from_numpy(patch.occupancy > 0).to(bundle.device)
    activation, gradient = (
        torch.cat([_as_channels(t.detach(), inside) for t in tensors]) for tensors in (kept, gradients)
    )
    maps = {}
    for method in methods:
        found = _combined(method, activation, gradient)
        if not signed and method in ("grad-cam", "grad-cam++", "layercam"):
            found = functional.relu(found)
        maps[method] = np.asarray(found.cpu().numpy(), dtype=np.float32)
    return maps


def _places(network: AutoencoderClassifier, layer: str) -> list[nn.Module]:
    if layer == "stem":
        return [network.at_stem]
    if layer == "code":
        return [network.at_code]
    heads = [network.stem_head] + ([network.code_head] if network.architecture.autoencoder else [])
    return [head.at_hidden for head in heads]


@contextmanager
def _kept(places: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Outputs of some modules during the next forward pass, as leaves of the gradient."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    handles = [place.register_forward_hook(keep) for place in places]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _as_channels(values: Tensor, inside: Tensor) -> Tensor:
    """``(1, channels, z, y, x)``, or ``(voxels inside, channels)``, to ``(channels, z, y, x)``."""
    if values.dim() == 5:
        return values[0]
    whole = values.new_zeros((*inside.shape, values.shape[1]))
    whole[inside] = values
    return whole.movedim(-1, 0)


def _combined(method: str, activation: Tensor, gradient: Tensor) -> Tensor:
    dims = (1, 2, 3)
    if method == "grad-cam":
        return (gradient.mean(dims, keepdim=True) * activation).sum(0)
    if method == "grad-cam++":
        below = 2 * gradient**2 + activation.sum(dims, keepdim=True) * gradient**3
        share = torch.where(below.abs() > 1e-20, gradient**2 / below, torch.zeros_like(below))
        return ((share * functional.relu(gradient)).sum(dims, keepdim=True) * activation).sum(0)
    if method == "hirescam":
        return (gradient * activation).sum(0)
    if method == "layercam":
        return (functional.relu(gradient) * activation).sum(0)
    return functional.relu(gradient * activation).sum(0)
