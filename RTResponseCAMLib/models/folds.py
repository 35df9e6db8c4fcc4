"""Cross-validation folds by patient, the same for every approach of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from RTResponseCAMLib.errors import CohortError

Index = npt.NDArray[np.intp]
INNER_FOLDS = 4


@dataclass(frozen=True)
class Fold:
    """One fold: positions of the lesions for training and for testing; no patient is in both."""

    repeat: int
    number: int
    train: Index
    test: Index

    @property
    def name(self) -> str:
        """Name for files: ``r0f3``."""
        return f"r{self.repeat}f{self.number}"


def patient_folds(
    labels: Sequence[int], patients: Sequence[str], *, folds: int = 5, repeats: int = 1, seed: int = 0
) -> tuple[Fold, ...]:
    """Repeated folds, grouped by patient and stratified by label (scikit-learn's `StratifiedGroupKFold`).

    Each lesion is tested once per repeat. The same arguments give the same folds.

    Raises
    ------
    CohortError : one class only, fewer patients than folds in either class (training needs both classes), or
        numbers of labels and patients that differ.
    """
    y, groups = np.asarray(labels, dtype=np.intp), np.asarray(patients, dtype=str)
    if len(y) != len(groups):
        raise CohortError("cohort", f"has {len(y)} labels for {len(groups)} patients", "Give a patient for each lesion")
    if set(y.tolist()) != {0, 1}:
        problem = f"has labels {sorted(set(y.tolist()))} only, expected both 0 and 1"
        raise CohortError("cohort", problem, "Add lesions of both classes")
    fewest = min(len(set(groups[y == label].tolist())) for label in (0, 1))
    if fewest < folds:
        problem = f"has {fewest} patients with a lesion of the rarer class, fewer than {folds} folds"
        raise CohortError("cohort", problem, "Use fewer folds, or add patients")
    from sklearn.model_selection import StratifiedGroupKFold

    all_folds = []
    for repeat in range(repeats):
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed + repeat)
        for fold_index, (train, test) in enumerate(splitter.split(np.zeros(len(y)), y, groups)):
            all_folds.append(
                Fold(repeat, fold_index, np.asarray(train, dtype=np.intp), np.asarray(test, dtype=np.intp))
            )
    return tuple(all_folds)


def inner_folds(
    labels: npt.NDArray[np.integer], patients: npt.NDArray[np.str_], *, seed: int, most: int = INNER_FOLDS
) -> tuple[Fold, ...]:
    """Folds by patient within the training lesions: as many as the rarer class has patients, 2 to ``most``."""
    fewest = min(len(set(patients[labels == label].tolist())) for label in (0, 1))
    return patient_folds(labels.tolist(), patients.tolist(), folds=max(min(most, fewest), 2), repeats=1, seed=seed)
