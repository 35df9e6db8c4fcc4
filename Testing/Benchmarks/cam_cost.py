"""What a map costs beside one forward pass of the same network, and beside gradient CAMs of it.

    python Testing/Benchmarks/cam_cost.py [--size 48] [--repeats 15]

All methods on the shipped network. Peers that can be imported (captum, MONAI, torchcam; ``pip install --no-deps`` is
enough) run beside them on the same layer, and their map is held against ours. Medians of runs that take turns; only the
ratios mean something.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable

import numpy as np
import torch

from RTResponseCAMLib.cam.gradient import METHODS, gradient_map
from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.bundle import load_bundle
from RTResponseCAMLib.models.card import default_bundle
from RTResponseCAMLib.samples.sample import LesionSample


def patch_of(size: int) -> Patch:
    rng = np.random.default_rng(0)
    grid = Grid((size,) * 3, (1.0,) * 3, (0.0, 0.0, 0.0))
    radius = np.linalg.norm(grid.points() - (size - 1) / 2, axis=-1)
    inside = np.clip(size / 2 - 8 - radius, 0, 1).astype(np.float32)
    return Patch(grid, rng.normal(3, 1, grid.shape).astype(np.float32), np.ones(grid.shape, np.float32), inside, False)


class Plain(torch.nn.Module):
    """The network as peers want it: one input, one score."""

    def __init__(self, network: torch.nn.Module, patch: Patch) -> None:
        super().__init__()
        self.network = network
        self.fraction, self.dose = (torch.from_numpy(a)[None, None] for a in (patch.fraction, patch.dose))

    def forward(self, mr: torch.Tensor) -> torch.Tensor:
        return self.network(mr, self.fraction, self.dose).total.mean(1, keepdim=True)


def peers(plain: Plain, mr: torch.Tensor) -> dict[str, tuple[str, Callable[[], np.ndarray]]]:
    """What can be imported: name → our method, and a map of the peer."""
    found: dict[str, tuple[str, Callable[[], np.ndarray]]] = {}
    with contextlib.suppress(ImportError):
        from captum.attr import LayerGradCam

        captum = LayerGradCam(plain, plain.network.at_code)
        found["captum LayerGradCam"] = (
            "grad-cam",
            lambda: captum.attribute(mr, relu_attributions=True).detach()[0, 0].numpy(),
        )
    with contextlib.suppress(ImportError):
        from monai.visualize import GradCAM, GradCAMpp

        for name, kind, ours in (("GradCAM", GradCAM, "grad-cam"), ("GradCAM++", GradCAMpp, "grad-cam++")):
            # Its default normalizer turns maps round. Its GradCAM++ sums A·G³ where the paper has ΣA·G³: another map.
            cam = kind(plain, "network.at_code", postprocessing=lambda x: x, upsampler=lambda size: lambda x: x)
            found[f"MONAI {name}"] = (ours, lambda cam=cam: cam(mr, class_idx=0)[0, 0].detach().numpy())
    with contextlib.suppress(ImportError):
        from torchcam.methods import GradCAM as TorchCam

        extractor = TorchCam(plain, target_layer=plain.network.at_code, input_shape=(1, *mr.shape[2:]))

        def torchcam() -> np.ndarray:
            return extractor(0, plain(mr.requires_grad_()), normalized=False)[0][0].detach().numpy()

        found["torchcam GradCAM"] = ("grad-cam", torchcam)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    bundle, patch = load_bundle(default_bundle(), "cpu"), patch_of(options.size)
    fitted, sample = bundle.model.fitted, LesionSample(patch)
    inputs = [torch.from_numpy(a)[None, None] for a in (patch.mr, patch.fraction, patch.dose)]

    def forward() -> None:
        with torch.inference_mode():
            fitted.network(*inputs)

    runs: dict[str, Callable[[], object]] = {
        "forward pass": forward,
        "pixel-wise CAM, prediction included": lambda: bundle.predict([sample]),
    }
    for method in METHODS:
        runs[f"{method}, code"] = lambda m=method: gradient_map(fitted, sample, method=m, layer="code")
    own = {m: gradient_map(fitted, sample, method=m, layer="code") for m in METHODS}
    for name, (method, run) in peers(Plain(fitted.network, patch), inputs[0].clone()).items():
        runs[f"{name}, code"] = run
        print(f"{name}: correlation with our {method} {np.corrcoef(run().ravel(), own[method].ravel())[0, 1]:.4f}")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.repeats + 2):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if turn >= 2:  # the first turns warm up
                seconds[name].append(time.perf_counter() - began)
    one = float(np.median(seconds["forward pass"]))
    print(f"patch of {options.size}³ voxels, {torch.get_num_threads()} threads, forward pass {1000 * one:.0f} ms")
    for name, values in seconds.items():
        print(f"  {name:<38}{np.median(values) / one:6.2f} × forward")


if __name__ == "__main__":
    main()
