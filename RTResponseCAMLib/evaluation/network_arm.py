"""The autoencoder-classifier as an approach to be judged: fitted, calibrated and cut within the training lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.evaluation.feature_arm import (
    LOG_SLOPES,
    OFFSETS,
    best_threshold,
    calibrate,
    inner_folds,
    misfit,
    smoothed,
)
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.network.bundle import Bundle
from RTResponseCAMLib.network.classifier import Architecture, AutoencoderClassifier, calibrated, probability_of_response
from RTResponseCAMLib.network.preparation import PreparedLesion
from RTResponseCAMLib.network.training import Schedule, fit
from RTResponseCAMLib.progress import Progress, part, silent

Array64 = npt.NDArray[np.float64]
VOLUME_DOUBT = 0.5  # standard deviation of the logarithm of volume's factor, before any lesion is asked
LOG_FACTORS = (-1.1, 1.1)  # a third to three times


@dataclass(frozen=True)
class FittedNetwork:
    """A network fitted on all training lesions; calibration and threshold come from inner, held-out predictions.

    ``threshold`` is a probability of non-response; ``inner`` holds the inner predictions of the labelled lesions, in
    their order.
    """

    network: AutoencoderClassifier
    slope: float
    intercept: float
    threshold: float
    inner: Array64


def as_bundle(fitted: FittedNetwork) -> Bundle:
    """A fitted network as a bundle in memory, for the maps."""
    return plain_bundle(fitted.network, fitted.slope, fitted.intercept, 1 - fitted.threshold)


def plain_bundle(
    network: AutoencoderClassifier, slope: float = 1.0, intercept: float = 0.0, threshold: float = 0.5
) -> Bundle:
    """A network in memory as `find_evidence` wants it; without calibration unless given one."""
    card = {"name": "in memory", "calibration": {"slope": slope, "intercept": intercept}, "threshold": threshold}
    return Bundle(card, network, "", torch.device("cpu"))


def fit_network(
    patches: Sequence[Patch],
    lesions: Sequence[PreparedLesion],
    architecture: Architecture,
    schedule: Schedule,
    progress: Progress = silent,
) -> FittedNetwork:
    """Fit, and calibrate on inner folds of the patients; they also say how much volume counts beside the evidence.

    Parameters
    ----------
    patches, lesions : the same lesions in the same order; those without a label only teach the autoencoder.

    Raises
    ------
    CohortError : the labelled lesions cannot be split by patient, or hold one class only.
    """
    labelled = [i for i, e in enumerate(lesions) if e.label is not None]
    labels = np.asarray([int(lesions[i].label or 0) for i in labelled])
    patients = np.asarray([lesions[i].group for i in labelled])
    if len(set(labels.tolist())) < 2:
        raise CohortError("labels", "hold one class only, expected both 0 and 1", "Add lesions of both classes")
    folds = inner_folds(labels, patients, schedule.seed)
    totals, volumes = np.zeros((len(labelled), architecture.heads)), np.zeros((len(labelled), architecture.heads))
    for number, fold in enumerate(folds):
        training = without_patients(lesions, set(patients[fold.test].tolist()))
        ours = replace(schedule, seed=schedule.seed + 1000 * (number + 1))
        span = number / (len(folds) + 1), (number + 1) / (len(folds) + 1)
        network = fit(training, architecture, ours, part(progress, *span))
        for i in fold.test:
            totals[i], volumes[i] = head_totals(network, patches[labelled[i]])
    form = architecture.form
    pooled = totals if form == "signed" else np.log(np.maximum(totals, 1e-12))
    factor = volume_factor((pooled - volumes).mean(axis=1), volumes.mean(axis=1), labels, form)
    pooled += (factor - 1) * volumes
    slope, intercept = calibrate(pooled.mean(axis=1), labels, form)
    weighed = torch.from_numpy(pooled if form == "signed" else np.exp(pooled))
    overall = calibrated(weighed, slope, intercept, form).mean(dim=1)
    inner = np.asarray(1 - probability_of_response(overall, form).numpy(), dtype=np.float64)
    network = fit(list(lesions), architecture, schedule, part(progress, len(folds) / (len(folds) + 1), 1.0))
    with torch.no_grad():
        network.volume_slope.mul_(factor)
    return FittedNetwork(network, slope, intercept, best_threshold(labels, inner), inner)


def volume_factor(rest: Array64, volumes: Array64, labels: npt.NDArray[np.integer], form: str) -> float:
    """How many times as much volume counts, beside the evidence, on held-out lesions as training let it.

    Evidence explains training lesions better than others, and volume learns what it leaves; which of them an unlucky
    cohort overstates, other lesions show. The most probable factor, calibration's line being free, under a log-normal
    prior around 1 (``VOLUME_DOUBT``): so few lesions say little.

    Parameters
    ----------
    rest, volumes : of each lesion, the part of its logit (or log hazard) that is not volume's, and volume's part.
    """
    target = smoothed(labels)

    def loss(parameters: Array64) -> float:
        factor, slope, offset = np.exp(parameters[0]), np.exp(parameters[1]), parameters[2]
        by_line = misfit(slope * (rest + factor * volumes) + offset, target, form).sum()
        return float(by_line + (parameters[0] / VOLUME_DOUBT) ** 2 / 2)

    limits = [LOG_FACTORS, LOG_SLOPES, OFFSETS]
    return float(np.exp(minimize(loss, np.zeros(3), method="L-BFGS-B", bounds=limits).x[0]))


def without_patients(lesions: Sequence[PreparedLesion], patients: set[str]) -> list[PreparedLesion]:
    """Lesions of other patients, those without a label too."""
    return [lesion for lesion in lesions if lesion.group not in patients]


def head_totals(network: AutoencoderClassifier, patch: Patch) -> tuple[Array64, Array64]:
    """Uncalibrated total of one lesion for each head (logits, or cumulative hazards), and volume's part in the logit.

    For hazards the latter is volume's part in the logarithm of the total.
    """
    with torch.inference_mode():
        mr, occupancy, dose = (torch.from_numpy(a)[None, None] for a in (patch.mr, patch.occupancy, patch.dose))
        total = network(mr, occupancy, dose, patch.coarseness).total[0]
        volume = network.volume_slope * network.log_volume(occupancy) * float(network.architecture.volume)
    return total.double().numpy(), volume.double().numpy()
