"""Gradient CAMs at a named layer of any model that exposes one: known methods, for comparison with our map only.

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
from RTResponseCAMLib.imaging.patch import Array32
from RTResponseCAMLib.models.interface import FittedModel
from RTResponseCAMLib.samples.sample import LesionSample, patch_of

METHODS = ("grad-cam", "grad-cam++", "hirescam", "layercam", "elementwise")
CLASSES = ("non-response", "response")


def gradient_map(
    fitted: FittedModel,
    sample: LesionSample,
    *,
    method: str = "grad-cam",
    layer: str | None = None,
    toward: str = "non-response",
    signed: bool = False,
) -> Array32:
    """A gradient CAM ``[z, y, x]`` on the patch's grid.

    Parameters
    ----------
    layer : a name in ``fitted.named_layers()``; None for the last layer.
    toward : class whose score is differentiated.
    signed : omit the outer ReLU (grad-cam, grad-cam++, layercam).

    Raises
    ------
    ModelError : no such method, layer or class; a model without layers, or a sample without patch.
    """
    return gradient_maps(fitted, sample, methods=(method,), layer=layer, toward=toward, signed=signed)[method]


def gradient_maps(
    fitted: FittedModel,
    sample: LesionSample,
    *,
    methods: Sequence[str] = METHODS,
    layer: str | None = None,
    toward: str = "non-response",
    signed: bool = False,
) -> dict[str, Array32]:
    """Gradient CAMs of one layer by method, from one forward and backward pass; raises as `gradient_map`."""
    layers = dict(fitted.named_layers())
    if not layers:
        raise ModelError("model", "has no layers for gradient maps", "Use a convolutional model")
    layer = layer or list(layers)[-1]
    choices = [("layer", layer, tuple(layers)), ("class", toward, CLASSES), *(("method", m, METHODS) for m in methods)]
    for kind, name, valid_names in choices:
        if name not in valid_names:
            raise ModelError(kind, f"is '{name}', expected one of {valid_names}", f"Choose another {kind}")
    with _kept(layers[layer]) as outputs, torch.enable_grad():
        total = fitted.differentiable_total(sample) * (1 if toward == "non-response" else -1)
        gradients = torch.autograd.grad(total, outputs)
    inside = torch.from_numpy(patch_of(sample).fraction > 0).to(total.device)
    activation, gradient = (
        torch.cat([_as_channels(t.detach(), inside) for t in tensors]) for tensors in (outputs, gradients)
    )
    maps = {}
    for method in methods:
        cam = _combined(method, activation, gradient)
        if not signed and method in ("grad-cam", "grad-cam++", "layercam"):
            cam = functional.relu(cam)
        maps[method] = np.asarray(_on_patch(cam, inside.shape).cpu().numpy(), dtype=np.float32)
    return maps


def _on_patch(cam: Tensor, shape: torch.Size) -> Tensor:
    """The map of a coarser layer, interpolated on the patch; a network pads a patch at its far ends only."""
    if cam.shape == shape:
        return cam
    factors = [-(-whole // part) for whole, part in zip(shape, cam.shape, strict=True)]
    finer = functional.interpolate(cam[None, None], scale_factor=factors, mode="trilinear", align_corners=False)
    return finer[0, 0, : shape[0], : shape[1], : shape[2]]


@contextmanager
def _kept(places: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Outputs of modules during the next forward pass, detached, as leaves of the gradient."""
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[-1]

    handles = [module.register_forward_hook(keep) for module in places]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _as_channels(values: Tensor, inside: Tensor) -> Tensor:
    """``(1, channels, z, y, x)``, or ``(voxels inside, channels)``, to ``(channels, z, y, x)``."""
    if values.dim() == 5:
        return values[0]
    volume = values.new_zeros((*inside.shape, values.shape[1]))
    volume[inside] = values
    return volume.movedim(-1, 0)


def _combined(method: str, activation: Tensor, gradient: Tensor) -> Tensor:
    dims = (1, 2, 3)
    if method == "grad-cam":
        return (gradient.mean(dims, keepdim=True) * activation).sum(0)
    if method == "grad-cam++":
        denominator = 2 * gradient**2 + activation.sum(dims, keepdim=True) * gradient**3
        alpha = torch.where(denominator.abs() > 1e-20, gradient**2 / denominator, torch.zeros_like(denominator))
        return ((alpha * functional.relu(gradient)).sum(dims, keepdim=True) * activation).sum(0)
    if method == "hirescam":
        return (gradient * activation).sum(0)
    if method == "layercam":
        return (functional.relu(gradient) * activation).sum(0)
    return functional.relu(gradient * activation).sum(0)
