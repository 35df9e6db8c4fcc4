"""Other views of a lesion are the same lesion; features come from its core."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fitted import predictions_of, sample_of
from scipy.ndimage import distance_transform_edt, gaussian_filter

from RTResponseCAMLib.imaging.grid import Grid
from RTResponseCAMLib.imaging.patch import Patch
from RTResponseCAMLib.models.card import OLDEST_SCHEMA
from RTResponseCAMLib.models.scale_space import stem
from RTResponseCAMLib.models.scale_space.classifier import Architecture, AutoencoderClassifier
from RTResponseCAMLib.models.scale_space.preparation import VIEW_VOXELS, augment, prepare
from RTResponseCAMLib.models.scale_space.stem import DEPTH_TERMS, SCALES_MM, STEM_CHANNELS, core, stem_features
from RTResponseCAMLib.models.scale_space.training import Schedule, fit
from RTResponseCAMLib.samples.sample import LesionSample

# fmt: off
STEM_MEANS = (
    0.6231, -0.6021, 0.7351, -0.0118, -0.0523, -0.1302, -0.3506, -0.2657, 0.7389,
    0.0142, -0.0449, -0.1426, 0.2900, -0.5196, 0.7399, 0.0210, -0.0485, -0.1486,
    0.3144, -0.4993, -0.0779, -0.0853, -0.0817, -0.0977, -0.0941, -0.1000, -1.8030,
    -2.7883, 1.0000, 0.7557, 0.6299, 0.4241, 0.6270, 0.5225, 0.3454, 0.4398,
    0.2915, 0.1941,
)
# fmt: on


def ball(radius_mm: float, size: int = 32, soft: float = 1.0) -> Patch:
    rng = np.random.default_rng(1)
    grid = Grid((size,) * 3, (1.0,) * 3, (0.0, 0.0, 0.0))
    away = np.linalg.norm(grid.points() - (size - 1) / 2, axis=-1)
    fraction = np.clip((radius_mm - away) / soft + 0.5, 0, 1).astype(np.float32)
    mr = (3 * (away < radius_mm) + rng.normal(0, 0.5, grid.shape)).astype(np.float32)
    return Patch(grid, mr, np.ones(grid.shape, np.float32), fraction, False)


def test_a_lesion_as_it_is_comes_first_and_views_count_the_same():
    patch = ball(9.0)
    plain, varied = (
        prepare(sample_of(patch, 1), Architecture(), n_augmentations=n_augmentations) for n_augmentations in (0, 3)
    )
    count = int(patch.inside.sum())
    assert plain.features.shape == (count, STEM_CHANNELS + DEPTH_TERMS)
    assert torch.equal(varied.features[:count], plain.features)
    assert torch.equal(varied.surroundings[:count], plain.surroundings)
    assert varied.share[count - 1] == pytest.approx(1 / 4)
    assert varied.share[count + VIEW_VOXELS - 1] == pytest.approx(1 / 2)  # a large lesion's views are thinned
    assert varied.share[-1] == pytest.approx(1)
    assert varied.volume_cc == plain.volume_cc
    assert not torch.equal(varied.features[count : 2 * count], plain.features[:VIEW_VOXELS])


@pytest.mark.parametrize("radius_mm", [2.0, 5.0, 9.0])
def test_training_pools_what_the_forward_pass_pools(radius_mm):
    """Features and code of each voxel, and how much it counts after the spreading of evidence."""
    torch.manual_seed(0)
    network = AutoencoderClassifier(Architecture(members=2, shrinkage_volume_cc=0.3)).eval()
    torch.nn.init.normal_(network.depth_baseline)
    patch = replace(ball(radius_mm), mr_spacing_mm=(1.0, 1.0, 3.0))
    lesion = prepare(sample_of(patch, 1), network.architecture, n_augmentations=0)
    with torch.inference_mode():
        mr, fraction = (torch.from_numpy(a)[None, None] for a in (patch.mr, patch.fraction))
        whole = network(mr, fraction, mr_voxel_volume_ratio=patch.mr_voxel_volume_ratio).total[0]
        features, code = network.head_features(lesion.features, lesion.surroundings)
        evidence = torch.cat([network.stem_head(features), network.code_head(code)], 1)
        counts = torch.from_numpy(np.diff(lesion.share, prepend=0)).float()
        local = (evidence * counts[:, None]).sum(0)[None, :, None, None, None]
        pooled = network.pool(
            local, torch.ones(1, 1, 1, 1, 1), network.log_volume(fraction), lesion.mr_voxel_volume_ratio
        )
    assert pooled.total[0].numpy() == pytest.approx(whole.numpy(), rel=0.02, abs=0.02)


@pytest.mark.slow
def test_what_is_usual_at_a_depth_is_gone_and_what_is_not_stays():
    """Lesions with bright rims, one of them with a bright side too: the rim is nobody's evidence, the side is."""
    grid = Grid((32,) * 3, (1.0,) * 3, (0.0, 0.0, 0.0))
    from_middle = grid.points() - 15.5
    away = np.linalg.norm(from_middle, axis=-1)

    def rimmed(radius_mm: float, side: float, seed: int) -> LesionSample:
        rng = np.random.default_rng(seed)
        mr = 3 + 1.0 * (away > radius_mm - 3) + side * (from_middle[..., 2] > 0) + rng.normal(0, 0.2, grid.shape)
        fraction = np.clip(radius_mm - away + 0.5, 0, 1).astype(np.float32)
        patch = Patch(grid, (mr * (fraction > 0)).astype(np.float32), np.ones(grid.shape, np.float32), fraction, False)
        return sample_of(patch, seed % 2, f"p{seed}")

    samples = [rimmed(8 + 0.5 * (n % 5), 0.0, n) for n in range(9)] + [rimmed(9.0, 0.6, 9)]
    shape = Architecture(members=1, code_members=1)
    lesions = [prepare(sample, shape, n_augmentations=0) for sample in samples]

    def contrast(network: AutoencoderClassifier, number: int, left: np.ndarray, right: np.ndarray) -> float:
        """Difference of the raw brightness, as the heads read it, between two parts of a lesion."""
        inside = samples[number].patch.inside
        values = network.standardized(lesions[number].features)[:, 0].numpy()
        return float(values[left[inside]].mean() - values[right[inside]].mean())

    short = Schedule(steps=2)
    network, plain = (fit(lesions, replace(shape, depth=depth), schedule=short) for depth in (True, False))
    rim, middle = (away > 6) & (away < 8), away < 4
    side, other = ((from_middle[..., 2] > 0) == positive for positive in (True, False))
    assert abs(contrast(network, 2, rim, middle)) < 0.35 * abs(contrast(plain, 2, rim, middle))
    assert contrast(network, 9, side & middle, other & middle) > 0.9 * contrast(plain, 9, side & middle, other & middle)


