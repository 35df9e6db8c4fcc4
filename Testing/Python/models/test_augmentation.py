"""Augmented copies: each change does what it says, and a copy remains a lesion."""

from __future__ import annotations

import numpy as np
import pytest
from conv_lesions import SIZE, patch_of
from scipy.ndimage import gaussian_filter

from RTResponseCAMLib.models.augmentation import Scan, as_scanned, augmented, recontoured, sample_scan


def scanned(mr, **values):
    return as_scanned(mr, Scan(**values), spacing_mm=1.0, rng=np.random.default_rng(5))


def test_no_change_is_no_change():
    mr = patch_of(1).mr
    np.testing.assert_array_equal(scanned(mr), mr)


def test_blur_is_in_millimeters():
    mr = patch_of(1).mr
    np.testing.assert_allclose(
        as_scanned(mr, Scan(blur_mm=0.8), spacing_mm=0.5, rng=np.random.default_rng(0)), gaussian_filter(mr, 1.6),
        atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("noise_mm", [0.0, 0.7])
def test_noise_has_the_stated_deviation_and_correlation(noise_mm):
    noise = scanned(np.zeros((SIZE,) * 3, np.float32), noise=0.2, noise_mm=noise_mm)
    assert noise.std() == pytest.approx(0.2, rel=0.03)
    lag = np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]
    assert (lag > 0.4) == (noise_mm > 0)


def test_thick_slices_keep_a_slow_change_and_remove_a_fast_one():
    z = np.arange(SIZE, dtype=np.float32)[:, None, None] * np.ones((1, SIZE, SIZE), np.float32)
    slow, fast = np.sin(z / 4), np.sin(z * 2.8)
    middle = slice(6, -6)
    kept = [
        scanned(v.astype(np.float32), voxel_mm=(3.0, 1.0, 1.0))[middle].std() / v[middle].std() for v in (slow, fast)
    ]
    assert kept[0] > 0.85
    assert kept[1] < 0.3


def test_resampling_does_not_move_the_lesion():
    mr = gaussian_filter(patch_of(2, radius_mm=6).fraction, 1.5)
    found = np.mean([as_scanned(mr, Scan(voxel_mm=(3.0, 1.5, 1.5)), spacing_mm=1.0, rng=np.random.default_rng(n))
                     for n in range(12)], axis=0)  # fmt: skip
    centers = [np.array([(np.indices(v.shape)[a] * v).sum() / v.sum() for a in range(3)]) for v in (mr, found)]
    np.testing.assert_allclose(centers[0], centers[1], atol=0.25)


def test_gain_and_gradient_scale_the_intensities():
    ones = np.ones((SIZE,) * 3, np.float32)
    found = scanned(ones, gain=1.1, gradient=(0.2, 0.0, 0.0))
    assert found.mean() == pytest.approx(1.1, rel=1e-3)
    assert found[-1].mean() / found[0].mean() == pytest.approx(1.1 / 0.9, rel=1e-3)


def test_a_lesion_of_one_voxel_survives_another_contour():
    fraction = np.zeros((SIZE,) * 3, np.float32)
    fraction[12, 12, 12] = 0.3
    for n in range(30):
        assert recontoured(fraction, spacing_mm=1.0, rng=np.random.default_rng(n)).any()


def test_a_copy_is_another_scan_of_the_same_lesion_and_depends_on_the_seed_alone():
    patch = patch_of(3)
    first, again, other = (augmented(patch, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.mr, again.mr)
    assert not np.array_equal(first.mr, other.mr)
    assert np.corrcoef(first.fraction.ravel(), patch.fraction.ravel())[0, 1] > 0.9
    assert first.grid == patch.grid


def test_scans_differ_in_everything():
    scans = [sample_scan(np.random.default_rng(n)) for n in range(40)]
    assert 5 < sum(any(s.voxel_mm) for s in scans) < 30
    for name in ("blur_mm", "noise", "gain", "noise_mm"):
        assert np.std([getattr(s, name) for s in scans]) > 0
