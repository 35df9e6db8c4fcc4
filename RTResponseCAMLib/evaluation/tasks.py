"""One approach on one fold: learn from the training lesions, predict the test lesions. Nothing else is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.evaluation.feature_arm import fit_arm, varying
from RTResponseCAMLib.evaluation.lesions import MeasuredLesion
from RTResponseCAMLib.evaluation.protocol import Arm, Protocol
from RTResponseCAMLib.evaluation.splits import Fold

if TYPE_CHECKING:
    from RTResponseCAMLib.network.preparation import PreparedLesion

Array64 = npt.NDArray[np.float64]
Found = tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]


def feature_names(arm: Arm, lesions: Sequence[MeasuredLesion]) -> list[str]:
    """Names of the features an arm reads, over all lesions given."""
    names = {
        name: None
        for lesion in lesions
        for family in arm.families
        for name in lesion.features.get(family, {})
        if arm.keep in name
    }
    return sorted(names)


def feature_table(arm: Arm, names: Sequence[str], lesions: Sequence[MeasuredLesion]) -> Array64:
    """Features ``(lesions, names)``; NaN where a lesion lacks one."""
    rows = []
    for lesion in lesions:
        known = {name: value for family in arm.families for name, value in lesion.features.get(family, {}).items()}
        rows.append([known.get(name, np.nan) for name in names])
    return np.asarray(rows, dtype=np.float64).reshape(len(lesions), len(names))


def predict_by_features(
    arm: Arm,
    lesions: Sequence[MeasuredLesion],
    train: Sequence[int],
    others: Sequence[MeasuredLesion],
    test: Sequence[int],
    protocol: Protocol,
    fold: Fold | None,
) -> Found:
    """Probabilities of non-response of ``others[test]`` by a pipeline that saw ``lesions[train]`` alone."""
    names = feature_names(arm, [lesions[i] for i in train])
    labels = [int(protocol.label_of(lesions[i].row) or 0) for i in train]
    patients = [lesions[i].row.patient_group for i in train]
    table = feature_table(arm, names, [lesions[i] for i in train])
    if not varying(table).any():
        share = float(np.mean(labels))  # nothing to learn from: the training lesions' share of non-response
        return {"p": [share] * len(test), "threshold": 0.5, "chosen": {"selected": [], "of": len(names)}}, {}
    fitted = fit_arm(table, labels, patients, _seed(protocol, fold))
    p = fitted.predict(feature_table(arm, names, [others[i] for i in test]))
    picked = [names[i] for i in fitted.selected]
    chosen = {**fitted.chosen, "selected": picked, "of": len(names)}
    return {"p": p.tolist(), "threshold": fitted.threshold, "chosen": chosen}, {}


def predict_by_network(
    arm: Arm,
    lesions: Sequence[MeasuredLesion],
    train: Sequence[int],
    others: Sequence[MeasuredLesion],
    test: Sequence[int],
    protocol: Protocol,
    fold: Fold | None,
    prepared: Sequence[PreparedLesion],
) -> Found:
    """Probabilities and maps of ``others[test]`` by a network that saw ``lesions[train]``.

    It saw unlabelled lesions of patients that are not tested, too. ``prepared`` holds ``lesions`` as training wants
    them.
    """
    from RTResponseCAMLib.cam.pixelwise import find_evidence
    from RTResponseCAMLib.cam.volume import shown_evidence
    from RTResponseCAMLib.evaluation.network_arm import as_bundle, fit_network

    tested = {others[i].row.patient_group for i in test} if others is lesions else set()
    unlabelled = [
        i
        for i, lesion in enumerate(lesions)
        if protocol.label_of(lesion.row) is None and lesion.row.patient_group not in tested
    ]
    architecture = replace(protocol.architecture, dose=arm.dose)
    schedule = replace(protocol.schedule, seed=protocol.schedule.seed + _seed(protocol, fold))
    use = [*train, *unlabelled]
    fitted = fit_network([lesions[i].patch for i in use], [prepared[i] for i in use], architecture, schedule)
    bundle = as_bundle(fitted)
    patches = [others[i].patch for i in test]
    evidences = find_evidence(bundle, patches)
    maps = {
        f"map{i}": shown_evidence(patch, evidence).astype(np.float16)
        for i, patch, evidence in zip(test, patches, evidences, strict=True)
    }
    chosen = {"slope": fitted.slope, "intercept": fitted.intercept, "unlabelled": len(unlabelled)}
    found = {
        "p": [1 - e.p_response for e in evidences],
        "low": [1 - e.high for e in evidences],
        "high": [1 - e.low for e in evidences],
        "from_volume": [e.from_volume for e in evidences],
        "total": [e.total for e in evidences],
        "threshold": fitted.threshold,
        "chosen": chosen,
    }
    return found, maps if fold is None or fold.repeat == 0 else {}


def _seed(protocol: Protocol, fold: Fold | None) -> int:
    return protocol.seed + (0 if fold is None else 100 * fold.repeat + fold.number + 1)