def test_prepared_lesions_depend_on_their_place_alone():
    one, again, other = (
        prepare(sample_of(ball(5.0), 0, index=n), Architecture(), n_augmentations=2) for n in (2, 2, 3)
    )
    assert torch.equal(one.features, again.features)
    assert not torch.equal(one.features, other.features)


@pytest.mark.parametrize("radius_mm", [0.6, 1.0, 3.0, 9.0])
def test_other_views_keep_the_lesion(radius_mm):
    patch = ball(radius_mm)
    rng = np.random.default_rng(0)
    volume = float(patch.fraction.sum())
    surface = 4 * np.pi * radius_mm**2
    for _ in range(30):
        view = augment(patch, rng)
        assert view.fraction.any()
        assert view.fraction.min() >= 0
        assert view.fraction.max() <= 1
        assert view.fraction.dtype == view.mr.dtype == np.float32
        assert abs(float(view.fraction.sum()) - volume) <= 0.5 * surface + 1.5
        # Half a voxel along each axis may change one layer of voxels, and no more.
        both = (view.fraction > 0) & (patch.fraction > 0)
        assert both.sum() >= 0.5 * (patch.fraction > 0.5).sum()


def cut(patch: Patch) -> Patch:
    """A label map's hard edge instead of a contour's soft one."""
    return replace(patch, fraction=(patch.fraction >= 0.5).astype(np.float32))


