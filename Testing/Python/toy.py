"""A model in twenty lines, as anyone may add one: the darker a lesion, the more it speaks for non-response."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from RTResponseCAMLib.models.interface import UNCALIBRATED, FittedModel, LesionModel, LesionPrediction
from RTResponseCAMLib.models.registry import ModelEntry, Requirements
from RTResponseCAMLib.progress import no_progress
from RTResponseCAMLib.samples.sample import patch_of


class FittedToy(FittedModel):
    def __init__(self, center):
        self.center = center

    def predict(self, samples, *, calibration=UNCALIBRATED, members=False, progress=no_progress):
        found = []
        for patch in map(patch_of, samples):
            local = calibration.slope * (self.center - patch.mr) * patch.fraction / patch.fraction.sum()
            total = float(local.sum(dtype=np.float64)) + calibration.intercept
            p = float(expit(-total))
            map_ = local.astype(np.float32)
            found.append(LesionPrediction(p, np.nan, np.nan, total, map_, bias=calibration.intercept))
        return found

    def architecture(self):
        return {"center": self.center}

    def tensors(self):
        return {"unused": np.zeros(1, np.float32)}


class ToyModel(LesionModel):
    def fit(self, samples, *, seed=0, progress=no_progress):
        means = [np.average(p.mr, weights=p.fraction) for p in map(patch_of, samples)]
        return FittedToy(float(np.mean(means)))


TOY = ModelEntry(
    "toy", "Toy of the tests", "#123456", Requirements(patch=True), lambda options: ToyModel(),
    lambda architecture, tensors: FittedToy(architecture["center"]), compared=False, explains=True,
)  # fmt: skip
