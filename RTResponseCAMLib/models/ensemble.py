"""An ensemble of models: the weighted mean of their calibrated logits, with weights by inner folds.

Every member is fitted as if it were alone; a line calibrates its held-out logits, and one weight per member is
estimated on them: the maximum a posteriori estimate with a prior around equal weights, so that few lesions change the
weights little. The evidence map is that of the members that have one, times their weight; what the others add is a
number beside it, so that Σ map + bias = total holds, with that number in the bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.models.conv.entries import Options
from RTResponseCAMLib.models.interface import (
    UNCALIBRATED,
    Array64,
    Calibration,
    FittedModel,
    FoldedModel,
    LesionModel,
    LesionPrediction,
)
from RTResponseCAMLib.models.registry import ModelEntry, Requirements, entry_of
from RTResponseCAMLib.progress import Progress, no_progress, subprogress
from RTResponseCAMLib.samples.sample import LesionSample

if TYPE_CHECKING:
    from torch import Tensor, nn

    from RTResponseCAMLib.models.folds import Fold

PRIOR_LOG_SD = 0.5  # standard deviation of the prior of a weight's logarithm
LOG_WEIGHTS = (-3.0, 1.5)
MEMBERS = ("conv", "radiomics")


@dataclass(frozen=True)
class Member:
    """One fitted model of an ensemble.

    Attributes
    ----------
    line : calibration of its logit, times its weight.
    weight : its share of the ensemble's logit; the shares of all members add up to 1.
    """

    name: str
    fitted: FittedModel
    line: Calibration
    weight: float


@dataclass(frozen=True)
class FittedEnsemble(FittedModel):
    """Fitted members; the first that gives maps gives the layers for gradient maps, too."""

    members: tuple[Member, ...]

    def predict(
        self,
        samples: Sequence[LesionSample],
        *,
        calibration: Calibration = UNCALIBRATED,
        members: bool = False,
        progress: Progress = no_progress,
    ) -> list[LesionPrediction]:
        """Predictions of all members, added; no interval unless every member has one."""
        parts = []
        for number, member in enumerate(self.members):
            # The intercept belongs to the ensemble: each member takes its share of it.
            line = Calibration(
                calibration.slope * member.line.slope,
                calibration.slope * member.line.intercept + member.weight * calibration.intercept,
            )
            span = subprogress(progress, number / len(self.members), (number + 1) / len(self.members))
            parts.append(member.fitted.predict(samples, calibration=line, members=members, progress=span))
        return [self._added(found) for found in zip(*parts, strict=True)]

    def _added(self, found: Sequence[LesionPrediction]) -> LesionPrediction:
        from scipy.special import expit, logit

        total = sum(p.total for p in found)
        mapped = [p for p in found if p.map is not None]
        others = sum(p.total for p in found if p.map is None)
        # Half widths on the scale of the logit add up as those of independent members. A member without an interval
        # (NaN) leaves none: that of the others would make the ensemble look more certain than it is.
        below = float(np.sqrt(sum((-p.total - logit(p.low)) ** 2 for p in found)))
        above = float(np.sqrt(sum((logit(p.high) + p.total) ** 2 for p in found)))
        low, high = float(expit(-total - below)), float(expit(-total + above))
        adds = {member.name: float(p.total) for member, p in zip(self.members, found, strict=True)}
        if not mapped:
            return LesionPrediction(float(expit(-total)), low, high, float(total), contributions=adds)
        return LesionPrediction(
            float(expit(-total)),
            low,
            high,
            float(total),
            np.stack([p.map for p in mapped if p.map is not None]).sum(axis=0).astype(np.float32),
            _root_sum_square([p.ensemble_sd for p in mapped]),
            float(sum(p.bias for p in mapped) + others),
            float(sum(p.from_volume for p in found)),
            mapped[0].member_maps if len(mapped) == 1 else None,
            adds,
        )

    def architecture(self) -> dict[str, Any]:
        """Name, architecture, line and weight of every member."""
        return {
            "members": [
                {
                    "model": m.name,
                    "architecture": m.fitted.architecture(),
                    "slope": m.line.slope,
                    "intercept": m.line.intercept,
                    "weight": m.weight,
                }
                for m in self.members
            ]
        }

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays of the members, each name preceded by the member's number."""
        return {f"{n}.{name}": a for n, m in enumerate(self.members) for name, a in m.fitted.tensors().items()}

    @property
    def device(self) -> str:
        """Device of the first member that gives maps."""
        return self._explaining().device

    def to(self, device: str) -> FittedEnsemble:
        """All members on another device."""
        return FittedEnsemble(tuple(Member(m.name, m.fitted.to(device), m.line, m.weight) for m in self.members))

    def summary(self) -> dict[str, Any]:
        """Weights, and the choices of the members."""
        return {
            "weights": {m.name: round(m.weight, 3) for m in self.members},
            **{m.name: found for m in self.members if (found := m.fitted.summary())},
        }

    def named_layers(self) -> Mapping[str, tuple[nn.Module, ...]]:
        """Layers of the first member that gives maps."""
        return self._explaining().named_layers()

    def differentiable_total(self, sample: LesionSample) -> Tensor:
        """Part of the logit that comes from the first member that gives maps."""
        member = next(m for m in self.members if m.fitted is self._explaining())
        total: Tensor = member.line.slope * member.fitted.differentiable_total(sample) + member.line.intercept
        return total

    def with_random_weights(self, seed: int = 0) -> FittedEnsemble | None:
        """The members that give maps with untrained weights, the others as they are."""
        changed = [(m, m.fitted.with_random_weights(seed)) for m in self.members]
        if all(control is None for _, control in changed):
            return None
        return FittedEnsemble(tuple(Member(m.name, control or m.fitted, m.line, m.weight) for m, control in changed))

    @property
    def mean_pattern(self) -> npt.NDArray[np.float32] | None:
        """Mean pattern that the first member with maps stores."""
        return self._explaining().mean_pattern

    def with_mean_pattern(self, pattern: npt.NDArray[np.float32]) -> FittedEnsemble:
        """The ensemble whose first member with maps stores the mean pattern."""
        chosen = self._explaining()
        stored = chosen.with_mean_pattern(pattern)
        return FittedEnsemble(
            tuple(Member(m.name, stored if m.fitted is chosen else m.fitted, m.line, m.weight) for m in self.members)
        )

    def _explaining(self) -> FittedModel:
        return next((m.fitted for m in self.members if entry_of(m.name).explains), self.members[0].fitted)


