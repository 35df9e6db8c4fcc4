"""Local energies: what they measure, what they do not see, and lesions without a neighborhood."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conv_lesions import patch_of

from RTResponseCAMLib.models.conv.energy import LEAST, local_energies


def tensors(patch):
    return torch.from_numpy(patch.mr)[None, None], torch.from_numpy(patch.fraction)[None, None]


def inside(values, fraction):
    return values[:, :, fraction[0, 0] > 0.5]


def test_positive_and_negative_deviations_are_measured_apart():
    _, fraction = tensors(patch_of(1))
    rng = np.random.default_rng(0)
    spots = torch.from_numpy((rng.uniform(size=fraction.shape) < 0.05).astype(np.float32)) * 5
    bright, dark = (inside(local_energies(sign * spots, fraction, 1.0), fraction)[0].mean(-1) for sign in (1, -1))
    assert bright[1] - bright[2] > 1  # bright spots: the positive energy is the larger one
    torch.testing.assert_close(bright[1:], dark[1:].flip(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bright[0], -dark[0], rtol=1e-4, atol=1e-4)


def test_twice_the_contrast_adds_the_logarithm_of_four():
    mr, fraction = tensors(patch_of(2))
    once, twice = (inside(local_energies(20 * k * mr, fraction, 1.0), fraction)[0, 1:] for k in (1, 2))
    strong = once > np.log(LEAST) + 6  # where the least energy does not matter
    assert strong.float().mean() > 0.5
    torch.testing.assert_close((twice - once)[strong], torch.full_like(once, np.log(4))[strong], rtol=0.02, atol=0.02)


def test_nothing_outside_the_lesion_is_seen():
    mr, fraction = tensors(patch_of(3))
    other = torch.where(fraction > 0, mr, mr + 7)
    torch.testing.assert_close(
        inside(local_energies(mr, fraction, 1.0), fraction), inside(local_energies(other, fraction, 1.0), fraction)
    )


def test_a_lesion_of_one_voxel_has_finite_features():
    mr, fraction = torch.ones(1, 1, 24, 24, 24), torch.zeros(1, 1, 24, 24, 24)
    fraction[..., 11, 12, 13] = 0.6
    found = local_energies(mr, fraction, 1.0)[0, :, 11, 12, 13]
    assert bool(torch.isfinite(found).all())
    assert float(found.min()) == pytest.approx(np.log(LEAST), abs=0.1)  # no deviation


def test_the_number_of_features_is_three_per_channel():
    mr, fraction = tensors(patch_of(4))
    assert local_energies(torch.cat([mr, mr], dim=1), fraction, 1.0).shape[1] == 6
