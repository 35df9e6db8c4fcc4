"""Whether a lesion is like those of the training: p-values hold on unseen lesions, and what differs is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conv_lesions import patch_of
from scipy.ndimage import gaussian_filter

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.familiarity import GROUPS, NAMES, UNLIKELY, Familiarity, properties_of
from RTResponseCAMLib.samples.sample import LesionSample

TRAINED, UNSEEN = 120, 60


def varied(seed: int) -> Patch:
    """A lesion whose size, brightness, blur and noise vary as from patient to patient."""
    rng = np.random.default_rng(seed + 9000)
    patch = patch_of(seed, coarse=bool(rng.integers(2)), radius_mm=float(rng.uniform(3, 7)))
    mr = gaussian_filter(patch.mr, rng.uniform(0.3, 0.6)) * rng.uniform(0.7, 1.4)
    return replace(patch, mr=(mr + rng.uniform(0.03, 0.06) * rng.standard_normal(mr.shape)).astype(np.float32))


@pytest.fixture(scope="module")
def trained():
    samples = [LesionSample(varied(n), 0.5, patient=f"P{n // 2}") for n in range(TRAINED)]
    return Familiarity.of_samples(samples)


@pytest.fixture(scope="module")
def unseen():
    return [varied(5000 + n) for n in range(UNSEEN)]


def share_unlike(familiarity, patches) -> float:
    return float(np.mean([bool(familiarity.unlikeness(p).words) for p in patches]))


def test_unseen_lesions_of_the_same_kind_are_seldom_unlike_and_p_is_uniform(trained, unseen):
    found = [trained.unlikeness(patch) for patch in unseen]
    assert share_unlike(trained, unseen) <= 0.1
    assert all(bool(u.words) == (u.p < UNLIKELY) for u in found)
    group = trained.groups["scan"]
    p = [group.unlikeness(properties_of(patch)).p for patch in unseen]
    assert 0.35 < np.mean(p) < 0.65
    assert min(p) >= 1 / (TRAINED + 1)


def halves(fraction: np.ndarray) -> np.ndarray:
    """1 in one half of the lesion, -1 in the other."""
    x = np.arange(fraction.shape[2]) * np.ones(fraction.shape)
    return np.where(x > np.average(x, weights=fraction), 1, -1).astype(np.float32)


CHANGES = {
    "less sharp": lambda p: replace(p, mr=gaussian_filter(p.mr, 1.5)),
    "noisier": lambda p: replace(
        p, mr=p.mr + 1.5 * np.random.default_rng(1).standard_normal(p.mr.shape).astype(np.float32)
    ),
    "thicker slices": lambda p: replace(p, mr_spacing_mm=(1.0, 1.0, 3.0)),
    "larger voxels": lambda p: replace(p, mr_spacing_mm=(2.0, 2.0, 2.0)),
    "brighter": lambda p: replace(p, mr=p.mr + 8 * p.fraction),
    "darker": lambda p: replace(p, mr=p.mr - 8 * p.fraction),
    "more heterogeneous": lambda p: replace(p, mr=p.mr + 6 * p.fraction * halves(p.fraction)),
}


@pytest.mark.parametrize("words", CHANGES)
def test_what_differs_is_named(trained, unseen, words):
    changed = [CHANGES[words](patch) for patch in unseen[:12]]
    found = [trained.unlikeness(patch) for patch in changed]
    assert np.mean([words in u.words for u in found]) >= 0.8, [u.words for u in found]
    before = [trained.unlikeness(patch).distance for patch in unseen[:12]]
    assert np.median([u.distance for u in found]) > np.median(before)


def test_a_finer_scan_is_not_unlike(trained, unseen):
    finer = [replace(patch, mr_spacing_mm=(0.5, 0.5, 0.8)) for patch in unseen[:5]]
    assert [trained.unlikeness(p).p for p in finer] == [trained.unlikeness(p).p for p in unseen[:5]]


@pytest.mark.parametrize("size", [1, 24])
def test_a_lesion_of_one_voxel_or_the_whole_patch_has_finite_properties(trained, size):
    fraction = np.zeros((24,) * 3, np.float32)
    fraction[(slice(0, size),) * 3] = 1.0
    patch = Patch(Grid((24,) * 3, (1.0,) * 3, (0.0,) * 3), np.ones_like(fraction), fraction, fraction, False)
    assert np.isfinite(list(properties_of(patch).values())).all()
    assert trained.unlikeness(patch).words  # nothing else in the training is like it


def test_distances_are_held_out_and_the_order_of_lesions_does_not_matter():
    samples = [LesionSample(varied(n), 0.5, patient=f"P{n:02d}") for n in range(44)]
    odd = replace(samples[-1], patch=CHANGES["noisier"](varied(43)))
    found = Familiarity.of_samples([*samples[:-1], odd])
    group = found.groups["scan"]
    in_sample = group.unlikeness(properties_of(odd.patch)).distance
    assert group.distances[-1] > 1.2 * in_sample  # it does not vouch for itself
    again = Familiarity.of_samples([odd, *samples[:-1]])
    np.testing.assert_allclose(again.groups["scan"].mean, group.mean)


def test_few_lesions_or_none_with_a_patch_describe_no_distribution():
    samples = [LesionSample(varied(n), 0.5, patient=f"P{n}") for n in range(39)]
    assert Familiarity.of_samples(samples) is None
    assert Familiarity.of_samples([LesionSample(None, 0.5, patient=f"P{n}") for n in range(80)]) is None
    assert Familiarity.of_samples([LesionSample(varied(n), 0.5, patient="P") for n in range(45)]) is None


def test_it_is_restored_from_its_card(trained, unseen):
    values = trained.as_json()
    assert set(values) == set(GROUPS)
    assert {name for names in GROUPS.values() for name in names} == set(NAMES)
    again = Familiarity.from_json(values)
    for patch in unseen[:5]:
        a, b = trained.unlikeness(patch), again.unlikeness(patch)
        assert (a.p, a.words) == (b.p, b.words)
        assert a.distance == pytest.approx(b.distance, abs=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("scan") and v.clear(),
        lambda v: v["scan"].pop("mean"),
        lambda v: v["scan"].update(mean=[0.0]),
        lambda v: v["scan"].update(properties=["taste"] * 5),
        lambda v: v["scan"]["deviation"].__setitem__(0, 0.0),
        lambda v: v["scan"]["distances"].__setitem__(0, float("nan")),
        lambda v: v["scan"].update(precision="much"),
        lambda v: v.update(scan=3),
    ],
)
def test_damaged_values_are_refused(trained, change):
    values = trained.as_json()
    change(values)
    with pytest.raises(ValueError):
        Familiarity.from_json(values)