def change(network: AutoencoderClassifier, patch: Patch) -> np.ndarray:
    """How far each feature, as the heads read it, moves deep inside when the edge is cut hard; in units of its spread.

    That is after the usual at a depth was taken out: the terms of the depth move too.
    """
    arrays = [(patch.mr, p.fraction) for p in (patch, cut(patch))]
    stems = [stem_features(*(torch.from_numpy(a)[None, None] for a in pair), 1.0) for pair in arrays]
    both = [network.standardized(values)[0] for values in stems]
    deep = torch.from_numpy(distance_transform_edt(patch.fraction > 0.5) > 2)
    spread = both[0][:, torch.from_numpy(patch.inside)].std(1).clamp_min(0.02)
    return ((both[0] - both[1])[:, deep].abs().mean(1) / spread).numpy()


def test_a_surface_counts_little_and_moves_features_less_than_if_it_did(shipped, patches, monkeypatch):
    weight = core(torch.from_numpy(patches[0].fraction)[None, None], 1.0)[0, 0].numpy()
    surface = (patches[0].fraction > 0.3) & (patches[0].fraction < 0.7)
    assert weight[surface].mean() < 0.3 * weight[distance_transform_edt(patches[0].inside) > 3].mean()
    found = np.mean([change(shipped.model.fitted.network, p) for p in patches], axis=0)
    monkeypatch.setattr(stem, "core", lambda fraction, _: fraction)
    without = np.mean([change(shipped.model.fitted.network, p) for p in patches], axis=0)
    assert found.mean() < 0.5 * without.mean()


def test_the_shipped_models_answer_hardly_changes_with_the_cut(shipped, patches):
    for patch in patches:
        one, other = predictions_of(shipped, [patch, cut(patch)])
        assert abs(one.total - other.total) < 0.4


def test_the_stem_is_the_one_that_weights_were_trained_with():
    """Values of one fixed patch: whoever changes them raises both schema numbers, and trains the shipped model anew."""
    patch = ball(6.0, size=24)
    found = stem_features(*(torch.from_numpy(a)[None, None] for a in (patch.mr, patch.fraction)), 1.0)[0]
    means = found[:, torch.from_numpy(patch.inside)].mean(1).numpy()
    assert means == pytest.approx(STEM_MEANS, abs=2e-4)
    assert OLDEST_SCHEMA == 7


def test_roughness_says_how_fine_a_texture_is_and_not_how_strong():
    """One half of a lesion varies a tenth as strongly, in another lesion it varies over longer distances."""
    patch = ball(12.0)
    rng = np.random.default_rng(3)
    white = rng.normal(0, 1, patch.grid.shape)
    coarse = gaussian_filter(white, 1.5)
    right = patch.grid.points()[..., 0] > 15.5
    deep = distance_transform_edt(patch.fraction > 0.5) > 2
    halves = [deep & (np.abs(patch.grid.points()[..., 0] - 15.5) > 5) & (right == side) for side in (False, True)]

    def apart(texture: np.ndarray) -> np.ndarray:
        """Difference of every feature between the halves."""
        mr = torch.from_numpy((3 + texture).astype(np.float32))[None, None]
        found = stem_features(mr, torch.from_numpy(patch.fraction)[None, None], 1.0)[0]
        one, other = (found[:, torch.from_numpy(half)].mean(1) for half in halves)
        return (other - one).numpy()

    fainter = apart(np.where(right, 0.1 * white, white))
    coarser = apart(np.where(right, coarse * white.std() / coarse.std(), white))
    deviation, roughness = 2 + 6 + 2, slice(2 + 6 * len(SCALES_MM), STEM_CHANNELS)
    assert fainter[deviation] == pytest.approx(np.log(0.1), abs=0.1)
    near = [0, 1, 3, 6, 7]  # of those over 3 mm, two reach into the other half
    assert np.abs(fainter[roughness][near]).max() < 0.1
    fine, band = coarser[roughness][:6], coarser[roughness][6:]
    assert fine.max() < -0.5
    assert band.min() > 0.5