@dataclass(frozen=True)
class EnsembleModel(FoldedModel):
    """Models to be fitted together, by name."""

    models: Mapping[str, LesionModel] = field(default_factory=dict)

    def fit_on_folds(
        self,
        samples: Sequence[LesionSample],
        folds: Sequence[Fold],
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> tuple[FittedEnsemble, Array64]:
        """Fit every member on the same folds; see `LesionModel.fit_on_folds`."""
        from RTResponseCAMLib.models.calibration import platt_line

        labels = np.asarray([int(sample.label or 0) for sample in samples if sample.label is not None])
        fitted, lines, logits = [], [], []
        for number, model in enumerate(self.models.values()):
            span = subprogress(progress, number / len(self.models), (number + 1) / len(self.models))
            member, totals = model.fit_on_folds(samples, folds, seed=seed, progress=span)
            line = Calibration(*platt_line(totals, labels)) if np.ptp(totals) > 0 else UNCALIBRATED
            fitted.append(member)
            lines.append(line)
            logits.append(line.slope * totals + line.intercept)
        weights = member_weights(np.stack(logits), labels)
        members = tuple(
            Member(name, member, Calibration(w * line.slope, w * line.intercept), float(w))
            for name, member, line, w in zip(self.models, fitted, lines, weights, strict=True)
        )
        return FittedEnsemble(members), np.asarray(weights @ np.stack(logits))

    def settings(self) -> dict[str, Any]:
        """Settings of the members, by name."""
        return {name: model.settings() for name, model in self.models.items()}


def member_weights(logits: Array64, labels: npt.NDArray[np.integer]) -> Array64:
    """Weights of the members ``(members,)``, which add up to 1, from held-out calibrated logits ``(members, lesions)``.

    A scale of the sum is estimated with them and left out: the ensemble's own calibration finds it again.
    """
    from scipy.optimize import minimize

    from RTResponseCAMLib.models.calibration import OFFSETS, cross_entropy, smoothed_targets

    target, count = smoothed_targets(labels), len(logits)

    def loss(parameters: Array64) -> float:
        weights = np.exp(parameters[:count])
        fit = cross_entropy(weights @ logits / count + parameters[count], target).sum()
        return float(fit + (parameters[:count] ** 2).sum() / (2 * PRIOR_LOG_SD**2))

    start = np.zeros(count + 1)
    found = minimize(loss, start, method="L-BFGS-B", bounds=[LOG_WEIGHTS] * count + [OFFSETS]).x[:count]
    weights = np.exp(found)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _root_sum_square(deviations: Sequence[npt.NDArray[np.float32] | None]) -> npt.NDArray[np.float32] | None:
    known = [d for d in deviations if d is not None]
    return np.sqrt(np.sum(np.square(known), axis=0)).astype(np.float32) if known else None


def _make(names: Sequence[str], options: Mapping[str, Any]) -> LesionModel:
    return EnsembleModel({name: entry_of(name).model(entry_of(name).known_options(options)) for name in names})


def _restore(architecture: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> FittedModel:
    members = []
    for number, part in enumerate(architecture["members"]):
        prefix = f"{number}."
        own = {name.removeprefix(prefix): a for name, a in tensors.items() if name.startswith(prefix)}
        fitted = entry_of(str(part["model"])).restore(part["architecture"], own)
        line = Calibration(float(part["slope"]), float(part["intercept"]))
        members.append(Member(str(part["model"]), fitted, line, float(part["weight"])))
    if not members or abs(sum(m.weight for m in members) - 1) > 1e-6:
        raise ValueError("the weights of the members do not add up to 1")
    return FittedEnsemble(tuple(members))


ENTRIES = (
    ModelEntry(
        "ensemble", "Ensemble: convolutional and radiomics", "#117733", Requirements(("radiomics",), patch=True),
        partial(_make, MEMBERS), _restore, Options, predictors="contrast-enhanced MR within the lesion, and radiomics",
        compared=False, explains=True,
    ),
)  # fmt: skip
