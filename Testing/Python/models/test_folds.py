"""Folds: patients stay whole, the same arguments give the same folds, and what cannot be split is refused."""

from __future__ import annotations

import numpy as np
import pytest

from RTResponseCAMLib.errors import CohortError
from RTResponseCAMLib.models.folds import inner_folds, patient_folds

PATIENTS = [f"P{n // 2}" for n in range(40)]  # twenty patients of two lesions
LABELS = [(n // 2) % 2 for n in range(40)]


def positions_of(folds):
    return [(f.repeat, f.number, f.test.tolist()) for f in folds]


def test_five_folds_once_are_the_default_and_depend_on_the_seed():
    folds = patient_folds(LABELS, PATIENTS)
    assert [(f.repeat, f.number, f.name) for f in folds] == [(0, n, f"r0f{n}") for n in range(5)]
    assert positions_of(folds) == positions_of(patient_folds(LABELS, PATIENTS, folds=5, repeats=1, seed=0))
    assert positions_of(folds) != positions_of(patient_folds(LABELS, PATIENTS, seed=1))


def test_a_repeat_has_the_folds_of_the_next_seed():
    both = patient_folds(LABELS, PATIENTS, repeats=2, seed=3)
    assert [t for r, _, t in positions_of(both) if r == 1] == [
        t for _, _, t in positions_of(patient_folds(LABELS, PATIENTS, seed=4))
    ]


@pytest.mark.parametrize("count", [39, 41])
def test_labels_and_patients_are_as_many(count):
    with pytest.raises(CohortError, match=f"has {count} labels for 40 patients"):
        patient_folds([n % 2 for n in range(count)], PATIENTS)


@pytest.mark.parametrize("rarer", [0, 1])
def test_as_many_patients_of_the_rarer_class_as_folds_are_enough(rarer):
    labels = [rarer if n // 2 < 5 else 1 - rarer for n in range(40)]
    assert len(patient_folds(labels, PATIENTS, folds=5)) == 5
    with pytest.raises(CohortError, match="has 5 patients with a lesion of the rarer class, fewer than 6 folds"):
        patient_folds(labels, PATIENTS, folds=6)


@pytest.mark.parametrize(("rarer", "folds"), [(2, 2), (3, 3), (4, 4), (5, 4), (9, 4)])
def test_inner_folds_are_as_many_as_the_rarer_class_has_patients_two_to_four(rarer, folds):
    labels = np.asarray([int(n // 2 < rarer) for n in range(40)])
    for either in (labels, 1 - labels):
        found = inner_folds(either, np.asarray(PATIENTS), seed=1)
        assert len(found) == folds
    assert {f.repeat for f in found} == {0}
    assert len(inner_folds(labels, np.asarray(PATIENTS), seed=1, most=2)) == 2
